"""What the example graphs share: PEs joined one after the other."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from d4pcwl.workflow.graph import WorkflowGraph


def connect(graph: WorkflowGraph, *pes: Any) -> None:
    """Connect each PE's ``output`` to the ``input`` of the next."""
    for source, target in pairwise(pes):
        graph.connect(source, "output", target, "input")


def chain(*pes: Any) -> WorkflowGraph:
    """A graph of PEs, one after the other."""
    graph = WorkflowGraph()
    connect(graph, *pes)
    return graph
