"""From a CWL document to a graph in Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from d4pcwl.cwl.importing.cwltool.document import short_name
from d4pcwl.cwl.importing.cwltool.settings import DOCKER
from d4pcwl.cwl.importing.graph.cwl_graph import CwlGraph, CwlSubworkflow, Steps
from d4pcwl.workflow.flat import ordered_components
from d4pcwl.workflow.graph import WorkflowGraph


def from_cwl(
    document: str | os.PathLike[str],
    *,
    process: str | None = None,
    container: str | None = DOCKER,
    relax_path_checks: bool = False,
    enable_ext: bool = False,
    enable_dev: bool = False,
    native: bool = True,
) -> WorkflowGraph:
    """The graph of a CWL document.

    A document that ``d4p2cwl`` made of a script gives the script's own graph, if the script is at
    hand and still has that graph. Any other gives a graph of its steps, whose root takes job
    orders: see :class:`~d4pcwl.cwl.importing.graph.cwl_graph.CwlGraph`.

    :param document: its path or URI
    :param process: which process of a packed document
    :param container: what runs containers: ``docker``, ``podman``, ``singularity``; None: nothing
    :param relax_path_checks: allow any character in file names
    :param enable_ext: allow cwltool's extensions
    :param enable_dev: allow development versions of CWL
    :param native: whether a script's own graph is wanted
    :raises InputError: the document is not valid CWL
    :raises UnsupportedFeature: it needs what we do not have

    >>> graph = from_cwl("examples/ra_pipeline/ra.cwl")
    >>> list(graph.steps)
    ['create_env', 'download_data', 'preprocess_data', 'rapid_assessment']
    """
    from d4pcwl.cwl.importing.graph.native import script_of

    graph = linked(
        CwlGraph(
            document,
            process=process,
            container=container,
            relax_path_checks=relax_path_checks,
            enable_ext=enable_ext,
            enable_dev=enable_dev,
        )
    )
    found = script_of(graph) if native else None
    return graph if found is None else found.graph


def linked(graph: CwlGraph) -> CwlGraph:
    """The same graph, with the document's steps in it, linked as the document says."""
    if graph.is_workflow:
        _fill(graph)
    else:
        tool = graph.tool()
        for link in tool.links:
            graph.connect(graph.inputs, link.name, tool, link.name)
        for name in tool.output_names:
            graph.connect(tool, name, graph.outputs, name)
    return graph


def _fill(graph: Steps) -> None:
    """Add the steps of a workflow, sources first, and link them."""
    workflow = graph.document.workflow(graph.path)
    givers: dict[str, tuple[Any, str]] = {
        entry["id"]: (graph.inputs, short_name(entry["id"])) for entry in workflow.tool["inputs"]
    }
    for declared in _sources_first(workflow.tool["steps"]):
        name = short_name(declared["id"])
        path = (*graph.path, name)
        entry = graph.document.step(path).tool
        scatter = entry.get("scatter", [])
        names = [short_name(n) for n in ([scatter] if isinstance(scatter, str) else scatter)]
        method = entry.get("scatterMethod") if len(names) > 1 else None
        step = graph.step(name, scatter=names, method=method)
        if isinstance(step, CwlSubworkflow):
            _fill(step)
        givers |= {e["id"]: (step, short_name(e["id"])) for e in entry["outputs"]}
    for name, step in graph.steps.items():
        for entry in graph.document.step((*graph.path, name)).tool["inputs"]:
            for source in _listed(entry.get("source")):
                graph.connect(*givers[source], step, short_name(entry["id"]))
    for entry in workflow.tool["outputs"]:
        if short_name(entry["id"]) in graph.taken:
            for source in _listed(entry.get("outputSource")):
                graph.connect(*givers[source], graph.outputs, short_name(entry["id"]))


def _sources_first(steps: Sequence[Any]) -> list[Any]:
    """Steps after those that feed them; else in the document's order."""
    numbers = {
        output: number
        for number, step in enumerate(steps)
        for entry in step["out"]
        for output in [entry if isinstance(entry, str) else entry["id"]]
    }
    before = {
        number: {
            numbers[source]
            for entry in step["in"]
            for source in _listed(entry.get("source"))
            if source in numbers
        }
        for number, step in enumerate(steps)
    }
    return [steps[number] for component in ordered_components(before) for number in component]


def _listed(sources: Any) -> list[str]:
    if sources is None:
        return []
    return [sources] if isinstance(sources, str) else list(sources)
