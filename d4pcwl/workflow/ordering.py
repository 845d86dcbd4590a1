"""Where the order of items matters: the receivers that depend on it, and the edges before them."""

from __future__ import annotations

from d4pcwl.workflow.edges import Edge
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.grouping import GroupBy
from d4pcwl.workflow.pe import keeps_order
from d4pcwl.workflow.state import keeps_state


def depends_on_order(graph: FlatGraph, edge: Edge) -> bool:
    """Whether the receiver of an edge depends on the order of its items: it keeps state, or sends
    items round a cycle, and does not declare that the order does not matter."""
    target = edge.target
    return keeps_order(target, edge.input) and (
        id(target) in graph.cyclic or keeps_state(target) is not None
    )


class OrderedEdges:
    """The edges of a cut graph with shards where order matters."""

    def __init__(self, graph: FlatGraph) -> None:
        self._graph = graph
        self._before: set[int] = set()
        for pe in reversed(graph.in_order()):
            if any(map(self.needed_at_or_after, graph.out_of(pe))):
                self._before.add(id(pe))

    def needed_after(self, edge: Edge) -> bool:
        """Whether a PE after the target of an edge depends on the order in which the target
        writes."""
        return id(edge.target) in self._before

    def needed_at_or_after(self, edge: Edge) -> bool:
        """Whether the target of an edge, or a PE after it, depends on the order of its items."""
        return depends_on_order(self._graph, edge) or (
            self._may_run_in_shards(edge.target) and self.needed_after(edge)
        )

    def _may_run_in_shards(self, pe: object) -> bool:
        """Whether what ``pe`` writes depends on no order of its own."""
        if id(pe) in self._graph.cyclic:
            return False
        keyed = (isinstance(self._graph.grouping(e), GroupBy) for e in self._graph.into(pe))
        return keeps_state(pe) is None or all(keyed)
