"""Dynamic runs by way of the parent process: it keeps the queues and shares out the tasks.

The parent never looks into a batch: it moves bytes. It gives a worker at most two tasks at a time,
and remembers each until its commit comes. When a worker dies, its tasks go back to the head of
their queues and another worker is started; only if PEs were pinned to it the run is over.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import sys
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.process import BaseProcess
from typing import Any

from d4pcwl.errors import D4pcwlError, WorkerDied
from d4pcwl.runtime import wire
from d4pcwl.runtime.broker_worker import WINDOW, work
from d4pcwl.runtime.console import LineLock
from d4pcwl.runtime.dynamic import (
    TASK_SECONDS,
    Parcel,
    Queue,
)
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.plan import Plan, usable_cores
from d4pcwl.runtime.reports import cause_of_death

QUEUE_BATCHES = 64
"""Batches in a queue above which those who write to it have to wait."""

QUEUE_BYTES = 64 << 20
ATTEMPTS = 3
"""Workers that a task may kill before it is held to be its fault."""

IDLE_SECONDS = 1.0
"""How long a worker has nothing to do before it is let go, where there may be fewer."""

_GRACE_SECONDS = 1.0


@dataclass(frozen=True)
class Scale:
    """How many workers run at a time.

    :param least: at the start, and when there is little to do
    :param most: at the most
    :param threshold: with that many batches waiting for each worker one more is started
    """

    least: int
    most: int
    threshold: int = 2


@dataclass
class _Lane:
    """A queue in the parent."""

    batches: deque[tuple[int, bytes, int]] = field(default_factory=deque)
    size: int = 0
    seconds_per_item: float = 0.0

    @property
    def full(self) -> bool:
        return len(self.batches) >= QUEUE_BATCHES or self.size >= QUEUE_BYTES

    def put(self, items: int, data: bytes, attempts: int = 0, *, first: bool = False) -> None:
        self.size += len(data)
        (self.batches.appendleft if first else self.batches.append)((items, data, attempts))

    def take(self) -> tuple[int, bytes, int]:
        batch = self.batches.popleft()
        self.size -= len(batch[1])
        return batch


@dataclass
class _Seat:
    """A worker as the parent sees it."""

    process: BaseProcess
    pinned: int | None
    read_fd: int
    write_fd: int
    outgoing: deque[memoryview] = field(default_factory=deque)
    tasks: dict[int, tuple[Queue, int, bytes, int]] = field(default_factory=dict)
    in_hand: dict[int, int] = field(default_factory=dict)
    owed: int = 0
    ended_to_tell: list[int] = field(default_factory=list)
    leaving: bool = False
    idle_since: float | None = None


class Broker:
    """The parent's side of a dynamic run."""

    def __init__(self, job: Job, plan: Plan, scale: Scale) -> None:
        self.job, self.plan, self.scale = job, plan, scale
        self.takers = [job.sink.take(pe, output) for pe, output in plan.results]
        self.lanes: dict[Queue, _Lane] = {
            (target, route.input): _Lane()
            for routes in plan.routes.values()
            for route in routes
            for target in route.targets
        }
        pool = plan.processes[plan.pool] if plan.pool is not None else ()
        self.pool = frozenset(pool)
        self.after = _queues_after(plan)
        self.waiting: set[Queue] = set()  # those with batches in them
        self.at_work = Counter[int]()  # tasks in workers' hands, by pooled instance
        self.told = {index: set(senders) for index, senders in enumerate(plan.upstream)}
        self.may_end = set(self.pool)
        self.after_instances: list[list[int]] = [[] for _ in plan.instances]
        for target, senders in enumerate(plan.upstream):
            for sender in senders:
                self.after_instances[sender].append(target)
        self.seats: dict[int, _Seat] = {}
        self.host: dict[int, _Seat] = {}
        self.ended: set[int] = set()
        self.numbers = count()
        self.failure: D4pcwlError | None = None
        self.counts: dict[int, int] = {}
        self.context = multiprocessing.get_context("fork")
        self.lock = LineLock()
        self.poll = select.poll()

    def run(self) -> None:
        """Run until all instances have ended, or something has failed.

        :raises RunError: a PE failed, or a worker died that held the state of PEs
        """
        sys.stdout.flush()
        sys.stderr.flush()
        pinned = [n for n in range(len(self.plan.processes)) if n != self.plan.pool]
        try:
            for number in pinned:
                self._hire(number)
            if self.pool:
                for _ in range(max(0, self.scale.least - len(pinned))):
                    self._hire(None)
            while self.failure is None and len(self.ended) < len(self.plan.instances):
                self._step()
            if self.failure is None:
                self._dismiss_all()
        finally:
            self._stop()
        if self.failure is not None:
            raise self.failure
        for index, number in sorted(self.counts.items()):
            self.job.say(f"{self.plan.instances[index].pe}: processed {number} items")

    # --- workers --------------------------------------------------------------------------------

    def _hire(self, pinned: int | None) -> None:
        """Start a worker."""
        to_worker, to_parent = os.pipe(), os.pipe()
        others = [fd for seat in self.seats.values() for fd in (seat.read_fd, seat.write_fd)]
        unused = [*others, to_worker[1], to_parent[0]]
        worker = self.context.Process(
            target=work,
            args=(self.job, self.plan, pinned, to_worker[0], to_parent[1], unused, self.lock),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            worker.start()
        os.close(to_worker[0])
        os.close(to_parent[1])
        os.set_blocking(to_worker[1], False)
        seat = _Seat(worker, pinned, to_parent[0], to_worker[1])
        self.seats[seat.read_fd] = seat
        self.poll.register(seat.read_fd, select.POLLIN)
        for index in self.plan.processes[pinned] if pinned is not None else ():
            self.host[index] = seat

    def _lose(self, seat: _Seat) -> None:
        """A worker's pipe has closed: it has ended, as it should or not."""
        self._forget(seat)
        seat.process.join(_GRACE_SECONDS)
        code = seat.process.exitcode
        if code is not None:
            seat.process.close()
        if seat.leaving:
            return
        held = [i for i, host in self.host.items() if host is seat and i not in self.ended]
        how = cause_of_death(code)
        if held:
            names = ", ".join(sorted({self.plan.instances[i].pe for i in held}))
            self.failure = WorkerDied(
                f"the worker process that held the state of {names} {how}; it cannot be made up for"
            )
            return
        for queue, items, data, attempts in reversed(seat.tasks.values()):
            if attempts + 1 >= ATTEMPTS:
                pe = self.plan.instances[queue[0]].pe
                self.failure = WorkerDied(
                    f"PE {pe}: {ATTEMPTS} worker processes died over the same items; the last one "
                    f"{how}"
                )
                return
            self.at_work[queue[0]] -= 1
            self.lanes[queue].put(items, data, attempts + 1, first=True)
            self.waiting.add(queue)
        self.job.say(f"a worker {how}; its {len(seat.tasks)} tasks go to others")
        self._hire(None)

    def _forget(self, seat: _Seat) -> None:
        self.poll.unregister(seat.read_fd)
        with contextlib.suppress(KeyError):
            self.poll.unregister(seat.write_fd)
        os.close(seat.read_fd)
        os.close(seat.write_fd)
        del self.seats[seat.read_fd]

    def _dismiss_all(self) -> None:
        """Tell all workers that the run is over, and hear what they counted."""
        for seat in self.seats.values():
            self._send(seat, "stop", None)
        while self.seats and self.failure is None:
            for seat in self.seats.values():
                seat.leaving = True
            self._take_messages(None)

    def _stop(self) -> None:
        for seat in list(self.seats.values()):
            self._forget(seat)
            if seat.process.is_alive():
                seat.process.terminate()
            seat.process.join(_GRACE_SECONDS)
            if seat.process.is_alive():
                seat.process.kill()
                seat.process.join()
            seat.process.close()
        self.lock.close()

    # --- messages -------------------------------------------------------------------------------

    def _step(self) -> None:
        self._settle()
        self._share_out()
        if len(self.ended) < len(self.plan.instances):
            self._take_messages(IDLE_SECONDS * 1000)
            self.job.check()

    def _take_messages(self, timeout: float | None) -> None:
        for fd, _ in self.poll.poll(timeout):
            seat = self.seats.get(fd)
            if seat is None:
                self._write_on(fd)
                continue
            try:
                kind, content = wire.read_frame(fd)
            except (EOFError, ConnectionError):
                self._lose(seat)
                continue
            self._handle(seat, kind, content)
            if self.failure is not None:
                return

    def _handle(self, seat: _Seat, kind: str, content: Any) -> None:
        if kind == "commit":
            number, parcel, seconds = content
            queue, items, _, _ = seat.tasks.pop(number)
            self.at_work[queue[0]] -= 1
            self.may_end.add(queue[0])
            lane = self.lanes[queue]
            each = seconds / max(1, items)
            lane.seconds_per_item = (
                (lane.seconds_per_item + each) / 2 if lane.seconds_per_item else each
            )
            self._deliver(parcel)
        elif kind == "stream":
            seat.owed += 1
            self._deliver(content)
        elif kind == "taken":
            seat.in_hand[content] -= 1
        elif kind == "end":
            self._end(content)
        elif kind == "failed":
            self.failure = content
        elif kind == "done":
            for index, number in content.items():
                self.counts[index] = self.counts.get(index, 0) + number

    def _deliver(self, parcel: Parcel) -> None:
        for queue, items, data in parcel.batches:
            self.lanes[queue].put(items, data)
            self.waiting.add(queue)
        for slot, data in parcel.results:
            take = self.takers[slot]
            for item in wire.loads(data):
                take(item)

    def _end(self, index: int) -> None:
        self.ended.add(index)
        for target in self.after_instances[index]:
            self.told[target].discard(index)
            if target in self.pool:
                self.may_end.add(target)
            elif index not in self.host[target].ended_to_tell:
                self.host[target].ended_to_tell.append(index)

    def _settle(self) -> None:
        """End the pooled PEs that nothing can reach any more."""
        while self.may_end:
            index = self.may_end.pop()
            queued = any(queue[0] == index for queue in self.waiting)
            if index in self.ended or queued or self.at_work[index] or self.told[index]:
                continue
            self._end(index)

    # --- sharing out ----------------------------------------------------------------------------

    def _share_out(self) -> None:
        for seat in list(self.seats.values()):
            self._give_private(seat)
            if seat.owed and not self._is_full_after(seat):
                self._send(seat, "go", (seat.owed, self._sizes()))
                seat.owed = 0
        self._give_tasks()
        self._scale_up()
        self._scale_down()

    def _give_private(self, seat: _Seat) -> None:
        """Hand a worker the batches for what is pinned to it, then the news of ended senders."""
        if seat.pinned is None:
            return
        waiting = False
        for queue in sorted(q for q in self.waiting if self.host.get(q[0]) is seat):
            lane = self.lanes[queue]
            while lane.batches and seat.in_hand.get(queue[0], 0) < WINDOW:
                _, data, _ = self._take(queue)
                seat.in_hand[queue[0]] = seat.in_hand.get(queue[0], 0) + 1
                self._send(seat, "private", (queue, wire.apart(data)))
            waiting = waiting or bool(lane.batches)
        if not waiting:
            for index in seat.ended_to_tell:
                self._send(seat, "ended", index)
            seat.ended_to_tell.clear()

    def _is_full_after(self, seat: _Seat) -> bool:
        """Whether a queue is full that the instances pinned to a worker write to."""
        instances = self.plan.processes[seat.pinned] if seat.pinned is not None else ()
        return any(self.lanes[queue].full for index in instances for queue in self.after[index])

    def _give_tasks(self) -> None:
        """Give out tasks in rounds: one to each worker before any gets its second."""
        for round_ in range(WINDOW):
            # Those with nothing pinned come first.
            seats = [seat for seat in self.seats.values() if len(seat.tasks) == round_]
            for seat in sorted(seats, key=lambda seat: seat.pinned is not None):
                if round_ >= self._window(seat):
                    continue
                queue = self._next_queue()
                if queue is None:
                    return
                items, data, attempts = self._take(queue)
                self.at_work[queue[0]] += 1
                number = next(self.numbers)
                seat.tasks[number] = (queue, items, data, attempts)
                self._send(seat, "task", (number, queue, wire.apart(data), self._sizes()))

    def _window(self, seat: _Seat) -> int:
        return 0 if seat.leaving else (WINDOW if seat.pinned is None else 1)

    def _next_queue(self) -> Queue | None:
        """The queue to take a task from: the furthest downstream that may be worked on."""
        for queue in sorted(self.waiting, reverse=True):
            if queue[0] in self.pool and not any(
                self.lanes[after].full for after in self.after[queue[0]]
            ):
                return queue
        return None

    def _take(self, queue: Queue) -> tuple[int, bytes, int]:
        """The next batch of a queue: number of items, data, and how often it was tried."""
        lane = self.lanes[queue]
        batch = lane.take()
        if not lane.batches:
            self.waiting.discard(queue)
        return batch

    def _sizes(self) -> dict[Queue, int]:
        """How many items make a task, for each queue of which that is known."""
        return {
            queue: max(1, min(1000, int(TASK_SECONDS / lane.seconds_per_item)))
            for queue, lane in self.lanes.items()
            if lane.seconds_per_item
        }

    def _scale_up(self) -> None:
        """Start a worker where more is waiting than those at work can take up soon."""
        workers = len(self.seats)
        if not self.pool or workers >= self.scale.most or workers < self.scale.least:
            return
        waiting = sum(len(self.lanes[q].batches) for q in self.waiting if q[0] in self.pool)
        if waiting >= self.scale.threshold * workers:
            self.job.say(f"scale up to {workers + 1} workers: {waiting} batches wait")
            self._hire(None)

    def _scale_down(self) -> None:
        """Let a worker go that has had nothing to do for a while."""
        now = time.monotonic()
        for seat in self.seats.values():
            if seat.tasks or seat.pinned is not None or seat.leaving:
                seat.idle_since = None
            elif seat.idle_since is None:
                seat.idle_since = now
            elif now - seat.idle_since > IDLE_SECONDS and len(self.seats) > self.scale.least:
                self.job.say(
                    f"scale down to {len(self.seats) - 1} workers: one was idle for "
                    f"{now - seat.idle_since:.1f} s"
                )
                seat.leaving = True
                self._send(seat, "stop", None)
                return

    # --- writing --------------------------------------------------------------------------------

    def _send(self, seat: _Seat, kind: str, content: Any) -> None:
        """Send to a worker; what its pipe does not take now is sent when it does."""
        seat.outgoing.extend(memoryview(part) for part in wire.encode((kind, content)))
        self._push(seat)

    def _write_on(self, fd: int) -> None:
        for seat in self.seats.values():
            if seat.write_fd == fd:
                self._push(seat)
                return

    def _push(self, seat: _Seat) -> None:
        try:
            while seat.outgoing:
                written = os.write(seat.write_fd, seat.outgoing[0])
                rest = seat.outgoing[0][written:]
                if rest:
                    seat.outgoing[0] = rest
                else:
                    seat.outgoing.popleft()
        except BlockingIOError:
            self.poll.register(seat.write_fd, select.POLLOUT)
            return
        except BrokenPipeError:
            seat.outgoing.clear()  # its other pipe tells that it has died
        with contextlib.suppress(KeyError):
            self.poll.unregister(seat.write_fd)


def _queues_after(plan: Plan) -> dict[int, list[Queue]]:
    """For every instance the queues that it writes to."""
    of_pe: dict[str, list[Queue]] = {}
    for (pe, _), routes in plan.routes.items():
        for route in routes:
            of_pe.setdefault(pe, []).extend((target, route.input) for target in route.targets)
    return {instance.index: of_pe.get(instance.pe, []) for instance in plan.instances}


def run_by_broker(job: Job, scale: Callable[[int], Scale]) -> None:
    """Run a job dynamically by way of this process.

    :param scale: from the number of processes asked for to how many run at a time
    """
    plan = job.plan(pooled=True)
    job.say(str(plan))
    Broker(job, plan, scale(job.processes or usable_cores())).run()
