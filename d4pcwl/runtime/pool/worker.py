"""Dynamic runs, the worker: tasks from a pool, and PEs that are pinned to the process.

A PE that keeps no state is *pooled*: its items wait in a queue, and any free worker
takes a *task*, a batch of them. The outputs of a task are sent in one *commit*, together with the
report that the task is done. If the worker dies before that, the task has had no effect, and
another worker gets it. (``GenericPE.hand_on`` is the only exception.) All other PEs (sources, PEs
that keep state, cycles) are *pinned* to one process and have private queues; their items are sent
as they come.

A worker exchanges messages with the parent process only, through an
:class:`~d4pcwl.runtime.pool.exchange.Exchange`. Its line moves them: by pipes
(``runtime/pool/pipes.py``), or through a Redis server (``runtime/redis/line.py``).
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from d4pcwl.errors import D4pcwlError
from d4pcwl.runtime.checkpoint.sources import Pauses
from d4pcwl.runtime.engine.instance import Halt
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.engine.worker import Worker
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.local.console import LineLock
from d4pcwl.runtime.local.measured import measured
from d4pcwl.runtime.local.worker import Duty, live
from d4pcwl.runtime.pool.exchange import (
    TASK_SECONDS,
    Exchange,
    Keep,
    Line,
    Lot,
    Parcel,
    QueueLevels,
    Stopped,
    Task,
    Todo,
)
from d4pcwl.runtime.pool.links import PARCEL_BYTES, PinnedLink, PoolLink, Writer, new_levels
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.arena import Memory
from d4pcwl.runtime.transport.outbox import Run, places
from d4pcwl.runtime.transport.portions import Portions
from d4pcwl.trace.observer import EdgeTraffic, Way, with_sent
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.inputs import RootInputs

_OVERDUE_SECONDS = 2 * TASK_SECONDS


class DynamicWorker:
    """One worker process of a dynamic run.

    :param process: the number of its pinned process in the plan; None for a worker of the pool only
    :param idle: called before it waits
    :param pausing: makes the pauses of its sources, from what is done in one, if there are any
    """

    def __init__(
        self,
        graph: FlatGraph,
        plan: Plan,
        process: int | None,
        inputs: RootInputs,
        exchange: Exchange,
        idle: Callable[[], None],
        pausing: Callable[[Callable[[], None]], Pauses] | None = None,
    ) -> None:
        self.plan, self.exchange, self.idle = plan, exchange, idle
        self._deferred: deque[Todo] = deque()
        self._pauses = pausing(self._wait) if pausing is not None else None
        self._pool_writer = Writer(plan, exchange)
        self._link = PinnedLink(Writer(plan, exchange), plan, process, exchange, self._help)
        pinned = plan if process is not None else _without_processes(plan)
        self.pinned = Worker(graph, pinned, process or 0, inputs, self._link, pauses=self._pauses)
        if process is not None and plan.order:
            told = new_levels(plan, process, self.pinned.level)
            self._link.writer.new_levels, self._link.writer.new_levels_of_last = told
        self._portions = Portions(
            self.pinned, lambda queue: self.pinned.receiver(*queue), exchange.memory.take
        )
        self.pool: Worker | None = None
        if plan.pool is not None:
            link = PoolLink(self._pool_writer)
            self.pool = Worker(graph, plan, plan.pool, {}, link, direct=False)
            for running in self.pool.running.values():
                running.let_hand_on(self._hand_on)

    def run(self) -> None:
        """Work until the run is over.

        :raises Halt: a PE failed
        """
        workers = [self.pinned, *([self.pool] if self.pool is not None else [])]
        pooled = list(self.pool.running.values()) if self.pool is not None else []
        exchange = type(self.exchange)
        with measured(
            workers,
            partial(self.exchange.report, "lap"),
            sent=self._traffic,
            waits=[exchange.receive],
            sends=[PinnedLink.hand_on, exchange.stream, exchange.commit, exchange.end],
        ):
            for running in pooled:
                running.start()
            self.pinned.start()
            try:
                while True:
                    self._step()
            except Stopped:
                for running in pooled:
                    running.finish()

    def _traffic(self) -> dict[Way, EdgeTraffic]:
        """By edge, what has been handed over."""
        found: dict[Way, EdgeTraffic] = {}
        for writer in (self._link.writer, self._pool_writer):
            for way, carried in writer.traffic().items():
                found[way] = found.get(way, EdgeTraffic()).plus(carried)
        sent = Counter[tuple[str, str]]()  # by the input that it goes to
        for (index, input), size in self.exchange.line.sent().items():
            sent[self.plan.instances[index].pe, input] += size
        for to, size in sent.items():
            found |= with_sent({way: c for way, c in found.items() if way[2:] == to}, size)
        return found

    def flush(self) -> None:
        """Send what pinned instances wrote, if there is room. Another thread may call this."""
        self._link.flush()

    def _hand_on(self) -> None:
        """Send what a task has written before it is done."""
        if parcel := self._pool_writer.parcel():
            if self.pool is not None:
                self.pool.settle()
            self.exchange.stream(parcel)

    def results_so_far(self) -> list[Lot]:
        """The results that are not sent yet, if the run has failed here."""
        return self._link.writer.results_so_far() + self._pool_writer.results_so_far()

    @property
    def counts(self) -> dict[int, int]:
        """How many items each instance has taken here."""
        return {**self.pinned.counts, **(self.pool.counts if self.pool else {})}

    def _step(self, *, feeding: bool = True) -> None:
        if self._deferred:
            self._handle(self._deferred.popleft())
            return
        message = self.exchange.receive(wait=False)
        if message is None:
            if feeding and self.pinned.hungry and not (self._pauses and self._pauses.asked()):
                self.pinned.feed()
                return
            self._link.flush()
            self.idle()
            message = self.exchange.receive(wait=True, settled=not self._link.writer.outbox)
        if message is not None:
            self._handle(message)

    def _wait(self) -> None:
        """Do other work while a source waits, with its work on an input half done."""
        while self._pauses and self._pauses.asked():
            self._step(feeding=False)

    def _help(self, instance: int) -> None:
        """Do other work while ``instance`` cannot write: for instances downstream, or for the pool.
        Instances are numbered sources first, so that none that works is entered a second time.
        """
        self.pinned.check()
        message = self._deferred_for(instance) or self.exchange.receive(wait=True)
        if message is None:
            return
        if self._may_handle(message, instance):
            self._handle(message)
        else:
            self._deferred.append(message)

    def _deferred_for(self, instance: int) -> Todo | None:
        """Batches that had to wait during such other work. No later one may overtake them."""
        for place, message in enumerate(self._deferred):
            if self._may_handle(message, instance):
                del self._deferred[place]
                return message
        return None

    def _may_handle(self, message: Todo, instance: int) -> bool:
        if isinstance(message, (int, Keep)):
            return False
        is_task = isinstance(message, Task) and message.key is not None
        return is_task or message.queue[0] > instance

    def _handle(self, message: Todo) -> None:
        if isinstance(message, int):
            self.pinned.upstream_ended(message)
        elif isinstance(message, Keep):
            self.exchange.kept(self.pinned.keep())
        elif isinstance(message, QueueLevels):
            self.pinned.note(message.levels, message.queue)
        elif message.key is None:
            self._run_batch(message)
            self.exchange.taken(message)
        else:
            self._run_task(message)

    def _run_batch(self, task: Task) -> None:
        run: Run = frames.loads(task.items.data)
        if task.levels:
            self._portions.take([run], task.levels, task.queue)
        else:
            self.pinned.receiver(*task.queue)(run.items(self.exchange.memory.take))

    def _run_task(self, task: Task) -> None:
        """Work on a task of the pool. If it takes much longer than expected, or writes a lot,
        return the rest to the pool."""
        assert self.pool is not None
        take = self.pool.receiver(*task.queue)
        run: Run = frames.loads(task.items.data)
        done, began = 0, time.monotonic()
        overdue = began + _OVERDUE_SECONDS
        for item in run.items(self.exchange.memory.copy):
            take((item,))
            done += 1
            if time.monotonic() > overdue or self._pool_writer.outbox.bytes >= PARCEL_BYTES:
                break
        seconds = time.monotonic() - began
        parcel = self._pool_writer.parcel()
        # The pace of the rest is not known: the mean of fast items and a slow one has no meaning.
        parcel.batches += self._pool_writer.lots(run.part(done), 0)
        self.pool.settle()  # nobody may have an item whose record died with its worker
        parcel.spent = list(places(run.entries[:done]))
        self.exchange.commit(task, parcel, done, seconds)


def _without_processes(plan: Plan) -> Plan:
    """The plan for a worker without pinned instances."""
    from dataclasses import replace

    return replace(plan, processes=((),))


class DynamicDuty(Duty):
    """What a worker process of a dynamic run does.

    :param make: makes its worker, from the function that is called before it waits
    """

    def __init__(
        self, exchange: Exchange, make: Callable[[Callable[[], None]], DynamicWorker]
    ) -> None:
        self.exchange, self._make = exchange, make
        self.worker: DynamicWorker | None = None

    def work(self, idle: Callable[[], None]) -> None:
        self.worker = self._make(idle)
        self.worker.run()

    def tick(self) -> None:
        if self.worker is not None:
            self.worker.flush()

    def done(self) -> None:
        assert self.worker is not None
        self.exchange.report("done", self.worker.counts)

    def between_frames(self) -> AbstractContextManager[Any]:
        return self.exchange.line.sending

    def failed(self, error: D4pcwlError) -> None:
        if self.worker is not None:
            with contextlib.suppress(Halt):
                self.exchange.stream(Parcel(results=self.worker.results_so_far()))
        self.exchange.report("failed", error)


def work(
    job: Job,
    plan: Plan,
    pinned: int | None,
    open_line: Callable[[], Line],
    lock: LineLock,
    memory: Memory,
    arena: int,
    pausing: Callable[[Callable[[], None]], Pauses] | None,
) -> None:
    """A worker process, from its fork to its end.

    :param open_line: makes the line to the parent
    :param memory: shared with the parent and the other workers
    :param arena: the number of the part of it that is its own
    :param pausing: see :class:`DynamicWorker`
    """

    def enter() -> Duty:
        memory.enter(arena)
        exchange = Exchange(open_line(), plan, pinned, memory, pauses=pausing is not None)
        make = partial(DynamicWorker, job.graph, plan, pinned, job.inputs, exchange)
        return DynamicDuty(exchange, partial(make, pausing=pausing))

    live(enter, lock)
