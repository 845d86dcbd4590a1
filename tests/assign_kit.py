"""Costs that are made up, for tests of what learns from them."""

from __future__ import annotations

from collections.abc import Sequence

from d4pcwl.trace.model import ITEM_SECONDS, CostModel, Passage, Work
from d4pcwl.workflow.flat import FlatGraph


def costs(
    graph: FlatGraph,
    seconds: Sequence[float],
    *,
    items: int = 1000,
    sending: Sequence[float] | float = ITEM_SECONDS,
    hot: float = 0.0,
) -> CostModel:
    """A cost model.

    :param seconds: of each PE, all its items together
    :param items: that each PE takes
    :param sending: seconds to send an item, of each edge
    :param hot: the part of the commonest key
    """
    each = [sending] * len(graph.edges) if isinstance(sending, float) else sending
    works = {pe.id: Work(items, cost, cost) for pe, cost in zip(graph.pes, seconds, strict=True)}
    passages = {}
    for edge, cost in zip(graph.edges, each, strict=True):
        key = (edge.source.id, edge.output, edge.target.id, edge.input)
        passages[key] = Passage(*key, items=items, bytes=100.0, sending=cost, hot=hot)
    return CostModel(works, passages, items)
