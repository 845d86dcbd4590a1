"""Dynamic runs, the parent.

A :class:`~d4pcwl.runtime.pool.scheduler.Scheduler` decides what is done. The parent starts the
workers, moves messages between them and the scheduler, and takes the results. It never looks into a
batch. A :class:`Transport` moves the bytes: through pipes (``runtime/pool/pipes.py``), or through a
Redis server (``runtime/redis/transport.py``).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from d4pcwl.runtime.checkpoint.kept import Snapshot
from d4pcwl.runtime.checkpoint.request import Request
from d4pcwl.runtime.checkpoint.sources import Pauses
from d4pcwl.runtime.engine.marks import SortedResults
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.local.console import LineLock
from d4pcwl.runtime.local.processes import GRACE_SECONDS, end, release, signals_held_back, start
from d4pcwl.runtime.local.reports import cause_of_death
from d4pcwl.runtime.local.worker import live
from d4pcwl.runtime.pool.exchange import Line, Lot, Packed
from d4pcwl.runtime.pool.scale import IDLE_SECONDS, Scale
from d4pcwl.runtime.pool.scheduler import PARENT, Scheduler
from d4pcwl.runtime.pool.worker import duty
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.arena import Memory, lowest_free
from d4pcwl.runtime.transport.outbox import deliver, with_buffers

_LEAST_WAIT_SECONDS = 0.1


class WorkerProcesses:
    """The worker processes that the parent forks, and what it shares with them.

    :param begun: what the run goes on with
    :ivar memory: for large buffers
    :ivar request: whether sources have to wait
    """

    def __init__(self, job: Job, plan: Plan, scale: Scale, begun: Snapshot | None = None) -> None:
        self.job, self.plan, self.begun = job, plan, begun or Snapshot()
        self.request = Request()
        self.memory = Memory(max(scale.most, len(plan.processes)))
        self._lock = LineLock()
        self._at_work: dict[int, tuple[BaseProcess, int]] = {}  # and the number of its arena

    def fork(self, number: int, pinned: int | None, open_line: Callable[[], Line]) -> None:
        """Start a worker.

        :param open_line: makes its line; called in its process
        """
        arena = lowest_free(arena for _, arena in self._at_work.values())
        pausing = self._pausing(pinned)
        enter = partial(duty, self.job, self.plan, pinned, open_line, self.memory, arena, pausing)
        with signals_held_back():
            self._at_work[number] = start(live, enter, self._lock), arena

    def _pausing(self, pinned: int | None) -> Callable[[Callable[[], None]], Pauses] | None:
        """What makes the pauses of a worker's sources, if there are any."""
        if self.job.checkpoint is None or pinned is None:
            return None
        kept = self.begun.processes.get(pinned, b"")
        ended = self.begun.ended.intersection(self.plan.processes[pinned])  # it is told of others
        return partial(Pauses, self.request.asked, kept=kept, ended=ended)

    def portable(self, data: Packed) -> Packed:
        """A batch with its buffers in it, instead of their places in shared memory."""
        if not data.shared:
            return data
        run = frames.loads(data.data)
        return Packed(frames.dumps(with_buffers(run, self.memory.copy)))

    def dead(self) -> list[int]:
        """The numbers of the workers that have ended."""
        return [n for n, (process, _) in self._at_work.items() if not process.is_alive()]

    def note_end(self, number: int) -> str:
        """Wait for a worker that has ended or is about to; how it ended, for messages."""
        process, _ = self._at_work.pop(number)
        process.join(GRACE_SECONDS)
        code = process.exitcode
        if code is not None:
            release(process)
        return cause_of_death(code)

    def end(self) -> None:
        """End all that are left; no more are forked."""
        end([process for process, _ in self._at_work.values()])
        self._at_work.clear()
        self._lock.close()


class Transport(Protocol):
    """What moves messages between the parent and the workers.

    :ivar processes: the workers that it forks
    """

    processes: WorkerProcesses

    def prepare(self) -> None:
        """Make what all workers need; called before the first one is started."""

    def start(self, number: int, pinned: int | None) -> None:
        """Start a worker.

        :param pinned: the number of its pinned process in the plan, if it has one
        """

    def send(self, number: int, kind: str, content: Any) -> None:
        """Send a message of the scheduler to a worker, at the latest with the next
        :meth:`receive`."""

    def portable(self, data: Packed) -> Packed:
        """A batch that does not depend on this run's memory or server."""

    def receive(self, broker: Broker, seconds: float) -> None:
        """Pass on the messages of workers, and tell the scheduler which workers have ended.

        :param seconds: how long to wait for a message
        """

    def close(self) -> None:
        """The run is over."""


def run_dynamic(
    job: Job,
    scale: Callable[[int], Scale],
    connect: Callable[[WorkerProcesses], Transport],
    *,
    pooled: bool = True,
) -> None:
    """Run a job.

    :param scale: from the number of processes asked for to how many run at a time
    :param connect: makes the transport
    :param pooled: any free worker runs PEs that keep no state
    :raises RunError: a PE failed, or a worker died that held the state of PEs
    """
    plan, number = job.plan(pooled=pooled), scale(job.most_processes)
    job.say(str(plan))
    begun = None
    if job.checkpoint is not None:
        begun = job.checkpoint.begin(plan.results, str(plan))
        if begun is None:
            return
    processes = WorkerProcesses(job, plan, number, begun)
    try:
        with closing(connect(processes)) as transport:
            Broker(job, plan, number, transport).run()
    finally:
        processes.end()


class Broker:
    """The parent's side of a dynamic run."""

    def __init__(self, job: Job, plan: Plan, scale: Scale, transport: Transport) -> None:
        self.job, self.plan, self.transport = job, plan, transport
        takers = [job.sink.take(pe, output) for pe, output in plan.results]
        self.results = SortedResults(plan, takers)
        begun = transport.processes.begun
        self.results.hold(begun.held)
        self.scheduler = Scheduler(plan, scale, paces=job.paces, begun=begun)
        if job.observer is not None:
            job.observer.queues = self.scheduler.queues.waiting
        seconds = [IDLE_SECONDS, scale.idle_seconds]
        seconds += [job.checkpoint.every] if job.checkpoint is not None else []
        self._wait_seconds = max(_LEAST_WAIT_SECONDS, min(seconds))

    def run(self) -> None:
        """Run until all instances have ended, or something has failed.

        :raises RunError: a PE failed, or a worker died that held the state of PEs
        """
        sys.stdout.flush()
        sys.stderr.flush()
        scheduler = self.scheduler
        self.transport.prepare()
        try:
            self._act()
            while not scheduler.is_over:
                self._pause_if_due()
                self.transport.receive(self, self._wait_seconds)
                self._act()
                self.job.check()
        finally:
            self.results.give_up()
        if scheduler.failure is not None:
            raise scheduler.failure
        self.job.tell_counts(self.plan, scheduler.counts)

    def _pause_if_due(self) -> None:
        """If it is time for a snapshot, have the sources wait."""
        session, request = self.job.checkpoint, self.transport.processes.request
        if session is not None and session.due and not request.asked():
            request.next()
            self.scheduler.pause()
            self._act()

    def _save(self, kept: dict[int, bytes], queued: Sequence[Lot]) -> None:
        """Save a snapshot; then the sources may go on."""
        session, scheduler = self.job.checkpoint, self.scheduler
        assert session is not None
        lots = [lot._replace(data=self.transport.portable(lot.data)) for lot in queued]
        session.save(Snapshot(kept, frozenset(scheduler.ended), self.results.held, lots))
        self.transport.processes.request.next()

    def hear(self, number: int, kind: str, content: Any) -> None:
        """Take a message of a worker."""
        if kind == "lap":
            self.job.hear(content)
            return
        if kind == "commit":
            self.transport.processes.memory.free(content[1].spent)
        self.scheduler.hear(number, kind, content)

    def _act(self) -> None:
        """Do what the scheduler says."""
        memory = self.transport.processes.memory
        for to, kind, content in self.scheduler.decide(time.monotonic()):
            if to != PARENT:
                self.transport.send(to, kind, content)
            elif kind == "start":
                self.transport.start(*content)
            elif kind == "results":
                deliver(self.results.takers, frames.loads(content.data), memory.take)
            elif kind == "levels":
                self.results.note(content)
            elif kind == "snapshot":
                self._save(*content)
            elif kind == "event":
                what, text, number = content
                self.job.say(text)
                self.job.note(what, text, number)
