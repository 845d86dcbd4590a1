"""One execution of a CommandLineTool or ExpressionTool, with cwltool's library."""

from __future__ import annotations

import copy
import fcntl
import hashlib
import json
import logging
import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from d4pcwl.cwl.importing.cwltool.document import plain, short_name
from d4pcwl.cwl.importing.cwltool.fetching import readable
from d4pcwl.cwl.importing.cwltool.tool_printed import end_of_file, passed_on
from d4pcwl.cwl.importing.cwltool.updates import SharedMutations, in_place

if TYPE_CHECKING:
    from cwltool.context import RuntimeContext
    from cwltool.process import Process

SUCCESS = "success"


@dataclass
class Outcome:
    """The outcome of an execution.

    :param outputs: by name; after a failure, some may exist
    :param status: ``success``, ``temporaryFail`` or ``permanentFail``
    :param command: the command line, if it is known
    :param reasons: messages of cwltool about the failure
    :param tail: the last lines of standard error
    :param inputs: the input object, with defaults
    :param image: the container image in which it ran
    """

    outputs: dict[str, Any] = field(default_factory=dict)
    status: str = "permanentFail"
    command: str = ""
    reasons: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    unsupported: bool = False
    inputs: dict[str, Any] = field(default_factory=dict)
    image: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it failed."""
        return self.status != SUCCESS

    @property
    def description(self) -> str:
        """A description of the failure, in some lines."""
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

    :param inputs: its input object; missing values get their defaults
    :param during: entered with the tool's folder before its command runs, and left when the outcome
        is known
    """
    from cwltool.errors import UnsupportedRequirement
    from cwltool.loghandler import _logger as logger

    from d4pcwl.cwl.importing.cwltool import confine

    image = _image(process, context)
    outcome = Outcome(inputs=inputs, image=image)
    context.path_mapper = confine.MapperInContainer if image else confine.ConfinedMapper

    def finished(outputs: Any, status: str) -> None:
        outcome.outputs = plain(outputs or {})
        outcome.status = status

    if in_place(process):
        context.cachedir = None
    with (
        _warnings(outcome.reasons),
        _standard_error(context, outcome.tail),
        _alone(process, inputs, context.cachedir),
    ):
        try:
            job: Any
            for job in process.job(as_given(inputs), finished, context):
                confine.check_staging(job, context)
                confine.confine(job)
                cached = not hasattr(job, "builder")  # its outputs are in the cache
                outcome.inputs = (job.cachebuilder if cached else job.builder).job
                command = getattr(job, "command_line", None)
                outcome.command = shlex.join(map(str, command)) if command else ""
                with during(job.outdir, outcome) if during and command else nullcontext():
                    job.run(context)
                if outcome.status != SUCCESS and getattr(job, "stderr", None):
                    outcome.tail[:] = end_of_file(os.path.join(job.outdir, job.stderr))
            confine.check_names(outcome.outputs)
        except Exception as error:  # noqa: BLE001 - any error of the library means that the step failed
            outcome.status, outcome.outputs = "permanentFail", {}
            outcome.reasons.append(explanation(error))
            outcome.unsupported = isinstance(error, UnsupportedRequirement)
        finally:
            if isinstance(context.mutation_manager, SharedMutations):
                context.mutation_manager.release_all()
    # A tool that writes cwl.output.json may leave out what can be null.
    declared = {short_name(entry["id"]): entry for entry in process.tool["outputs"]}
    needed = [name for name, entry in declared.items() if "null" not in entry["type"]]
    missing = [name for name in needed if name not in outcome.outputs]
    if outcome.status == SUCCESS and missing:
        outcome.status = "permanentFail"
        outcome.reasons.append(f"there is no output {', '.join(missing)}")
    for name in [name for name in outcome.outputs if name not in declared]:
        del outcome.outputs[name]
        outcome.reasons.append(
            f"cwl.output.json has {name!r}, which is not an output of the tool: it is left out"
        )
    if outcome.status == SUCCESS:
        for message in outcome.reasons:
            logger.warning(message)
    return outcome


@contextmanager
def _alone(process: Process, inputs: dict[str, Any], cachedir: str | None) -> Iterator[None]:
    """With a cache, let no other process run the tool with the same inputs at the same time.
    Otherwise cwltool's library would remove the outputs of the first one.
    """
    if cachedir is None:
        yield
        return
    text = json.dumps([process.tool["id"], inputs], sort_keys=True, default=str)
    name = hashlib.sha256(text.encode()).hexdigest()
    with open(os.path.join(cachedir, f"{name}.lock"), "a") as lock:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class _Bound(list[Any]):
    """An array that is not copied: cwltool would copy it for each of its elements."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Bound:
        return self


class _Given(list[Any]):
    """An array that cwltool copies only when it begins a job."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Bound:
        return _Bound(copy.deepcopy(entry, memo) for entry in self)


def as_given(value: Any) -> Any:
    """An input object for a tool, without the fields of files that cwltool adds itself. With its
    arrays, the time for a command line grows with their length, and not with the square of it.
    """
    if isinstance(value, dict):
        ours = {"dirname"} if value.get("class") in ("File", "Directory") else set()
        return {key: as_given(entry) for key, entry in value.items() if key not in ours}
    return _Given(map(as_given, value)) if isinstance(value, list) else value


def _image(process: Process, context: RuntimeContext) -> str | None:
    """The image of the container in which a tool runs; None: it runs in none."""
    if not context.use_container or process.tool["class"] != "CommandLineTool":
        return None
    wanted: Any = process.get_requirement("DockerRequirement")[0]
    if not wanted:
        return context.default_container or None
    keys = ("dockerPull", "dockerImageId", "dockerLoad", "dockerImport", "dockerFile")
    return str(next((wanted[key] for key in keys if key in wanted), "unknown"))


def explanation(error: Exception) -> str:
    """The text of an error; with its type, if it is not an error of cwltool."""
    from cwltool.errors import WorkflowException
    from schema_salad.exceptions import SchemaSaladException

    if isinstance(error, WorkflowException | SchemaSaladException | OSError):
        text = readable(error)
        if text.endswith("contains illegal characters"):
            text += "; give the file another name, or use --relax-path-checks"
        return text
    return f"{type(error).__name__}: {error}"


_SAYS_NOTHING = (
    "completed permanentFail",
    "completed temporaryFail",
    "Unexpected error from fs_access",  # it is reported next
)


class _Reasons(logging.Handler):
    def __init__(self, reasons: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.reasons = reasons

    def emit(self, record: logging.LogRecord) -> None:
        message = re.sub(r"^\[(?:job|step) [^]]*\]+ ", "", readable(record.getMessage()))
        if not message.endswith(_SAYS_NOTHING):
            self.reasons.append(message.removeprefix("Job error:\n"))


@contextmanager
def _warnings(reasons: list[str]) -> Iterator[None]:
    """Keep warnings of cwltool and do not print them: they belong to the message if the tool
    fails."""
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
    """Pass the tool's printed text on to our standard error, in whole lines, and keep its end."""
    with passed_on(tail) as sink:
        context.default_stdout = context.default_stderr = sink
        try:
            yield
        finally:
            context.default_stdout = context.default_stderr = None
