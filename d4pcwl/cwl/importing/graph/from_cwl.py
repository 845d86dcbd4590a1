"""From a CWL document to a graph in Python."""

from __future__ import annotations

import os

from d4pcwl.cwl.importing.cwltool.settings import DOCKER
from d4pcwl.cwl.importing.graph.cwl_graph import CwlGraph
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

    graph = CwlGraph(
        document,
        process=process,
        container=container,
        relax_path_checks=relax_path_checks,
        enable_ext=enable_ext,
        enable_dev=enable_dev,
    )
    graph.link_all()
    found = script_of(graph) if native else None
    return graph if found is None else found.graph
