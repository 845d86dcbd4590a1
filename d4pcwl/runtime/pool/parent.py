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
class _Worker:
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
        self.workers: dict[int, _Worker] = {}
        self.host: dict[int, _Worker] = {}
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
                self._start(number)
            if self.pool:
                for _ in range(max(0, self.scale.least - len(pinned))):
                    self._start(None)
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
            self.job.say(f"{self.plan.name(index)}: processed {number} items")

    # --- workers --------------------------------------------------------------------------------

    def _start(self, pinned: int | None) -> None:
        """Start a worker."""
        with signals_held_back():
            worker = self._new_worker(pinned)
        self.poll.register(worker.read_fd, select.POLLIN)
        for index in self.plan.processes[pinned] if pinned is not None else ():
            self.host[index] = worker

    def _new_worker(self, pinned: int | None) -> _Worker:
        to_worker, to_parent = os.pipe(), os.pipe()
        others = [
            fd for worker in self.workers.values() for fd in (worker.read_fd, worker.write_fd)
        ]
        unused = [*others, to_worker[1], to_parent[0]]
        ends = (to_worker[0], to_parent[1])
        process = start(work, self.job, self.plan, pinned, *ends, unused, self.lock)
        os.close(to_worker[0])
        os.close(to_parent[1])
        os.set_blocking(to_worker[1], False)
        worker = _Worker(process, pinned, to_parent[0], to_worker[1])
        self.workers[worker.read_fd] = worker
        return worker

    def _note_death(self, worker: _Worker) -> None:
        """A worker's pipe has closed: it has ended, as it should or not."""
        self._forget(worker)
        worker.process.join(GRACE_SECONDS)
        code = worker.process.exitcode
        if code is not None:
            release(worker.process)
        if worker.leaving:
            return
        held = [i for i, host in self.host.items() if host is worker and i not in self.ended]
        how = cause_of_death(code)
        if held:
            names = ", ".join(sorted(set(map(self.plan.name, held))))
            self.failure = WorkerDied(
                f"the worker process that held the state of {names} {how}; what it held "
                "cannot be recovered"
            )
            return
        for batch in reversed(worker.tasks.values()):
            if batch.attempts + 1 >= ATTEMPTS:
                pe = self.plan.name(batch.queue[0])
                self.failure = WorkerDied(
                    f"PE {pe}: {ATTEMPTS} worker processes died over the same items; the last one "
                    f"{how}"
                )
                return
            self.queues.put_back(replace(batch, attempts=batch.attempts + 1))
        self.job.say(f"a worker {how}; its {len(worker.tasks)} tasks go to others")
        self._start(None)

    def _forget(self, worker: _Worker) -> None:
        for fd in (worker.read_fd, worker.write_fd):
            with contextlib.suppress(KeyError):
                self.poll.unregister(fd)
        os.close(worker.read_fd)
        os.close(worker.write_fd)
        del self.workers[worker.read_fd]

    def _dismiss_all(self) -> None:
        """Tell all workers that the run is over, and hear what they counted."""
        for worker in self.workers.values():
            self._send(worker, "stop", None)
        while self.workers and self.failure is None:
            for worker in self.workers.values():
                worker.leaving = True
            self._take_messages(None)

    def _stop(self) -> None:
        workers = list(self.workers.values())
        for worker in workers:
            self._forget(worker)
        end([worker.process for worker in workers])
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
            worker = self.workers.get(fd)
            if worker is None:
                self._write_on(fd)
                continue
            try:
                kind, content = frames.read_frame(fd)
            except (EOFError, ConnectionError):
                self._note_death(worker)
                continue
            self._handle(worker, kind, content)
            if self.failure is not None:
                return

    def _handle(self, worker: _Worker, kind: str, content: Any) -> None:
        if kind == "commit":
            number, parcel, items, seconds = content
            batch = worker.tasks.pop(number)
            self.queues.done(batch, items, seconds)
            self.may_end.add(batch.queue[0])
            self._deliver(parcel)
            if batch.lows:
                self.order.done(batch.queue[0], batch.lows)
                self._tell_order([batch.queue[0]])
        elif kind == "stream":
            writer, parcel = content
            worker.owed.setdefault(writer, []).append({lot.to for lot in parcel.batches})
            self._deliver(parcel)
        elif kind == "idle":
            worker.waits_after, worker.settled = content
        elif kind == "taken":
            worker.in_hand[content] -= 1
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
        for (index, name), levels in self.order.new_levels(changed):
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
            worker.settled and worker.waits_after == worker.sent for worker in hosts
        )

    # --- sharing out ----------------------------------------------------------------------------

    def _share_out(self) -> None:
        for worker in list(self.workers.values()):
            self._give_private(worker)
            for writer, parcels in list(worker.owed.items()):
                if not self._must_wait(worker, writer):
                    sizes = self.queues.sizes(set().union(*parcels))
                    self._send(worker, "go", (writer, len(parcels), sizes))
                    del worker.owed[writer]
        self._give_tasks()
        self._scale_up()
        self._scale_down()

    def _must_wait(self, worker: _Worker, writer: int | None) -> bool:
        if writer is not None:
            return self.queues.full_after(writer) or self.order.is_far_ahead((writer,))
        return worker.pinned is not None and (
            self.queues.full_after_process(worker.pinned)
            or self.order.is_far_ahead(self.plan.processes[worker.pinned])
        )

    def _give_private(self, worker: _Worker) -> None:
        """Hand a worker the batches for what is pinned to it, then which senders have ended."""
        if worker.pinned is None:
            return
        for queue in self.queues.of(worker.pinned):
            while self.queues.has(queue) and worker.in_hand.get(queue[0], 0) < WINDOW:
                batch = self.queues.take(queue)
                if batch.levels:
                    self._send(worker, "told", (queue, batch.levels))
                    continue
                worker.in_hand[queue[0]] = worker.in_hand.get(queue[0], 0) + 1
                self._send(worker, "private", (queue, frames.apart(batch.data)))
        if worker.ended_to_tell and not self.queues.of(worker.pinned):
            for index in worker.ended_to_tell:
                self._send(worker, "ended", index)
            worker.ended_to_tell.clear()

    def _give_tasks(self) -> None:
        """Give out tasks in rounds: one to each worker before any gets its second.

        Heavy items do not keep from their work the PEs that are pinned to a worker.
        """
        alone = all(worker.pinned is not None for worker in self.workers.values())
        for round_ in range(WINDOW):
            workers = [worker for worker in self.workers.values() if len(worker.tasks) == round_]
            # Those with nothing pinned come first.
            for worker in sorted(workers, key=lambda worker: worker.pinned is not None):
                if not self._has_time(worker):
                    continue
                queue = self.queues.next(heavy=worker.pinned is None or alone)
                if queue is None or (round_ and not self.queues.is_quick(queue)):
                    continue
                batch = self.queues.take(queue)
                number = next(self.numbers)
                worker.tasks[number] = batch
                sizes = self.queues.sizes_after(queue[0])
                self._send(worker, "task", (number, queue, frames.apart(batch.data), sizes))

    def _has_time(self, worker: _Worker) -> bool:
        """Whether a worker can take a task, or another one in advance."""
        if worker.pinned is not None:
            return not worker.tasks and worker.waits_after == worker.sent
        in_hand = worker.tasks.values()
        return not worker.leaving and all(self.queues.is_quick(batch.queue) for batch in in_hand)

    def _scale_up(self) -> None:
        """Start a worker where more is waiting than those at work can take up soon."""
        number = len(self.workers)
        if not self.pool or number >= self.scale.most or number < self.scale.least:
            return
        waiting = self.queues.pooled_batches()
        if self.queues.heavy_waits() or waiting >= self.scale.threshold * number:
            self.job.say(f"scale up to {number + 1} workers: {waiting} batches wait")
            self._start(None)

    def _scale_down(self) -> None:
        """Let a worker go that has had nothing to do for a while."""
        now, idle = time.monotonic(), self.scale.idle_seconds
        for worker in self.workers.values():
            if worker.tasks or worker.pinned is not None or worker.leaving:
                worker.idle_since = None
            elif worker.idle_since is None:
                worker.idle_since = now
            elif now - worker.idle_since > idle and len(self.workers) > self.scale.least:
                self.job.say(
                    f"scale down to {len(self.workers) - 1} workers: one was idle for "
                    f"{now - worker.idle_since:.1f} s"
                )
                worker.leaving = True
                self._send(worker, "stop", None)
                return

    # --- writing --------------------------------------------------------------------------------

    def _send(self, worker: _Worker, kind: str, content: Any) -> None:
        """Send to a worker; what its pipe does not take now is sent when it does."""
        worker.sent += 1
        worker.outgoing.extend(memoryview(part) for part in frames.encode((kind, content)))
        self._push(worker)

    def _write_on(self, fd: int) -> None:
        for worker in self.workers.values():
            if worker.write_fd == fd:
                self._push(worker)
                return

    def _push(self, worker: _Worker) -> None:
        try:
            while worker.outgoing:
                written = os.write(worker.write_fd, worker.outgoing[0])
                rest = worker.outgoing[0][written:]
                if rest:
                    worker.outgoing[0] = rest
                else:
                    worker.outgoing.popleft()
        except BlockingIOError:
            self.poll.register(worker.write_fd, select.POLLOUT)
            return
        except BrokenPipeError:
            worker.outgoing.clear()  # its other pipe tells that it has died
        with contextlib.suppress(KeyError):
            self.poll.unregister(worker.write_fd)


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
