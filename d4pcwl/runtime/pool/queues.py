"""The queues of a dynamic run in the parent process, and what is taken from which queue.

A queue holds batches. The parent knows only the number of their items. Workers report the time of
each task; this gives the *pace* of a queue, and so the number of items for a task. Values that are
often needed are kept up to date, and not searched for: a graph may have ten thousand queues.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from d4pcwl.runtime.engine.marks import Level
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.pool.exchange import (
    QUEUE_BATCHES,
    SLOW_SECONDS,
    Packed,
    Queue,
    queue_bytes,
    task_size,
)
from d4pcwl.runtime.pool.ways import MOST_AHEAD_BYTES

_NO_ITEMS = Packed(b"")


@dataclass(frozen=True)
class Limits:
    """The limits above which writers must wait.

    :param batches: in a queue
    :param bytes: in a queue
    :param ahead: bytes that a receiver holds back because other items come before them
    """

    batches: int
    bytes: int
    ahead: int = MOST_AHEAD_BYTES

    @classmethod
    def of(cls, plan: Plan) -> Limits:
        """The usual limits for a plan with so many queues."""
        queues = {
            (t, r.input) for routes in plan.routes.values() for r in routes for t in r.targets
        }
        return cls(QUEUE_BATCHES, queue_bytes(len(queues)))


@dataclass(frozen=True)
class Batch:
    """Some items of a queue, as they came.

    :param data: the batch; only its size is known
    :param lows: of marked items, by origin, the lowest number
    :param attempts: workers that have died over it
    :param levels: instead of items: the levels of the senders of the queue
    """

    queue: Queue
    items: int
    data: Packed
    lows: dict[int, int] = field(default_factory=dict)
    attempts: int = 0
    levels: tuple[Level, ...] = ()


@dataclass
class _Lane:
    """One queue.

    :param full: its writers must wait
    """

    batches: deque[Batch] = field(default_factory=deque)
    size: int = 0
    pace: float = 0.0  # seconds for an item; 0 where it is not known
    full: bool = False


class Queues:
    """All queues of a plan.

    :param paces: by PE id, seconds for an item, where they are known before
    """

    def __init__(
        self, plan: Plan, limits: Limits | None = None, paces: Mapping[str, float] | None = None
    ) -> None:
        self._limits = limits or Limits.of(plan)
        self.pool = plan.pooled
        self._heavy = plan.heavy
        self.at_work = Counter[int]()  # batches in workers' hands, by pooled instance
        self._lanes: dict[Queue, _Lane] = {
            (target, route.input): _Lane(pace=(paces or {}).get(plan.instances[target].pe, 0.0))
            for routes in plan.routes.values()
            for route in routes
            for target in route.targets
        }
        self._after = _queues_after(plan)
        self._before: dict[Queue, list[int]] = {}
        for index, queues in self._after.items():
            for queue in queues:
                self._before.setdefault(queue, []).append(index)
        self._process = [instance.process for instance in plan.instances]
        self._waiting: list[list[Queue]] = [[] for _ in plan.processes]  # with batches, sorted
        self._batches = Counter[int]()  # that wait, by instance
        self._pooled = self._heavies = 0  # batches that wait
        self._blocked = Counter[int]()  # full queues that they write to, by instance
        self._blocked_in = Counter[int]()  # instances that have to wait, by process

    def put(self, batch: Batch) -> None:
        """Add a batch at the end."""
        self._lanes[batch.queue].batches.append(batch)
        self._note(batch, 1)

    def tell(self, queue: Queue, levels: Iterable[Level]) -> None:
        """Add the levels of its senders to the queue of a pinned instance, after all waiting
        batches."""
        batches = self._lanes[queue].batches
        if batches and batches[-1].levels:
            known = {(instance, origin): level for instance, origin, level in batches[-1].levels}
            known.update(((instance, origin), level) for instance, origin, level in levels)
            told = tuple((*key, level) for key, level in known.items())
            batches[-1] = Batch(queue, 0, _NO_ITEMS, levels=told)
        else:
            self.put(Batch(queue, 0, _NO_ITEMS, levels=tuple(levels)))

    def put_back(self, batch: Batch) -> None:
        """Add a batch at the head, because its worker has died."""
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

    def take_levels(self, queue: Queue) -> tuple[Level, ...]:
        """Take the levels that come next in a queue, if some do."""
        batches = self._lanes[queue].batches
        return self.take(queue).levels if batches and batches[0].levels else ()

    def _note(self, batch: Batch, sign: int) -> None:
        queue, lane = batch.queue, self._lanes[batch.queue]
        lane.size += sign * len(batch.data)
        self._batches[queue[0]] += sign
        self._pooled += sign * (queue[0] in self.pool)
        self._heavies += sign * (queue[0] in self._heavy)
        waiting, count = self._waiting[self._process[queue[0]]], len(lane.batches)
        if sign > 0 and count == 1:
            insort(waiting, queue)
        elif not count:
            del waiting[bisect_left(waiting, queue)]
        # It counts as full until half of it is taken, so that writers are not woken for each batch.
        part = 2 if lane.full else 1
        most = self._limits
        full = count >= most.batches // part or lane.size >= most.bytes // part
        if full != lane.full:
            lane.full = full
            for index in self._before.get(queue, ()):  # nobody, in a cycle
                self._blocked[index] += 1 if full else -1
                if self._blocked[index] == full:  # the first that is full, or none any more
                    self._blocked_in[self._process[index]] += 1 if full else -1

    def done(self, batch: Batch, items: int, seconds: float) -> None:
        """Note that a number of items of a batch was worked on, and the time."""
        self.at_work[batch.queue[0]] -= 1
        lane, each = self._lanes[batch.queue], seconds / max(1, items)
        lane.pace = (lane.pace + each) / 2 if lane.pace else each

    def next(self, *, heavy: bool = True) -> Queue | None:
        """The queue to take a task from: the one furthest downstream that may be used.

        :param heavy: items of heavy PEs may be taken, too
        """
        for queue in reversed(self._waiting[-1]) if self.pool else ():
            if (heavy or queue[0] not in self._heavy) and not self._blocked[queue[0]]:
                return queue
        return None

    def of(self, process: int) -> list[Queue]:
        """The queues of a process's instances that have batches in them."""
        return list(self._waiting[process])

    def has(self, queue: Queue) -> bool:
        """Whether a queue has batches in it."""
        return bool(self._lanes[queue].batches)

    def full_after(self, index: int) -> bool:
        """Whether a queue is full that an instance writes to."""
        return self._blocked[index] > 0

    def full_after_process(self, process: int) -> bool:
        """Whether a queue is full that any instance of a process writes to."""
        return self._blocked_in[process] > 0

    def waiting(self) -> dict[int, int]:
        """How many items wait, by instance."""
        found = Counter[int]()
        for (index, _), lane in self._lanes.items():
            found[index] += sum(batch.items for batch in lane.batches)
        return found

    @property
    def batches(self) -> list[Batch]:
        """All batches with items that wait."""
        return [batch for lane in self._lanes.values() for batch in lane.batches if batch.items]

    def waits_for(self, instances: Iterable[int]) -> bool:
        """Whether a batch waits for one of the instances."""
        return any(self._batches[index] for index in instances)

    def is_idle(self, index: int) -> bool:
        """Whether no item of a pooled instance waits or is being worked on."""
        return not self.at_work[index] and not self._batches[index]

    def is_quick(self, queue: Queue) -> bool:
        """Whether items of a queue are known to take little time."""
        return queue[0] not in self._heavy and 0 < self._lanes[queue].pace <= SLOW_SECONDS

    def sizes_after(self, index: int) -> dict[Queue, int]:
        """How many items make a task, for each queue after an instance of which it is known."""
        return self.sizes(self._after[index])

    def sizes(self, queues: Iterable[Queue]) -> dict[Queue, int]:
        """How many items make a task, for each queue of which it is known."""
        paces = {queue: self._lanes[queue].pace for queue in queues}
        return {queue: task_size(pace) for queue, pace in paces.items() if pace}

    def pooled_batches(self) -> int:
        """How many batches wait for workers of the pool."""
        return self._pooled

    def heavy_waits(self) -> bool:
        """Whether an item waits that is much work."""
        return self._heavies > 0


def _queues_after(plan: Plan) -> dict[int, list[Queue]]:
    """For every instance the queues that it writes to and may have to wait for.

    In a cycle, no instance waits for room, because two could wait for each other.
    """
    cycle_of = {pe: number for number, cycle in enumerate(plan.cycles) for pe in cycle}
    of_pe: dict[str, set[Queue]] = {}
    for (pe, _), routes in plan.routes.items():
        for route in routes:
            taker = plan.instances[route.targets[0]].pe
            if pe not in cycle_of or cycle_of[pe] != cycle_of.get(taker):
                queues = ((target, route.input) for target in route.targets)
                of_pe.setdefault(pe, set()).update(queues)
    return {instance.index: sorted(of_pe.get(instance.pe, ())) for instance in plan.instances}
