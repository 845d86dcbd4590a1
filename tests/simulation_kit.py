"""Schedules of the pool, simulated: the scheduler and workers without processes, pipes or clocks.

A seed makes a random graph and plan, and a random *schedule*: who moves next, which worker stalls
or has a slow link, which one dies. Links between a worker and the scheduler are in order; between
workers everything may overtake everything. What PEs do, and how items are put in order, is done by
the code that runs everywhere else (``runtime/engine/worker.py``); only pipes and processes are
not there. After a schedule every promise is checked against a run of ``simple``.

A schedule that breaks a promise raises :class:`Broken`, whose text has the command that replays it
with all that happens::

    python tests/simulation_kit.py SEED
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from d4pcwl import GenericPE, WorkflowGraph
from d4pcwl.errors import WorkerDied
from d4pcwl.runtime.engine.marks import NO_MORE, NewLevels, SortedResults, wanted_levels
from d4pcwl.runtime.engine.plan import Plan, make_plan
from d4pcwl.runtime.engine.worker import Worker
from d4pcwl.runtime.pool.exchange import WINDOW, Lot, Parcel, Queue
from d4pcwl.runtime.pool.queues import Limits
from d4pcwl.runtime.pool.scale import ATTEMPTS, Scale
from d4pcwl.runtime.pool.scheduler import PARENT, Scheduler
from d4pcwl.workflow.flat import FlatGraph, flatten
from d4pcwl.workflow.inputs import RootInputs, root_inputs

SCHEDULES_OF_A_FLOW = 25
"""So many seeds in a row have the same graph."""

ITEM_BYTES = 10
KEYS = 7

Item = tuple[int, tuple[tuple[int, int], ...]]
"""A key, and the way that it came: edge by edge, the place among what was written for one item."""


class Broken(AssertionError):
    """A schedule has broken a promise."""


# --- PEs ------------------------------------------------------------------------------------------


class _Part(GenericPE):
    """Writes, for an item, up to so many.

    :param tag: its number in the graph
    :param most: items that it writes for one; it is seen by the item how many
    """

    def __init__(self, tag: int, inputs: Sequence[str], outputs: int, most: int = 1) -> None:
        super().__init__()
        self.tag, self.most = tag, most
        self.name = f"PE{tag}"
        for name in inputs:
            self._add_input(name)
        for number in range(outputs):
            self._add_output(f"out{number}")

    def follow(self, name: str, item: Item) -> None:
        """Write what comes of an item."""
        key, way = item
        count = self.most if self.most < 2 else (key + len(way) + way[-1][1]) % (self.most + 1)
        for place in range(count):
            number = (key + place) % len(self.outputconnections)
            self.send(name, number, (3 * key + place) % KEYS, way, place)

    def send(
        self, name: str, number: int, key: int, way: Sequence[tuple[int, int]], place: int
    ) -> None:
        """Write an item that comes of one of input ``name``."""
        edge = 100 * self.tag + 10 * int(name) + number
        self.write(f"out{number}", (key, (*way, (edge, place))))


class _Source(_Part):
    """Writes ``most`` items in each iteration."""

    def preprocess(self) -> None:
        self.count = 0

    def _process(self, inputs: Any) -> None:
        self.count += 1
        for place in range(self.most):
            number = place % len(self.outputconnections)
            step = self.most * (self.count - 1) + place
            self.send("0", number, step % KEYS, (), step)


class _Free(_Part):
    """Keeps no state."""

    def _process(self, inputs: dict[str, Item]) -> None:
        for name, item in inputs.items():
            self.follow(name, item)


class _Heavy(_Free):
    heavy = True


class _Keeper(_Part):
    """Remembers what it has seen, input by input."""

    stateful = True

    def preprocess(self) -> None:
        self.seen: dict[str, list[Item]] = {}

    def _process(self, inputs: dict[str, Item]) -> None:
        for name, item in inputs.items():
            self.seen.setdefault(name, []).append(item)
            self.follow(name, item)


class _Last(_Keeper):
    """Writes once more when all is done."""

    def postprocess(self) -> None:
        self.send("0", 0, self.tag % KEYS, (), 0)


class _Round(_Part):
    """Sends an item back to where it came from, some times, and then on."""

    def _process(self, inputs: dict[str, Item]) -> None:
        for name, (key, way) in inputs.items():
            rounds = sum(edge // 100 == self.tag for edge, _ in way)
            self.send(name, 1 if rounds < key % 3 else 0, key, way, 0)


class _HeavyRound(_Round):
    heavy = True


# --- graphs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flow:
    """A graph with its plan, and what ``simple`` makes of it.

    :param seen: by PE and input, the items in order
    :param results: by output, the same
    :param steady: ids of PEs that get the items of each input in one order, however they run
    :param rings: ids of PEs in cycles and behind them, whose items come in any order
    """

    graph: FlatGraph
    inputs: RootInputs
    plan: Plan
    processes: int
    seen: dict[tuple[str, str], list[Item]]
    results: list[list[Item]]
    steady: frozenset[str]
    rings: frozenset[str]
    items: int
    ids: dict[int, str]
    writers: dict[Queue, tuple[int, int]]


@lru_cache(maxsize=2)
def flow_of(number: int, large: bool) -> Flow:
    """A random graph.

    :param large: with many items, for many workers
    """
    random = Random(number)
    graph, iterations = _random_graph(random, large)
    return make_flow(graph, iterations, 1000 if large else random.choice((2, 2, 3, 4, 6, 8)))


def line(iterations: int, processes: int) -> Flow:
    """A source, a pooled PE, and one that keeps state."""
    graph = WorkflowGraph()
    source, free, keeper = _Source(0, (), 1), _Free(1, ("0",), 1), _Keeper(2, ("0",), 1)
    graph.connect(source, "out0", free, "0")
    graph.connect(free, "out0", keeper, "0")
    return make_flow(graph, iterations, processes)


def make_flow(graph: WorkflowGraph, iterations: int, processes: int) -> Flow:
    """Plan the run of a graph by that many processes, and see what ``simple`` makes of it."""
    flat = flatten(graph)
    inputs = root_inputs(flat, {pe.id: iterations for pe in flat.roots})
    plan = make_plan(flat, processes, pooled=True, loops=True, given=inputs)
    seen, results = _by_simple(flat, inputs)
    items = sum(map(len, seen.values())) + sum(map(len, results))
    rings = {pe.id for pe in flat.in_order() if id(pe) in flat.cyclic}
    steady: set[str] = set()
    for pe in flat.in_order():
        fed = flat.into(pe)
        if any(edge.source.id in rings for edge in fed):
            rings.add(pe.id)
        if pe.id not in rings and len(fed) < 2 and all(e.source.id in steady for e in fed):
            steady.add(pe.id)
    return Flow(
        flat,
        inputs,
        plan,
        processes,
        seen,
        results,
        frozenset(steady),
        frozenset(rings),
        items,
        {pe.tag: pe.id for pe in flat.pes},
        _writers(plan, rings),
    )


def _writers(plan: Plan, rings: Container[str]) -> dict[Queue, tuple[int, int]]:
    """By queue, how many pinned instances and how many pooled ones write to it.

    Not where several instances of a process write: they share the way out, and what one writes may
    leave in the name of another.
    """
    found: dict[Queue, tuple[int, int]] = {}
    writing = {pe for pe, _ in (*plan.routes, *plan.results)}
    crowded = {
        index
        for number, process in enumerate(plan.processes)
        for index in process
        if number != plan.pool and sum(plan.instances[i].pe in writing for i in process) > 1
    }
    for (pe, _), routes in plan.routes.items():
        senders = [instance.index for instance in plan.of(pe)]
        pooled = len(plan.pooled.intersection(senders))
        for route in routes:
            for target in route.targets:
                if plan.instances[target].pe not in rings and not crowded.intersection(senders):
                    before = found.get((target, route.input), (0, 0))
                    counts = before[0] + len(senders) - pooled, before[1] + pooled
                    found[target, route.input] = counts
    return found


def _random_graph(random: Random, large: bool) -> tuple[WorkflowGraph, int]:
    graph = WorkflowGraph()
    outputs: list[tuple[_Part, str]] = []
    tags = iter(range(100))

    def put(pe: _Part, edges: Sequence[tuple[_Part, str, str]]) -> None:
        for source, output, name in edges:
            graph.connect(source, output, pe, name)
        outputs.extend((pe, output) for output in pe.outputconnections)

    for _ in range(random.choice((1, 1, 1, 2))):
        source = _Source(next(tags), (), random.choice((1, 1, 2)), random.choice((1, 1, 3)))
        graph.add(source)
        put(source, ())
    for _ in range(random.choice((1, 2, 2, 3, 3, 4, 6))):
        kind = random.choice((_Free, _Free, _Free, _Heavy, _Keeper, _Keeper, _Last, _Round))
        fed = [random.choice(outputs[-3:]) for _ in range(random.choice((1, 1, 1, 2)))]
        if kind is _Round:
            _put_ring(random, graph, put, tags, fed[0])
            continue
        names = [str(number) for number in range(len(fed))]
        if len(fed) > 1 and fed[0] != fed[1] and random.random() < 0.3:
            names = ["0", "0"]
        most = random.choice((0, 1, 1, 1, 2, 2))
        pe = kind(next(tags), sorted(set(names)), random.choice((1, 1, 2)), most)
        if kind is _Keeper and random.random() < 0.5:
            grouping: Any = random.choice(([0], [0], [0], "all", "global"))
            pe.inputconnections[names[0]]["grouping"] = grouping
            pe.numprocesses = random.choice((1, 2, 3)) if len(set(names)) == 1 else 1
            pe.most = 0 if grouping == "all" else pe.most  # each instance would write the same
        put(pe, [(*output, name) for output, name in zip(fed, names, strict=True)])
    return graph, random.choice((20, 100)) if large else random.choice((0, 1, 2, 2, 3, 4, 5, 12))


def _put_ring(
    random: Random,
    graph: WorkflowGraph,
    put: Callable[[_Part, Sequence[tuple[_Part, str, str]]], None],
    tags: Iterator[int],
    fed: tuple[_Part, str],
) -> None:
    first = _Free(next(tags), ("0", "1"), 1)
    last = random.choice((_Round, _HeavyRound))(next(tags), ("0",), 2)
    put(first, [(*fed, "0")])
    put(last, [(first, "out0", "0")])
    graph.connect(last, "out1", first, "1")


class _Plain:
    """The ways out of a process that has none but for its results."""

    def __init__(self, plan: Plan) -> None:
        self.engines: list[Worker] = []
        self.waiting = Counter[Queue]()
        self.largest = 1
        self.results: list[list[Item]] = [[] for _ in plan.results]
        self.slots = plan.slots

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Callable[[Any], None]:
        raise NotImplementedError

    def result(self, pe: str, output: str) -> Callable[[Any], None]:
        return self.results[self.slots[pe, output]].append

    def end(self, instance: int) -> None:
        """Nobody else is told."""


def _by_simple(
    flat: FlatGraph, inputs: RootInputs
) -> tuple[dict[tuple[str, str], list[Item]], list[list[Item]]]:
    plan = make_plan(flat, 1, given=inputs, copies=False)
    link = _Plain(plan)
    worker = Worker(flat, plan, 0, inputs, link)
    worker.start()
    while worker.hungry:
        worker.feed()
    assert worker.done
    seen = {
        (pe.id, name): list(items)
        for pe in flat.pes
        if isinstance(pe, _Keeper)
        for name, items in pe.seen.items()
    }
    return seen, link.results


# --- workers --------------------------------------------------------------------------------------


class _Data(list[Any]):
    """A batch on its way. Its length is its size in bytes, as the scheduler asks for it."""

    def __len__(self) -> int:
        return ITEM_BYTES * super().__len__()

    @property
    def count(self) -> int:  # type: ignore[override]
        """How many items it holds."""
        return super().__len__()


class _Outbox:
    """The ways out of a worker: what its PEs write waits here."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.marked: set[Queue | int] = {plan.slots[port] for port in plan.order.results}
        self.marked.update(*plan.marked_after.values())
        self.items: dict[Queue | int, list[Any]] = {}
        self.count = self.written = 0
        self.writer = 0
        self.ends: list[int] = []

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Callable[[Any], None]:
        return self._adder((target, input), source[0])

    def result(self, pe: str, output: str) -> Callable[[Any], None]:
        return self._adder(self.plan.slots[pe, output], pe)

    def _adder(self, key: Queue | int, pe: str) -> Callable[[Any], None]:
        instances = self.plan.of(pe)

        def add(item: Any) -> None:
            self.items.setdefault(key, []).append(item)
            self.count += 1
            self.written += 1
            self.writer = instances[0].index

        return add

    def end(self, instance: int) -> None:
        self.ends.append(instance)

    def parcel(self, size_of: Callable[[Queue], int]) -> Parcel:
        """What waits."""
        parcel = Parcel()
        gathered, self.items, self.count = self.items, {}, 0
        for key, items in gathered.items():
            if isinstance(key, int):
                data = _Data([(key, items)])
                parcel.results.append(Lot(key, len(items), data, self.lows(key, items)))
            else:
                parcel.batches += self.lots(key, items, size_of(key))
        return parcel

    def lots(self, to: Queue, items: list[Any], size: int) -> list[Lot]:
        """Items for a queue, in batches."""
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        return [Lot(to, len(part), _Data(part), self.lows(to, part)) for part in parts]

    def lows(self, to: Queue | int, items: list[Any]) -> dict[int, int]:
        """By origin, the lowest number."""
        lows: dict[int, int] = {}
        for mark, _ in items if to in self.marked else ():
            lows[mark[0]] = min(mark[1], lows.get(mark[0], NO_MORE))
        return lows


class _Stopped(Exception):
    """The scheduler has let a worker go."""


class SimulatedWorker:
    """One worker: :class:`~d4pcwl.runtime.pool.worker.DynamicWorker` and its exchange, as a state
    machine that moves when it is told to.

    :param capacity: items that wait in it before they are handed on
    :param reluctance: how often it does not move when it could
    """

    def __init__(self, run: Simulation, number: int, pinned: int | None) -> None:
        random, plan = run.random, run.flow.plan
        self.run, self.number, self.pinned = run, number, pinned
        self.inbox: deque[tuple[str, Any]] = deque()
        self.link: deque[tuple[str, Any]] = deque()
        self.capacity = random.choice((1, 2, 4))
        self.reluctance = random.choice((0.0, 0.0, 0.0, 0.5, 0.97))
        self.received = 0
        self.credits: defaultdict[int | None, int] = defaultdict(lambda: WINDOW)
        self.sizes: dict[Queue, int] = {}
        self.waits = False
        self.deferred: deque[tuple[str, Any]] = deque()
        self.tasks: set[int] = set()
        self.engine: Worker | None = None
        if pinned is not None:
            self.out = _Outbox(plan)
            self.engine = Worker(run.flow.graph, plan, pinned, run.flow.inputs, self.out, own=False)
            run.engines.append(self.engine)
            others = wanted_levels(plan, pinned)
            wanted = {
                level: None for to, levels in others.items() if to != pinned for level in levels
            }
            self.new_levels = NewLevels(wanted, self.engine.level) if plan.order else list
        self.moves = self._work()

    @property
    def can_move(self) -> bool:
        """Whether it has something to do, other than to wait."""
        return bool(self.inbox) or not self.waits

    # --- as a DynamicWorker ---

    def _work(self) -> Iterator[None]:
        try:
            if self.engine is not None:
                self.engine.start()
                yield from self._hand_on_ends()
            while True:
                yield from self._step()
        except _Stopped:
            self.send("done", {})

    def _step(self) -> Iterator[None]:
        if self.deferred:
            yield from self._handle(*self.deferred.popleft())
            return
        message = self._receive()
        if message is None:
            if self.engine is not None:
                if self.engine.hungry:
                    before = self.out.written
                    self.engine.feed(times=1)
                    yield
                    yield from self._hand_on(before)
                    return
                self._flush()
            yield from self._wait()
            message = self._receive(wait=True)
        if message is not None:
            yield from self._handle(*message)

    def _receive(self, wait: bool = False) -> tuple[str, Any] | None:
        """What has come. The link may be slow: then nothing has."""
        if not self.inbox or (not wait and self.run.random.random() < 0.2):
            return None
        kind, content = self.inbox.popleft()
        self.received += 1
        if kind == "stop":
            raise _Stopped
        if kind == "go":
            writer, parcels, sizes = content
            self.sizes.update(sizes)
            self.credits[writer] += parcels
            return None
        return kind, content

    def _wait(self) -> Iterator[None]:
        if self.pinned is not None and (not self.inbox or self.run.random.random() < 0.1):
            self.send("idle", (self.received, not self.out.items))
        self.waits = True
        yield
        while not self.inbox:
            yield
        self.waits = False

    def _help(self, instance: int) -> Iterator[None]:
        """Do what is downstream of an instance that cannot write on, or free."""
        for place, message in enumerate(self.deferred):
            if self._may_handle(message, instance):
                del self.deferred[place]
                yield from self._handle(*message)
                return
        yield from self._wait()
        found = self._receive(wait=True)
        if found is None:
            return
        if self._may_handle(found, instance):
            yield from self._handle(*found)
        else:
            self.deferred.append(found)

    @staticmethod
    def _may_handle(message: tuple[str, Any], instance: int) -> bool:
        kind, content = message
        return kind == "task" or (kind != "ended" and content[0][0] > instance)

    def _handle(self, kind: str, content: Any) -> Iterator[None]:
        if kind == "task":
            yield from self._run_task(*content)
            return
        assert self.engine is not None
        before = self.out.written
        if kind == "ended":
            self.engine.upstream_ended(content)
        elif kind == "told":
            queue, levels = content
            self.engine.note(levels, queue)
        else:
            queue, data = content
            receive = self.engine.receiver(*queue)
            for item in data:
                receive(item)
            yield
        yield from self._hand_on(before)
        if kind == "private":
            self.send("taken", queue[0])

    def _run_task(self, number: int, queue: Queue, sizes: dict[Queue, int], data: _Data) -> Any:
        run = self.run
        self.sizes.update(sizes)
        self.tasks.add(number)
        while run.random.random() < 0.3:
            yield
        receive, items = run.pool.receiver(*queue), list(data)
        done = run.random.randint(1, len(items)) if run.random.random() < 0.1 else len(items)
        for item in items[:done]:
            receive(item)
        parcel = run.pool_out.parcel(self._size)
        parcel.batches += run.pool_out.lots(queue, items[done:], 1)
        seconds = done * run.random.choice((1e-5, 1e-3, 5e-3, 1e-2))
        self.tasks.discard(number)
        self.send("commit", (number, parcel, done, seconds))

    def _size(self, queue: Queue) -> int:
        if queue[0] in self.run.flow.plan.heavy:
            return 1
        return self.sizes.get(queue, 1) if queue[0] in self.run.flow.plan.pooled else 1000

    # --- as its link ---

    def _hand_on(self, before: int) -> Iterator[None]:
        """Hand on what has been written, if it is enough, and who has ended.

        :param before: how much had been written by then
        """
        if self.out.count >= self.capacity and self.out.written > before:
            yield from self._flush_as(self.out.writer)
        elif self.run.random.random() < 0.2:
            self._flush()  # by the thread that watches the time
        yield from self._hand_on_ends()

    def _hand_on_ends(self) -> Iterator[None]:
        while self.out.ends:
            index = self.out.ends.pop(0)
            while self.out.items:
                yield from self._flush_as(index)
            self.send("end", index)

    def _flush_as(self, index: int) -> Iterator[None]:
        plan = self.run.flow.plan
        last = plan.of(plan.instances[index].pe)[-1].index
        while not self.credits[index]:
            yield from self._help(last)
        self._stream(index)

    def _flush(self) -> None:
        if self.credits[None]:
            self._stream(None)

    def _stream(self, writer: int | None) -> None:
        levels = self.new_levels()
        if self.out.items or levels:
            parcel = self.out.parcel(self._size)
            parcel.levels = levels
            self.credits[writer] -= 1
            self.send("stream", (writer, parcel))

    def send(self, kind: str, content: Any) -> None:
        """Send to the scheduler."""
        self.link.append((kind, content))
        self.run.enable(self)


# --- a schedule -----------------------------------------------------------------------------------


class Simulation:
    """One schedule.

    :param trace: takes what happens, line by line
    :param flow: what runs, if it is not one by the seed
    :param freezes: whether the worker that gets the first task moves only when nobody else can;
        ``held`` says how many items are held back then
    """

    def __init__(
        self,
        seed: int,
        scheduler: Callable[..., Scheduler] = Scheduler,
        large: bool = False,
        trace: Callable[[str], None] | None = None,
        flow: Flow | None = None,
        limits: Limits | None = None,
        freezes: bool = False,
    ) -> None:
        self.random = random = Random(seed)
        self.flow = flow = flow or flow_of(seed // SCHEDULES_OF_A_FLOW, large)
        self.seed, self.trace = seed, trace
        number = flow.processes
        self.scale = Scale(number, number)
        if random.random() < 0.3:
            self.scale = Scale(min(2, number), number, random.choice((0, 1, 3)), 1.0)
        self.limits = limits or Limits(
            random.choice((2, 3, 64)), random.choice((40, 10000)), random.choice((200, 1 << 20))
        )
        self.scheduler = scheduler(flow.plan, self.scale, self.limits)
        self.engines: list[Worker] = []
        self.waiting = Counter[Queue]()
        self.largest = 1
        self.results: list[list[Item]] = [[] for _ in flow.plan.results]
        self.sorted = SortedResults(flow.plan, [found.append for found in self.results])
        self.workers: dict[int, SimulatedWorker] = {}
        self.now = 0.0
        self.freezes = freezes
        self.frozen: SimulatedWorker | None = None
        self.held = 0
        self.moving: list[SimulatedWorker] = []
        self._place: dict[int, int] = {}
        self.deaths = Counter[str]()
        self.may_die = random.choice((0, 0, 1, 2, 4)) if not large else 40
        self.may_die = 0 if freezes else self.may_die
        self.pinned_may_die = random.random() < 0.03
        self.died_over = Counter[str]()
        self.most = 0
        self.steps = 0
        if flow.plan.pool is not None:
            self.pool_out = _Outbox(flow.plan)
            self.pool = Worker(
                flow.graph, flow.plan, flow.plan.pool, {}, self.pool_out, direct=False
            )

    # --- moving ---

    def run(self) -> None:
        """Run it to its end, and check what was promised.

        :raises Broken: a promise does not hold
        """
        try:
            self._run()
            self._check()
        except Broken:
            raise
        except Exception as error:
            raise self._broken(f"{type(error).__name__}: {error}") from error

    def _run(self) -> None:
        self._decide()
        most_steps, idle = 20000 + 2000 * self.flow.items, 0
        while not self.scheduler.is_over:
            self.steps += 1
            if self.steps > most_steps:
                raise self._broken("it does not end")
            if self.moving:
                self.now += 1e-3
                self._step(self.random.choice(self.moving))
            elif self._decide():
                idle = 0
            else:
                idle += 1
                self.now += 2.0
                if idle > 3:
                    raise self._broken("nobody moves any more, and it has not ended")

    def _step(self, worker: SimulatedWorker) -> None:
        """A worker moves, or what it has sent arrives."""
        chance = self.random.random
        if worker is self.frozen:
            if len(self.moving) == 1 and not self._decide():
                self.held = sum(g.waiting for e in self.engines for g in e._gathers.values())
                self.frozen = None
        elif self.may_die and chance() < 0.02:
            self._kill(worker)
        elif worker.reluctance and chance() < worker.reluctance:
            if chance() < 0.02:
                worker.reluctance = 0.0
        elif worker.link and (not worker.can_move or chance() < 0.5):
            self._hear(worker)
            if chance() < 0.8:
                self._decide()
        else:
            self._move(worker)

    def _move(self, worker: SimulatedWorker) -> None:
        if next(worker.moves, worker) is worker:
            worker.inbox.clear()
            worker.waits = True
            worker.send("closed", "ended")
            return
        if not worker.can_move and not worker.link:
            self._disable(worker)

    def _hear(self, worker: SimulatedWorker) -> None:
        kind, content = worker.link.popleft()
        if not worker.link and not worker.can_move:
            self._disable(worker)
        self._note("worker", worker.number, kind, content)
        if kind == "closed":
            self._disable(worker)
            del self.workers[worker.number]
            tasks = self.scheduler.workers[worker.number].tasks.values()
            self.waiting.update(batch.queue for batch in tasks)  # they will wait again
            self.scheduler.lost(worker.number, content)
            return
        self.scheduler.hear(worker.number, kind, content)
        if kind in ("stream", "commit"):
            self._check_room(content[1])

    def _kill(self, worker: SimulatedWorker) -> None:
        if worker.pinned is not None and not self.pinned_may_die:
            return
        self.may_die -= 1
        self._note("worker", worker.number, "dies")
        self.deaths["pinned" if worker.pinned is not None else "free"] += 1
        worker.moves = iter(())
        worker.inbox.clear()
        worker.waits = True
        worker.send("closed", "was killed")

    def _decide(self) -> bool:
        """Have the scheduler decide; whether anything is to be done."""
        done = False
        for to, kind, content in self.scheduler.decide(self.now):
            done = True
            self._note("→", to, kind, content)
            if to != PARENT:
                worker = self.workers[to]
                if not (worker.link and worker.link[-1][0] == "closed"):
                    worker.inbox.append((kind, content))
                    self.enable(worker)
                if kind == "task" and self.freezes and worker.pinned is None:
                    self.frozen, self.freezes = worker, False
                if kind in ("task", "private"):
                    queue = content[1] if kind == "task" else content[0]
                    self.waiting[queue] -= 1
            elif kind == "start":
                self._start(*content)
            elif kind == "results":
                for slot, items in list(content):
                    for item in items:
                        self.sorted.takers[slot](item)
            elif kind == "levels":
                self.sorted.note(content)
        return done

    def _start(self, number: int, pinned: int | None) -> None:
        self.workers[number] = worker = SimulatedWorker(self, number, pinned)
        self.enable(worker)
        staying = sum(not w.leaving for w in self.scheduler.workers.values())
        pinned_processes = len(self.flow.plan.processes) - (self.flow.plan.pool is not None)
        if staying > max(self.scale.most, pinned_processes):
            raise self._broken(f"{staying} workers where at most {self.scale.most} were asked for")

    def enable(self, worker: SimulatedWorker) -> None:
        """It may move."""
        if worker.number not in self._place:
            self._place[worker.number] = len(self.moving)
            self.moving.append(worker)

    def _disable(self, worker: SimulatedWorker) -> None:
        place = self._place.pop(worker.number, None)
        if place is not None:
            last = self.moving.pop()
            if last is not worker:
                self.moving[place] = last
                self._place[last.number] = place

    # --- promises ---

    def _check_room(self, parcel: Parcel) -> None:
        """Queues are bounded: by the limit, and what those may write who are just at it."""
        parts = Counter(lot.to for lot in parcel.batches)
        self.waiting.update(parts)
        self.largest = max(self.largest, *parts.values(), 1)
        for queue in parts:
            writers = self.flow.writers.get(queue)
            if writers is None:
                continue
            pinned, pooled = writers
            room = 2 * WINDOW * pinned + WINDOW * pooled * len(self.scheduler.workers)
            most = self.limits.batches + self.largest * room
            if self.waiting[queue] > most:
                raise self._broken(f"{self.waiting[queue]} batches wait in {queue}, not {most}")

    def _check(self) -> None:
        flow, failure = self.flow, self.scheduler.failure
        if failure is not None:
            self.sorted.give_up()
            self._check_failure(failure)
        for slot, expected in enumerate(flow.results):
            pe, output = flow.plan.results[slot]
            where = f"results of {pe}.{output}"
            self._compare(where, pe, self.results[slot], expected, partly=failure is not None)
        if failure is None:
            self._check_seen()

    def _check_failure(self, failure: Exception) -> None:
        if not isinstance(failure, WorkerDied):
            raise self._broken(f"it failed: {failure}")
        if "held the state" in str(failure):
            justified = self.deaths["pinned"] > 0
        else:
            justified = self.deaths.total() >= ATTEMPTS
        if not justified:
            raise self._broken(f"it failed: {failure}; but {dict(self.deaths)} died")

    def _check_seen(self) -> None:
        flow, plan = self.flow, self.flow.plan
        pes = {index: running.pe for e in self.engines for index, running in e.running.items()}
        for (pe, name), expected in flow.seen.items():
            found = [pes[i.index].seen.get(name, []) for i in plan.of(pe)]
            grouping = next(
                r.grouping
                for routes in plan.routes.values()
                for r in routes
                if r.input == name and plan.instances[r.targets[0]].pe == pe
            )
            where = f"{pe}.{name}"
            if len(found) == 1 or str(grouping) == "global":
                self._compare_input(where, pe, found[0], expected)
            elif str(grouping) == "all":
                for items in found:
                    self._compare_input(where, pe, items, expected)
            else:
                for key in range(KEYS):
                    of_key = [i for items in found for i in items if i[0] == key]
                    wanted = [i for i in expected if i[0] == key]
                    self._compare_input(f"{where}, key {key}", pe, of_key, wanted)

    def _compare_input(self, where: str, pe: str, found: list[Item], expected: list[Item]) -> None:
        """What an instance saw: of each sender in order, what there was."""
        for edge in {item[1][-1][0] // 100 for item in (*found, *expected)}:
            sender = self.flow.ids[edge]
            mine, wanted = (
                [item for item in items if item[1][-1][0] // 100 == edge]
                for items in (found, expected)
            )
            self._compare(f"{where} from {sender}", sender, mine, wanted)

    def _compare(
        self, where: str, sender: str, found: list[Item], expected: list[Item], partly: bool = False
    ) -> None:
        """
        :param partly: some may be missing
        """
        if found == expected:
            return
        missing, more = Counter(expected), Counter(found)
        missing, more = missing - more, more - missing
        if more or (missing and not partly):
            raise self._broken(f"{where}: lost {list(missing)}; too much {list(more)}")
        if sender in self.flow.steady and not partly:
            raise self._broken(f"{where}: {found} in place of {expected}")
        if sender in self.flow.rings:
            return
        by_way: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for _, way in found:
            edges, places = zip(*way, strict=True)
            by_way.setdefault(edges, []).append(places)
        for places in by_way.values():
            if places != sorted(places):
                raise self._broken(f"{where}: out of order: {places}")

    def _note(self, *what: Any) -> None:
        if self.trace is not None:
            self.trace(" ".join(map(str, what)))

    def _broken(self, what: str) -> Broken:
        return Broken(f"{what}\nTo see it: python tests/simulation_kit.py {self.seed}")


def main() -> int:
    """Run the schedules that are named, and tell what happens."""
    parser = argparse.ArgumentParser(description="Replay simulated schedules.")
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--large", action="store_true", help="many workers")
    given = parser.parse_args()
    for seed in given.seeds:
        try:
            simulation = Simulation(seed, large=given.large, trace=print)
            print(simulation.flow.plan)
            simulation.run()
        except Broken as error:
            print(error)
            return 1
        print(f"seed {seed}: every promise is kept, in {simulation.steps} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
