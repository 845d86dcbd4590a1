"""One execution of a CommandLineTool or ExpressionTool, by cwltool's library."""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from d4pcwl.cwl.importing.document import short_name
from d4pcwl.cwl.importing.updates import SharedMutations

if TYPE_CHECKING:
    from cwltool.context import RuntimeContext
    from cwltool.process import Process

TAIL_LINES = 20
"""How many of the last lines of a tool's standard error are told when it fails."""

SUCCESS = "success"


@dataclass
class Outcome:
    """What became of an execution.

    :param outputs: by name; may be there in part after a failure
    :param status: ``success``, ``temporaryFail`` or ``permanentFail``
    :param command: the command line, if it came so far
    :param reasons: what cwltool says about the failure
    :param tail: the last lines of standard error
    """

    outputs: dict[str, Any] = field(default_factory=dict)
    status: str = "permanentFail"
    command: str = ""
    reasons: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    unsupported: bool = False

    @property
    def failed(self) -> bool:
        """Whether it is no success."""
        return self.status != SUCCESS

    @property
    def description(self) -> str:
        """The failure in words, some lines of it."""
        lines = [self.status]
        lines += [f"  {line}" for reason in self.reasons for line in reason.splitlines()]
        if self.command:
            lines.append(f"  command: {self.command}")
        if self.tail:
            lines.append("  standard error, at the end:")
            lines += [f"    {line}" for line in self.tail]
        return "\n".join(lines)


def run_tool(
    process: Process,
    inputs: dict[str, Any],
    context: RuntimeContext,
    during: Callable[[str, Outcome], AbstractContextManager[None]] | None = None,
) -> Outcome:
    """Run a tool once, with its folders, staging and output collection.

    :param inputs: its input object; what is missing takes its default
    :param during: entered with the tool's folder before its command runs, and left when the outcome
        is known
    """
    from cwltool.errors import UnsupportedRequirement

    outcome = Outcome()

    def finished(outputs: Any, status: str) -> None:
        outcome.outputs = outputs or {}
        outcome.status = status

    with _warnings(outcome.reasons), _standard_error(context, outcome.tail):
        try:
            job: Any
            for job in process.job(inputs, finished, context):
                command = getattr(job, "command_line", None)
                outcome.command = shlex.join(map(str, command)) if command else ""
                with during(job.outdir, outcome) if during and command else nullcontext():
                    job.run(context)
                if outcome.status != SUCCESS and getattr(job, "stderr", None):
                    _read_tail(os.path.join(job.outdir, job.stderr), outcome.tail)
        except Exception as error:  # noqa: BLE001 - whatever the library raises, the step failed
            outcome.status = "permanentFail"
            outcome.reasons.append(explanation(error))
            outcome.unsupported = isinstance(error, UnsupportedRequirement)
        finally:
            if isinstance(context.mutation_manager, SharedMutations):
                context.mutation_manager.release_all()
    # A tool that writes cwl.output.json may leave out what can be null.
    needed = [short_name(e["id"]) for e in process.tool["outputs"] if "null" not in e["type"]]
    missing = [name for name in needed if name not in outcome.outputs]
    if outcome.status == SUCCESS and missing:
        outcome.status = "permanentFail"
        outcome.reasons.append(f"there is no output {', '.join(missing)}")
    if outcome.status == SUCCESS:
        _warn(outcome.reasons)
    return outcome


def explanation(error: Exception) -> str:
    """What an error says; its kind as well where it is not one of cwltool's own."""
    from cwltool.errors import WorkflowException
    from schema_salad.exceptions import SchemaSaladException

    if isinstance(error, WorkflowException | SchemaSaladException | OSError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _warn(messages: list[str]) -> None:
    from cwltool.loghandler import _logger as logger

    for message in messages:
        logger.warning(message)


class _Reasons(logging.Handler):
    def __init__(self, reasons: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.reasons = reasons

    def emit(self, record: logging.LogRecord) -> None:
        message = re.sub(r"^\[(?:job|step) [^]]*\]+ ", "", record.getMessage())
        if not message.endswith(("completed permanentFail", "completed temporaryFail")):
            self.reasons.append(message)


@contextmanager
def _warnings(reasons: list[str]) -> Iterator[None]:
    """Keep what cwltool warns of, rather than print it: if the tool fails it belongs to that."""
    from cwltool.loghandler import _logger as logger

    handlers = logger.handlers[:]
    keep = _Reasons(reasons)
    logger.handlers[:] = [keep, *(h for h in handlers if h.level <= logging.DEBUG)]
    try:
        yield
    finally:
        logger.handlers[:] = handlers


@contextmanager
def _standard_error(context: RuntimeContext, tail: list[str]) -> Iterator[None]:
    """Pass what the tool prints on to our standard error, in whole lines, and keep the end."""
    read_end, write_end = os.pipe()
    last: deque[str] = deque(maxlen=TAIL_LINES)

    def pass_on() -> None:
        with open(read_end, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                text = line.rstrip("\n")
                last.append(text)
                sys.stderr.write(text + "\n")
                sys.stderr.flush()

    reader = threading.Thread(target=pass_on, daemon=True)
    reader.start()
    with open(write_end, "wb", buffering=0) as sink:
        context.default_stdout = context.default_stderr = sink
        try:
            yield
        finally:
            context.default_stdout = context.default_stderr = None
    # A tool may leave processes of its own behind that keep the pipe open.
    reader.join(1.0)
    tail += [line for line in last if line.strip()]


def _read_tail(path: str, tail: list[str]) -> None:
    """The end of a standard error that went to a file of the tool's."""
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            tail[:] = [line.rstrip("\n") for line in deque(lines, maxlen=TAIL_LINES)]
    except OSError:
        pass
