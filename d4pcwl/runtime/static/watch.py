"""Static runs by processes of this machine: a parent that watches, and workers that it forks.

The parent starts one worker for each process of the plan and from then on only watches: it takes
the results, and it notices a failure, a dead worker, and an interrupt, on which it stops all
workers. Workers are forked, so that PEs and inputs need not be pickled. How the processes are
joined is the mapping's affair, in a :class:`Transport`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from d4pcwl.errors import D4pcwlError, OutputError, WorkerDied
from d4pcwl.runtime.engine.instance import Halt
from d4pcwl.runtime.engine.marks import RESULTS, SortedResults
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.engine.worker import Worker
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.local.console import LineLock, LineWriter
from d4pcwl.runtime.local.processes import (
    GRACE_SECONDS,
    end,
    hear_signals,
    is_orphan,
    signals_held_back,
    start,
)
from d4pcwl.runtime.local.reports import cause_of_death, explained
from d4pcwl.runtime.static.loop import (
    Channels,
    Inbox,
    ResultChannel,
    joined,
    tell_levels,
    work_off,
)
from d4pcwl.runtime.transport.channel import Disconnected, Flusher, Sender
from d4pcwl.runtime.transport.outbox import deliver

WATCH = RESULTS
"""The number of the watching parent, among the numbers of processes: it takes the results."""

_LOOK_SECONDS = 0.25
_LAST_WORDS_SECONDS = 0.05
_SETTLE_SECONDS = 0.5


class Transport(Protocol):
    """How the processes are joined; made before they are forked."""

    def enter(self, number: int) -> tuple[Mapping[int, Sender], Inbox]:
        """In a process of that number: the ways out, by receiver, and the way in."""

    def close(self) -> None:
        """This process has done with it. In a worker: what it has sent will arrive."""


def run_forked(job: Job, connect: Callable[[list[tuple[int, int]]], Transport]) -> None:
    """Run a job.

    :param connect: makes the transport for pairs of processes, sender and receiver
    :raises RunError: a PE failed, or a worker died
    :raises UsageError: this system cannot fork
    """
    plan = job.plan()
    job.say(str(plan))
    pairs = [*sorted(joined(plan)), *((number, WATCH) for number in range(len(plan.processes)))]
    _Watch(job, plan).run(connect(pairs))


class _Watch:
    """The parent's side."""

    def __init__(self, job: Job, plan: Plan) -> None:
        self.job, self.plan = job, plan
        takers = [job.sink.take(pe, output) for pe, output in plan.results]
        self.results = SortedResults(plan, takers)
        self.failure: D4pcwlError | None = None
        self.counts: dict[int, int] = {}
        self.workers: list[BaseProcess] = []
        self.awaited = set(range(len(plan.processes)))
        self.lost: list[int] = []

    def run(self, transport: Transport) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        lock = LineLock()
        try:
            gc.freeze()  # what exists now is not copied page by page when workers collect garbage
            with signals_held_back():
                for number in range(len(self.plan.processes)):
                    self.workers.append(start(_work, self.job, self.plan, number, transport, lock))
                # Interrupted in between, a transport could be left half made.
                _, inbox = transport.enter(WATCH)
            gc.unfreeze()
            self._watch(inbox)
        finally:
            transport.close()
            end(self.workers)
            lock.close()
            self.results.give_up()
        if self.failure is not None:
            raise self.failure
        for index, count in sorted(self.counts.items()):
            self.job.say(f"{self.plan.name(index)} (rank {index}): processed {count} items")

    def _watch(self, inbox: Inbox) -> None:
        """Take results and reports until all workers have reported, or one has failed."""
        look = time.monotonic() + _LOOK_SECONDS
        while self.awaited and self.failure is None:
            self._hear(inbox, _LOOK_SECONDS)
            if time.monotonic() > look:
                self.job.check()
                self._look_for_dead(inbox)
                look = time.monotonic() + _LOOK_SECONDS
        if self.lost and self.failure is None:
            self.failure = WorkerDied(
                f"worker process {self.lost[0]} lost those that it was joined to"
            )
        if self.failure is not None:
            self._let_it_settle(inbox)
            for worker in self.workers:
                worker.terminate()
            self._take_the_rest(inbox)

    def _hear(self, inbox: Inbox, timeout: float) -> bool:
        """Take what workers say; whether one said something."""
        heard = False
        for number, message in inbox.receive(timeout):
            heard = True
            if message is None:
                # Some transports tell when a worker has ended, however that came.
                if number in self.awaited:
                    self._note_death(number)
            elif message[0] == "items":
                self._take(message)
            else:
                self.awaited.discard(number)
                if message[0] == "done":
                    self.counts.update(message[1])
                elif message[0] == "failed":
                    self.failure = message[1]
                else:  # "lost": somebody else has died, and will be found dead
                    self.lost.append(number)
            if self.failure is not None:
                break
        return heard

    def _take(self, message: Any) -> None:
        _, items, levels = message
        deliver(self.results.takers, items)
        if levels:
            self.results.note(levels)

    def _look_for_dead(self, inbox: Inbox) -> None:
        """Find workers that have ended without a report; first, what they have said is heard."""
        if all(self.workers[number].is_alive() for number in self.awaited):
            return
        dead = [number for number in self.awaited if not self.workers[number].is_alive()]
        deadline = time.monotonic() + GRACE_SECONDS
        while self.failure is None and time.monotonic() < deadline:
            if not self._hear(inbox, _LAST_WORDS_SECONDS):
                break
        for number in self.awaited.intersection(dead):
            if self.failure is None:
                self._note_death(number)

    def _let_it_settle(self, inbox: Inbox) -> None:
        """Give what was written before the failure a moment to come out as results."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            heard = False
            for _, message in inbox.receive(_LAST_WORDS_SECONDS):
                heard = True
                if message is not None and message[0] == "items":
                    self._take(message)
            if not heard:
                return

    def _take_the_rest(self, inbox: Inbox) -> None:
        """Take the results that were under way when the run failed: they are kept."""
        deadline = time.monotonic() + GRACE_SECONDS
        going = set(range(len(self.workers)))
        while time.monotonic() < deadline:
            quiet = not any(self.workers[number].is_alive() for number in going)
            for _, message in inbox.receive(_LAST_WORDS_SECONDS):
                quiet = False
                if message is not None and message[0] == "items":
                    self._take(message)
            if quiet:
                return

    def _note_death(self, number: int) -> None:
        """A worker has ended without a report: that is a failure."""
        worker = self.workers[number]
        worker.join(GRACE_SECONDS)
        how = cause_of_death(worker.exitcode)
        how += " - out of memory?" if worker.exitcode == -signal.SIGKILL else ""
        names = ", ".join(map(self.plan.name, self.plan.processes[number]))
        self.failure = WorkerDied(
            f"the worker process of {names} {how}; items that it held are lost"
        )


# --- in the worker process ------------------------------------------------------------------------


class _Terminated(BaseException):
    """The parent told this worker to end."""


def _work(job: Job, plan: Plan, number: int, transport: Transport, lock: LineLock) -> None:
    """A worker process, from its fork to its end."""
    try:
        hear_signals(_terminate)
        _work_to_the_end(job, plan, number, transport, lock)
        transport.close()
    finally:
        os._exit(0)  # what the parent has registered to be done at its exit is not ours to do


def _work_to_the_end(
    job: Job, plan: Plan, number: int, transport: Transport, lock: LineLock
) -> None:
    senders, inbox = transport.enter(number)
    results = ResultChannel(senders[WATCH], plan)
    others = {receiver: sender for receiver, sender in senders.items() if receiver != WATCH}
    link = Channels(plan, number, others, results.result)
    out = LineWriter(1, lock)
    sys.stdout = out

    def flush_failed(error: BaseException) -> None:
        _report(results, error)
        os.kill(os.getpid(), signal.SIGTERM)

    def look_for_parent() -> None:
        if is_orphan():
            os._exit(1)

    def idle() -> None:
        results.flush()
        out.flush()

    flusher = Flusher([*link.channels.values(), results], flush_failed, look_for_parent)
    try:
        flusher.start()
        worker = Worker(job.graph, plan, number, job.inputs, link)
        tell_levels(plan, number, {**link.channels, RESULTS: results}, worker.level)
        work_off(worker, link, inbox, idle)
        flusher.stop()
        link.flush()
        out.finish()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        results.send("done", worker.counts)
    except _Terminated:
        pass
    except BaseException as error:  # noqa: BLE001 - the parent is told, whatever it is
        with contextlib.suppress(OutputError):
            out.finish()
        _report(results, error)
        with contextlib.suppress(Disconnected, Halt, OSError):
            link.flush()  # what was written before goes on to those that still work
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with contextlib.suppress(OutputError):
            out.finish()
        sys.stderr.flush()


def _terminate(signum: int, frame: Any) -> None:
    raise _Terminated


def _report(results: ResultChannel, error: BaseException) -> None:
    """Tell the parent why the run is over, after all results that went before."""
    with contextlib.suppress(Disconnected):
        if isinstance(error, Disconnected):
            results.send_last("lost", None)
        else:
            results.send_last("failed", explained(error))
