"""Marks at run time: written items get them, and receivers put items in order by them.

``runtime/engine/order.py`` explains marks, and where items have them. A marked item is sent as a
pair ``(mark, item)``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any

from d4pcwl.runtime.engine.chain import Receive, Take, each
from d4pcwl.runtime.engine.plan import Plan

Mark = tuple[int, ...]
"""An origin, a number, and places."""

Level = tuple[int, int, int]
"""An instance, an origin, and a number: no smaller number will come from there."""

LevelOf = Callable[[int, int], int]
"""From an instance and an origin to the level."""

RESULTS = -1
"""Used as the number of a process, for the receiver of results."""

AFTER_ALL = 1 << 61
"""In marks, the number of items that an instance writes by itself, after all its input."""

NO_MORE = 1 << 62
"""The level of an instance that has ended."""

_TRY_AGAIN = 1000
"""After this number of further items is held back, some may be passed on: this is checked."""

_mark_of, _item_of = itemgetter(0), itemgetter(1)


def packed(marks: Sequence[Mark]) -> tuple[int, Sequence[Any]]:
    """Marks in a form that is fast to send. If all have the same origin and no places: that origin,
    and their numbers. Otherwise: -1, and all the marks."""
    if set(map(len, marks)) == {2}:
        origins, numbers = zip(*marks, strict=True)
        if len(set(origins)) == 1:
            return origins[0], numbers
    return -1, marks


def unpacked(origin: int, marks: Sequence[Any]) -> list[Mark]:
    """The marks that :func:`packed` has packed."""
    return list(zip(repeat(origin), marks) if origin >= 0 else marks)


def lowest_numbers(marks: Iterable[Mark]) -> dict[int, int]:
    """By origin, the lowest number of marked items."""
    lows: dict[int, int] = {}
    for mark in marks:
        origin, number = mark[0], mark[1]
        if number < lows.get(origin, NO_MORE):
            lows[origin] = number
    return lows


class Position:
    """The position of one instance in the order of the stream. It gives marks to written items.

    :param index: of the instance
    :param number: its number among the instances of its PE
    :param own: the origin of items that it writes by itself; None if this holds for all its items
    :param depth: the depth of its PE in the graph, which is higher than those of the PEs before it
    """

    def __init__(self, index: int, number: int, own: int | None, depth: int) -> None:
        self.count = 0
        self.own = own
        self._number, self._depth = number, -depth
        self._origin = index
        self._mark: Mark = ()
        self._places = 0
        if own is not None:
            self.leave()

    def enter(self, mark: Mark) -> None:
        """Items that are written from now on belong to the item with this mark."""
        self._mark, self._places = mark, 0

    def leave(self) -> None:
        """Items that are written from now on belong to no item."""
        assert self.own is not None
        self.enter((self.own, AFTER_ALL, self._number))

    def feed(self, place: int) -> None:
        """Items that are written from now on belong to the root input at this place."""
        if self.own is not None:
            self.enter((self.own, place))
            self.count = place

    def drop(self) -> None:
        """An item is not written, because it was before the run was resumed."""
        self._places += 1

    def emitter(self, plain: Receive | None, marked: Receive) -> Receive:
        """The function that takes the items of an output. It calls functions that take items, and
        one that takes marked items."""
        origin, depth = self._origin, self._depth
        if self.own is None:

            def begin(item: Any) -> None:
                if plain is not None:
                    plain(item)
                marked(((origin, self.count), item))
                self.count += 1  # when all have it: then nothing smaller will come

            return begin

        def pass_on(item: Any) -> None:
            place = self._places
            self._places = place + 1
            if plain is not None:
                plain(item)
            marked((self._mark if not place else (*self._mark, depth, place), item))

        return pass_on

    def entering(self, take: Take) -> Take:
        """The function that takes marked items for the instance."""
        if self.own is None:
            return lambda pairs: take(map(_item_of, pairs))

        def items(pairs: Iterable[tuple[Mark, Any]]) -> Iterator[Any]:
            for self._mark, item in pairs:
                self._places = 0
                yield item

        return lambda pairs: take(items(pairs))


class EntrancePosition(Position):
    """The position of the instance that sends items with marks from outside."""

    def emitter(self, plain: Receive | None, marked: Receive) -> Receive:
        def enter(pair: tuple[Mark, Any]) -> None:
            mark, item = pair
            if plain is not None:
                plain(item)
            marked(((self._origin, self.count, *mark), item))
            self.count += 1

        return enter


def position_of(plan: Plan, index: int) -> Position:
    """The position of an instance."""
    entrance, instance = plan.order.entrance, plan.instances[index]
    first = plan.of(instance.pe)[0].index
    depth = entrance.depths.get(instance.pe, 0) if entrance else first
    if entrance and index == entrance.root:
        return EntrancePosition(index, instance.number, None, depth)
    own = first if instance.pe in plan.order.passing else None
    return Position(index, instance.number, own, depth)


def unmarked(receive: Receive) -> Receive:
    """A function that takes marked items, for a receiver of items."""
    return lambda pair: receive(pair[1])


def with_outer_marks(plan: Plan, receive: Receive) -> Receive:
    """A function that takes marked items, for a receiver of pairs of an outer mark and an item."""
    entrance = plan.order.entrance
    assert entrance is not None
    root, depths, shard = entrance.root, entrance.depths, entrance.shard

    def take(pair: tuple[Mark, Any]) -> None:
        (origin, _, *mark), item = pair
        if origin != root:  # a PE has written it by itself, when its items were done
            mark = [AFTER_ALL, depths[plan.instances[origin].pe], shard, *mark]
        receive((tuple(mark), item))

    return take


def result_taker(plan: Plan, port: tuple[str, str], receive: Receive) -> Receive:
    """A function that takes the results of an output, marked or not, and passes them on in
    order."""
    if port not in plan.order.results:
        return receive
    entrance = plan.order.entrance
    wanted = entrance is not None and port in entrance.wanted
    return with_outer_marks(plan, receive) if wanted else unmarked(receive)


class Gather:
    """Puts the marked items of one input, or of one output with results, in order.

    :param least: the level of all senders, by origin
    :param at_once: origins whose items are not held back
    :param in_turn: whether the items of an origin come after all those of the origins before it

    ``deliver`` is set later: the function that takes the marked items, in order.
    """

    deliver: Take

    def __init__(
        self, least: LowestLevel, at_once: Collection[int] = (), *, in_turn: bool = False
    ) -> None:
        self._least, self._in_turn = least, in_turn
        self._held: dict[int, list[tuple[Mark, Any]]] = {
            origin: [] for origin in sorted(least.origins) if origin not in at_once
        }
        alone = len(self._held) == len(least.origins) == 1
        self._only = next(iter(self._held.values())) if alone else None
        self._reached = dict.fromkeys(self._held, 0)
        self.waiting = 0
        self._look_at = _TRY_AGAIN

    def level(self, origin: int) -> int:
        """The number below which everything has been passed on."""
        return self._reached.get(origin, NO_MORE)

    def hold(self, pairs: Iterable[tuple[Mark, Any]]) -> None:
        """Take marked items."""
        if self._only is not None:  # no need to look at each
            before = len(self._only)
            self._only.extend(pairs)
            self.waiting += len(self._only) - before
        else:
            for pair in pairs:
                held = self._held.get(pair[0][0])
                if held is None:
                    self.deliver((pair,))
                else:
                    held.append(pair)
                    self.waiting += 1
        if self.waiting >= self._look_at:
            self.advance()
            self._look_at = self.waiting + _TRY_AGAIN

    def advance(self) -> None:
        """Pass on all items before which no other item can come any more."""
        for origin, held in self._held.items():
            level = self._least(origin)
            if level > self._reached[origin]:
                if held:
                    held.sort(key=_mark_of)
                    ready = held[: bisect_left(held, (origin, level), key=_mark_of)]
                    del held[: len(ready)]
                    self._pass_on(ready)
                self._reached[origin] = level
            if self._in_turn and level < NO_MORE:
                break

    @property
    def held(self) -> list[tuple[Mark, Any]]:
        """The items that are held back."""
        return [pair for held in self._held.values() for pair in held]

    def give_up(self) -> None:
        """Pass on the items that are held back, in order. The run has failed, so some may be
        missing."""
        for held in self._held.values():
            rest = sorted(held, key=_mark_of)
            held.clear()
            self._pass_on(rest)

    def _pass_on(self, ready: Sequence[tuple[Mark, Any]]) -> None:
        self.deliver(ready)
        self.waiting -= len(ready)


class ReceivedLevels:
    """The levels that instances in other processes have sent."""

    def __init__(self) -> None:
        self._levels: dict[tuple[tuple[int, str] | None, int, int], int] = {}
        self._ended: set[int] = set()

    def note(self, levels: Iterable[Level], receiver: tuple[int, str] | None = None) -> None:
        """Take the levels for an input of an instance, or for all if it is None."""
        for instance, origin, level in levels:
            self._levels[receiver, instance, origin] = level

    def end(self, instance: int) -> None:
        """An instance has sent its last item."""
        self._ended.add(instance)

    def level(self, instance: int, origin: int, seen_by: tuple[int, str] | None = None) -> int:
        """The level of an instance for an origin, as another instance knows it."""
        if instance in self._ended:
            return NO_MORE
        told = self._levels.get((seen_by, instance, origin), 0)
        return max(told, self._levels.get((None, instance, origin), 0))


class NewLevels:
    """The new levels for one receiver. Another thread than the writing one may call this, if it
    takes the written items to be sent only after the call: so a level never comes before its items.

    :param wanted: instance and origin of each
    """

    def __init__(self, wanted: Iterable[tuple[int, int]], level: LevelOf) -> None:
        self._told = dict.fromkeys(wanted, 0)
        self._level = level

    def __call__(self) -> list[Level]:
        """What has changed since the last call."""
        changed = []
        for (instance, origin), told in self._told.items():
            level = self._level(instance, origin)
            if level > told:
                self._told[instance, origin] = level
                changed.append((instance, origin, level))
        return changed


class LowestLevel:
    """The level of several instances, by origin: the lowest level of those that have it.

    :param senders: the instances
    """

    def __init__(self, plan: Plan, senders: Iterable[int], level: LevelOf) -> None:
        self._level = level
        self._having: dict[int, list[int]] = {}
        for sender in senders:
            for origin in plan.origins_of(sender):
                self._having.setdefault(origin, []).append(sender)

    @property
    def origins(self) -> Collection[int]:
        """All origins that they have."""
        return self._having.keys()

    def __call__(self, origin: int) -> int:
        having = self._having.get(origin, ())
        return min((self._level(sender, origin) for sender in having), default=NO_MORE)


class SortedResults:
    """Takes results, and puts those with marks in order if needed.

    :param takers: of the results, in the plan's order
    """

    def __init__(self, plan: Plan, takers: Sequence[Receive]) -> None:
        self._heard = ReceivedLevels()
        self._gathers: dict[int, list[Gather]] = {}
        self._by_slot: dict[int, Gather] = {}
        self.takers = list(map(each, takers))
        for slot, (pe, output) in enumerate(plan.results if takers else ()):
            port = (pe, output)
            if port in plan.order.results:
                self.takers[slot] = take = each(result_taker(plan, port, takers[slot]))
                if port in plan.order.in_order:
                    continue
                senders = [instance.index for instance in plan.of(pe)]
                least = LowestLevel(plan, senders, self._heard.level)
                gather = Gather(least, plan.order.loose, in_turn=plan.order.entrance is not None)
                gather.deliver = take
                for sender in senders:
                    self._gathers.setdefault(sender, []).append(gather)
                self.takers[slot] = gather.hold
                self._by_slot[slot] = gather

    @property
    def held(self) -> dict[int, list[tuple[Mark, Any]]]:
        """By slot, the marked items that are held back."""
        return {slot: gather.held for slot, gather in self._by_slot.items() if gather.waiting}

    def hold(self, held: Mapping[int, list[tuple[Mark, Any]]]) -> None:
        """Hold back items that were held back before the run was resumed."""
        for slot, pairs in held.items():
            self._by_slot[slot].hold(pairs)

    def note(self, levels: Sequence[Level]) -> None:
        """Note the levels of instances, and pass on the items that may be passed on now."""
        self._heard.note(levels)
        for sender in dict.fromkeys(level[0] for level in levels):
            for gather in self._gathers.get(sender, ()):
                gather.advance()

    def give_up(self) -> None:
        """Pass on the rest, in order: the run is over."""
        for gathers in self._gathers.values():
            for gather in gathers:
                gather.give_up()


def wanted_levels(plan: Plan, process: int) -> dict[int, list[tuple[int, int]]]:
    """For each process, the instances of ``process`` whose levels it must know. Those for the order
    of results are under :data:`RESULTS`.
    """
    wanted: dict[int, dict[tuple[int, int], None]] = {}
    for index in plan.processes[process]:
        instance = plan.instances[index]
        levels = dict.fromkeys((index, origin) for origin in plan.origins_of(index))
        for receiver, _ in plan.marked_after.get(index, ()):
            wanted.setdefault(plan.instances[receiver].process, {}).update(levels)
        if any(pe == instance.pe for pe, _ in plan.order.results):
            wanted.setdefault(RESULTS, {}).update(levels)
    return {receiver: list(levels) for receiver, levels in wanted.items()}
