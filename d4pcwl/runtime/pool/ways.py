"""The levels of a pool of workers for each stream, as the process that distributes tasks knows
them.

Items of a pooled PE are worked on in any order. A receiver after the pool that puts its items in
order (``runtime/engine/order.py``) must know the number below which everything has come. This is
the lowest number among the items for this receiver that are still in the pool; if there are none,
it is the level of the writers to the pool.

A batch is *ahead* if it goes to such a receiver while earlier ones are missing. If too much is
ahead, the writers to the pool wait. So the items that a receiver holds back are bounded.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from d4pcwl.runtime.engine.marks import AFTER_ALL, Level
from d4pcwl.runtime.engine.plan import Plan

Lows = Mapping[int, int]
"""By origin, the lowest number of a batch's items."""

Receiver = tuple[int, str]
"""An instance and one of its inputs; or the pooled instance that has results, and an empty name."""

MOST_AHEAD_BYTES = 64 << 20
"""The bytes that may be ahead on one way. Each item counts with its encoded size, and with the size
of a mark."""

MARK_BYTES = 64


@dataclass(frozen=True)
class Way:
    """The way through the pool to one receiver.

    :param senders: the pooled instances that send to it
    :param pooled: all pooled instances on the way
    :param entries: the pinned instances that write to the way
    :param origins: of the marks of each sender and entry
    """

    senders: tuple[int, ...]
    pooled: frozenset[int]
    entries: tuple[int, ...]
    origins: Mapping[int, frozenset[int]]


def find_ways(plan: Plan) -> dict[Receiver, Way]:
    """The ways through the pool, by receiver."""
    pool = plan.pooled
    senders: dict[Receiver, dict[int, None]] = {}
    for sender in sorted(pool):
        for receiver in plan.marked_after.get(sender, ()):
            if receiver[0] not in pool:
                senders.setdefault(receiver, {})[sender] = None
    for pe, _ in plan.order.results:
        for instance in plan.of(pe):
            if instance.index in pool:
                senders[instance.index, ""] = {instance.index: None}
    return {receiver: _way(plan, pool, tuple(found)) for receiver, found in senders.items()}


def _way(plan: Plan, pool: frozenset[int], senders: tuple[int, ...]) -> Way:
    pooled, todo = set(senders), list(senders)
    while todo:
        more = (plan.upstream[todo.pop()] & pool) - pooled
        pooled |= more
        todo += more
    entries = sorted({s for index in pooled for s in plan.upstream[index]} - pool)
    loose = plan.order.loose  # their items are not held back
    origins = {i: frozenset(plan.origins_of(i)) - loose for i in (*entries, *senders)}
    return Way(senders, frozenset(pooled), tuple(entries), origins)


def _last(plan: Plan, index: int) -> int:
    """The last instance of the PE of an instance."""
    return plan.of(plan.instances[index].pe)[-1].index


@dataclass
class _Stream:
    """The items of one origin on one way that are still in the pool.

    :param lows: a heap of the lowest numbers of its batches; ``count`` says how many are left
    :param ahead: a heap of batches that were delivered too early: lowest number, and weight
    :param reached: the level that the receiver has been told
    """

    lows: list[int] = field(default_factory=list)
    count: Counter[int] = field(default_factory=Counter)
    ahead: list[tuple[int, int]] = field(default_factory=list)
    reached: int = 0

    @property
    def lowest(self) -> int:
        while self.lows and not self.count[self.lows[0]]:
            del self.count[heapq.heappop(self.lows)]
        return self.lows[0] if self.lows else AFTER_ALL

    def add(self, low: int) -> None:
        if not self.count[low]:
            heapq.heappush(self.lows, low)
        self.count[low] += 1


class PoolOrder:
    """See the module.

    :param most_ahead: bytes that may be ahead on one way
    """

    def __init__(self, plan: Plan, most_ahead: int = MOST_AHEAD_BYTES) -> None:
        self._most_ahead = most_ahead
        self._plan, self._ways = plan, find_ways(plan)
        self._through: dict[int, list[Receiver]] = {}
        self._streams: dict[Receiver, dict[int, _Stream]] = {}
        self._levels: dict[tuple[int, int], int] = {}
        self._ahead = Counter[Receiver]()
        self._far: set[Receiver] = set()  # the ways on which too much is ahead
        for receiver, way in self._ways.items():
            for index in (*way.pooled, *way.entries):
                self._through.setdefault(index, []).append(receiver)
            origins = frozenset[int]().union(*(way.origins[s] for s in way.senders))
            self._streams[receiver] = {origin: _Stream() for origin in sorted(origins)}

    def put(self, instance: int, lows: Lows) -> None:
        """Note a new batch for a pooled instance."""
        for stream, low in self._streams_of(instance, lows):
            stream.add(low)

    def done(self, instance: int, lows: Lows) -> None:
        """Note that a batch of a pooled instance is done. Its outputs must have been noted
        before."""
        for stream, low in self._streams_of(instance, lows):
            stream.count[low] -= 1

    def _streams_of(self, instance: int, lows: Lows) -> Iterator[tuple[_Stream, int]]:
        for receiver in self._through.get(instance, ()):
            streams = self._streams[receiver]
            for origin, low in lows.items():
                if origin in streams:
                    yield streams[origin], low

    def note(self, levels: Iterable[Level]) -> None:
        """Note the levels of pinned instances that write to the pool."""
        for instance, origin, level in levels:
            self._levels[instance, origin] = level

    def deliver(self, receiver: Receiver, lows: Lows, items: int, size: int) -> None:
        """Note that a batch goes to a receiver."""
        streams = self._streams.get(receiver, {})
        for origin, low in lows.items():
            stream = streams.get(origin)
            if stream is not None and low >= stream.reached:
                weight = size + MARK_BYTES * items
                heapq.heappush(stream.ahead, (low, weight))
                self._count_ahead(receiver, weight)
                return

    def _count_ahead(self, receiver: Receiver, weight: int) -> None:
        self._ahead[receiver] += weight
        if self._ahead[receiver] >= self._most_ahead:
            self._far.add(receiver)
        else:
            self._far.discard(receiver)

    def is_far_ahead(self, instances: Iterable[int]) -> bool:
        """Whether these pinned instances must wait, because too much is ahead on a way that they
        write to."""
        return bool(self._far) and any(
            index in self._ways[receiver].entries and not self._is_awaited(receiver, index)
            for receiver in self._far
            for index in instances
        )

    def _is_awaited(self, receiver: Receiver, entry: int) -> bool:
        """Whether the missing items of a way come from an entry, or from an instance that may wait
        for it. All other instances wait only for later ones, so that none wait for each other in a
        circle.
        """
        way, last = self._ways[receiver], _last(self._plan, entry)
        return any(
            (min(way.pooled) <= last and stream.lowest <= stream.reached)
            or any(
                index <= last
                and origin in way.origins[index]
                and self._level(index, origin) <= stream.reached
                for index in way.entries
            )
            for origin, stream in self._streams[receiver].items()
            if stream.ahead
        )

    def _level(self, entry: int, origin: int) -> int:
        return self._levels.get((entry, origin), 0)

    def new_levels(self, instances: Iterable[int]) -> Iterator[tuple[Receiver, list[Level]]]:
        """The new levels for receivers, after changes at some instances."""
        changed = {receiver: None for i in instances for receiver in self._through.get(i, ())}
        for receiver in changed:
            levels = [
                level
                for origin, stream in self._streams[receiver].items()
                for level in self._move_on(receiver, origin, stream)
            ]
            if levels:
                yield receiver, levels

    def _move_on(self, receiver: Receiver, origin: int, stream: _Stream) -> Iterator[Level]:
        way = self._ways[receiver]
        told = (self._level(e, origin) for e in way.entries if origin in way.origins[e])
        level = min(stream.lowest, *told, AFTER_ALL)
        if level <= stream.reached:
            return
        stream.reached = level
        while stream.ahead and stream.ahead[0][0] < level:
            self._count_ahead(receiver, -heapq.heappop(stream.ahead)[1])
        for sender in way.senders:
            if origin in way.origins[sender]:
                yield sender, origin, level
