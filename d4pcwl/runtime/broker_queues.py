"""The queues of a dynamic run in the parent process, and what is to be taken from which.

A queue holds batches, of which the parent knows the number of items and no more. From what workers
say of the time that tasks took it learns a queue's *pace*, and by that how many items make a task.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from d4pcwl.runtime.exchange import SLOW_SECONDS, Queue, task_size
from d4pcwl.runtime.marks import Level
from d4pcwl.runtime.plan import Plan

QUEUE_BATCHES = 64
"""Batches in a queue above which those who write to it have to wait."""

QUEUE_BYTES = 64 << 20


@dataclass(frozen=True)
class Batch:
    """Some items of a queue, as they came.

    :param lows: of marked items, by origin, the lowest number
    :param attempts: workers that have died over it
    :param levels: in place of items: how far those are that send to the queue
    """

    queue: Queue
    items: int
    data: bytes
    lows: Mapping[int, int] = field(default_factory=dict)
    attempts: int = 0
    levels: tuple[Level, ...] = ()


@dataclass
class _Lane:
    """One queue."""

    batches: deque[Batch] = field(default_factory=deque)
    size: int = 0
    pace: float = 0.0  # seconds for an item; 0 where it is not known

    @property
    def full(self) -> bool:
        return len(self.batches) >= QUEUE_BATCHES or self.size >= QUEUE_BYTES


class Queues:
    """All queues of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.pool = frozenset(plan.processes[plan.pool] if plan.pool is not None else ())
        self._heavy = plan.heavy
        self.waiting: set[Queue] = set()  # those with batches in them
        self.at_work = Counter[int]()  # batches in workers' hands, by pooled instance
        self._lanes: dict[Queue, _Lane] = {
            (target, route.input): _Lane()
            for routes in plan.routes.values()
            for route in routes
            for target in route.targets
        }
        self._after = _queues_after(plan)
        self._marked = {
            queue
            for queue in self._lanes
            if queue[0] not in self.pool
            and (plan.instances[queue[0]].pe, queue[1]) in plan.order.marked
        }

    def put(self, batch: Batch) -> None:
        """Add a batch at the end."""
        self._lanes[batch.queue].batches.append(batch)
        self._note(batch, 1)

    def tell(self, queue: Queue, levels: Iterable[Level]) -> None:
        """Have a pinned instance told how far its senders are, after what waits for it by now."""
        lane = self._lanes[queue]
        told = lane.batches.pop().levels if lane.batches and lane.batches[-1].levels else ()
        self.put(Batch(queue, 0, b"", levels=(*told, *levels)))

    def put_back(self, batch: Batch) -> None:
        """Add a batch at the head: one whose worker has died."""
        self.at_work[batch.queue[0]] -= 1
        self._lanes[batch.queue].batches.appendleft(batch)
        self._note(batch, 1)

    def take(self, queue: Queue) -> Batch:
        """Take the next batch of a queue."""
        batch = self._lanes[queue].batches.popleft()
        self._note(batch, -1)
        if queue[0] in self.pool:
            self.at_work[queue[0]] += 1
        return batch

    def _note(self, batch: Batch, sign: int) -> None:
        lane = self._lanes[batch.queue]
        lane.size += sign * len(batch.data)
        if lane.batches:
            self.waiting.add(batch.queue)
        else:
            self.waiting.discard(batch.queue)

    def done(self, batch: Batch, items: int, seconds: float) -> None:
        """A batch of the pool has been worked on: so many of its items, in that time."""
        self.at_work[batch.queue[0]] -= 1
        lane, each = self._lanes[batch.queue], seconds / max(1, items)
        lane.pace = (lane.pace + each) / 2 if lane.pace else each

    def next(self, *, heavy: bool = True) -> Queue | None:
        """The queue to take a task from: the furthest downstream that may be worked on.

        :param heavy: items of heavy PEs may be taken, too
        """
        for queue in sorted(self.waiting, reverse=True):
            allowed = queue[0] in self.pool and (heavy or queue[0] not in self._heavy)
            if allowed and not self.full_after([queue[0]]):
                return queue
        return None

    def of(self, instances: Iterable[int]) -> list[Queue]:
        """The queues of some instances that have batches in them."""
        wanted = frozenset(instances)
        return sorted(queue for queue in self.waiting if queue[0] in wanted)

    def full_after(self, instances: Iterable[int]) -> bool:
        """Whether a queue is full that one of the instances writes to."""
        return any(self._lanes[queue].full for index in instances for queue in self._after[index])

    def marked_after(self, index: int) -> list[Queue]:
        """The queues of pinned instances that an instance writes marked items to."""
        return [queue for queue in self._after[index] if queue in self._marked]

    def is_idle(self, index: int) -> bool:
        """Whether nothing of a pooled instance waits or is worked on."""
        return not self.at_work[index] and not self.of([index])

    def is_quick(self, queue: Queue) -> bool:
        """Whether items of a queue are known to take little time."""
        return queue[0] not in self._heavy and 0 < self._lanes[queue].pace <= SLOW_SECONDS

    def sizes_after(self, instances: Iterable[int]) -> dict[Queue, int]:
        """How many items make a task, for each queue after the instances of which it is known."""
        return {
            queue: task_size(self._lanes[queue].pace)
            for index in instances
            for queue in self._after[index]
            if self._lanes[queue].pace
        }

    def pooled_batches(self) -> int:
        """How many batches wait for workers of the pool."""
        return sum(len(self._lanes[queue].batches) for queue in self.of(self.pool))

    def heavy_waits(self) -> bool:
        """Whether an item waits that is much work."""
        return bool(self.of(self._heavy))


def _queues_after(plan: Plan) -> dict[int, list[Queue]]:
    """For every instance the queues that it writes to and may have to wait for.

    Round a cycle nobody waits for room: each could be what the other waits for.
    """
    cycle_of = {pe: number for number, cycle in enumerate(plan.cycles) for pe in cycle}
    of_pe: dict[str, list[Queue]] = {}
    for (pe, _), routes in plan.routes.items():
        for route in routes:
            taker = plan.instances[route.targets[0]].pe
            if pe not in cycle_of or cycle_of[pe] != cycle_of.get(taker):
                of_pe.setdefault(pe, []).extend((target, route.input) for target in route.targets)
    return {instance.index: of_pe.get(instance.pe, []) for instance in plan.instances}
