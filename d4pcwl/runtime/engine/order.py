"""Order: where in a plan items have marks, so that receivers see them in ``simple``'s order.

If a PE runs in several instances, or in the pool, its stream is *split*: items may overtake each
other. A receiver that keeps state depends on the order, and so do the readers of results. There the
items are put in order again. On the way, every item has a *mark*::

    (origin, number, -PE, place, …)

The *origin* is the instance before the split. It is the only instance of its PE, so its items are
in order, and it numbers them. A PE on the way *passes marks on*: the first item that it writes for
an item has the same mark. Each further item has two more numbers: the number of the PE, negated,
and the place. PEs further down have higher numbers. So marks sort as ``simple`` works: items that
come from an earlier item are first; among these, items that come from an earlier written one.

A receiver may work on an item when no item with a smaller mark can come any more. It knows that
from *levels*. The level of an instance, for an origin, is a number: the instance has written all
items with smaller numbers. Each mapping sends items and levels in its own way;
``runtime/engine/marks.py`` has the code that all share.

In a stage that runs in shards, items from other stages already have marks, and items for other
stages keep marks (:class:`Entrance`). There every later PE passes marks on.

The method is that of punctuated streams: Tucker, Maier, Sheard, Fegaras, "Exploiting punctuation
semantics in continuous data streams", IEEE TKDE 15 (2003), doi:10.1109/TKDE.2003.1198390.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.pe import GenericPE, keeps_order, writes_of_itself

Port = tuple[str, str]
"""The id of a PE and the name of one of its inputs or outputs."""


@dataclass(frozen=True)
class Entrance:
    """Describes marks that come from outside, and go to the outside. An outer mark has no origin.
    An item that a PE writes by itself, after all its input, has the mark ``(AFTER_ALL, depth,
    shard, number, place, …)``.

    :param wanted: the outputs whose items get outer marks
    :param depths: by PE id, a number that is the same in all stages and shards of a graph, and
        higher for PEs further down
    :param shard: the number of the shard
    :param of: how many shards there are
    :param root: the index of the instance that sends the items from outside
    """

    wanted: frozenset[Port]
    depths: dict[str, int]
    shard: int
    of: int
    root: int = 0


class EntrancePE(GenericPE):
    """A root that sends items with marks from outside, as pairs ``(mark, item)``, in their order. A
    graph has at most one, and all outer marks come from its items."""

    entrance: Entrance


def inside_marks(
    change: Callable[[Callable[[Any], None]], Callable[[Any], None]], take: Callable[[Any], None]
) -> Callable[[Any], None]:
    """A function that changes the items of pairs ``(mark, item)``, and passes the pairs on.

    :param change: makes a function that changes items from one that takes them
    """
    mark: Any = None

    def mark_again(item: Any) -> None:
        take((mark, item))

    changed = change(mark_again)

    def enter(pair: tuple[Any, Any]) -> None:
        nonlocal mark
        mark, item = pair
        changed(item)

    return enter


@dataclass(frozen=True)
class Order:
    """Where items have marks.

    :param passing: ids of the PEs that pass marks on; the items of all other PEs begin a new order
    :param marked: the inputs whose items carry marks
    :param sorted: those of them whose items are put in order
    :param results: the outputs whose results carry marks
    :param in_order: those of them whose results are already in order
    :param origins: by PE id, the origins of the marks on what it writes, as indices of instances;
        a PE that passes marks on has one of its own as well if it may write without an item
    :param loose: origins whose items are not put in order: pooled instances in a cycle
    :param entrance: where marks come from outside
    """

    passing: frozenset[str] = frozenset()
    marked: frozenset[Port] = frozenset()
    sorted: frozenset[Port] = frozenset()
    results: frozenset[Port] = frozenset()
    origins: dict[str, tuple[int, ...]] = field(default_factory=dict)
    loose: frozenset[int] = frozenset()
    in_order: frozenset[Port] = frozenset()
    entrance: Entrance | None = None

    def __bool__(self) -> bool:
        return bool(self.marked or self.results)


def find_order(
    graph: FlatGraph,
    indices: Mapping[int, list[int]],
    pool: Collection[int],
    results: Collection[tuple[Any, str]],
    given: Collection[str] = (),
    *,
    together: bool = False,
) -> Order:
    """The order of a plan.

    :param indices: by ``id(pe)``, the indices of its instances
    :param pool: ``id(pe)`` of the pooled PEs
    :param results: the outputs, as PE and name, whose items are results
    :param given: ids of PEs that are given inputs of their own
    :param together: whether all instances are in one process, where each item is worked through
        before the next
    """
    split = {id(pe) for pe in graph.pes if id(pe) in pool or len(indices[id(pe)]) > 1}
    split -= graph.cyclic  # what goes round would never come to its last mark
    root = next((pe for pe in graph.roots if isinstance(pe, EntrancePE)), None)
    if not split and root is None:
        return Order()
    from d4pcwl.workflow.ordering import depends_on_order

    entrance = None if root is None else replace(root.entrance, root=indices[id(root)][0])
    wanted = entrance.wanted if entrance else frozenset[Port]()
    ordered = graph.in_order()
    tells = {id(edge): depends_on_order(graph, edge) for edge in graph.edges}
    passing: set[int] = set()
    entered: set[int] = set()  # the entrance, and all behind it
    overtaking: set[int] = set()  # those whose items may leave in another order than their marks'
    for pe in ordered:
        fed = [edge for edge in graph.into(pe) if id(edge.source) in passing]
        blind = not any(tells[id(edge)] for edge in fed)
        if pe is root or any(id(edge.source) in entered for edge in fed):
            entered.add(id(pe))
        elif id(pe) not in split and (not fed or not blind or id(pe) in graph.cyclic):
            continue
        passing.add(id(pe))
        unsorted = any(id(e.source) in overtaking and not tells[id(e)] for e in fed)
        if id(pe) in split or unsorted or (len(fed) > 1 and not together):
            overtaking.add(id(pe))
    told = {(id(pe), output) for pe, output in results if keeps_order(pe)}
    useful: set[int] = set()  # those that pass marks on to somebody who can tell
    for pe in reversed(ordered):
        if id(pe) in passing and (
            any((pe.id, output) in wanted for output in pe.outputconnections)
            or (
                id(pe) in overtaking
                and any((id(pe), output) in told for output in pe.outputconnections)
            )
            or any(
                id(e.target) in useful or (tells[id(e)] and id(pe) in overtaking)
                for e in graph.out_of(pe)
            )
        ):
            useful.add(id(pe))
    to_sort = {
        (edge.target.id, edge.input)
        for edge in graph.edges
        if id(edge.source) in overtaking and tells[id(edge)]
    }
    marked = to_sort | {
        (edge.target.id, edge.input) for edge in graph.edges if id(edge.target) in useful
    }
    sorted_results = {
        (pe.id, output)
        for pe, output in results
        if id(pe) in overtaking and ((id(pe), output) in told or (pe.id, output) in wanted)
    }
    return Order(
        frozenset(pe.id for pe in graph.pes if id(pe) in passing),
        frozenset(marked),
        frozenset(to_sort),
        wanted.union(sorted_results),
        _origins(graph, ordered, indices, passing, marked, given),
        frozenset(index for key in graph.cyclic.intersection(pool) for index in indices[key]),
        wanted.difference(sorted_results),
        entrance,
    )


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
        of_itself = pe.id in given or isinstance(pe, EntrancePE) or writes_of_itself(pe)
        found = {own[0]} if of_itself else set()
        for edge in graph.into(pe):
            if (pe.id, edge.input) in marked:
                found.update(origins[edge.source.id])
        origins[pe.id] = tuple(sorted(found))
    return origins
