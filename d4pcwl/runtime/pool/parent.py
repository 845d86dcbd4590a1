"""Dynamic runs by way of the parent process: it keeps the queues and shares out the tasks.

The parent never looks into a batch: it moves bytes. It remembers each task until its commit comes.
When a worker dies, its tasks go back to the head of their queues and another worker is started;
only if PEs were pinned to it the run is over.

A worker gets a task when it has nothing else to do. It gets a second one in advance only where both
are quick: a slow one would wait behind another, while somebody else may be idle.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from multiprocessing.process import BaseProcess
from typing import Any

from d4pcwl.errors import D4pcwlError, WorkerDied
from d4pcwl.runtime.engine.marks import NO_MORE, Level, SortedResults
from d4pcwl.runtime.engine.plan import Plan, usable_cores
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.local.console import LineLock
from d4pcwl.runtime.local.processes import GRACE_SECONDS, end, release, signals_held_back, start
from d4pcwl.runtime.local.reports import cause_of_death
from d4pcwl.runtime.pool.exchange import Parcel, Queue
from d4pcwl.runtime.pool.parent_worker import WINDOW, work
from d4pcwl.runtime.pool.queues import Batch, Queues
from d4pcwl.runtime.pool.scale import ATTEMPTS, IDLE_SECONDS, Scale
from d4pcwl.runtime.pool.ways import PoolOrder
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.channel import deliver


@dataclass
class _Seat:
    """A worker as the parent sees it.

    :param owed: by the instance that writes, the queues that parcels of it went to, parcel by
        parcel, for which there was to be room again
    :param sent: how many messages it was sent; ``waits_after`` how many it had when it last said
        that it waits, and ``settled`` whether nothing was left with it then
    """

    process: BaseProcess
    pinned: int | None
    read_fd: int
    write_fd: int
    outgoing: deque[memoryview] = field(default_factory=deque)
    tasks: dict[int, Batch] = field(default_factory=dict)
    in_hand: dict[int, int] = field(default_factory=dict)
    owed: dict[int | None, list[set[Queue]]] = field(default_factory=dict)
    ended_to_tell: dict[int, None] = field(default_factory=dict)
    sent: int = 0
    waits_after: int = -1
    settled: bool = False
    leaving: bool = False
    idle_since: float | None = None


class Broker:
    """The parent's side of a dynamic run."""

    def __init__(self, job: Job, plan: Plan, scale: Scale) -> None:
        self.job, self.plan, self.scale = job, plan, scale
        takers = [job.sink.take(pe, output) for pe, output in plan.results]
        self.results = SortedResults(plan, takers)
        self.order = PoolOrder(plan)
        self.queues = Queues(plan)
        self.pool = self.queues.pool
        self.told = {index: set(senders) for index, senders in enumerate(plan.upstream)}
        self.may_end = set(self.pool)
        self.loops = _pooled_loops(plan, self.pool)
        self.seats: dict[int, _Seat] = {}
        self.host: dict[int, _Seat] = {}
        self.ended: set[int] = set()
        self.numbers = count()
        self.failure: D4pcwlError | None = None
        self.counts: dict[int, int] = {}
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
            self.results.give_up()
        if self.failure is not None:
            raise self.failure
        for index, number in sorted(self.counts.items()):
            self.job.say(f"{self.plan.instances[index].pe}: processed {number} items")

    # --- workers --------------------------------------------------------------------------------

    def _hire(self, pinned: int | None) -> None:
        """Start a worker."""
        with signals_held_back():
            seat = self._seat(pinned)
        self.poll.register(seat.read_fd, select.POLLIN)
        for index in self.plan.processes[pinned] if pinned is not None else ():
            self.host[index] = seat

    def _seat(self, pinned: int | None) -> _Seat:
        to_worker, to_parent = os.pipe(), os.pipe()
        others = [fd for seat in self.seats.values() for fd in (seat.read_fd, seat.write_fd)]
        unused = [*others, to_worker[1], to_parent[0]]
        ends = (to_worker[0], to_parent[1])
        worker = start(work, self.job, self.plan, pinned, *ends, unused, self.lock)
        os.close(to_worker[0])
        os.close(to_parent[1])
        os.set_blocking(to_worker[1], False)
        seat = _Seat(worker, pinned, to_parent[0], to_worker[1])
        self.seats[seat.read_fd] = seat
        return seat

    def _lose(self, seat: _Seat) -> None:
        """A worker's pipe has closed: it has ended, as it should or not."""
        self._forget(seat)
        seat.process.join(GRACE_SECONDS)
        code = seat.process.exitcode
        if code is not None:
            release(seat.process)
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
        for batch in reversed(seat.tasks.values()):
            if batch.attempts + 1 >= ATTEMPTS:
                pe = self.plan.instances[batch.queue[0]].pe
                self.failure = WorkerDied(
                    f"PE {pe}: {ATTEMPTS} worker processes died over the same items; the last one "
                    f"{how}"
                )
                return
            self.queues.put_back(replace(batch, attempts=batch.attempts + 1))
        self.job.say(f"a worker {how}; its {len(seat.tasks)} tasks go to others")
        self._hire(None)

    def _forget(self, seat: _Seat) -> None:
        for fd in (seat.read_fd, seat.write_fd):
            with contextlib.suppress(KeyError):
                self.poll.unregister(fd)
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
        seats = list(self.seats.values())
        for seat in seats:
            self._forget(seat)
        end([seat.process for seat in seats])
        self.lock.close()

    # --- messages -------------------------------------------------------------------------------

    def _step(self) -> None:
        self._settle()
        self._share_out()
        if len(self.ended) < len(self.plan.instances):
            self._take_messages(min(IDLE_SECONDS, self.scale.idle_seconds) * 1000)
            self.job.check()

    def _take_messages(self, timeout: float | None) -> None:
        for fd, _ in self.poll.poll(timeout):
            seat = self.seats.get(fd)
            if seat is None:
                self._write_on(fd)
                continue
            try:
                kind, content = frames.read_frame(fd)
            except (EOFError, ConnectionError):
                self._lose(seat)
                continue
            self._handle(seat, kind, content)
            if self.failure is not None:
                return

    def _handle(self, seat: _Seat, kind: str, content: Any) -> None:
        if kind == "commit":
            number, parcel, items, seconds = content
            batch = seat.tasks.pop(number)
            self.queues.done(batch, items, seconds)
            self.may_end.add(batch.queue[0])
            self._deliver(parcel)
            if batch.lows:
                self.order.done(batch.queue[0], batch.lows)
                self._tell_order([batch.queue[0]])
        elif kind == "stream":
            writer, parcel = content
            seat.owed.setdefault(writer, []).append({lot.to for lot in parcel.batches})
            self._deliver(parcel)
        elif kind == "idle":
            seat.waits_after, seat.settled = content
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
        for queue, items, data, lows in parcel.batches:
            self.queues.put(Batch(queue, items, data, lows))
            if queue[0] in self.pool:
                self.order.put(queue[0], lows)
            else:
                self.order.deliver(queue, lows, items, len(data))
        for first, items, data, lows in parcel.results:
            if lows:
                sender = self.plan.of(self.plan.results[first][0])[0].index
                self.order.deliver((sender, ""), lows, items, len(data))
            deliver(self.results.takers, frames.loads(data))
        if parcel.levels:
            self._note_levels(parcel.levels)

    def _note_levels(self, levels: Sequence[Level]) -> None:
        """Note how far pinned instances are; tell those who put in order what comes from them."""
        self.order.note(levels)
        by_instance: dict[int, list[Level]] = {}
        for level in levels:
            by_instance.setdefault(level[0], []).append(level)
        for index, told in by_instance.items():
            for queue in self.plan.marked_after.get(self.plan.instances[index].pe, ()):
                if queue[0] not in self.pool:
                    self.queues.tell(queue, told)
        self.results.note(levels)
        self._tell_order(by_instance)

    def _tell_order(self, changed: Iterable[int]) -> None:
        """Tell those who put in order what comes from the pool how far it is."""
        for (index, name), levels in self.order.news(changed):
            if name:
                self.queues.tell((index, name), levels)
            else:
                self.results.note(levels)

    def _end(self, index: int) -> None:
        self.ended.add(index)
        if self.plan.order and index not in self.pool:
            origins = self.plan.origins_of(index)
            self._note_levels([(index, origin, NO_MORE) for origin in origins])
        for target in self.plan.downstream[index]:
            self.told[target].discard(index)
            if target in self.pool:
                self.may_end.add(target)
            else:
                self.host[target].ended_to_tell[index] = None

    def _settle(self) -> None:
        """End the pooled PEs that nothing can reach any more."""
        while self.may_end:
            index = self.may_end.pop()
            if index not in self.ended and not self.told[index] and self.queues.is_idle(index):
                self._end(index)
        for loop in [loop for loop in self.loops if self._has_run_out(loop)]:
            self.loops.remove(loop)
            for index in loop & self.pool:
                self._end(index)

    def _has_run_out(self, loop: frozenset[int]) -> bool:
        """Whether nothing comes into a cycle any more, and nothing goes round in it."""
        if any(self.told[index] - loop for index in loop) or self.queues.waits_for(loop):
            return False
        hosts = {id(self.host[index]): self.host[index] for index in loop - self.pool}.values()
        return all(self.queues.is_idle(index) for index in loop & self.pool) and all(
            seat.settled and seat.waits_after == seat.sent for seat in hosts
        )

    # --- sharing out ----------------------------------------------------------------------------

    def _share_out(self) -> None:
        for seat in list(self.seats.values()):
            self._give_private(seat)
            for writer, parcels in list(seat.owed.items()):
                if not self._must_wait(seat, writer):
                    sizes = self.queues.sizes(set().union(*parcels))
                    self._send(seat, "go", (writer, len(parcels), sizes))
                    del seat.owed[writer]
        self._give_tasks()
        self._scale_up()
        self._scale_down()

    def _must_wait(self, seat: _Seat, writer: int | None) -> bool:
        if writer is not None:
            return self.queues.full_after(writer) or self.order.is_far_ahead((writer,))
        return seat.pinned is not None and (
            self.queues.full_after_process(seat.pinned)
            or self.order.is_far_ahead(self.plan.processes[seat.pinned])
        )

    def _give_private(self, seat: _Seat) -> None:
        """Hand a worker the batches for what is pinned to it, then the news of ended senders."""
        if seat.pinned is None:
            return
        for queue in self.queues.of(seat.pinned):
            while self.queues.has(queue) and seat.in_hand.get(queue[0], 0) < WINDOW:
                batch = self.queues.take(queue)
                if batch.levels:
                    self._send(seat, "told", (queue, batch.levels))
                    continue
                seat.in_hand[queue[0]] = seat.in_hand.get(queue[0], 0) + 1
                self._send(seat, "private", (queue, frames.apart(batch.data)))
        if seat.ended_to_tell and not self.queues.of(seat.pinned):
            for index in seat.ended_to_tell:
                self._send(seat, "ended", index)
            seat.ended_to_tell.clear()

    def _give_tasks(self) -> None:
        """Give out tasks in rounds: one to each worker before any gets its second.

        Heavy items do not keep from their work the PEs that are pinned to a worker.
        """
        alone = all(seat.pinned is not None for seat in self.seats.values())
        for round_ in range(WINDOW):
            seats = [seat for seat in self.seats.values() if len(seat.tasks) == round_]
            # Those with nothing pinned come first.
            for seat in sorted(seats, key=lambda seat: seat.pinned is not None):
                if not self._has_time(seat):
                    continue
                queue = self.queues.next(heavy=seat.pinned is None or alone)
                if queue is None or (round_ and not self.queues.is_quick(queue)):
                    continue
                batch = self.queues.take(queue)
                number = next(self.numbers)
                seat.tasks[number] = batch
                sizes = self.queues.sizes_after(queue[0])
                self._send(seat, "task", (number, queue, frames.apart(batch.data), sizes))

    def _has_time(self, seat: _Seat) -> bool:
        """Whether a worker can take a task, or another one in advance."""
        if seat.pinned is not None:
            return not seat.tasks and seat.waits_after == seat.sent
        in_hand = seat.tasks.values()
        return not seat.leaving and all(self.queues.is_quick(batch.queue) for batch in in_hand)

    def _scale_up(self) -> None:
        """Start a worker where more is waiting than those at work can take up soon."""
        workers = len(self.seats)
        if not self.pool or workers >= self.scale.most or workers < self.scale.least:
            return
        waiting = self.queues.pooled_batches()
        if self.queues.heavy_waits() or waiting >= self.scale.threshold * workers:
            self.job.say(f"scale up to {workers + 1} workers: {waiting} batches wait")
            self._hire(None)

    def _scale_down(self) -> None:
        """Let a worker go that has had nothing to do for a while."""
        now, idle = time.monotonic(), self.scale.idle_seconds
        for seat in self.seats.values():
            if seat.tasks or seat.pinned is not None or seat.leaving:
                seat.idle_since = None
            elif seat.idle_since is None:
                seat.idle_since = now
            elif now - seat.idle_since > idle and len(self.seats) > self.scale.least:
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
        seat.sent += 1
        seat.outgoing.extend(memoryview(part) for part in frames.encode((kind, content)))
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


def _pooled_loops(plan: Plan, pool: frozenset[int]) -> list[frozenset[int]]:
    """The cycles, as indices of instances, of which some are pooled: they end together."""
    loops = [frozenset(i.index for i in plan.instances if i.pe in cycle) for cycle in plan.cycles]
    return [loop for loop in loops if loop & pool]


def run_by_broker(job: Job, scale: Callable[[int], Scale]) -> None:
    """Run a job dynamically by way of this process.

    :param scale: from the number of processes asked for to how many run at a time
    """
    plan = job.plan(pooled=True, loops=True)
    job.say(str(plan))
    Broker(job, plan, scale(job.processes or usable_cores())).run()
