"""The frames between the ranks of an MPI run.

A frame is one message. Large buffers are put into memory that the ranks of one machine share
(``runtime/transport/arena.py``). Between machines, or if that memory is full, each buffer is a
separate message, and its sender waits for it. Sends are synchronous and do not block. A channel has
only a few sends at a time, and few bytes, so that no queue grows: MPI itself buffers small messages
without a limit.

Between machines, frames and buffers may be compressed (``runtime/transport/compression.py``). A
buffer that is shorter than its frame says is a compressed one.

MPI calls are made by one thread at a time (``MPI_THREAD_SERIALIZED``).
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from d4pcwl.runtime.mpi.memory import share
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.compression import NEVER, Compressor, compressor, decompressed
from d4pcwl.runtime.transport.frames import Part

if TYPE_CHECKING:
    from mpi4py import MPI

ITEMS, RESULTS, OVER = 1, 2, 3
_BUFFERS = 10
"""Tags: of frames by what they are for; those of their large buffers are higher by _BUFFERS."""

_UNDER_WAY = 16
_BYTES_UNDER_WAY = 4 << 20
_MOST_BYTES = (1 << 31) - 1
"""A message of MPI has no more, and so a frame before it is compressed."""

LOOKS = 50
SHORTEST_SLEEP = 20e-6
"""A wait begins with a few checks, and continues with sleeps."""


class Waits(Protocol):
    """How a rank waits for others. It handles messages of the run while it waits."""

    def wait(self, done: Callable[[], bool], deadline: float | None = None) -> bool:
        """Wait for something; False if the deadline came first."""

    def may_wait(self, seconds: float) -> None:
        """Decide whether to wait longer for a message.

        :raises BaseException: do not wait any more
        """


class Frames:
    """This rank's ways to the others.

    :param comm: a communicator that nobody else uses
    :param pairs: of ranks, sender and receiver, that items go between
    :param compress: whether what goes to other machines is compressed
    """

    def __init__(
        self, comm: MPI.Intracomm, pairs: set[tuple[int, int]], waits: Waits, compress: str
    ) -> None:
        from mpi4py import MPI

        self.mpi, self.comm, self.waits = MPI, comm, waits
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        self.call = threading.RLock()
        self.shared_out, self._shared_in = share(comm, pairs)
        self._senders: list[RankSender] = []
        # Of all ranks the machine, and whether they can decompress.
        self._places = comm.allgather((MPI.Get_processor_name(), compress))

    def sender(self, receiver: int, tag: int) -> RankSender:
        """A way to another rank, for one kind of frames."""
        (here, compress), (there, theirs) = self._places[self.rank], self._places[receiver]
        mode = NEVER if theirs == NEVER else compress
        sender = RankSender(self, receiver, tag, compressor(mode, here != there, _UNDER_WAY))
        self._senders.append(sender)
        return sender

    def sent(self) -> dict[int, int]:
        """By receiver of items, the bytes of frames and buffers after compression."""
        senders = [sender for sender in self._senders if sender.tag == ITEMS]
        return {s.receiver: s.compressor.sent.total() for s in senders if s.compressor}

    def all_sent(self) -> bool:
        """Whether all frames have been received."""
        return not any(sender.under_way() for sender in self._senders)

    def send_on(self) -> None:
        """Let sends that are under way go on."""
        for sender in self._senders:
            sender.under_way()

    def tell_all(self, message: Any, deadline: float) -> None:
        """Send a message to all other ranks, and wait until they have it."""
        data = pickle.dumps(message)
        with self.call:
            requests = [
                self.comm.Issend([data, self.mpi.BYTE], rank, OVER)
                for rank in range(self.size)
                if rank != self.rank
            ]
        self.waits.wait(lambda: self._complete(requests), deadline)

    def _complete(self, requests: list[MPI.Request]) -> bool:
        with self.call:
            return bool(self.mpi.Request.Testall(requests))

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
            self._await(request, status)
            sent = status.Get_count(self.mpi.BYTE)
            return buffer if sent == size else bytearray(decompressed(buffer[:sent], size))

        return source, frames.decode(decompressed(data, _MOST_BYTES), None, fetch)

    def _await(self, request: MPI.Request, status: MPI.Status | None = None) -> None:
        """Wait for a message that is on its way, unless its sender has been interrupted."""
        looks, began = 0, time.monotonic()
        while True:
            with self.call:
                if request.Test(status):
                    return
            looks += 1
            if looks < LOOKS:
                os.sched_yield()
                continue
            self.waits.may_wait(time.monotonic() - began)
            time.sleep(SHORTEST_SLEEP)


class RankSender:
    """The way to another rank, of one kind of frames."""

    def __init__(
        self, frames: Frames, receiver: int, tag: int, compressor: Compressor | None
    ) -> None:
        self.receiver, self.tag, self.compressor = receiver, tag, compressor
        self._way = frames
        self._arena = frames.shared_out.get(receiver) if tag == ITEMS else None
        self._frames: deque[tuple[list[MPI.Request], Any]] = deque()  # with what they send
        self._bytes = 0  # of these frames

    def send(self, data: bytes, buffers: Sequence[memoryview]) -> None:
        """Send a frame; see :class:`~d4pcwl.runtime.transport.channel.Sender`."""
        way, byte, compressor = self._way, self._way.mpi.BYTE, self.compressor
        blocked = 0.0
        if not self._has_room():
            blocked = self._wait(self._has_room)
        places = [self._place(buffer) for buffer in buffers]
        frame: Part = b"".join(frames.frame(data, buffers, places))
        apart: list[Part] = [b for b, place in zip(buffers, places, strict=True) if place == 1]
        if compressor is not None:
            frame = compressor.batch("frames", frame)
            apart = [compressor.batch("buffers", buffer) for buffer in apart]
        with way.call:
            requests = [way.comm.Issend([frame, byte], self.receiver, self.tag)]
            requests += [
                way.comm.Issend([buffer, byte], self.receiver, self.tag + _BUFFERS)
                for buffer in apart
            ]
            self._frames.append((requests, (frame, apart)))
            self._bytes += len(frame)
        if apart:  # it is the caller's own memory that is being sent
            blocked += self._wait(lambda: not self.under_way())
        if compressor is not None:
            compressor.blocked(compressor.taken(), blocked)

    def _wait(self, done: Callable[[], bool]) -> float:
        """Wait for something; the seconds that this took."""
        began = time.perf_counter()
        self._way.waits.wait(done)
        return time.perf_counter() - began

    def _place(self, buffer: memoryview) -> int:
        """Where a buffer goes: 0 into the frame, 1 into a message, else into shared memory."""
        if buffer.nbytes < frames.LARGE:
            return 0
        place = self._arena.put(buffer) if self._arena else 0
        if place and self.compressor:
            self.compressor.sent["arena"] += buffer.nbytes
        return 1 + place

    def _has_room(self) -> bool:
        return self.under_way() < _UNDER_WAY and self._bytes < _BYTES_UNDER_WAY

    def under_way(self) -> int:
        """How many frames are not yet received."""
        with self._way.call:
            while self._frames and self._way.mpi.Request.Testall(self._frames[0][0]):
                _, (frame, _) = self._frames.popleft()
                self._bytes -= len(frame)
            return len(self._frames)


class RankInbox:
    """The items for this rank: an :class:`~d4pcwl.runtime.static.loop.Inbox`.

    :param fed: whether any rank sends items to this one
    """

    def __init__(self, frames: Frames, fed: bool) -> None:
        self._way, self._fed = frames, fed

    def receive(self, timeout: float | None) -> Iterator[tuple[int, Any]]:
        """The next message, if there is one."""
        way, found = self._way, list[tuple[int, Any]]()
        if not self._fed and timeout == 0:
            return

        def look() -> bool:
            message = way.next(ITEMS)
            if message is not None:
                found.append(message)
            return message is not None

        if not look() and timeout is None:
            way.waits.wait(look)
        yield from found
