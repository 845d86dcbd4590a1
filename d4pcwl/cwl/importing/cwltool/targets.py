"""A document without what is not wanted, and what is printed of one rather than run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from d4pcwl.cwl.importing.cwltool.document import Document, short_name
from d4pcwl.errors import InputError, UsageError, nearest

if TYPE_CHECKING:
    from cwltool.context import LoadingContext
    from cwltool.process import Process


def only_targets(process: Process, targets: Sequence[str], context: LoadingContext) -> Process:
    """The part of a workflow that some of its outputs and steps stand for, as cwltool has it.

    An output stands for all that it depends on; a step, or an input, for all that depends on it.

    :raises UsageError: it is no workflow
    :raises InputError: it has no such output, step or input
    """
    from cwltool.load_tool import make_tool
    from cwltool.subgraph import get_subgraph

    tool: Any = process.tool
    if tool["class"] != "Workflow":
        raise UsageError("--target is for workflows, and the document is none")
    entries = (*tool["outputs"], *tool["steps"], *tool["inputs"])
    known = {short_name(entry["id"]): entry["id"] for entry in entries}
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


def packed_text(document: Document) -> str:
    """A document and all that it runs, as one document in JSON.

    :raises InputError: it is not valid CWL
    """
    from cwltool.main import print_pack

    context, uri, _ = document.resolve(as_written=True)
    return print_pack(context, uri)


def dependencies_text(document: Document, relative_to: str) -> str:
    """The files that a document refers to, as a File object in JSON.

    :param relative_to: ``primary`` for the folder of the document, ``cwd`` for the current one
    :raises InputError: it is not valid CWL
    """
    from cwltool.main import printdeps

    context, uri, fetched = document.resolve(as_written=True)
    assert context.loader is not None
    text = io.StringIO()
    printdeps(fetched, context.loader, text, relative_to, uri)
    return text.getvalue()
