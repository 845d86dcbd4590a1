"""The inputs of one execution of a step: ``loadContents``, ``valueFrom`` and ``when``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cwltool.context import RuntimeContext
    from cwltool.workflow import Workflow, WorkflowStep


def step_inputs(
    step: WorkflowStep, workflow: Workflow, given: dict[str, Any], context: RuntimeContext
) -> dict[str, Any] | None:
    """What the step's process is given; None where ``when`` says that it is to be skipped.

    :param workflow: the one that the step is in; its requirements hold for the step's expressions
    :param given: by input name: what the links gave, after the scatter
    :raises WorkflowException: an expression fails
    """
    from cwltool.errors import WorkflowException

    from d4pcwl.cwl.importing.document import short_name

    inputs = {short_name(entry["id"]): entry for entry in step.tool["inputs"]}
    for name, entry in inputs.items():
        if entry.get("loadContents"):
            _load_contents(given.get(name))

    def evaluate(expression: Any, self: Any, values: dict[str, Any]) -> Any:
        from cwl_utils import expression as expressions

        return expressions.do_eval(
            expression,
            values,
            workflow.requirements,
            None,
            None,
            {},
            context=self,
            debug=context.debug,
            timeout=context.eval_timeout,
            container_engine=_engine(context),
        )

    values = dict(given)
    for name, entry in inputs.items():
        if "valueFrom" in entry:
            _load_listings(given.get(name))
            values[name] = evaluate(entry["valueFrom"], given.get(name), given)
    if "when" in step.tool:
        wanted = evaluate(step.tool["when"], None, values)
        if wanted is False:
            return None
        if wanted is not True:
            raise WorkflowException(f"'when' must evaluate to true or false, not {wanted!r}")
    return {
        name: values[name]
        for name, entry in inputs.items()
        if name in values and not entry.get("not_connected")
    }


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
