"""Where the order of items can be told: which receivers notice it, and what stands before them."""

from __future__ import annotations

from d4pcwl.workflow.edges import Edge
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.grouping import GroupBy
from d4pcwl.workflow.pe import keeps_order
from d4pcwl.workflow.state import keeps_state


def can_tell(graph: FlatGraph, edge: Edge) -> bool:
    """Whether who takes the items of an edge can tell their order: it keeps state, or sends items
    round a cycle, and does not say that their order does not matter."""
    target = edge.target
    return keeps_order(target, edge.input) and (
        id(target) in graph.cyclic or keeps_state(target) is not None
    )


class Telling:
    """Where in a graph that is cut, and of which stages run in shards, order can be told."""

    def __init__(self, graph: FlatGraph) -> None:
        self._graph = graph
        self._behind: set[int] = set()
        for pe in reversed(graph.in_order()):
            if any(map(self.at_or_behind, graph.out_of(pe))):
                self._behind.add(id(pe))

    def behind(self, edge: Edge) -> bool:
        """Whether somebody can tell in which order the target of an edge writes, or writes what
        comes of that."""
        return id(edge.target) in self._behind

    def at_or_behind(self, edge: Edge) -> bool:
        """Whether the target of an edge can tell the order of its items, or somebody behind."""
        return can_tell(self._graph, edge) or (
            self._may_run_in_shards(edge.target) and self.behind(edge)
        )

    def _may_run_in_shards(self, pe: object) -> bool:
        """Whether what ``pe`` writes depends on no order of its own."""
        if id(pe) in self._graph.cyclic:
            return False
        keyed = (isinstance(self._graph.grouping(e), GroupBy) for e in self._graph.into(pe))
        return keeps_state(pe) is None or all(keyed)
