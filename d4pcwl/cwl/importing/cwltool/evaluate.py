"""The inputs of one execution of a step: ``loadContents``, ``valueFrom`` and ``when``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

    from cwltool.context import RuntimeContext
    from cwltool.workflow import Workflow, WorkflowStep


def step_inputs(
    step: WorkflowStep, workflow: Workflow, given: dict[str, Any], context: RuntimeContext
) -> dict[str, Any] | None:
    """The inputs of the step's process; None if ``when`` is false and the step is skipped.

    :param workflow: the one that the step is in; its requirements hold for the step's expressions
    :param given: by input name: the values of the links, after the scatter
    :raises WorkflowException: an expression fails
    """
    expressions = StepExpressions(step, workflow, context)
    values = expressions.values(given)
    return taken(step, values) if expressions.wanted(values) else None


def taken(step: WorkflowStep, values: dict[str, Any]) -> dict[str, Any]:
    """The values that the step's process takes; the others are for expressions."""
    return {
        name: values[name]
        for name, entry in _inputs(step).items()
        if name in values and not entry.get("not_connected")
    }


@dataclass(frozen=True)
class StepExpressions:
    """The expressions of a step.

    :param owner: the process whose requirements hold for them
    """

    step: WorkflowStep
    owner: Workflow | WorkflowStep
    context: RuntimeContext

    def values(self, given: dict[str, Any]) -> dict[str, Any]:
        """The values of the links, with contents loaded and expressions evaluated.

        :raises WorkflowException: an expression fails
        """
        inputs = _inputs(self.step)
        for name, entry in inputs.items():
            if entry.get("loadContents"):
                _load_contents(given.get(name))
        values = dict(given)
        for name, entry in inputs.items():
            if "valueFrom" in entry:
                with _named(f"valueFrom of '{name}'"):
                    values[name] = self.value(entry["valueFrom"], given.get(name), given)
        return values

    def wanted(self, values: dict[str, Any]) -> bool:
        """Whether the step runs with these values; without ``when`` it does.

        :raises WorkflowException: ``when`` fails, or is neither true nor false
        """
        from cwltool.errors import WorkflowException

        if "when" not in self.step.tool:
            return True
        with _named("when"):
            wanted = self._evaluate(self.step.tool["when"], None, values)
        if wanted is not True and wanted is not False:
            raise WorkflowException(f"'when' must evaluate to true or false, not {wanted!r}")
        return wanted

    def value(self, expression: Any, self_: Any, values: dict[str, Any]) -> Any:
        """The value of a ``valueFrom``.

        :param self_: what ``self`` is in it
        :param values: what ``inputs`` is in it
        :raises WorkflowException: it fails
        """
        _load_listings(self_)
        return self._evaluate(expression, self_, values)

    def _evaluate(self, expression: Any, self_: Any, values: dict[str, Any]) -> Any:
        from cwl_utils import expression as expressions

        return expressions.do_eval(
            expression,
            values,
            self.owner.requirements,
            None,
            None,
            {},
            context=self_,
            debug=self.context.debug,
            timeout=self.context.eval_timeout,
            container_engine=_engine(self.context),
        )


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Name the expression that fails in the block."""
    from cwltool.errors import WorkflowException

    try:
        yield
    except WorkflowException as error:
        raise WorkflowException(f"{what}: {error}") from error


def _inputs(step: WorkflowStep) -> dict[str, Any]:
    from d4pcwl.cwl.importing.cwltool.document import short_name

    return {short_name(entry["id"]): entry for entry in step.tool["inputs"]}


def _load_contents(value: Any) -> None:
    from cwltool.builder import content_limit_respected_read
    from cwltool.stdfsaccess import StdFsAccess

    for file in value if isinstance(value, list) else [value]:
        if isinstance(file, dict) and file.get("contents") is None:
            with StdFsAccess("").open(file["location"], "rb") as stream:
                file["contents"] = content_limit_respected_read(stream)


def _load_listings(value: Any) -> None:
    from cwltool.stdfsaccess import StdFsAccess
    from cwltool.utils import adjustDirObjs, get_listing

    access = StdFsAccess("")
    adjustDirObjs(value, lambda folder: get_listing(access, folder, recursive=True))


def _engine(context: RuntimeContext) -> str:
    if context.podman:
        return "podman"
    return "singularity" if context.singularity else "docker"


def end_javascript() -> None:
    """End the processes that evaluated expressions for this one."""
    from cwl_utils import sandboxjs

    engine: Any = sandboxjs.get_js_engine()
    for process in getattr(engine, "processes_to_kill", ()):
        process.kill()
        process.communicate()
    _forget(engine)


def forget_javascript() -> None:
    """Let a separate process of this worker evaluate expressions, not an inherited one."""
    from cwl_utils import sandboxjs

    engine: Any = sandboxjs.get_js_engine()
    if not all(_is_ours(process) for process in getattr(engine, "processes_to_kill", ())):
        _forget(engine)


def _is_ours(process: subprocess.Popen[str]) -> bool:
    """Whether this process started it, and not the one that forked this process."""
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return process.returncode is not None
    return True


def _forget(engine: Any) -> None:
    import threading
    from collections import deque

    engine.localdata = threading.local()
    engine.processes_to_kill = deque()
