"""The ranks of an MPI run: what each does, and how they end together.

Every rank is one process of the plan. Rank 0 is a process like the others. It also takes the
results, and the text that PEs print. For the sending of frames see ``runtime/mpi/frames.py``.

A rank that waits for a send also handles messages for rank 0, or from rank 0
(:meth:`Ranks.attend`), but works on no items. So results never wait for PEs, items wait only for
PEs downstream, and no ranks wait for each other in a circle. While PEs are busy, a thread does the
same every few milliseconds, and sends items that have waited. A wait begins with a few checks, and
continues with sleeps of up to 1 ms.

The end: every rank sends ("done", counts) to rank 0, or ("failed", error). After an error, rank 0
tells all ranks to stop. A rank that stops discards what it receives until its own sends are over,
and sends ("stopped"). When all ranks have ended, rank 0 sends "bye". If a rank does not answer in
time, it is aborted when rank 0 exits, after the message.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from d4pcwl.errors import D4pcwlError, RunError
from d4pcwl.runtime.engine.instance import Halt, Receive
from d4pcwl.runtime.engine.marks import RESULTS as TO_SINK
from d4pcwl.runtime.engine.marks import Level, NewLevels, SortedResults, wanted_levels
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.engine.worker import Worker
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.local.attended import Attended
from d4pcwl.runtime.local.console import Lines, LineWriter
from d4pcwl.runtime.local.measured import measured
from d4pcwl.runtime.local.reports import explained
from d4pcwl.runtime.mpi.console import console
from d4pcwl.runtime.mpi.frames import (
    ITEMS,
    LOOKS,
    OVER,
    RESULTS,
    SHORTEST_SLEEP,
    Frames,
    RankInbox,
    RankSender,
)
from d4pcwl.runtime.static.loop import (
    Channels,
    ResultChannel,
    joined,
    tell_levels,
    work_off,
)
from d4pcwl.runtime.transport.channel import Channel, Disconnected
from d4pcwl.runtime.transport.outbox import deliver

if TYPE_CHECKING:
    from mpi4py import MPI

_LONGEST_SLEEP = 1e-3
_GRACE_SECONDS = 2.0
_PATIENCE_SECONDS = 20.0
"""How long a rank waits for the last message of rank 0. If it ends earlier, its own message may be
lost."""


class Stopped(Disconnected):
    """The run ends because another rank has failed."""


class Ranks:
    """This rank among the others.

    :param comm: a communicator that nobody else uses
    :param compress: whether batches between hosts are compressed
    """

    def __init__(self, comm: MPI.Intracomm, job: Job, plan: Plan, compress: str) -> None:
        self.job, self.plan = job, plan
        self.failure: D4pcwlError | None = None
        self.counts: dict[int, int] = {}
        self.clean = False  # whether all ranks have come to the end together
        self.rank: int = comm.Get_rank()
        self.pairs = joined(plan)
        self.frames = Frames(comm, self.pairs, self, compress)
        self._attending = threading.Lock()
        self._sink = threading.Lock()
        self._expected = set(range(1, self.frames.size)) if self.rank == 0 else set[int]()
        takers = [job.sink.take(*port) for port in plan.results] if self.rank == 0 else []
        self._results = SortedResults(plan, takers)
        self._own_levels: Callable[[], list[Level]] = list
        self._heard = False  # "bye"
        self._draining = False
        self._attended = Attended()
        self._texts: Lines | None = None

    # --- the run --------------------------------------------------------------------------------

    def run(self) -> None:
        """Do the work of this rank's process, and end together with the others.

        :raises RunError: a PE failed, on whichever rank
        """
        results = None
        if self.rank != 0:
            results = ResultChannel(self.frames.sender(0, RESULTS), self.plan)
        with console(results, alone=self.frames.size == 1) as out:
            self._texts = out.lines
            senders = {
                receiver: self.frames.sender(receiver, ITEMS)
                for sender, receiver in sorted(self.pairs)
                if sender == self.rank
            }
            link = Channels(
                self.plan, self.rank, senders, results.result if results else self._own_result
            )
            error = self._work(link, results, out)
            if self.rank == 0:
                self._end_as_first(error)
            else:
                assert results is not None
                self._end_as_other(error, results)
        self._results.give_up()
        if error is not None and not isinstance(error, (Exception, Stopped, Halt)):
            raise error
        if self.failure is not None:
            raise self.failure

    def _work(
        self, link: Channels, results: ResultChannel | None, out: LineWriter
    ) -> BaseException | None:
        """Run the instances of this rank; the error that ended it."""
        channels = [*link.channels.values(), *([results] if results else [])]

        def tick() -> None:
            self.attend()
            if self.rank != 0:
                out.flush()
            for channel in channels:
                channel.flush()
            self._note_own_levels()
            self.frames.send_on()

        def stuck(error: BaseException) -> None:
            if self.rank == 0:
                sys.stderr.write(f"error: {explained(error)}\n")
                sys.stderr.flush()
                self.frames.comm.Abort(1)

        def idle() -> None:
            if results is not None:
                results.flush()
            self._note_own_levels()
            out.flush()

        def work() -> None:
            if self.rank < len(self.plan.processes):
                job = self.job
                worker = Worker(job.graph, self.plan, self.rank, job.inputs, link, own=job.own_pes)
                self._tell_levels(worker, link, results)
                fed = any(receiver == self.rank for _, receiver in self.pairs)
                with measured(
                    [worker],
                    job.hear if results is None else partial(results.send, "lap"),
                    sent=lambda: link.traffic(self.frames.sent()),
                    waits=[RankInbox.receive],
                    sends=[Channel.flush, RankSender.send],
                ):
                    work_off(worker, link, RankInbox(self.frames, fed), idle)
                self.counts.update(worker.counts)
            link.flush()
            self._note_own_levels()
            out.finish()

        error = self._attended.run(work, tick, stuck)
        self._attended.stop()
        # The signal may have come while a lock was held; one thread is left.
        self.frames.call = threading.RLock()
        self._attending, self._sink = threading.Lock(), threading.Lock()
        if error is not None:
            self._draining = True
            with contextlib.suppress(BaseException):
                out.finish()
        return error

    def _end_as_first(self, error: BaseException | None) -> None:
        if error is None:
            try:
                self.wait(lambda: not self._expected)
            except BaseException as caught:  # noqa: BLE001 - the other ranks must know about any error
                error = caught
        if self.failure is None and error is not None:
            self.failure = explained(error)
        if self.failure is not None:
            self._draining = True
            self._tell_all("stop", self.failure)
            deadline = time.monotonic() + _GRACE_SECONDS
            with contextlib.suppress(Stopped):
                self.wait(lambda: self.frames.all_sent() and not self._expected, deadline)
        if not self._expected:
            self._tell_all("bye", None)
            self.clean = True

    def _end_as_other(self, error: BaseException | None, results: ResultChannel) -> None:
        try:
            if error is None:
                self.wait(self.frames.all_sent)
                results.send("done", self.counts)
            elif not isinstance(error, Stopped):
                self.failure = explained(error)
                results.send_last("failed", self.failure)
        except (Stopped, Halt) as caught:
            error = caught
        self._draining = True
        if error is not None:
            # Rank 0 still takes results from before the failure.
            deadline = time.monotonic() + _GRACE_SECONDS
            with contextlib.suppress(Stopped):
                if self.wait(self.frames.all_sent, deadline):
                    results.send_last("stopped", None)
        until = None if error is None else time.monotonic() + _PATIENCE_SECONDS
        with contextlib.suppress(Stopped):
            self.clean = self.wait(lambda: self._heard and self.frames.all_sent(), until)

    def _tell_all(self, kind: str, content: Any) -> None:
        self.frames.tell_all((kind, content), time.monotonic() + _GRACE_SECONDS)

    # --- waiting --------------------------------------------------------------------------------

    def wait(self, done: Callable[[], bool], deadline: float | None = None) -> bool:
        """Wait for something, and handle messages for or from rank 0 meanwhile.

        :raises Stopped: the run ends
        """
        looks, sleep = 0, SHORTEST_SLEEP
        while not done():
            if self.attend():
                looks, sleep = 0, SHORTEST_SLEEP
                continue
            if deadline is not None and time.monotonic() > deadline:
                return False
            looks += 1
            if looks < LOOKS:
                os.sched_yield()
            else:
                time.sleep(sleep)
                sleep = min(2 * sleep, _LONGEST_SLEEP)
        return True

    def may_wait(self, seconds: float) -> None:
        """See :class:`~d4pcwl.runtime.mpi.frames.Waits`.

        :raises Stopped: the run ends
        """
        self._stop_if_asked()
        if self._draining and seconds > _GRACE_SECONDS:
            raise Stopped("a message is incomplete")

    def attend(self) -> bool:
        """Take results and reports (on rank 0), or messages from rank 0. Returns whether there were
        any.

        :raises Stopped: the run ends
        """
        self._stop_if_asked()
        if not self._attending.acquire(blocking=False):
            return False  # another thread does this, or this one already does
        try:
            if self.rank == 0:
                self.job.check()
            found = self._take_up(RESULTS if self.rank == 0 else OVER)
            if self._draining:
                found = self._take_up(ITEMS) or found
        finally:
            self._attending.release()
        if self.failure is not None and not self._draining:
            raise Stopped(str(self.failure))
        return found

    def _stop_if_asked(self) -> None:
        """Raise the error that ends the work, if a signal cannot."""
        if self._attended.error is not None and not self._draining:
            raise self._attended.error

    def _take_up(self, tag: int) -> bool:
        found = self.frames.next(tag)
        if found is None:
            return False
        source, message = found
        if tag == RESULTS:
            self._hear(source, *message)
        elif tag == OVER:
            self._heard = message[0] == "bye"
            if message[0] == "stop" and self.failure is None:
                self.failure = message[1]
        return True

    def _hear(self, source: int, kind: str, content: Any, levels: Sequence[Level] = ()) -> None:
        """Take results, texts and reports, on rank 0."""
        if kind == "items":
            with self._sink:
                deliver(self._results.takers, content)
                if levels:
                    self._results.note(levels)
        elif kind == "text":
            assert self._texts is not None
            self._texts.put_lines(content)
        elif kind == "lap":
            self.job.hear(content)
        elif kind == "failed":
            self.failure = self.failure or content
        else:
            self._expected.discard(source)
            if kind == "done":
                self.counts.update(content)

    def _tell_levels(self, worker: Worker, link: Channels, results: ResultChannel | None) -> None:
        channels: dict[int, Channel] = dict(link.channels)
        if results is not None:
            channels[TO_SINK] = results
        tell_levels(self.plan, self.rank, channels, worker.level)
        if results is None:
            wanted = wanted_levels(self.plan, self.rank).get(TO_SINK, ())
            self._own_levels = NewLevels(wanted, worker.level)

    def _note_own_levels(self) -> None:
        """Note the levels of rank 0's own instances for their results."""
        with self._sink:
            if levels := self._own_levels():
                self._results.note(levels)

    def _own_result(self, pe: str, output: str) -> Receive:
        take, sink = self._results.takers[self.plan.slots[pe, output]], self._sink

        def receive(item: Any) -> None:
            with sink:
                take((item,))

        return receive


def agree(comm: MPI.Intracomm, plan: str, error: D4pcwlError | None) -> None:
    """Begin a run together.

    :raises D4pcwlError: on every rank, the error of the first rank that has one
    """
    found: list[tuple[str, D4pcwlError | None]] = comm.allgather((plan, error))
    for _, theirs in found:
        if theirs is not None:
            raise theirs
    if any(theirs != found[0][0] for theirs, _ in found):
        raise RunError("the ranks have made different plans: is the script the same for all?")
