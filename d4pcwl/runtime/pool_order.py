"""How far a pool of workers is with each stream, seen by the one that shares out its tasks.

Items of a pooled PE are worked on in any order. A receiver behind the pool that puts its items in
order (``runtime/order.py``) has to know below which number everything has come: that is the lowest
number among the items that the pool still has and that lead there, or, where it has none, how far
those are that write to the pool.

A batch that goes to such a receiver while earlier ones are missing is *ahead*. Where much is ahead,
those that write to the pool wait, so that what a receiver holds back is bounded.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from d4pcwl.runtime.marks import AFTER_ALL, NO_MORE, Level, receivers
from d4pcwl.runtime.plan import Plan

Lows = Mapping[int, int]
"""By origin, the lowest number of a batch's items."""

Receiver = tuple[int, str]
"""An instance and one of its inputs; or the pooled instance that has results, and an empty name."""

MOST_AHEAD_BYTES = 64 << 20
MOST_AHEAD_ITEMS = 200_000


@dataclass
class _Behind:
    """What the pool still has of one stream, as the lowest numbers of its batches."""

    lows: list[int] = field(default_factory=list)
    count: Counter[int] = field(default_factory=Counter)
    ahead: list[tuple[int, int, int]] = field(default_factory=list)
    told: int = 0

    def add(self, low: int) -> None:
        heapq.heappush(self.lows, low)
        self.count[low] += 1

    def remove(self, low: int) -> None:
        self.count[low] -= 1

    @property
    def lowest(self) -> int:
        while self.lows and not self.count[self.lows[0]]:
            del self.count[self.lows[0]]
            low = heapq.heappop(self.lows)
            while self.lows and self.lows[0] == low:
                heapq.heappop(self.lows)
        return self.lows[0] if self.lows else NO_MORE


class _Stream:
    """The way through the pool to one receiver.

    :param senders: the pooled instances that send to it
    :param entries: the pinned instances that send into the way
    """

    def __init__(self, plan: Plan, senders: list[int], way: set[int]) -> None:
        self.senders, self.way = senders, way
        self.entries = sorted(
            sender
            for index in way
            for sender in plan.upstream[index]
            if sender not in way and index in receivers(plan, plan.instances[sender].pe)
        )
        self.origins_of = {
            index: frozenset(plan.order.origins_of(plan.instances[index]))
            for index in (*self.entries, *senders)
        }
        self.behind = {o: _Behind() for index in senders for o in self.origins_of[index]}
        self.bytes = self.items = 0


class PoolOrder:
    """See the module."""

    def __init__(self, plan: Plan) -> None:
        self._streams: dict[Receiver, _Stream] = {}
        self._through: dict[int, list[tuple[Receiver, _Stream]]] = {}
        self._levels: dict[tuple[int, int], int] = {}
        pool = frozenset(plan.processes[plan.pool] if plan.pool is not None else ())
        if plan.order:
            self._find_streams(plan, pool)

    def _find_streams(self, plan: Plan, pool: frozenset[int]) -> None:
        ends: dict[Receiver, list[int]] = {}
        for index in sorted(pool):
            pe = plan.instances[index].pe
            for target in receivers(plan, pe):
                if target not in pool:
                    for (source, _), routes in plan.routes.items():
                        for route in routes:
                            if source == pe and target in route.targets:
                                ends.setdefault((target, route.input), []).append(index)
            if any(name == pe for name, _ in plan.order.results):
                ends[index, ""] = [index]
        for receiver, senders in ends.items():
            way, todo = set[int](), list(dict.fromkeys(senders))
            while todo:
                index = todo.pop()
                if index not in way:
                    way.add(index)
                    todo += [sender for sender in plan.upstream[index] if sender in pool]
            stream = _Stream(plan, list(dict.fromkeys(senders)), way)
            self._streams[receiver] = stream
            for index in (*way, *stream.entries):
                self._through.setdefault(index, []).append((receiver, stream))

    def __bool__(self) -> bool:
        return bool(self._streams)

    def put(self, instance: int, lows: Lows) -> None:
        """A batch for a pooled instance has come."""
        for _, stream in self._through.get(instance, ()):
            for origin, low in lows.items():
                if origin in stream.behind:
                    stream.behind[origin].add(low)

    def done(self, instance: int, lows: Lows) -> None:
        """A batch of a pooled instance is done; what it led to has been put before."""
        for _, stream in self._through.get(instance, ()):
            for origin, low in lows.items():
                if origin in stream.behind:
                    stream.behind[origin].remove(low)

    def note(self, levels: Iterable[Level]) -> None:
        """Note how far pinned instances are with what they send to the pool."""
        for instance, origin, level in levels:
            self._levels[instance, origin] = level

    def deliver(self, receiver: Receiver, lows: Lows, items: int, size: int) -> None:
        """A batch goes to a receiver."""
        stream = self._streams.get(receiver)
        if stream is None:
            return
        for origin, low in lows.items():
            behind = stream.behind.get(origin)
            if behind is not None and low >= behind.told:
                heapq.heappush(behind.ahead, (low, items, size))
                stream.bytes += size
                stream.items += items
                return

    def is_far_ahead(self, instances: Iterable[int]) -> bool:
        """Whether so much is ahead, behind the pool that these instances write to, that they are to
        wait."""
        return any(
            stream.bytes >= MOST_AHEAD_BYTES or stream.items >= MOST_AHEAD_ITEMS
            for instance in instances
            for _, stream in self._through.get(instance, ())
            if instance in stream.entries
        )

    def news(self, instances: Iterable[int]) -> Iterator[tuple[Receiver, list[Level]]]:
        """What receivers are to be told, after something has changed at some instances."""
        seen: dict[Receiver, _Stream] = {}
        for instance in instances:
            seen.update(self._through.get(instance, ()))
        for receiver, stream in seen.items():
            levels: list[Level] = []
            for origin, behind in stream.behind.items():
                level = self._level(stream, origin, behind)
                if level > behind.told:
                    behind.told = level
                    self._let_go(stream, behind)
                    levels += [
                        (s, origin, level) for s in stream.senders if origin in stream.origins_of[s]
                    ]
            if levels:
                yield receiver, levels

    def _level(self, stream: _Stream, origin: int, behind: _Behind) -> int:
        entries = (
            self._levels.get((entry, origin), 0)
            for entry in stream.entries
            if origin in stream.origins_of[entry]
        )
        return min(behind.lowest, min(entries, default=AFTER_ALL))

    def _let_go(self, stream: _Stream, behind: _Behind) -> None:
        while behind.ahead and behind.ahead[0][0] < behind.told:
            _, items, size = heapq.heappop(behind.ahead)
            stream.items -= items
            stream.bytes -= size
