"""Short chains of direct calls, so that a deep graph does not need a deep stack.

Edges inside a process are direct calls. A chain of ten thousand PEs would need ten thousand nested
calls. So the instances of a process are divided into *floors*, none of them deeper than
:data:`SPAN`. An item for another floor is put into the queue of that floor. If the stack is low,
the item is worked through before ``write`` returns, as always. If not, an earlier call works on it,
and the queue takes only a few items until then.
"""

from __future__ import annotations

import contextlib
import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from d4pcwl.runtime.engine.chain import Take
from d4pcwl.runtime.engine.plan import Plan

SPAN = 50
"""The largest number of PEs one after the other in one floor."""

_LOW = 2
"""The largest number of floors that work at a time. With more, items wait for earlier calls."""

_WAITING = 16
"""The largest number of items in a floor's queue. With more, the stack grows."""

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
        """A function that takes items of one instance for another one, which has ``take``."""
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
        """``take`` of an instance, for callers outside of all floors."""
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

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """While a source waits inside its work, all other instances may work, also lower ones."""
        before = self._at_work, self._on_stack
        self._at_work, self._on_stack = -1, 0
        try:
            self._work_off()
            yield
        finally:
            self._at_work, self._on_stack = before

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
        """Work on the items that wait for floors above those at work, the highest floor first. So
        no instance is entered while it works, and no queue grows."""
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
