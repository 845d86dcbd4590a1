"""The part of a workflow for ``--target``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from d4pcwl.errors import InputError, UsageError, nearest

if TYPE_CHECKING:
    from cwltool.context import LoadingContext
    from cwltool.process import Process


def only_targets(process: Process, targets: Sequence[str], context: LoadingContext) -> Process:
    """The part of a workflow for some of its outputs, steps and inputs, as in cwltool. For an
    output, these are the steps that it depends on; for a step or an input, those that depend on it.

    :raises UsageError: it is not a workflow
    :raises InputError: it has no such output, step or input
    """
    from cwltool.load_tool import make_tool
    from cwltool.process import shortname
    from cwltool.subgraph import get_subgraph

    tool: Any = process.tool
    if tool["class"] != "Workflow":
        raise UsageError("--target is for workflows, and the document is not a workflow")
    entries = (*tool["outputs"], *tool["steps"], *tool["inputs"])
    known = {shortname(entry["id"]): entry["id"] for entry in entries}
    for name in targets:
        if name not in known:
            raise InputError(
                f"--target {name}: the workflow has no such output, step or input"
                f"{nearest(name, known)}"
            )
    workflow: Any = process
    extracted: Any = get_subgraph([known[name] for name in targets], workflow, context)
    assert context.loader is not None
    context.loader.idx[extracted["id"]] = extracted
    return make_tool(extracted["id"], context)
