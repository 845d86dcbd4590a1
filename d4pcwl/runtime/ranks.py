"""The ranks of an MPI run: how frames travel between them, and how they end together.

Every rank is one process of the plan. Rank 0 is a process like the others and takes the results,
and what PEs print, as well. A frame is one message. Large buffers are left in memory that the ranks
of one machine share (:class:`~d4pcwl.runtime.arena.Arena`); otherwise, or where that is full, each
is a message of its own, which its sender waits for. Sends are synchronous and do not block, and a
channel has only a few under way, so that no queue grows: MPI buffers small messages without limit
otherwise.

Whoever waits for a send also takes up what is for rank 0 there, or what rank 0 has to say
(:meth:`Ranks.attend`), but works on no items: so results never wait for PEs, items only for those
downstream, and nobody for each other in a circle. A thread does the same every few milliseconds
while PEs are busy, and sends on what has waited; MPI calls are made by one thread at a time
(``MPI_THREAD_SERIALIZED``). Waiting begins with a few looks and goes over to sleeps of up to 1 ms.

The end: every rank tells rank 0 ("done", counts), or ("failed", error) on which rank 0 tells all to
stop; a rank that stops discards what it is sent until its own sends are over, and says ("stopped").
When all have said so, rank 0 says "bye". A rank that does not answer in time is aborted when rank 0
exits, after its message.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d4pcwl.errors import D4pcwlError, ItemError, RunError
from d4pcwl.runtime import wire
from d4pcwl.runtime.arena import Arena, arena_bytes
from d4pcwl.runtime.channel import PROMPT_SECONDS, Disconnected
from d4pcwl.runtime.console import LineLock, LineWriter
from d4pcwl.runtime.instance import Halt, Receive
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.plan import Plan
from d4pcwl.runtime.static import (
    Channels,
    ResultChannel,
    deliver,
    explained,
    joined,
    work_off,
)
from d4pcwl.runtime.worker import Worker

if TYPE_CHECKING:
    from mpi4py import MPI

ITEMS, RESULTS, OVER = 1, 2, 3
_BUFFERS = 10
"""Tags: of frames by what they are for; those of their large buffers are higher by _BUFFERS."""

_UNDER_WAY = 16
_LOOKS = 50
_SHORTEST_SLEEP, _LONGEST_SLEEP = 20e-6, 1e-3
_GRACE_SECONDS = 2.0
_PATIENCE_SECONDS = 20.0
"""How long a rank waits for rank 0's last word: who leaves before it may take its message away."""


class Stopped(Disconnected):
    """The run ends because another rank has failed."""


class Ranks:
    """This rank among the others.

    :param comm: a communicator that nobody else uses
    """

    def __init__(self, comm: MPI.Intracomm, job: Job, plan: Plan) -> None:
        from mpi4py import MPI

        self.mpi, self.comm, self.job, self.plan = MPI, comm, job, plan
        self.rank: int = comm.Get_rank()
        self.failure: D4pcwlError | None = None
        self.counts: dict[int, int] = {}
        self.clean = False  # whether all ranks have come to the end together
        self.call = threading.RLock()
        self._attending = threading.Lock()
        self._sink = threading.Lock()
        self._expected = set(range(1, comm.Get_size())) if self.rank == 0 else set[int]()
        self._takers: list[Receive] = []
        if self.rank == 0:
            self._takers = [job.sink.take(pe, output) for pe, output in plan.results]
        self._heard = False  # "bye"
        self._interruption: BaseException | None = None
        self._interrupted_at = 0.0
        self._interruptible = True
        self._draining = False
        self._main = threading.get_ident()
        self._senders: list[RankSender] = []
        self.shared_out, self._shared_in = _share(comm, joined(plan))
        self._texts: LineWriter | None = None

    # --- the run --------------------------------------------------------------------------------

    def run(self) -> None:
        """Work off this rank's process, and come to the end with the others.

        :raises RunError: a PE failed, on whichever rank
        """
        with self._console() as out, self._signal():
            results = None
            if self.rank != 0:
                results = ResultChannel(self._sender(0, RESULTS), self.plan)
                out.to(results)
            senders = {
                receiver: self._sender(receiver, ITEMS)
                for sender, receiver in sorted(joined(self.plan))
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
        if error is not None and not isinstance(error, (Exception, Stopped, Halt)):
            raise error
        if self.failure is not None:
            raise self.failure

    def _work(
        self, link: Channels, results: ResultChannel | None, out: _Console
    ) -> BaseException | None:
        """Run the instances of this rank; the error that ended it."""
        ended = threading.Event()
        channels = [*link.channels.values(), *([results] if results else [])]

        def tick() -> None:
            while not ended.wait(PROMPT_SECONDS):
                if self._interruption is None:
                    try:
                        self.attend()
                        for channel in channels:
                            channel.flush()
                        for sender in self._senders:
                            sender.under_way()
                    except BaseException as error:  # noqa: BLE001 - the main thread is told
                        self._interrupt(error)
                elif time.monotonic() > self._interrupted_at + _GRACE_SECONDS:
                    # A PE neither returns nor lets itself be interrupted.
                    if self.rank == 0:
                        sys.stderr.write(f"error: {explained(self._interruption)}\n")
                        sys.stderr.flush()
                        self.comm.Abort(1)
                    return

        def idle() -> None:
            if results is not None:
                results.flush()
            out.flush()

        thread = threading.Thread(target=tick, name="d4pcwl-flusher", daemon=True)
        error: BaseException | None = None
        try:
            try:
                thread.start()
                if self.rank < len(self.plan.processes):
                    job = self.job
                    worker = Worker(
                        job.graph, self.plan, self.rank, job.inputs, link, own=job.own_pes
                    )
                    work_off(worker, link, RankInbox(self), idle)
                    self.counts.update(worker.counts)
                link.flush()
                out.finish()
            except BaseException as caught:  # noqa: BLE001 - the others are told, whatever it is
                error = caught
            self._interruptible = False
        except BaseException as caught:  # noqa: BLE001 - the one signal came in between
            self._interruptible = False
            error = caught
        error = self._interruption or error
        ended.set()
        thread.join()
        # The signal may have come between a lock and its release; one thread is left.
        self.call, self._attending, self._sink = (
            threading.RLock(),
            threading.Lock(),
            threading.Lock(),
        )
        if error is not None:
            self._draining = True
            with contextlib.suppress(BaseException):
                out.finish()
        return error

    def _end_as_first(self, error: BaseException | None) -> None:
        if error is None:
            try:
                self.wait(lambda: not self._expected)
            except BaseException as caught:  # noqa: BLE001 - the others are told, whatever it is
                error = caught
        if self.failure is None and error is not None:
            self.failure = explained(error)
        if self.failure is not None:
            self._draining = True
            self._tell_all("stop", self.failure)
            deadline = time.monotonic() + _GRACE_SECONDS
            with contextlib.suppress(Stopped):
                self.wait(lambda: self._all_sent() and not self._expected, deadline)
        if not self._expected:
            self._tell_all("bye", None)
            self.clean = True

    def _end_as_other(self, error: BaseException | None, results: ResultChannel) -> None:
        try:
            if error is None:
                self.wait(self._all_sent)
                results.send("done", self.counts)
            elif not isinstance(error, Stopped):
                self.failure = explained(error)
                results.send_last("failed", self.failure)
        except (Stopped, ItemError) as caught:
            error = caught
        self._draining = True
        if error is not None:
            # Rank 0 still takes the results of before the failure.
            deadline = time.monotonic() + _GRACE_SECONDS
            with contextlib.suppress(Stopped):
                if self.wait(self._all_sent, deadline):
                    results.send_last("stopped", None)
        until = None if error is None else time.monotonic() + _PATIENCE_SECONDS
        with contextlib.suppress(Stopped):
            self.clean = self.wait(lambda: self._heard and self._all_sent(), until)

    def _tell_all(self, kind: str, content: Any) -> None:
        data = pickle.dumps((kind, content))
        with self.call:
            requests = [
                self.comm.Issend([data, self.mpi.BYTE], rank, OVER)
                for rank in range(1, self.comm.Get_size())
            ]
        self.wait(lambda: self._complete(requests), time.monotonic() + _GRACE_SECONDS)

    def _complete(self, requests: list[MPI.Request]) -> bool:
        with self.call:
            return bool(self.mpi.Request.Testall(requests))

    # --- waiting --------------------------------------------------------------------------------

    def wait(self, done: Callable[[], bool], deadline: float | None = None) -> bool:
        """Wait for something, and attend to rank 0's affairs the while.

        :raises Stopped: the run ends
        """
        looks, sleep = 0, _SHORTEST_SLEEP
        while not done():
            if self.attend():
                looks, sleep = 0, _SHORTEST_SLEEP
                continue
            if deadline is not None and time.monotonic() > deadline:
                return False
            looks += 1
            if looks < _LOOKS:
                os.sched_yield()
            else:
                time.sleep(sleep)
                sleep = min(2 * sleep, _LONGEST_SLEEP)
        return True

    def attend(self) -> bool:
        """Take up results and reports (rank 0), or what rank 0 has to say; whether there was any.

        :raises Stopped: the run ends
        """
        if not self._draining and self._interruption is not None:
            raise self._interruption
        if not self._attending.acquire(blocking=False):
            return False  # another thread does, or this one is at it
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

    def _take_up(self, tag: int) -> bool:
        found = self.next(tag)
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

    def _hear(self, source: int, kind: str, content: Any) -> None:
        """Take results, texts and reports, on rank 0."""
        if kind == "items":
            with self._sink:
                deliver(self._takers, content)
        elif kind == "text":
            assert self._texts is not None
            self._texts.write(content)
            self._texts.flush()
        elif kind == "failed":
            self.failure = self.failure or content
        else:
            self._expected.discard(source)
            if kind == "done":
                self.counts.update(content)

    def _own_result(self, pe: str, output: str) -> Receive:
        take, sink = self._takers[self.plan.results.index((pe, output))], self._sink

        def receive(item: Any) -> None:
            with sink:
                take(item)

        return receive

    # --- frames ---------------------------------------------------------------------------------

    def _sender(self, receiver: int, tag: int) -> RankSender:
        sender = RankSender(self, receiver, tag)
        self._senders.append(sender)
        return sender

    def _all_sent(self) -> bool:
        return not any(sender.under_way() for sender in self._senders)

    def next(self, tag: int) -> tuple[int, Any] | None:
        """The next frame of a kind, with its sender, if there is one."""
        status = self.mpi.Status()
        with self.call:
            message = self.comm.Improbe(self.mpi.ANY_SOURCE, tag, status)
            if message is None:
                return None
            source = status.Get_source()
            data = bytearray(status.Get_count(self.mpi.BYTE))
            request = message.Irecv([data, self.mpi.BYTE])
        self._await(request)
        if tag == OVER:
            return source, pickle.loads(data)

        def fetch(place: int, size: int) -> Any:
            if place > 1:
                return self._shared_in[source].get(place - 1, size)
            buffer = bytearray(size)
            with self.call:
                request = self.comm.Irecv([buffer, self.mpi.BYTE], source, tag + _BUFFERS)
            self._await(request)
            return buffer

        return source, wire.decode(data, None, fetch)

    def _await(self, request: MPI.Request) -> None:
        """Wait for a message that is on its way, unless its sender has been interrupted.

        :raises Stopped: the run ends
        """
        looks, began = 0, time.monotonic()
        while True:
            with self.call:
                if request.Test():
                    return
            looks += 1
            if looks < _LOOKS:
                os.sched_yield()
                continue
            if self._interruption is not None and not self._draining:
                raise self._interruption
            if self._draining and time.monotonic() > began + _GRACE_SECONDS:
                raise Stopped("a message is incomplete")
            time.sleep(_SHORTEST_SLEEP)

    # --- being interrupted, and standard output -------------------------------------------------

    def _interrupt(self, error: BaseException) -> None:
        """Make the main thread leave a PE that it may be in."""
        self._interrupted_at = time.monotonic()
        self._interruption = error
        if self._main == threading.main_thread().ident:
            signal.pthread_kill(self._main, signal.SIGTERM)

    @contextlib.contextmanager
    def _signal(self) -> Iterator[None]:
        if self._main != threading.main_thread().ident:
            yield
            return

        def handle(signum: int, frame: Any) -> None:
            if self._interruption is None:
                signal.signal(signal.SIGTERM, before)
                os.kill(os.getpid(), signal.SIGTERM)
            elif self._interruptible:
                raise self._interruption

        before = signal.signal(signal.SIGTERM, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextlib.contextmanager
    def _console(self) -> Iterator[_Console]:
        """Lines of all ranks go out by way of rank 0, whole, and before the results."""
        before, lock = sys.stdout, LineLock()
        before.flush()
        out = _Console(lock)
        self._texts = LineWriter(1, lock)
        if self.comm.Get_size() > 1:
            sys.stdout = out
        try:
            yield out
        finally:
            sys.stdout = before
            lock.close()


class _Console(LineWriter):
    """Standard output: this rank's own, or by way of rank 0."""

    def __init__(self, lock: LineLock) -> None:
        super().__init__(1, lock)
        self._results: ResultChannel | None = None

    def to(self, results: ResultChannel) -> None:
        """Send lines to rank 0 from now on."""
        self._results = results

    def _put(self, text: str) -> None:
        if self._results is None:
            super()._put(text)
        else:
            self._results.send("text", text)


class RankSender:
    """The way to another rank, of one kind of frames."""

    def __init__(self, ranks: Ranks, receiver: int, tag: int) -> None:
        self._ranks, self._receiver, self._tag = ranks, receiver, tag
        self._arena = ranks.shared_out.get(receiver) if tag == ITEMS else None
        self._frames: deque[tuple[list[MPI.Request], Any]] = deque()  # with what they send

    def send(self, data: bytes, buffers: Sequence[memoryview]) -> None:
        """Send a frame; see :class:`~d4pcwl.runtime.channel.Sender`."""
        ranks, byte = self._ranks, self._ranks.mpi.BYTE
        if self.under_way() >= _UNDER_WAY:
            ranks.wait(lambda: self.under_way() < _UNDER_WAY)
        places = [self._place(buffer) for buffer in buffers]
        frame = b"".join(wire.frame(data, buffers, places))
        apart = [buffer for buffer, place in zip(buffers, places, strict=True) if place == 1]
        with ranks.call:
            requests = [ranks.comm.Issend([frame, byte], self._receiver, self._tag)]
            requests += [
                ranks.comm.Issend([buffer, byte], self._receiver, self._tag + _BUFFERS)
                for buffer in apart
            ]
            self._frames.append((requests, (frame, apart)))
        if apart:  # it is the caller's own memory that is being sent
            ranks.wait(lambda: not self.under_way())

    def _place(self, buffer: memoryview) -> int:
        """Where a buffer goes: 0 into the frame, 1 into a message, else into shared memory."""
        if buffer.nbytes < wire.LARGE:
            return 0
        return 1 + (self._arena.put(buffer) if self._arena else 0)

    def under_way(self) -> int:
        """How many frames are not yet received."""
        with self._ranks.call:
            while self._frames and self._ranks.mpi.Request.Testall(self._frames[0][0]):
                self._frames.popleft()
            return len(self._frames)


class RankInbox:
    """The items for this rank: an :class:`~d4pcwl.runtime.static.Inbox`."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._fed = any(receiver == ranks.rank for _, receiver in joined(ranks.plan))

    def receive(self, timeout: float | None) -> Iterator[tuple[int, Any]]:
        """The next message, if there is one."""
        ranks, found = self._ranks, list[tuple[int, Any]]()
        if not self._fed and timeout == 0:
            return

        def look() -> bool:
            message = ranks.next(ITEMS)
            if message is not None:
                found.append(message)
            return message is not None

        if not look() and timeout is None:
            ranks.wait(look)
        yield from found


def _share(
    comm: MPI.Intracomm, pairs: set[tuple[int, int]]
) -> tuple[dict[int, Arena], dict[int, Arena]]:
    """Memory shared with the ranks of this machine: by receiver, and by sender."""
    rank, size = comm.Get_rank(), arena_bytes(len(pairs))
    fds: dict[int, int] = {}
    if hasattr(os, "memfd_create"):
        fds = {to: os.memfd_create("d4pcwl") for sender, to in pairs if sender == rank}
    ways_out = {to: Arena(size, fd) for to, fd in fds.items()}
    ways_in: dict[int, Arena] = {}
    here = _machine()
    offers = comm.allgather((here, os.getpid(), fds))
    for sender, (machine, pid, theirs) in enumerate(offers):
        if here and machine == here and rank in theirs:
            with contextlib.suppress(OSError):
                fd = os.open(f"/proc/{pid}/fd/{theirs[rank]}", os.O_RDWR)
                ways_in[sender] = Arena(size, fd)
                os.close(fd)
    taken = comm.allgather(set(ways_in))
    for fd in fds.values():
        os.close(fd)
    return {to: arena for to, arena in ways_out.items() if rank in taken[to]}, ways_in


def _machine() -> str:
    """What is equal for processes that can open each other's descriptors."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return boot + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def agree(comm: MPI.Intracomm, plan: str, error: D4pcwlError | None) -> None:
    """Begin a run together.

    :raises D4pcwlError: on every rank, what is wrong on the first of them where something is
    """
    found: list[tuple[str, D4pcwlError | None]] = comm.allgather((plan, error))
    for _, theirs in found:
        if theirs is not None:
            raise theirs
    if any(theirs != found[0][0] for theirs, _ in found):
        raise RunError("the ranks have made different plans: is the script the same for all?")
