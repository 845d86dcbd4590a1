"""Order: where in a plan items carry marks, by which receivers see them in ``simple``'s order.

Where a PE runs in several instances, or in the pool, its stream is *split*: items may overtake each
other. A receiver that keeps state can tell, and so can whoever reads results: there the items are
put in order again. In between, every item carries a *mark*::

    (origin, number, -PE, place, …)

The *origin* is the instance from which the stream was split. It is the only one of its PE, so what
it writes is in order, and it numbers what it writes. A PE on the way *passes marks on*: the first
that it writes for an item has the item's mark; what it writes after that has two numbers more: the
PE's, negated, and the place. PEs further down have higher numbers. So marks sort as ``simple``
works: what comes of an earlier item comes first, and then what comes of what was written earlier.

A receiver may take up an item when nothing with a smaller mark can come any more. It learns that
from *levels*: the level of an instance, for an origin, is a number below which it has written all.
How items and levels travel is up to the mapping; ``runtime/engine/marks.py`` has what all share.

The way is that of punctuated streams: Tucker, Maier, Sheard, Fegaras, "Exploiting punctuation
semantics in continuous data streams", IEEE TKDE 15 (2003), doi:10.1109/TKDE.2003.1198390.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.pe import keeps_order, writes_of_itself
from d4pcwl.workflow.state import keeps_state

Port = tuple[str, str]
"""The id of a PE and the name of one of its inputs or outputs."""


@dataclass(frozen=True)
class Order:
    """Where marks go.

    :param passing: ids of the PEs that pass marks on; what others write begins an order of its own
    :param marked: the inputs whose items carry marks
    :param sorted: those of them whose items are put in order
    :param results: the outputs whose results carry marks, and are put in order
    :param origins: by PE id, the origins of the marks on what it writes, as indices of instances;
        a PE that passes marks on has one of its own as well if it may write without an item
    :param loose: origins whose items are not put in order: pooled instances in a cycle
    """

    passing: frozenset[str] = frozenset()
    marked: frozenset[Port] = frozenset()
    sorted: frozenset[Port] = frozenset()
    results: frozenset[Port] = frozenset()
    origins: dict[str, tuple[int, ...]] = field(default_factory=dict)
    loose: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.marked or self.results)


def find_order(
    graph: FlatGraph,
    indices: Mapping[int, list[int]],
    pool: Collection[int],
    results: Collection[tuple[Any, str]],
    given: Collection[str] = (),
) -> Order:
    """The order of a plan.

    :param indices: by ``id(pe)``, the indices of its instances
    :param pool: ``id(pe)`` of the pooled PEs
    :param results: the outputs, as PE and name, whose items are results
    :param given: ids of PEs that are given inputs of their own
    """
    split = {id(pe) for pe in graph.pes if id(pe) in pool or len(indices[id(pe)]) > 1}
    in_cycle = {id(pe) for c in graph.cycles if graph.is_cycle(c) for pe in c}
    split -= in_cycle  # what goes round would never come to its last mark
    if not split:
        return Order()
    ordered = graph.in_order()
    can_tell = {
        id(edge): _can_tell(edge.target, edge.input, id(edge.target) in in_cycle)
        for edge in graph.edges
    }
    passing: set[int] = set()
    for pe in ordered:
        fed_by_passing = [edge for edge in graph.into(pe) if id(edge.source) in passing]
        blind = not any(can_tell[id(edge)] for edge in fed_by_passing)
        if id(pe) in split or (fed_by_passing and blind and id(pe) not in in_cycle):
            passing.add(id(pe))
    told = {(id(pe), output) for pe, output in results if keeps_order(pe)}
    useful: set[int] = set()  # those that pass marks on to somebody who can tell
    for pe in reversed(ordered):
        if id(pe) in passing and (
            any((id(pe), output) in told for output in pe.outputconnections)
            or any(can_tell[id(e)] or id(e.target) in useful for e in graph.out_of(pe))
        ):
            useful.add(id(pe))
    to_sort = {
        (edge.target.id, edge.input)
        for edge in graph.edges
        if id(edge.source) in passing and can_tell[id(edge)]
    }
    marked = to_sort | {
        (edge.target.id, edge.input) for edge in graph.edges if id(edge.target) in useful
    }
    return Order(
        frozenset(pe.id for pe in graph.pes if id(pe) in passing),
        frozenset(marked),
        frozenset(to_sort),
        frozenset(
            (pe.id, output)
            for pe, output in results
            if id(pe) in passing and (id(pe), output) in told
        ),
        _origins(graph, ordered, indices, passing, marked, given),
        frozenset(index for key in in_cycle.intersection(pool) for index in indices[key]),
    )


def _can_tell(pe: Any, name: str, in_cycle: bool) -> bool:
    """Whether a receiver can tell the order of what comes by an input."""
    return keeps_order(pe, name) and (in_cycle or keeps_state(pe) is not None)


def _origins(
    graph: FlatGraph,
    ordered: Collection[Any],
    indices: Mapping[int, list[int]],
    passing: Collection[int],
    marked: Collection[Port],
    given: Collection[str],
) -> dict[str, tuple[int, ...]]:
    origins: dict[str, tuple[int, ...]] = {}
    for pe in ordered:
        own = indices[id(pe)]
        if id(pe) not in passing:
            origins[pe.id] = tuple(own)
            continue
        found = {own[0]} if pe.id in given or writes_of_itself(pe) else set()
        for edge in graph.into(pe):
            if (pe.id, edge.input) in marked:
                found.update(origins[edge.source.id])
        origins[pe.id] = tuple(sorted(found))
    return origins
