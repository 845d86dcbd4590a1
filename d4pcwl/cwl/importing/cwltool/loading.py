"""Processes of a document, each loaded only once, for any number of steps.

cwltool loads the process of each step again: it resolves, updates and validates the document, also
a large one, and makes a schema of the inputs. Here cwltool gets steps whose ``run`` is a reference,
and calls :meth:`Loads.make` for the process.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag

from d4pcwl.errors import UsageError

if TYPE_CHECKING:
    from cwltool.context import LoadingContext
    from cwltool.process import Process
    from ruamel.yaml.comments import CommentedMap

REFERENCE = "d4pcwl:process"
"""The only key of a reference to a process; its value is the URI."""


class Loads:
    """Makes the processes of one document; cwltool's contexts call it ``construct_tool_object``."""

    def __init__(self) -> None:
        self._made: dict[str, list[tuple[Any, Any, Process]]] = {}
        self._files: dict[str, LoadingContext | None] = {}

    def make(self, toolpath_object: CommentedMap, loadingContext: LoadingContext) -> Process:  # noqa: N803
        """Make a process; cwltool names the parameters.

        :param toolpath_object: what it is, or a reference to it
        :param loadingContext: as the step has it
        :raises ValidationException: it is not valid CWL
        """
        from cwltool.workflow import default_make_tool

        if REFERENCE in toolpath_object:
            return self._load(toolpath_object[REFERENCE], loadingContext)
        process = default_make_tool(_with_references(toolpath_object), loadingContext)
        for step in getattr(process, "steps", ()):
            if REFERENCE in step.tool["run"]:
                step.tool["run"] = step.tool["run"][REFERENCE]
        return process

    def _load(self, uri: str, context: LoadingContext) -> Process:
        """The process of a reference: the same one for steps with the same requirements and
        hints."""
        from cwltool.load_tool import load_tool, make_tool

        given = context.requirements, context.hints
        known = self._made.setdefault(uri, [])
        for *others, process in known:
            if tuple(others) == given:
                return process
        context.metadata = {}  # another file may be of another version
        whole = self._whole_file(uri, context)
        process = make_tool(uri, whole) if whole else load_tool(uri, context)
        known.append((*given, process))
        return process

    def _whole_file(self, uri: str, context: LoadingContext) -> LoadingContext | None:
        """A context in which all processes of a file are ready; None if that is not possible."""
        from cwltool.errors import WorkflowException
        from cwltool.load_tool import fetch_document, resolve_and_validate_document
        from schema_salad.exceptions import SchemaSaladException

        file, fragment = urldefrag(uri)
        if not fragment:
            return None
        if file not in self._files:
            try:
                found, document, _ = fetch_document(file, context)
                self._files[file], _ = resolve_and_validate_document(found, document, file)
            except (SchemaSaladException, WorkflowException):
                self._files[file] = None  # the error may be in parts that are not used
        ready = self._files[file]
        if ready is not None:
            context = context.copy()
            context.loader, context.avsc_names = ready.loader, ready.avsc_names
            context.metadata = ready.metadata
        return ready and context


def _with_references(tool: Any) -> Any:
    """A workflow whose steps refer to their processes; any other process is returned unchanged."""
    from ruamel.yaml.comments import CommentedMap

    if tool.get("class") != "Workflow" or not isinstance(tool.get("steps"), list):
        return tool
    tool = copy(tool)  # the document itself is used again for other steps
    tool["steps"] = copy(tool["steps"])
    for number, step in enumerate(tool["steps"]):
        if isinstance(step, CommentedMap) and isinstance(step.get("run"), str):
            tool["steps"][number] = copy(step)
            tool["steps"][number]["run"] = CommentedMap({REFERENCE: step["run"]})
    return tool


def check_choice(location: str, document: Any, uri: str) -> None:
    """Check which process of a document is used, if it has several.

    :param location: the name of the document that the user gave
    :param document: what is in it
    :param uri: the document's
    :raises UsageError: no process is called main, or there is none with this name
    """
    wanted = urldefrag(uri)[1]
    processes = document.get("$graph") if isinstance(document, dict) else None
    if not isinstance(processes, list):
        return
    given = [entry.get("id", "") for entry in processes if isinstance(entry, dict)]
    names = [name for name in (str(name).rpartition("#")[2] for name in given) if name]
    if (wanted.partition("/")[0] or "main") in names or not names:
        return
    called = location.partition("#")[0]
    what = f"there is no process '{wanted}' in it" if wanted else "it has no process 'main'"
    choices = ", ".join(f"{called}#{name}" for name in names)
    raise UsageError(f"{called}: {what}; choose one of these: {choices}")
