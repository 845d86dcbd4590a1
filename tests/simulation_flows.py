"""Random graphs for the simulation of pools, and what ``simple`` makes of them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from d4pcwl import GenericPE, WorkflowGraph
from d4pcwl.runtime.engine.plan import Plan, make_plan
from d4pcwl.runtime.engine.worker import Worker
from d4pcwl.runtime.pool.exchange import Queue
from d4pcwl.workflow.flat import FlatGraph, flatten
from d4pcwl.workflow.inputs import RootInputs, root_inputs

KEYS = 7

Item = tuple[int, tuple[tuple[int, int], ...]]
"""A key, and the way that it came: edge by edge, the place among what was written for one item."""


# --- PEs ------------------------------------------------------------------------------------------


class Part(GenericPE):
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


class _Source(Part):
    """Writes ``most`` items in each iteration."""

    def preprocess(self) -> None:
        self.count = 0

    def _process(self, inputs: Any) -> None:
        self.count += 1
        for place in range(self.most):
            number = place % len(self.outputconnections)
            step = self.most * (self.count - 1) + place
            self.send("0", number, step % KEYS, (), step)


class _Free(Part):
    """Keeps no state."""

    def _process(self, inputs: dict[str, Item]) -> None:
        for name, item in inputs.items():
            self.follow(name, item)


class _Heavy(_Free):
    heavy = True


class Keeper(Part):
    """Remembers what it has seen, input by input."""

    stateful = True

    def preprocess(self) -> None:
        self.seen: dict[str, list[Item]] = {}

    def _process(self, inputs: dict[str, Item]) -> None:
        for name, item in inputs.items():
            self.seen.setdefault(name, []).append(item)
            self.follow(name, item)


class _Last(Keeper):
    """Writes once more when all is done."""

    def postprocess(self) -> None:
        self.send("0", 0, self.tag % KEYS, (), 0)


class _Round(Part):
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
def flow_of(number: int, large: bool = False) -> Flow:
    """A random graph.

    :param large: with many items, for many workers
    """
    random = Random(number)
    graph, iterations = _random_graph(random, large)
    processes = 1000 if large else random.choice((2, 2, 3, 4, 6, 8))
    return make_flow(graph, iterations, processes)


def line(iterations: int, processes: int) -> Flow:
    """A source, a pooled PE, and one that keeps state."""
    graph = WorkflowGraph()
    source, free, keeper = _Source(0, (), 1), _Free(1, ("0",), 1), Keeper(2, ("0",), 1)
    graph.connect(source, "out0", free, "0")
    graph.connect(free, "out0", keeper, "0")
    return make_flow(graph, iterations, processes)


def make_flow(graph: WorkflowGraph, iterations: int, processes: int) -> Flow:
    """Plan the run of a graph by that many processes, and see what ``simple`` makes of it."""
    flat = flatten(graph)
    inputs = root_inputs(flat, {pe.id: iterations for pe in flat.roots})
    plan = make_plan(flat, processes, pooled=True, given=inputs)
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
    outputs: list[tuple[Part, str]] = []
    tags = iter(range(100))

    def put(pe: Part, edges: Sequence[tuple[Part, str, str]]) -> None:
        for source, output, name in edges:
            graph.connect(source, output, pe, name)
        outputs.extend((pe, output) for output in pe.outputconnections)

    for _ in range(random.choice((1, 1, 1, 2))):
        source = _Source(next(tags), (), random.choice((1, 1, 2)), random.choice((1, 1, 3)))
        graph.add(source)
        put(source, ())
    for _ in range(random.choice((1, 2, 2, 3, 3, 4, 6))):
        kind = random.choice((_Free, _Free, _Free, _Heavy, Keeper, Keeper, _Last, _Round))
        fed = [random.choice(outputs[-3:]) for _ in range(random.choice((1, 1, 1, 2)))]
        if kind is _Round:
            _put_ring(random, graph, put, tags, fed[0])
            continue
        names = [str(number) for number in range(len(fed))]
        if len(fed) > 1 and fed[0] != fed[1] and random.random() < 0.3:
            names = ["0", "0"]
        most = random.choice((0, 1, 1, 1, 2, 2))
        pe = kind(next(tags), sorted(set(names)), random.choice((1, 1, 2)), most)
        if kind is Keeper and random.random() < 0.5:
            grouping: Any = random.choice(([0], [0], [0], "all", "global"))
            pe.inputconnections[names[0]]["grouping"] = grouping
            pe.numprocesses = random.choice((1, 2, 3)) if len(set(names)) == 1 else 1
            pe.most = 0 if grouping == "all" else pe.most  # each instance would write the same
        put(pe, [(*output, name) for output, name in zip(fed, names, strict=True)])
    return graph, random.choice((20, 100)) if large else random.choice((0, 1, 2, 2, 3, 4, 5, 12))


def _put_ring(
    random: Random,
    graph: WorkflowGraph,
    put: Callable[[Part, Sequence[tuple[Part, str, str]]], None],
    tags: Iterator[int],
    fed: tuple[Part, str],
) -> None:
    first = _Free(next(tags), ("0", "1"), 1)
    last = random.choice((_Round, _HeavyRound))(next(tags), ("0",), 2)
    put(first, [(*fed, "0")])
    put(last, [(first, "out0", "0")])
    graph.connect(last, "out1", first, "1")


class _Plain:
    """The ways out of a process that has none but for its results."""

    def __init__(self, plan: Plan) -> None:
        self.results: list[list[Item]] = [[] for _ in plan.results]
        self.slots = plan.slots

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Callable[[Any], None]:
        raise AssertionError("there is one process")

    def result(self, pe: str, output: str) -> Callable[[Any], None]:
        return self.results[self.slots[pe, output]].append

    def end(self, instance: int) -> None:
        """Nobody else is told."""


def _by_simple(
    flat: FlatGraph, inputs: RootInputs
) -> tuple[dict[tuple[str, str], list[Item]], list[list[Item]]]:
    plan = make_plan(flat, 1, given=inputs, copies=False)
    link = _Plain(plan)
    worker = Worker(flat, plan, 0, inputs, link, own=False)
    worker.start()
    while worker.hungry:
        worker.feed()
    assert worker.done
    seen = {
        (running.pe.id, name): items
        for running in worker.running.values()
        if isinstance(running.pe, Keeper)
        for name, items in running.pe.seen.items()
    }
    return seen, link.results
