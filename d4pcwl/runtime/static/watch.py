"""Static runs with processes of this machine: a parent that watches, and workers that it forks.

The parent starts one worker for each process of the plan, and then only watches: it takes the
results. If there is a failure, a dead worker or an interrupt, it stops all workers. Workers are
forked, so PEs and inputs need not be pickled. The mapping's :class:`Transport` connects the
processes.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from d4pcwl.errors import D4pcwlError, WorkerDied
from d4pcwl.runtime.checkpoint.kept import Snapshot
from d4pcwl.runtime.checkpoint.request import Request
from d4pcwl.runtime.engine.marks import RESULTS, SortedResults
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.engine.worker import Worker
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.local.console import LineLock
from d4pcwl.runtime.local.measured import measured
from d4pcwl.runtime.local.processes import GRACE_SECONDS, end, signals_held_back, start
from d4pcwl.runtime.local.reports import cause_of_death
from d4pcwl.runtime.local.worker import Duty, live
from d4pcwl.runtime.static.loop import (
    Channels,
    Inbox,
    ResultChannel,
    joined,
    tell_levels,
    work_off,
)
from d4pcwl.runtime.static.pauses import PausingParent, PausingWorker
from d4pcwl.runtime.transport.channel import Channel, Sender, between_frames
from d4pcwl.runtime.transport.outbox import deliver

WATCH = RESULTS
"""The number of the watching parent, among the numbers of processes: it takes the results."""

_LOOK_SECONDS = 0.25
_LAST_WORDS_SECONDS = 0.05
_SETTLE_SECONDS = 0.5
_PATIENCE_SECONDS = 5.0
"""How long to wait for items from before a failure, because a PE downstream may never return."""


class Transport(Protocol):
    """The connections of the processes; made before they are forked."""

    def enter(self, number: int) -> tuple[Mapping[int, Sender], Inbox]:
        """In the process with this number: the senders, by receiver, and the inbox."""

    def close(self, *, over: bool = False) -> None:
        """Close it in this process. In a worker, wait until everything that it has sent will
        arrive.

        :param over: the run is over; only what was sent to the parent has to arrive
        """


def run_forked(job: Job, connect: Callable[[list[tuple[int, int]]], Transport]) -> None:
    """Run a job.

    :param connect: makes the transport for pairs of processes, sender and receiver
    :raises RunError: a PE failed, or a worker died
    :raises UsageError: this system cannot fork
    """
    plan = job.plan()
    job.say(str(plan))
    numbers = range(len(plan.processes))
    pairs = [*sorted(joined(plan)), *((number, WATCH) for number in numbers)]
    if job.checkpoint is None:
        _Watch(job, plan).run(connect(pairs))
        return
    begun = job.checkpoint.begin(plan.results, str(plan))
    if begun is not None:
        pairs += [(WATCH, number) for number in numbers]
        _Watch(job, plan, begun).run(connect(pairs))


class _Watch:
    """The parent process.

    :param begun: what the run goes on with, if there are snapshots of it
    """

    def __init__(self, job: Job, plan: Plan, begun: Snapshot | None = None) -> None:
        self.job, self.plan = job, plan
        takers = [job.sink.take(pe, output) for pe, output in plan.results]
        self.results = SortedResults(plan, takers)
        self.begun = begun
        self.request = None if begun is None else Request()
        self.pausing: PausingParent | None = None
        if begun is not None:
            self.results.hold(begun.held)
        self.failure: D4pcwlError | None = None
        self.failed = 0  # the number of the first worker that did
        self.counts: dict[int, int] = {}
        self.workers: list[BaseProcess] = []
        self.awaited = set(range(len(plan.processes)))
        self.stopping = False
        self.lost: list[int] = []

    def run(self, transport: Transport) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        lock = LineLock()
        try:
            with signals_held_back():
                for number in range(len(self.plan.processes)):
                    arguments = (self.job, self.plan, number, transport, self.begun, self.request)
                    self.workers.append(start(_work, *arguments, lock))
                # Interrupted in between, a transport could be left half made.
                senders, inbox = transport.enter(WATCH)
            if self.job.checkpoint is not None and self.request is not None:
                self.pausing = PausingParent(self.job.checkpoint, self.plan, self.request, senders)
            self._watch(inbox)
        finally:
            transport.close()
            end(self.workers)
            lock.close()
            self.results.give_up()
        if self.failure is not None:
            raise self.failure
        self.job.tell_counts(self.plan, self.counts, ranks=True)

    def _watch(self, inbox: Inbox) -> None:
        """Take results and reports until all workers have reported, or one has failed."""
        look = time.monotonic() + _LOOK_SECONDS
        while self.awaited and self.failure is None:
            if self.pausing is None:
                self._hear(inbox, _LOOK_SECONDS)
            else:
                self._hear(inbox, self.pausing.wait_seconds(_LOOK_SECONDS))
                self.pausing.look(self.awaited, self.results)
            if time.monotonic() > look:
                self.job.check()
                self._look_for_dead(inbox)
                look = time.monotonic() + _LOOK_SECONDS
        if self.lost and self.failure is None:
            self.failure = WorkerDied(
                f"worker process {self.lost[0]} lost its connections to the other processes"
            )
        if self.failure is not None:
            self._let_it_settle(inbox)
            self.stopping = True
            for worker in self.workers:
                worker.terminate()
            self._take_the_rest(inbox)

    def _hear(self, inbox: Inbox, timeout: float) -> set[int]:
        """Take messages of workers; return the workers that sent some."""
        heard = set[int]()
        for number, message in inbox.receive(timeout):
            heard.add(number)
            if message is None:
                # Some transports report when a worker has ended, for any reason.
                if number in self.awaited and not self.stopping:
                    self._note_death(number)
            elif message[0] == "items":
                self._take(message)
            elif message[0] == "lap":
                self.job.hear(message[1])
            elif message[0] in ("quiet", "kept") and self.pausing is not None:
                self.pausing.hear(number, *message)
            else:
                self.awaited.discard(number)
                if message[0] == "done":
                    self.counts.update(message[1])
                elif message[0] == "failed":
                    self._fail(number, message[1])
                else:  # "lost": another process has failed or died; it reports, or is found dead
                    self.lost.append(number)
        return heard

    def _fail(self, number: int, failure: D4pcwlError) -> None:
        self.awaited.discard(number)
        if self.failure is None:
            self.failure, self.failed = failure, number

    def _take(self, message: Any) -> None:
        _, items, levels = message
        deliver(self.results.takers, items)
        if levels:
            self.results.note(levels)

    def _look_for_dead(self, inbox: Inbox) -> None:
        """Find workers that have ended without a report, after all their messages were taken."""
        dead = {number for number in self.awaited if not self.workers[number].is_alive()}
        if dead:
            dead -= self._hear(inbox, _LAST_WORDS_SECONDS)
        for number in dead & self.awaited:
            self._note_death(number)

    def _let_it_settle(self, inbox: Inbox) -> None:
        """Let items from before the failure become results. Each worker that gives up tells the
        workers downstream, which then do the same. A worker that has died tells nothing.
        """
        died = isinstance(self.failure, WorkerDied)
        deadline = time.monotonic() + (_SETTLE_SECONDS if died else _PATIENCE_SECONDS)
        downstream = _downstream(self.plan, self.failed)
        while self.awaited & downstream and time.monotonic() < deadline:
            self._hear(inbox, _LAST_WORDS_SECONDS)
            self._look_for_dead(inbox)

    def _take_the_rest(self, inbox: Inbox) -> None:
        """Take the results that were on their way when the run failed: they are kept."""
        deadline = time.monotonic() + GRACE_SECONDS
        while self._working() and time.monotonic() < deadline:
            self._hear(inbox, _LAST_WORDS_SECONDS)
        while self._hear(inbox, 0) and time.monotonic() < deadline:
            pass

    def _working(self) -> bool:
        """Whether a worker that has not reported still may."""
        return any(self.workers[number].is_alive() for number in self.awaited)

    def _note_death(self, number: int) -> None:
        """Handle a worker that has ended without a report: this is a failure, if it is the
        first."""
        worker = self.workers[number]
        worker.join(GRACE_SECONDS)
        how = cause_of_death(worker.exitcode)
        how += " (perhaps out of memory)" if worker.exitcode == -signal.SIGKILL else ""
        self.job.note("death", f"a worker {how}", pid=worker.pid)
        names = ", ".join(map(self.plan.name, self.plan.processes[number]))
        self._fail(
            number,
            WorkerDied(f"the worker process of {names} {how}; items that it held are lost"),
        )


def _downstream(plan: Plan, number: int) -> set[int]:
    """The processes that get items from a process, directly or not."""
    pairs, found = joined(plan), set[int]()
    new = {number}
    while new:
        found |= new
        new = {receiver for sender, receiver in pairs if sender in new} - found
    return found


# --- in the worker process ------------------------------------------------------------------------


class _Duty(Duty):
    def __init__(
        self,
        job: Job,
        plan: Plan,
        number: int,
        transport: Transport,
        begun: Snapshot | None,
        request: Request | None,
    ) -> None:
        self.job, self.plan, self.number, self.transport = job, plan, number, transport
        senders, self.inbox = transport.enter(number)
        self.results = ResultChannel(senders[WATCH], plan)
        self.senders = list(senders.values())
        others = {receiver: sender for receiver, sender in senders.items() if receiver != WATCH}
        self.begun = begun or Snapshot()
        self.pausing: PausingWorker | None = None
        if request is not None:
            self.pausing = PausingWorker(request, others, self.inbox, self.results)
            others, self.inbox = {**self.pausing.senders}, self.pausing.inbox
        self.link = Channels(plan, number, others, self.results.result)
        self.counts: dict[int, int] = {}

    def work(self, idle: Callable[[], None]) -> None:
        job, plan, number, link = self.job, self.plan, self.number, self.link
        pauses = None if self.pausing is None else self.pausing.pauses(self.begun, number)
        worker = Worker(job.graph, plan, number, job.inputs, link, pauses=pauses)
        tell_levels(plan, number, {**link.channels, RESULTS: self.results}, worker.level)

        def idle_here() -> None:
            self.results.flush()
            idle()

        with measured(
            [worker],
            lambda lap: self.results.send("lap", lap),
            sent=link.traffic,
            waits=[type(self.inbox).receive],
            sends=[Channel.flush, *(type(sender).send for sender in self.senders)],
        ):
            work_off(worker, link, self.inbox, idle_here, self.pausing)
        self.tick()
        self.counts = worker.counts

    def tick(self) -> None:
        self.link.flush()
        self.results.flush()

    def done(self) -> None:
        self.results.send("done", self.counts)

    def failed(self, error: D4pcwlError) -> None:
        self._give_up("failed", error)

    def lost(self) -> None:
        self._give_up("lost", None)

    def _give_up(self, why: str, content: Any) -> None:
        self.results.send_last(why, content)
        self.link.give_up()  # earlier items go on to the processes that still work

    def between_frames(self) -> AbstractContextManager[Any]:
        return between_frames([*self.link.channels.values(), self.results])

    def close(self, *, interrupted: bool) -> None:
        self.transport.close(over=interrupted)


def _work(
    job: Job,
    plan: Plan,
    number: int,
    transport: Transport,
    begun: Snapshot | None,
    request: Request | None,
    lock: LineLock,
) -> None:
    live(lambda: _Duty(job, plan, number, transport, begun, request), lock)
