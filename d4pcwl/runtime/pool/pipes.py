"""Dynamic runs with pipes: each worker has one from the parent, and one to it."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from d4pcwl.runtime.local.processes import signals_held_back
from d4pcwl.runtime.pool.exchange import Packed, Queue
from d4pcwl.runtime.pool.parent import Broker, WorkerProcesses
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.channel import Disconnected


@dataclass
class _Pipes:
    """The parent's ends of the pipes from and to a worker."""

    number: int
    read_fd: int
    write_fd: int
    outgoing: deque[memoryview] = field(default_factory=deque)


class PipeTransport:
    """The parent's ends: a :class:`~d4pcwl.runtime.pool.parent.Transport`."""

    def __init__(self, processes: WorkerProcesses) -> None:
        self.processes = processes
        self._to: dict[int, _Pipes] = {}
        self._by_fd: dict[int, _Pipes] = {}
        self._poll = select.poll()

    def prepare(self) -> None:
        """Each worker has pipes of its own."""

    def start(self, number: int, pinned: int | None) -> None:
        with signals_held_back():
            to_worker, to_parent = os.pipe(), os.pipe()
            unused = [*self._by_fd, to_worker[1], to_parent[0]]
            line = partial(PipeLine, to_worker[0], to_parent[1], unused)
            self.processes.fork(number, pinned, line)
            os.close(to_worker[0])
            os.close(to_parent[1])
            os.set_blocking(to_worker[1], False)
            pipes = _Pipes(number, to_parent[0], to_worker[1])
            self._to[number] = pipes
            self._by_fd.update(dict.fromkeys((pipes.read_fd, pipes.write_fd), pipes))
        self._poll.register(pipes.read_fd, select.POLLIN)

    def send(self, number: int, kind: str, content: Any) -> None:
        """If a pipe is full, the rest is sent when it has room again."""
        pipes = self._to[number]
        pipes.outgoing.extend(memoryview(part) for part in frames.encode((kind, content)))
        self._push(pipes)

    def _push(self, pipes: _Pipes) -> None:
        try:
            while pipes.outgoing:
                written = os.write(pipes.write_fd, pipes.outgoing[0])
                rest = pipes.outgoing[0][written:]
                if rest:
                    pipes.outgoing[0] = rest
                else:
                    pipes.outgoing.popleft()
        except BlockingIOError:
            self._poll.register(pipes.write_fd, select.POLLOUT)
            return
        except BrokenPipeError:
            pipes.outgoing.clear()  # its other pipe shows that it has died
        with contextlib.suppress(KeyError):
            self._poll.unregister(pipes.write_fd)

    def portable(self, data: Packed) -> Packed:
        return self.processes.portable(data)

    def receive(self, broker: Broker, seconds: float) -> None:
        for fd, _ in self._poll.poll(1000 * seconds):
            pipes = self._by_fd.get(fd)
            if pipes is None:
                continue
            if fd == pipes.write_fd:
                self._push(pipes)
                continue
            try:
                kind, content = frames.read_frame(fd)
            except (EOFError, ConnectionError):
                self._forget(pipes)
                broker.scheduler.lost(pipes.number, self.processes.note_end(pipes.number))
                continue
            broker.hear(pipes.number, kind, content)

    def _forget(self, pipes: _Pipes) -> None:
        for fd in (pipes.read_fd, pipes.write_fd):
            with contextlib.suppress(KeyError):
                self._poll.unregister(fd)
            os.close(fd)
            del self._by_fd[fd]
        del self._to[pipes.number]

    def close(self) -> None:
        for pipes in list(self._to.values()):
            self._forget(pipes)


class PipeLine:
    """A worker's ends: a :class:`~d4pcwl.runtime.pool.exchange.Line`.

    :param unused: descriptors of the parent's that this process has inherited
    """

    def __init__(self, read_fd: int, write_fd: int, unused: list[int]) -> None:
        for fd in unused:
            os.close(fd)
        self._read_fd, self._write_fd = read_fd, write_fd
        self.sending = threading.RLock()
        self._poll = select.poll()
        self._poll.register(read_fd, select.POLLIN)

    def has_message(self) -> bool:
        return bool(self._poll.poll(0))

    def receive(self) -> tuple[str, Any]:
        try:
            kind, content = frames.read_frame(self._read_fd)
        except (EOFError, OSError) as error:
            raise Disconnected(str(error)) from error
        return kind, content

    def send(self, kind: str, content: Any) -> None:
        with self.sending:
            try:
                frames.write_frame(self._write_fd, frames.encode((kind, content)))
            except OSError as error:
                raise Disconnected(str(error)) from error

    def sent(self) -> dict[Queue, int]:
        return {}
