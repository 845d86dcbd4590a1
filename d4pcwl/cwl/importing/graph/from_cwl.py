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

    If ``d4p2cwl`` made the document from a script, and the script is found and still has that
    graph, the result is the script's own graph. For any other document, it is a graph of its steps,
    whose root takes job orders: see :class:`~d4pcwl.cwl.importing.graph.cwl_graph.CwlGraph`.

    :param document: its path or URI
    :param process: the process to use, of a packed document
    :param container: what runs containers: ``docker``, ``podman``, ``singularity``; None: no
        containers
    :param relax_path_checks: allow any character in file names
    :param enable_ext: allow cwltool's extensions
    :param enable_dev: allow development versions of CWL
    :param native: False: never use a script's own graph
    :raises InputError: the document is not valid CWL
    :raises UnsupportedFeature: it needs a feature that is not supported

    >>> graph = from_cwl("examples/imaging/imaging.cwl")
    >>> list(graph.steps)
    ['denoise', 'segment', 'measure', 'join']
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
