"""Dynamic runs: tasks, their outputs, and the interface between a worker and the parent."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from d4pcwl.runtime.engine.marks import Level
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.arena import Memory
from d4pcwl.runtime.transport.outbox import BATCH, Run, places

Queue = tuple[int, str]
"""An instance of the plan and one of its inputs."""

TASK_SECONDS = 0.02
"""How long a task should take: long compared with sending it, but short enough to distribute
well."""

SLOW_SECONDS = 0.003
"""Items that take longer than this are sent one by one."""

WINDOW = 2
"""The number of tasks, or private batches, that a worker has at a time; the second waits for the
first."""

QUEUE_BATCHES = 64
"""With this many batches in a queue, its writers must wait."""

_QUEUE_BYTES = 16 << 20
_LEAST_QUEUE_BYTES = 4 << 20
_ALL_BYTES = 64 << 20


def queue_bytes(queues: int) -> int:
    """With this many bytes in a queue, its writers must wait, for a plan with so many queues."""
    return max(_LEAST_QUEUE_BYTES, min(_QUEUE_BYTES, _ALL_BYTES // max(1, queues)))


def task_size(pace: float) -> int:
    """How many items make a task if each takes ``pace`` seconds."""
    return 1 if pace > SLOW_SECONDS else min(BATCH, int(TASK_SECONDS / pace))


class Packed:
    """Entries of the outbox, pickled; its length are their bytes, with those in shared memory.

    :param shared: how many are in shared memory
    """

    __slots__ = ("data", "shared")

    def __init__(self, data: Any, shared: int = 0) -> None:
        self.data, self.shared = data, shared

    def __len__(self) -> int:
        return len(self.data) + self.shared

    def __reduce__(self) -> Any:
        return Packed, (frames.apart(self.data), self.shared)


def packed(content: Any, runs: Iterable[Run]) -> Packed:
    """A run, or a list of runs, in the form in which it is sent.

    :param runs: all that are in it
    """
    shared = sum(size for run in runs for _, size in places(run.entries))
    return Packed(frames.dumps(content), shared)


class Lot(NamedTuple):
    """Some items on their way to a queue, or results of which this is the first's number.

    :param items: how many
    :param data: a :class:`~d4pcwl.runtime.transport.outbox.Run`; of results, a list of such
    :param lows: of marked items, by origin, the lowest number (``runtime/engine/order.py``)
    """

    to: Any
    items: int
    data: Packed
    lows: dict[int, int]


@dataclass
class Parcel:
    """What an instance or a task has written.

    :param batches: for queues
    :param results: runs, each for the number of a result in the plan
    :param levels: the levels of pinned instances after it
    :param spent: places and sizes of buffers of the task that nobody needs any more; the parent
        frees them, because it may need them itself until the task is done
    """

    batches: list[Lot] = field(default_factory=list)
    results: list[Lot] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    spent: list[tuple[int, int]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.batches or self.results or self.levels)


@dataclass(frozen=True)
class Task:
    """A batch of items for a pooled PE (``key`` names it to the exchange) or for a pinned one.

    :param levels: of the senders, for a pinned one; they hold after these items
    """

    key: Any
    queue: Queue
    items: Packed
    levels: Sequence[Level] = ()


@dataclass(frozen=True)
class QueueLevels:
    """The levels of the senders of a queue. They are valid after all earlier batches were taken."""

    queue: Queue
    levels: list[Level]


class Keep:
    """The question what the pinned instances keep, for a snapshot."""


Todo = Task | QueueLevels | Keep | int
"""What a worker gets to do: a task of the pool (with a key), a batch for a pinned instance (without
one), the levels for one, a question, or the index of an instance that has ended."""


_ROOM = "room"
"""In the inbox: there is room again, as has been noted; whoever waits for it looks again."""


class Line(Protocol):
    """The worker's end of the connection to the parent (``runtime/pool/parent.py``).

    It carries the messages of the :class:`~d4pcwl.runtime.pool.scheduler.Scheduler`. Its methods
    raise :class:`~d4pcwl.runtime.transport.channel.Disconnected` if the other end has gone.
    """

    @property
    def sending(self) -> AbstractContextManager[Any]:
        """Held while a message is sent."""

    def has_message(self) -> bool:
        """Whether :meth:`receive` would not wait."""

    def receive(self) -> tuple[str, Any]:
        """The next message."""

    def send(self, kind: str, content: Any) -> None:
        """Send a message; may be called from any thread."""

    def sent(self) -> dict[Queue, int]:
        """By queue, the bytes of batches after compression; nothing where there is none."""


class Exchange:
    """The interface between a worker and the others: a line to the parent, which distributes the
    work.

    :param pinned: the number of its pinned process; None for a worker of the pool only
    :param memory: shared with the parent and the other workers
    :param pauses: there are snapshots of the run
    """

    def __init__(
        self, line: Line, plan: Plan, pinned: int | None, memory: Memory, *, pauses: bool = False
    ) -> None:
        self.line, self.memory = line, memory
        self._pool = plan.pooled
        self._tells_idle = pinned is not None and (bool(self._pool) or pauses)
        self._receiving, self._counting = threading.Lock(), threading.Lock()
        self._inbox: deque[tuple[str, Any]] = deque()  # what another thread has taken in
        self._received = 0
        self._credits: defaultdict[int | None, int] = defaultdict(lambda: WINDOW)
        self._sizes: dict[Queue, int] = {}

    def receive(self, wait: bool, settled: bool = False) -> Todo | None:
        """The next thing to do, or None if there is nothing.

        :param settled: there is nothing left to work on or to send here
        :raises Stopped: the run is over
        """
        with self._receiving:
            if not self._inbox and not self.line.has_message():
                if not wait:
                    return None
                if self._tells_idle:
                    # The parent cannot know it in another way; a task must not wait behind a slow
                    # pinned PE, and a snapshot must have all items.
                    self.line.send("idle", (self._received, settled))
            kind, content = self._inbox.popleft() if self._inbox else self.line.receive()
            if kind == _ROOM:
                return None
            self._received += 1
            if kind == "go":
                self._note_room(*content)
                return None
        if kind == "task":
            number, queue, sizes, data = content
            self._sizes.update(sizes)
            return Task(number, queue, data)
        if kind == "private":
            queue, levels, data = content
            return Task(None, queue, data, levels)
        if kind == "told":
            return QueueLevels(*content)
        if kind == "keep":
            return Keep()
        if kind in ("pause", "proceed"):
            return None
        if kind == "stop":
            raise Stopped
        index: int = content
        return index

    def take_in(self) -> None:
        """Note where there is room again. Another thread than the receiving one may call this: an
        item must not wait because that one is busy."""
        if not self._receiving.acquire(blocking=False):
            return
        try:
            while self.line.has_message():
                kind, content = self.line.receive()
                if kind == "go":
                    self._received += 1
                    self._note_room(*content)
                    if self._inbox and self._inbox[-1][0] == _ROOM:
                        continue
                    kind, content = _ROOM, None
                self._inbox.append((kind, content))
        finally:
            self._receiving.release()

    def _note_room(self, writer: int | None, owed: int, sizes: dict[Queue, int]) -> None:
        self._sizes.update(sizes)
        with self._counting:
            self._credits[writer] += owed

    def commit(self, task: Task, parcel: Parcel, items: int, seconds: float) -> None:
        """Report that a task of the pool is done, with its outputs.

        :param items: the number of items that were worked on, in so many seconds; the parcel has
            the rest
        """
        self.line.send("commit", (task.key, parcel, items, seconds))

    def taken(self, task: Task) -> None:
        """Report that a pinned instance has worked on a batch to its end."""
        self.line.send("taken", task.queue[0])

    def stream(self, parcel: Parcel, writer: int | None = None) -> None:
        """Send what pinned instances wrote, or what a task wrote before it is done.

        :param writer: the instance that waits until this is sent, if one does; or
            ``marks.RESULTS`` for what goes to no queue
        """
        with self._counting:
            self._credits[writer] -= 1
        self.line.send("stream", (writer, parcel))

    def may_stream(self, writer: int | None = None) -> bool:
        """Whether there is room in all queues that the pinned ``writer`` writes to; without a
        writer, in all queues that any instance here writes to. An instance that waits for room must
        not wait for the queues of another one, because that one may wait for it. For
        ``marks.RESULTS``: whether the parent has taken the results that were sent before.
        """
        return self._credits[writer] > 0

    def end(self, instance: int) -> None:
        """Report that a pinned instance has ended."""
        self.line.send("end", instance)

    def kept(self, content: bytes) -> None:
        """Answer what the pinned instances keep."""
        self.line.send("kept", content)

    def batch_size(self, queue: Queue) -> int:
        """How many items of a queue make a task of about :data:`TASK_SECONDS`; 0: not known yet."""
        return self._sizes.get(queue, 0) if queue[0] in self._pool else BATCH

    def report(self, kind: str, content: Any) -> None:
        """Report to the parent what was done (``lap``), or the end: ``done`` and the counts, or
        ``failed`` and the error. It may be called from a thread."""
        self.line.send(kind, content)


class Stopped(BaseException):
    """The run is over; raised by :meth:`Exchange.receive`."""
