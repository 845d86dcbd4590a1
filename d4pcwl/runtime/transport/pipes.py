"""Pipes between processes of one machine, with shared memory beside them for large buffers."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator, Sequence
from typing import Any

from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.arena import Arena, arena_bytes

_PIPE_BYTES = 1 << 18


class Pipe:
    """A pipe's two ends, until each process has closed the one that it does not use.

    :param shared: bytes of shared memory for large buffers
    """

    def __init__(self, shared: int = 0) -> None:
        self.arena = Arena(shared)
        self.read_fd, self.write_fd = os.pipe()
        with contextlib.suppress(ImportError, AttributeError, OSError):
            import fcntl

            fcntl.fcntl(self.write_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def send(self, data: bytes, buffers: Sequence[memoryview]) -> None:
        """Send a frame; see :class:`~d4pcwl.runtime.transport.channel.Sender`."""
        places = [self.arena.put(b) if b.nbytes >= frames.LARGE else 0 for b in buffers]
        frames.write_frame(self.write_fd, frames.frame(data, buffers, places))

    def receive(self) -> Any:
        """The next message.

        :raises EOFError: the pipe was closed between two frames
        :raises ConnectionError: the pipe was closed within a frame
        """
        return frames.read_frame(self.read_fd, self.arena.get)

    def close(self, *, keep_read: bool = False, keep_write: bool = False) -> None:
        """Close the ends that are not kept."""
        if self.read_fd >= 0 and not keep_read:
            os.close(self.read_fd)
            self.read_fd = -1
        if self.write_fd >= 0 and not keep_write:
            os.close(self.write_fd)
            self.write_fd = -1


class Pipes:
    """A pipe for every pair of processes: a :class:`~d4pcwl.runtime.static.watch.Transport`.

    :param pairs: sender and receiver
    :param shared: bytes of shared memory for all of them together
    """

    def __init__(self, pairs: Sequence[tuple[int, int]], shared: int) -> None:
        self._pipes = {pair: Pipe(arena_bytes(len(pairs), shared)) for pair in pairs}

    def enter(self, number: int) -> tuple[dict[int, Pipe], PipeInbox]:
        """In the process with this number: the pipes out of it, by receiver, and the inbox."""
        for (sender, receiver), pipe in self._pipes.items():
            pipe.close(keep_read=receiver == number, keep_write=sender == number)
        ways_out = {to: pipe for (sender, to), pipe in self._pipes.items() if sender == number}
        return ways_out, PipeInbox(
            {sender: pipe for (sender, to), pipe in self._pipes.items() if to == number}
        )

    def close(self, *, over: bool = False) -> None:
        """Close the ends that are open in this process; what is in the pipes stays there."""
        for pipe in self._pipes.values():
            pipe.close()


class PipeInbox:
    """The pipes into a process: a :class:`~d4pcwl.runtime.static.loop.Inbox`.

    :param pipes: by sender
    """

    def __init__(self, pipes: dict[int, Pipe]) -> None:
        self._poll = select.poll()
        self._from = {pipe.read_fd: (sender, pipe) for sender, pipe in pipes.items()}
        for fd in self._from:
            self._poll.register(fd, select.POLLIN)

    def receive(self, timeout: float | None) -> Iterator[tuple[int, Any]]:
        """One message of each pipe that has one; None if a pipe was closed."""
        if not self._from and timeout == 0:
            return
        for fd, _ in self._poll.poll(None if timeout is None else timeout * 1000):
            sender, pipe = self._from[fd]
            try:
                message = pipe.receive()
            except (EOFError, ConnectionError):
                self._poll.unregister(fd)
                del self._from[fd]
                message = None
            yield sender, message
