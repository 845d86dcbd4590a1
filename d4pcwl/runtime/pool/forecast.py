"""How long a dynamic run would take with any number of workers, found by simulating it.

The scheduler is the real one (:mod:`d4pcwl.runtime.pool.scheduler`); workers, pipes and clocks are
played: a worker is at work for as long as the cost model says, messages take the time of the
network, and the parent handles them one by one. Items have no content: of a batch it is known how
many there are. So a run of hours on a thousand workers takes seconds. Nobody dies, and items need
not be put in order.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from d4pcwl.runtime.engine.order import Order
from d4pcwl.runtime.engine.plan import Plan, Route, make_plan
from d4pcwl.runtime.pool.exchange import WINDOW, Lot, Parcel, task_size
from d4pcwl.runtime.pool.scale import fixed
from d4pcwl.runtime.pool.scheduler import PARENT, Message, Scheduler
from d4pcwl.runtime.transport.outbox import BATCH
from d4pcwl.trace.model import CostModel, Passage
from d4pcwl.trace.predict import COPY_BYTES, Machine, passage_of, work_of
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.grouping import ALL

MESSAGE_SECONDS = 45e-6
"""What the parent takes for a message: of a task, of which there are two, it took 0.1 ms of
processor time, for 1,500 tasks of 4 ms by four workers."""

TASK_SECONDS = 200e-6
"""What a worker takes to get a task and to hand over what it has written; measured in the same
way."""

_GATHERED_SECONDS = 0.005
"""How long the items of a source are gathered."""

_TASKS = 20_000
"""About this number of tasks is simulated; of longer runs, a part."""


@dataclass(frozen=True)
class Forecast:
    """How a run would go.

    :param seconds: that it takes
    :param parent: the part of them that the parent is busy
    :param busy: the part of them that the workers are busy, on average
    :param pinned: the same of the busiest worker that has PEs which stay with it
    :param held: the ids of those PEs
    """

    seconds: float
    parent: float
    busy: float
    pinned: float = 0.0
    held: tuple[str, ...] = ()


def forecast(
    graph: FlatGraph, model: CostModel, workers: int, machine: Machine | None = None
) -> Forecast:
    """Play a dynamic run through.

    :param workers: how many there are
    """
    plan = make_plan(graph, workers, pooled=workers > 1)
    return _Play(graph, replace(plan, order=Order()), model, workers, machine or Machine()).run()


class _Items:
    """A batch on its way; its length is its size in bytes."""

    def __init__(self, items: int, size: float | None) -> None:
        self.items, self._bytes = items, int(items * (size or COPY_BYTES))

    def __len__(self) -> int:
        return self._bytes


@dataclass
class _Worker:
    """A worker that is played.

    :param left: by instance of a source, how many items it has not written
    :param open: by instance that is pinned here, those that have not ended and send to it
    :param room: how many parcels it may send
    :param unsent: what waits for that
    :param received: messages that it has had, and ``told`` how many when it last said that it waits
    :param arrived: when the last thing that it said reached the parent
    """

    number: int
    pinned: int | None
    inbox: deque[Message] = field(default_factory=deque)
    left: dict[int, int] = field(default_factory=dict)
    open: dict[int, set[int]] = field(default_factory=dict)
    room: int = WINDOW
    unsent: list[Lot] = field(default_factory=list)
    received: int = 0
    told: int = -1
    working: bool = False
    busy: float = 0.0
    arrived: float = 0.0


class _Play:
    """One run, played: what happens, by the time at which it does."""

    def __init__(
        self, graph: FlatGraph, plan: Plan, model: CostModel, workers: int, machine: Machine
    ) -> None:
        self.plan, self.machine = plan, machine
        roots = {pe.id for pe in graph.roots}
        self.passages: dict[str, list[tuple[str, Passage]]] = {pe.id: [] for pe in graph.pes}
        for edge in graph.edges:
            self.passages[edge.source.id].append((edge.output, passage_of(model, edge)))
        self.taken: dict[str, float] = {}
        self.paces: dict[str, float] = {}
        for pe in graph.pes:
            work = work_of(model, pe)
            written = max((passage.items for _, passage in self.passages[pe.id]), default=1.0)
            self.taken[pe.id] = max(1.0, written if pe.id in roots else work.items)
            self.paces[pe.id] = work.seconds / self.taken[pe.id]
        tasks = sum(self.taken[pe] / self._size(pe) for pe in self.paces if pe not in roots)
        self.part = min(1.0, _TASKS / max(1.0, tasks))
        self.left = {pe: math.ceil(self.part * self.taken[pe]) for pe in roots}
        self.scheduler = Scheduler(plan, fixed(workers), paces=self.paces)
        self.workers: dict[int, _Worker] = {}
        self.ever: list[_Worker] = []
        self.carry: dict[tuple[str, str, str], float] = {}
        self.turn: dict[str, int] = {}
        self.now = self.parent_free = self.parent_busy = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = count()

    def run(self) -> Forecast:
        """Play it to its end."""
        self._act()
        while self.events and not self.scheduler.is_over:
            self.now, _, what = heapq.heappop(self.events)
            what()
        seconds = self.now or 1e-9
        busy = sum(worker.busy for worker in self.ever) / len(self.ever) / seconds
        pinned = [worker for worker in self.ever if worker.pinned is not None]
        most = max(pinned, key=lambda worker: worker.busy)
        held = dict.fromkeys(self.plan.instances[index].pe for index in most.open)
        return Forecast(
            seconds / self.part,
            self.parent_busy / seconds,
            busy,
            most.busy / seconds,
            tuple(held),
        )

    def _at(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (seconds, next(self.numbers), what))

    def _size(self, pe: str) -> int:
        """How many items make a task."""
        return task_size(self.paces[pe]) if self.paces[pe] else BATCH

    # --- the parent -----------------------------------------------------------------------------

    def _hear(self, worker: _Worker, kind: str, content: Any, size: int = 0) -> None:
        """A worker says something."""
        self._tell(worker, lambda: self.scheduler.hear(worker.number, kind, content), size)

    def _tell(self, worker: _Worker, what: Callable[[], None], size: int = 0) -> None:
        """The parent gets a message of a worker, after the earlier ones."""
        bandwidth = self.machine.bandwidth
        arrival = self.now + self.machine.latency + (size / bandwidth if bandwidth else 0.0)
        worker.arrived = max(worker.arrived, arrival)

        def take_up() -> None:
            self._parent_works()
            what()
            self._act()

        # It takes it up when it has time.
        self._at(worker.arrived, lambda: self._at(max(self.now, self.parent_free), take_up))

    def _parent_works(self) -> None:
        self.parent_free = max(self.now, self.parent_free) + MESSAGE_SECONDS
        self.parent_busy += MESSAGE_SECONDS

    def _act(self) -> None:
        """Do what the scheduler says."""
        for message in self.scheduler.decide(self.now):
            if message.to != PARENT:
                self._parent_works()
                self._send(self.workers[message.to], message)
            elif message.kind == "start":
                self._start(*message.content)

    def _send(self, worker: _Worker, message: Message) -> None:
        def arrive() -> None:
            worker.inbox.append(message)
            self._go_on(worker)

        self._at(self.parent_free + self.machine.latency, arrive)

    def _start(self, number: int, pinned: int | None) -> None:
        worker = self.workers[number] = _Worker(number, pinned)
        self.ever.append(worker)
        for index in self.plan.processes[pinned] if pinned is not None else ():
            pe = self.plan.instances[index].pe
            worker.open[index] = set(self.plan.upstream[index])
            if pe in self.left:
                worker.left[index] = self.left[pe]
        self._at(self.now, lambda: self._go_on(worker))

    # --- workers --------------------------------------------------------------------------------

    def _go_on(self, worker: _Worker) -> None:
        """Have a worker take up what comes next, if it has nothing in hand."""
        if worker.working or worker.number not in self.workers:
            return
        if worker.inbox:
            self._take(worker, worker.inbox.popleft())
        elif worker.left and worker.room > 0:
            self._feed(worker)
        elif worker.pinned is not None and worker.told != worker.received:
            worker.told = worker.received
            self._hear(worker, "idle", (worker.received, not worker.unsent))

    def _take(self, worker: _Worker, message: Message) -> None:
        kind, content = message.kind, message.content
        worker.received += 1
        if kind == "stop":
            del self.workers[worker.number]
            self._tell(worker, lambda: self.scheduler.lost(worker.number, "has ended"))
            return
        if kind == "task":
            number, queue, _, data = content
            parcel = Parcel()
            seconds = self._work(queue[0], data.items, parcel.batches, worker)
            said = ("commit", (number, parcel, data.items, seconds))
            self._work_for(worker, TASK_SECONDS + seconds, lambda: self._say(worker, *said))
            return
        if kind == "go":
            worker.room += content[1]
            self._stream(worker)
        elif kind == "ended":
            self._note_end(worker, content)
        elif kind == "private":
            queue, _, data = content
            seconds = self._work(queue[0], data.items, worker.unsent, worker)

            def taken() -> None:
                self._stream(worker)
                self._say(worker, "taken", queue[0])

            self._work_for(worker, seconds, taken)
            return
        self._go_on(worker)

    def _say(self, worker: _Worker, kind: str, content: Any) -> None:
        size = 0
        if kind == "commit":
            size = sum(len(lot.data) for lot in content[1].batches)
        self._hear(worker, kind, content, size)

    def _work_for(self, worker: _Worker, seconds: float, then: Callable[[], None]) -> None:
        worker.working = True
        worker.busy += seconds

        def done() -> None:
            worker.working = False
            then()
            self._go_on(worker)

        self._at(self.now + seconds, done)

    def _feed(self, worker: _Worker) -> None:
        """Have the sources of a worker write some items."""
        seconds = 0.0
        ended = []
        for index, left in list(worker.left.items()):
            pace = self.paces[self.plan.instances[index].pe]
            items = min(left, BATCH, max(1, int(_GATHERED_SECONDS / pace)) if pace else BATCH)
            seconds += self._work(index, items, worker.unsent, worker)
            worker.left[index] -= items
            if not worker.left[index]:
                del worker.left[index]
                ended.append(index)

        def written() -> None:
            self._stream(worker)
            for index in ended:
                self._end(worker, index)

        self._work_for(worker, seconds, written)

    def _work(self, index: int, items: int, lots: list[Lot], worker: _Worker) -> float:
        """Work on items, and on what comes of them in the same process.

        :param lots: takes what is for other processes
        :returns: how long that takes
        """
        pe = self.plan.instances[index].pe
        seconds = items * self.paces[pe]
        for output, passage in self.passages[pe]:
            key = (pe, output, passage.dest)
            exact = items * passage.items / self.taken[pe] + self.carry.get(key, 0.0)
            written = int(exact + 1e-9)
            self.carry[key] = exact - written
            if not written:
                continue
            for route in self.plan.routes[pe, output]:
                if self.plan.instances[route.targets[0]].pe == passage.dest:
                    seconds += self._pass_on(route, written, passage, lots, worker)
        return seconds

    def _pass_on(
        self, route: Route, items: int, passage: Passage, lots: list[Lot], worker: _Worker
    ) -> float:
        seconds = 0.0
        for place, target in enumerate(route.targets):
            part = items if route.grouping == ALL else items // len(route.targets)
            part += route.grouping != ALL and place < items % len(route.targets)
            if target in worker.open:
                seconds += self._work(target, part, lots, worker)
                continue
            seconds += part * passage.sending
            size = self._size(passage.dest) if target in self.plan.pooled else BATCH
            for first in range(0, part, size):
                data: Any = _Items(min(size, part - first), passage.bytes)
                lots.append(Lot((target, route.input), data.items, data, {}))
        return seconds

    def _stream(self, worker: _Worker) -> None:
        """Send what is written, if there is room."""
        if worker.unsent and worker.room > 0:
            worker.room -= 1
            parcel, worker.unsent = Parcel(worker.unsent), []
            size = sum(len(lot.data) for lot in parcel.batches)
            self._hear(worker, "stream", (None, parcel), size)

    def _note_end(self, worker: _Worker, sender: int) -> None:
        for index in self.plan.downstream[sender]:
            if index in worker.open:
                worker.open[index].discard(sender)
                if not worker.open[index] and index not in worker.left:
                    self._end(worker, index)

    def _end(self, worker: _Worker, index: int) -> None:
        """An instance has nothing more to do: what it wrote goes first."""
        if worker.unsent:
            worker.room += 1  # the last one goes, whatever room there is
            self._stream(worker)
        self._hear(worker, "end", index)
        self._note_end(worker, index)
