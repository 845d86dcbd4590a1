"""Dynamic runs, a worker's side: work from a pool, and PEs pinned to the process.

A PE that keeps no state is *pooled*: its items wait in a queue, and whichever worker has time
takes a *task*, a batch of them. What a task writes is handed over in one *commit* together with the
word that the task is done: if the worker dies before that, nothing of it has happened, and another
worker gets the task. Everything else (sources, PEs that keep state, cycles) is *pinned* to one
process and has a private queue; what it writes is streamed on as it comes.

How queues and commits travel is the :class:`Exchange`'s affair: by way of the parent process
(``runtime/broker.py``), or of a Redis server (``runtime/redis_exchange.py``).
"""

from __future__ import annotations

import contextlib
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from d4pcwl.errors import ItemError, PEError
from d4pcwl.runtime import wire
from d4pcwl.runtime.instance import Halt, Receive
from d4pcwl.runtime.plan import Plan
from d4pcwl.runtime.policy import ERRORS
from d4pcwl.runtime.values import IMMUTABLE, snapshot, weight
from d4pcwl.runtime.worker import Worker
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.inputs import RootInputs

Queue = tuple[int, str]
"""An instance of the plan and one of its inputs."""

BATCH = 1000
BATCH_BYTES = 1 << 20
TASK_SECONDS = 0.02
"""How long a task should take: long enough to be worth its hand-over, short enough to share out."""


@dataclass
class Parcel:
    """What an instance or a task has written.

    :param batches: for queues: the number of items, and the items pickled
    :param results: for results, by their number in the plan: the items pickled
    """

    batches: list[tuple[Queue, int, Any]] = field(default_factory=list)
    results: list[tuple[int, Any]] = field(default_factory=list)

    def apart(self) -> Parcel:
        """The same, so that large batches travel beside the message rather than in it."""
        return Parcel(
            [(queue, count, wire.apart(data)) for queue, count, data in self.batches],
            [(slot, wire.apart(data)) for slot, data in self.results],
        )

    def __bool__(self) -> bool:
        return bool(self.batches or self.results)


@dataclass(frozen=True)
class Task:
    """A batch of items for a pooled PE (``key`` names it to the exchange) or for a pinned one."""

    key: Any
    queue: Queue
    items: bytes


class Exchange(Protocol):
    """How a worker is joined to the others.

    :meth:`receive` gives a :class:`Task` of the pool (with a key) or for a pinned instance (without
    one), the index of an instance that has ended, or None where nothing is there; and it raises
    :class:`Stopped` at the end of the run.
    """

    def receive(self, wait: bool) -> Task | int | None:
        """The next thing to do."""

    def commit(self, task: Task, parcel: Parcel, seconds: float) -> None:
        """A task of the pool is done, and this is what it wrote."""

    def taken(self, task: Task) -> None:
        """A pinned instance has worked off a batch."""

    def stream(self, parcel: Parcel) -> None:
        """Hand on what pinned instances wrote."""

    def may_stream(self) -> bool:
        """Whether there is room for more."""

    def end(self, instance: int) -> None:
        """A pinned instance has ended."""

    def batch_size(self, queue: Queue) -> int:
        """How many items of a queue make a task of about :data:`TASK_SECONDS`; 0: not known yet."""


class Stopped(BaseException):
    """The run is over; raised by :meth:`Exchange.receive`."""


class _Writer:
    """Gathers what PEs write, as values, until it is made a parcel."""

    def __init__(self, plan: Plan, exchange: Exchange) -> None:
        self.exchange = exchange
        self.slots = {port: slot for slot, port in enumerate(plan.results)}
        self.items: dict[tuple[Queue | int, str], list[Any]] = {}
        self.count = 0
        self.bytes = 0
        self.refused: Halt | None = None
        self.lock = threading.RLock()

    def add(self, key: Queue | int, name: str, item: Any, full: Callable[[], None]) -> None:
        if type(item) not in IMMUTABLE:
            try:
                item = snapshot(item)
            except Exception as error:
                raise self._refuse(PEError(_refusal(name, item, error))) from error
            self.bytes += weight(item)
        with self.lock:
            self.items.setdefault((key, name), []).append(item)
            self.count += 1
        if self.count >= BATCH or self.bytes >= BATCH_BYTES:
            full()

    def parcel(self) -> Parcel:
        """Everything gathered so far.

        :raises Halt: an item cannot be pickled, or was refused before, which a bare ``except:`` in
            a PE may have caught; names the output that it comes from
        """
        if self.refused is not None:
            raise self.refused
        with self.lock:
            gathered, self.items = self.items, {}
            self.count = self.bytes = 0
        try:
            return self.pack(gathered)
        except ItemError as error:
            raise self._refuse(PEError(str(error))) from error

    def _refuse(self, error: PEError) -> Halt:
        self.refused = Halt(error)
        return self.refused

    def pack(self, gathered: dict[tuple[Queue | int, str], list[Any]]) -> Parcel:
        """Make a parcel.

        :raises ItemError: an item cannot be pickled
        """
        parcel = Parcel()
        for (key, name), items in gathered.items():
            if isinstance(key, int):
                parcel.results.append((key, _pickled(items, name)))
                continue
            for start, stop in _portions(len(items), self.exchange.batch_size(key)):
                part = items[start:stop]
                parcel.batches.append((key, len(part), _pickled(part, name)))
        return parcel


def _portions(count: int, size: int) -> list[tuple[int, int]]:
    """How to part so many items into batches; of growing size where none is known."""
    portions, start, step = [], 0, size or 1
    while start < count:
        portions.append((start, min(count, start + step)))
        start += step
        step = size or step * 2
    return portions


def _pickled(items: list[Any], name: str) -> bytes:
    try:
        return pickle.dumps(items, protocol=5)
    except Exception as error:
        for item in items:
            try:
                pickle.dumps(item, protocol=5)
            except Exception as blame:
                raise ItemError(_refusal(name, item, blame)) from blame
        raise ItemError(f"{name}: {error}") from error


def _refusal(name: str, item: Any, error: Exception) -> str:
    kind = type(item).__qualname__
    return f"{name}: an item of type {kind} cannot be sent to another process: {error}"


class _PoolLink:
    """The link of pooled PEs: everything waits for the commit."""

    def __init__(self, writer: _Writer) -> None:
        self.writer = writer

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Receive:
        name, key = ".".join(source), (target, input)
        return lambda item: self.writer.add(key, name, item, _not_yet)

    def result(self, pe: str, output: str) -> Receive:
        name, slot = f"{pe}.{output}", self.writer.slots[pe, output]
        return lambda item: self.writer.add(slot, name, item, _not_yet)

    def end(self, instance: int) -> None:
        """Pooled PEs end when the exchange says so."""


def _not_yet() -> None:
    """A task's output waits for its commit, however much it is."""


class _PinnedLink:
    """The link of pinned instances: what they write is streamed; a full exchange makes it wait."""

    def __init__(
        self, writer: _Writer, plan: Plan, exchange: Exchange, help_out: Callable[[int], None]
    ) -> None:
        self.writer, self.plan, self.exchange, self.help_out = writer, plan, exchange, help_out

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Receive:
        name, key = ".".join(source), (target, input)
        flush = self._flush_of(source[0])
        return lambda item: self.writer.add(key, name, item, flush)

    def result(self, pe: str, output: str) -> Receive:
        name, slot = f"{pe}.{output}", self.writer.slots[pe, output]
        # Descriptions of items that are left out belong to no instance, and wait for none.
        flush = self.flush if (pe, output) == ERRORS else self._flush_of(pe)
        return lambda item: self.writer.add(slot, name, item, flush)

    def _flush_of(self, pe: str) -> Callable[[], None]:
        last = self.plan.of(pe)[-1].index

        def flush() -> None:
            while not self.exchange.may_stream():
                self.help_out(last)
            self.flush()

        return flush

    def flush(self) -> None:
        """Hand on what was written, if there is room.

        :raises Halt: an item cannot be pickled
        """
        with self.writer.lock:
            if self.writer.refused is not None:
                raise self.writer.refused
            if self.writer.items and self.exchange.may_stream():
                self.exchange.stream(self.writer.parcel())

    def end(self, instance: int) -> None:
        flush = self._flush_of(self.plan.instances[instance].pe)
        while self.writer.items or self.writer.refused:
            flush()
        with self.writer.lock:  # what another thread is just handing on goes first
            self.exchange.end(instance)


class DynamicWorker:
    """One worker process of a dynamic run.

    :param process: the number of its pinned process in the plan; None for a worker of the pool only
    :param idle: called before it waits
    """

    def __init__(
        self,
        graph: FlatGraph,
        plan: Plan,
        process: int | None,
        inputs: RootInputs,
        exchange: Exchange,
        idle: Callable[[], None],
    ) -> None:
        self.plan, self.exchange, self.idle = plan, exchange, idle
        self._deferred: deque[Task | int] = deque()
        self._pool_writer = _Writer(plan, exchange)
        self._link = _PinnedLink(_Writer(plan, exchange), plan, exchange, self._help)
        pinned = plan if process is not None else _without_processes(plan)
        self.pinned = Worker(graph, pinned, process or 0, inputs, self._link)
        self.pool: Worker | None = None
        if plan.pool is not None:
            link = _PoolLink(self._pool_writer)
            self.pool = Worker(graph, plan, plan.pool, {}, link, direct=False)

    def run(self) -> None:
        """Work until the run is over.

        :raises Halt: a PE failed
        """
        if self.pool is not None:
            for running in self.pool.running.values():
                running.start()
        self.pinned.start()
        try:
            while True:
                self._step()
        except Stopped:
            if self.pool is not None:
                for running in self.pool.running.values():
                    running.finish()

    def flush(self) -> None:
        """Hand on what pinned instances wrote, if there is room; may be called from a thread."""
        self._link.flush()

    def results_so_far(self) -> list[tuple[int, bytes]]:
        """The results that wait to be handed on, for when the run has failed here."""
        waiting: list[tuple[int, bytes]] = []
        for writer in (self._link.writer, self._pool_writer):
            with writer.lock, contextlib.suppress(ItemError):
                keys = [key for key in writer.items if isinstance(key[0], int)]
                slots = {key: writer.items.pop(key) for key in keys}
                waiting += writer.pack(slots).results
        return waiting

    @property
    def counts(self) -> dict[int, int]:
        """How many items each instance has taken here."""
        return {**self.pinned.counts, **(self.pool.counts if self.pool else {})}

    def _step(self) -> None:
        if self._deferred:
            self._handle(self._deferred.popleft())
            return
        message = self.exchange.receive(wait=False)
        if message is None:
            if self.pinned.hungry:
                self.pinned.feed(times=1)
                return
            self._link.flush()
            self.idle()
            message = self.exchange.receive(wait=True)
        if message is not None:
            self._handle(message)

    def _help(self, instance: int) -> None:
        """Do something useful while ``instance`` cannot write on: what is downstream, or free.

        Instances are numbered sources first, so that no one at work is entered a second time.
        """
        message = self._deferred_for(instance) or self.exchange.receive(wait=True)
        if message is None:
            return
        if self._may_handle(message, instance):
            self._handle(message)
        else:
            self._deferred.append(message)

    def _deferred_for(self, instance: int) -> Task | None:
        """What had to wait in a help within this one; nothing that came later may overtake it."""
        for place, message in enumerate(self._deferred):
            if isinstance(message, Task) and self._may_handle(message, instance):
                del self._deferred[place]
                return message
        return None

    def _may_handle(self, message: Task | int, instance: int) -> bool:
        return isinstance(message, Task) and (
            message.key is not None or message.queue[0] > instance
        )

    def _handle(self, message: Task | int) -> None:
        if isinstance(message, int):
            self.pinned.upstream_ended(message)
        elif message.key is None:
            self._run_batch(self.pinned, message)
            self.exchange.taken(message)
        else:
            assert self.pool is not None
            began = time.monotonic()
            self._run_batch(self.pool, message)
            seconds = time.monotonic() - began
            self.exchange.commit(message, self._pool_writer.parcel(), seconds)

    def _run_batch(self, worker: Worker, task: Task) -> None:
        receive = worker.receiver(*task.queue)
        for item in pickle.loads(task.items):
            receive(item)


def _without_processes(plan: Plan) -> Plan:
    """The plan as a worker sees it to which nothing is pinned."""
    from dataclasses import replace

    return replace(plan, processes=((),))
