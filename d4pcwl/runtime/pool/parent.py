"""Dynamic runs through the parent process, which has a pipe to and from each worker.

A :class:`~d4pcwl.runtime.pool.scheduler.Scheduler` decides what is done. The parent starts the
workers, moves messages between them and the scheduler, and takes the results. It never looks into a
batch.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any

from d4pcwl.runtime.engine.marks import SortedResults
from d4pcwl.runtime.engine.plan import Plan, usable_cores
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.local.console import LineLock
from d4pcwl.runtime.local.processes import GRACE_SECONDS, end, release, signals_held_back, start
from d4pcwl.runtime.local.reports import cause_of_death
from d4pcwl.runtime.pool.parent_worker import work
from d4pcwl.runtime.pool.scale import IDLE_SECONDS, Scale
from d4pcwl.runtime.pool.scheduler import PARENT, Scheduler
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.arena import Memory, lowest_free
from d4pcwl.runtime.transport.outbox import deliver


@dataclass
class _Worker:
    """A worker process and the pipes from and to it.

    :param arena: the number of its part of the shared memory
    """

    number: int
    process: BaseProcess
    read_fd: int
    write_fd: int
    arena: int
    outgoing: deque[memoryview] = field(default_factory=deque)


class Broker:
    """The parent's side of a dynamic run."""

    def __init__(self, job: Job, plan: Plan, scale: Scale) -> None:
        self.job, self.plan = job, plan
        takers = [job.sink.take(pe, output) for pe, output in plan.results]
        self.results = SortedResults(plan, takers)
        self.scheduler = Scheduler(plan, scale, paces=job.paces)
        self.wait_milliseconds = 1000 * min(IDLE_SECONDS, scale.idle_seconds)
        self.workers: dict[int, _Worker] = {}
        self.by_fd: dict[int, _Worker] = {}
        self.lock = LineLock()
        self.memory = Memory(max(scale.most, len(plan.processes)))
        self.poll = select.poll()
        if job.observer is not None:
            job.observer.queues = self.scheduler.queues.waiting

    def run(self) -> None:
        """Run until all instances have ended, or something has failed.

        :raises RunError: a PE failed, or a worker died that held the state of PEs
        """
        sys.stdout.flush()
        sys.stderr.flush()
        scheduler = self.scheduler
        try:
            self._act()
            while not scheduler.is_over:
                self._take_messages()
                self._act()
                self.job.check()
        finally:
            self._stop()
            self.results.give_up()
        if scheduler.failure is not None:
            raise scheduler.failure
        self.job.tell_counts(self.plan, scheduler.counts)

    # --- workers --------------------------------------------------------------------------------

    def _start(self, number: int, pinned: int | None) -> None:
        """Start a worker."""
        with signals_held_back():
            worker = self._new_worker(number, pinned)
        self.poll.register(worker.read_fd, select.POLLIN)

    def _new_worker(self, number: int, pinned: int | None) -> _Worker:
        to_worker, to_parent = os.pipe(), os.pipe()
        unused = [*self.by_fd, to_worker[1], to_parent[0]]
        ends = (to_worker[0], to_parent[1])
        arena = lowest_free(worker.arena for worker in self.workers.values())
        process = start(
            work, self.job, self.plan, pinned, *ends, unused, self.lock, self.memory, arena
        )
        os.close(to_worker[0])
        os.close(to_parent[1])
        os.set_blocking(to_worker[1], False)
        worker = _Worker(number, process, to_parent[0], to_worker[1], arena)
        self.workers[number] = worker
        self.by_fd.update(dict.fromkeys((worker.read_fd, worker.write_fd), worker))
        return worker

    def _note_death(self, worker: _Worker) -> None:
        """Handle the closed pipe of a worker: it has ended, properly or not."""
        self._forget(worker)
        worker.process.join(GRACE_SECONDS)
        code = worker.process.exitcode
        if code is not None:
            release(worker.process)
        self.scheduler.lost(worker.number, cause_of_death(code))

    def _forget(self, worker: _Worker) -> None:
        for fd in (worker.read_fd, worker.write_fd):
            with contextlib.suppress(KeyError):
                self.poll.unregister(fd)
            os.close(fd)
            del self.by_fd[fd]
        del self.workers[worker.number]

    def _stop(self) -> None:
        workers = list(self.workers.values())
        for worker in workers:
            self._forget(worker)
        end([worker.process for worker in workers])
        self.lock.close()

    # --- messages -------------------------------------------------------------------------------

    def _act(self) -> None:
        """Do what the scheduler says."""
        for to, kind, content in self.scheduler.decide(time.monotonic()):
            if to != PARENT:
                self._send(self.workers[to], kind, content)
            elif kind == "start":
                self._start(*content)
            elif kind == "results":
                deliver(self.results.takers, frames.loads(content.data), self.memory.take)
            elif kind == "levels":
                self.results.note(content)
            elif kind == "event":
                what, text, number = content
                self.job.say(text)
                self.job.note(what, text, number)

    def _take_messages(self) -> None:
        for fd, _ in self.poll.poll(self.wait_milliseconds):
            worker = self.by_fd.get(fd)
            if worker is None:
                continue
            if fd == worker.write_fd:
                self._push(worker)
                continue
            try:
                kind, content = frames.read_frame(fd)
            except (EOFError, ConnectionError):
                self._note_death(worker)
                continue
            if kind == "lap":
                self.job.hear(content)
            else:
                self.scheduler.hear(worker.number, kind, content)

    def _send(self, worker: _Worker, kind: str, content: Any) -> None:
        """Send to a worker; the rest is sent when its pipe has room again."""
        worker.outgoing.extend(memoryview(part) for part in frames.encode((kind, content)))
        self._push(worker)

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
            worker.outgoing.clear()  # its other pipe shows that it has died
        with contextlib.suppress(KeyError):
            self.poll.unregister(worker.write_fd)


def run_by_broker(job: Job, scale: Callable[[int], Scale]) -> None:
    """Run a job dynamically, with this process as the parent.

    :param scale: from the number of processes asked for to how many run at a time
    """
    plan = job.plan(pooled=True, loops=True)
    job.say(str(plan))
    Broker(job, plan, scale(job.processes or usable_cores())).run()
