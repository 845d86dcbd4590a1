"""Chains of direct calls, kept short: a deep graph must not need a deep stack.

Edges inside a process are direct calls, so a chain of ten thousand PEs would be calls ten thousand
deep. The instances of a process are therefore parted into *floors*, none of them deeper than
:data:`SPAN`. An item for another floor is put into that floor's queue. As long as the stack is low,
it is worked through before ``write`` returns, as everywhere; where it is not, that is left to those
who called before, and the queue takes but a few items until then.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from d4pcwl.runtime.engine.chain import Take
from d4pcwl.runtime.engine.plan import Plan

SPAN = 50
"""The most PEs of one floor that stand behind each other."""

_LOW = 2
"""Floors that may be at work at a time before items wait for those who called before."""

_WAITING = 16
"""Items that wait in a floor's queue at most; with more of them, the stack grows after all."""

_FRAMES = 20
_FLOORS_ON_STACK = 10


class Floors:
    """The floors of one process.

    :param instances: those of the process, by index; items go from lower to higher ones, except
        round a cycle
    """

    def __init__(self, plan: Plan, instances: Sequence[int]) -> None:
        self._floor = _floors(plan, instances)
        self.count = 1 + max(self._floor.values(), default=0)
        self._queues: dict[int, deque[tuple[Take, Any]]] = {}
        self._waiting: list[int] = []  # a heap of the floors with items in their queues, negated
        self._at_work = -1  # the highest floor with an instance at work
        self._on_stack = 0

    @property
    def frames(self) -> int:
        """The most frames of a stack that direct calls need."""
        return _FRAMES * SPAN * min(self.count, _FLOORS_ON_STACK)

    @property
    def busy(self) -> bool:
        """Whether items wait for a floor."""
        return bool(self._waiting)

    def way(self, source: int, target: int, take: Take) -> Take:
        """What takes items from one instance for another, which ``take`` belongs to."""
        floor = self._floor[target]
        if floor == self._floor[source]:
            return take
        queue = self._queues.setdefault(floor, deque())

        def go(items: Iterable[Any]) -> None:
            for item in items:
                if not queue:
                    heapq.heappush(self._waiting, -floor)
                queue.append((take, item))
                if self._on_stack <= _LOW or len(queue) >= _WAITING:
                    self._work_off()

        return go

    def entrance(self, instance: int, take: Take) -> Take:
        """``take`` of an instance, for those who are on none of the floors."""
        if self.count == 1:
            return take
        floor = self._floor[instance]

        def enter(items: Iterable[Any]) -> None:
            for item in items:
                self._run(floor, take, item)
                self._work_off()

        return enter

    def call(self, instance: int, method: Callable[[], None]) -> None:
        """Call a method of an instance, and work through what it writes."""
        if self.count == 1:
            method()
        else:
            self.entrance(instance, lambda _: method())((None,))

    def _run(self, floor: int, take: Take, item: Any) -> None:
        before = self._at_work
        self._at_work = max(before, floor)
        self._on_stack += 1
        try:
            take((item,))
        finally:
            self._at_work = before
            self._on_stack -= 1

    def _work_off(self) -> None:
        """Work off what waits for higher floors than are at work, the highest first: no instance is
        entered that is at work already, and no queue grows."""
        waiting = self._waiting
        while waiting and -waiting[0] > self._at_work:
            floor = -waiting[0]
            queue = self._queues[floor]
            take, item = queue.popleft()
            if not queue:
                heapq.heappop(waiting)
            self._run(floor, take, item)


def _floors(plan: Plan, instances: Sequence[int]) -> dict[int, int]:
    """The floor of every instance: runs of neighbours, none deeper than :data:`SPAN`."""
    floor_of: dict[int, int] = {}
    depth: dict[int, int] = {}  # of those on the current floor
    floor = 0
    for index in sorted(instances):
        below = max((depth.get(sender, 0) for sender in plan.upstream[index]), default=0)
        if below >= SPAN:
            floor, below = floor + 1, 0
            depth.clear()
        floor_of[index], depth[index] = floor, below + 1
    return floor_of
