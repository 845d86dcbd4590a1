"""Dynamic runs through the parent process: the worker for ``runtime/pool/parent.py``."""

from __future__ import annotations

import os
import select
import threading
from collections import defaultdict
from functools import partial
from typing import Any

from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.local.console import LineLock
from d4pcwl.runtime.local.worker import Duty, live
from d4pcwl.runtime.pool.exchange import WINDOW, Parcel, Queue, Stopped, Task, Told
from d4pcwl.runtime.pool.worker import DynamicDuty, DynamicWorker
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.arena import Memory
from d4pcwl.runtime.transport.channel import Disconnected
from d4pcwl.runtime.transport.outbox import BATCH


class _ByParent:
    """The exchange of a worker: two pipes to the parent."""

    def __init__(
        self, read_fd: int, write_fd: int, plan: Plan, pinned: int | None, memory: Memory
    ) -> None:
        self.memory = memory
        self.read_fd, self.write_fd, self.pinned = read_fd, write_fd, pinned
        self.pool = plan.pooled
        self.received = 0
        self.credits: defaultdict[int | None, int] = defaultdict(lambda: WINDOW)
        self.sizes: dict[Queue, int] = {}
        self.sending = threading.RLock()
        self.poll = select.poll()
        self.poll.register(read_fd, select.POLLIN)

    def receive(self, wait: bool, settled: bool = False) -> Task | Told | int | None:
        if wait and self.pinned is not None and not self.poll.poll(0):
            # The parent cannot know it in another way; a task must not wait behind a slow pinned
            # PE.
            self._send("idle", (self.received, settled))
        while wait or self.poll.poll(0):
            try:
                kind, content = frames.read_frame(self.read_fd)
            except (EOFError, OSError) as error:
                raise Disconnected(str(error)) from error
            self.received += 1
            if kind == "task":
                number, queue, sizes, data = content
                self.sizes.update(sizes)
                return Task(number, queue, data)
            if kind == "private":
                return Task(None, *content)
            if kind == "told":
                return Told(*content)
            if kind == "ended":
                index: int = content
                return index
            if kind == "stop":
                raise Stopped
            writer, owed, sizes = content
            self.sizes.update(sizes)
            self.credits[writer] += owed
            return None
        return None

    def commit(self, task: Task, parcel: Parcel, items: int, seconds: float) -> None:
        self._send("commit", (task.key, parcel, items, seconds))

    def taken(self, task: Task) -> None:
        self._send("taken", task.queue[0])

    def stream(self, parcel: Parcel, writer: int | None = None) -> None:
        self.credits[writer] -= 1
        self._send("stream", (writer, parcel))

    def may_stream(self, writer: int | None = None) -> bool:
        return self.credits[writer] > 0

    def end(self, instance: int) -> None:
        self._send("end", instance)

    def batch_size(self, queue: Queue) -> int:
        return self.sizes.get(queue, 0) if queue[0] in self.pool else BATCH

    def _send(self, kind: str, content: Any) -> None:
        with self.sending:
            try:
                frames.write_frame(self.write_fd, frames.encode((kind, content)))
            except OSError as error:
                raise Disconnected(str(error)) from error

    report = _send


def work(
    job: Job,
    plan: Plan,
    pinned: int | None,
    read_fd: int,
    write_fd: int,
    unused: list[int],
    lock: LineLock,
    memory: Memory,
    number: int,
) -> None:
    """A worker process, from its fork to its end.

    :param memory: shared with the parent and the other workers
    :param number: of the part of it that is its own
    """

    def enter() -> Duty:
        memory.enter(number)
        for fd in unused:
            os.close(fd)
        exchange = _ByParent(read_fd, write_fd, plan, pinned, memory)
        return DynamicDuty(
            exchange, partial(DynamicWorker, job.graph, plan, pinned, job.inputs, exchange)
        )

    live(enter, lock)
