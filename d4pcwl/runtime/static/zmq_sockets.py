"""Processes of one machine, connected by ZeroMQ.

Every process has one socket, to which all others send: a Unix socket in a private folder, or a port
of the loopback interface, where every frame begins with a secret of the run. Queues hold a few
batches, and a few megabytes. ZeroMQ counts only messages, so the bytes that are on their way are
counted in memory that sender and receiver share.
"""

from __future__ import annotations

import mmap
import os
import secrets
import select
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from d4pcwl.runtime.engine.marks import RESULTS
from d4pcwl.runtime.local.private_folder import PrivateFolder
from d4pcwl.runtime.local.processes import is_orphan
from d4pcwl.runtime.transport import frames

if TYPE_CHECKING:
    import zmq

_QUEUED_FRAMES = 4
_QUEUED_BYTES = 4 << 20
_LOOK_MILLISECONDS = 200
_SLEEPS = (50e-6, 2e-3)
"""How long a sender sleeps while it waits for room: at first, and later."""


class Sockets:
    """The transport: listening sockets made before the fork, ZeroMQ's own made in each process.

    :param pairs: sender and receiver
    :param tcp: ports rather than Unix sockets
    """

    def __init__(self, pairs: Sequence[tuple[int, int]], tcp: bool) -> None:
        self._pairs, self._owner = pairs, os.getpid()
        self._secret = secrets.token_bytes(16)
        self._counts = {pair: _Count() for pair in pairs}
        self._over = os.pipe()  # at its end when the parent has closed it
        self._to_close = ExitStack()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._senders: dict[int, _ZmqSender] = {}
        self._listening: dict[int, socket.socket] = {}
        self._addresses: dict[int, str] = {}
        folder = "" if tcp else self._folder()
        for number in sorted({receiver for _, receiver in pairs}):
            listening = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
            listening.bind(("127.0.0.1", 0) if tcp else f"{folder}/{number}")
            listening.listen(len(pairs))
            name = listening.getsockname()
            self._addresses[number] = f"tcp://127.0.0.1:{name[1]}" if tcp else f"ipc://{name}"
            self._listening[number] = listening

    def _folder(self) -> str:
        folder = PrivateFolder("d4pcwl-zmq-")
        self._to_close.callback(folder.remove)
        return str(folder.path)

    def enter(self, number: int) -> tuple[dict[int, _ZmqSender], _ZmqInbox]:
        """In the process with this number: the senders, by receiver, and the inbox."""
        import zmq

        if os.getpid() != self._owner:
            os.close(self._over[1])
        self._context = zmq.Context()
        pull = self._context.socket(zmq.PULL)
        pull.set_hwm(_QUEUED_FRAMES)
        for owner, listening in self._listening.items():
            if owner == number:
                pull.setsockopt(zmq.USE_FD, listening.detach())
                pull.bind(self._addresses[number])
            else:
                listening.close()
        for receiver in (receiver for sender, receiver in self._pairs if sender == number):
            push = self._context.socket(zmq.PUSH)
            push.set_hwm(_QUEUED_FRAMES)
            push.connect(self._addresses[receiver])
            prefix = self._secret + number.to_bytes(4, "little", signed=True)
            self._senders[receiver] = _ZmqSender(push, prefix, self._counts[number, receiver])
        counts = {sender: self._counts[sender, to] for sender, to in self._pairs if to == number}
        return self._senders, _ZmqInbox(pull, self._secret, counts)

    def close(self, *, over: bool = False) -> None:
        """See :class:`~d4pcwl.runtime.static.watch.Transport`.

        Data on their way are lost when a worker ends. So it waits until all is received, or the
        parent has closed.
        """
        if os.getpid() != self._owner:
            self._wait_until_received({RESULTS} if over else self._senders.keys())
            return
        if self._context is not None:
            self._context.destroy(linger=0)
        for listening in self._listening.values():
            listening.close()
        for fd in self._over:
            os.close(fd)
        self._to_close.close()

    def _wait_until_received(self, receivers: Iterable[int]) -> None:
        senders = [self._senders[receiver] for receiver in receivers]
        sleep, longest = _SLEEPS
        while any(sender.under_way for sender in senders):
            if select.select([self._over[0]], [], [], sleep)[0]:
                return
            sleep = min(2 * sleep, longest)


class _Count:
    """How many bytes a receiver has taken from a sender, in memory that they share.

    It is written by the receiver only, in one piece.
    """

    def __init__(self) -> None:
        self._cell = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")

    @property
    def taken(self) -> int:
        return self._cell[0]

    @taken.setter
    def taken(self, number: int) -> None:
        self._cell[0] = number


class _ZmqSender:
    """A way out."""

    def __init__(self, push: zmq.Socket[bytes], prefix: bytes, count: _Count) -> None:
        self._push, self._prefix, self._count, self._sent = push, prefix, count, 0

    @property
    def under_way(self) -> int:
        """Bytes that were sent and have not been received."""
        return self._sent - self._count.taken

    def send(self, data: bytes, buffers: Sequence[memoryview]) -> None:
        import zmq

        parts = [self._prefix, *frames.frame(data, buffers)]
        self._wait_for_room()
        while True:
            try:
                self._push.send_multipart(parts, zmq.DONTWAIT)
                self._sent += _size(parts[1:])
                return
            except zmq.Again:
                # ZeroMQ would wait for ever for a receiver that has ended.
                if is_orphan():
                    raise BrokenPipeError("the parent process has ended") from None
                self._push.poll(_LOOK_MILLISECONDS, zmq.POLLOUT)

    def _wait_for_room(self) -> None:
        sleep, longest = _SLEEPS
        while self.under_way >= _QUEUED_BYTES:
            if is_orphan():
                raise BrokenPipeError("the parent process has ended")
            time.sleep(sleep)
            sleep = min(2 * sleep, longest)


def _size(parts: Iterable[frames.Part]) -> int:
    return sum(memoryview(part).nbytes for part in parts)


class _ZmqInbox:
    """The way in.

    :param counts: of the bytes taken, by sender
    """

    def __init__(
        self, pull: zmq.Socket[bytes], secret: bytes, counts: Mapping[int, _Count]
    ) -> None:
        self._pull, self._secret, self._counts = pull, secret, counts

    def receive(self, timeout: float | None) -> Iterator[tuple[int, Any]]:
        """The next message, if there is one."""
        import zmq

        if timeout != 0:
            self._pull.poll(None if timeout is None else int(timeout * 1000))
        try:
            prefix, first, *buffers = self._pull.recv_multipart(zmq.DONTWAIT, copy=False)
        except (zmq.Again, ValueError):  # ValueError: not one of our frames
            return
        if not secrets.compare_digest(prefix.bytes[: len(self._secret)], self._secret):
            return
        sender = int.from_bytes(prefix.bytes[len(self._secret) :], "little", signed=True)
        if sender not in self._counts:
            return
        self._counts[sender].taken += _size(frame.buffer for frame in (first, *buffers))
        yield sender, frames.decode(first.buffer, (frame.buffer for frame in buffers))
