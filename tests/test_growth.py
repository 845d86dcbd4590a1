"""Growth: ten times the PEs are ten times the work, and a deep graph needs no deep stack."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from mapping_kit import Identity, Mapping, OneShot, Plus, Ports, Source, Total, chain, join

from d4pcwl import GenericPE, IterativePE, WorkflowGraph
from d4pcwl.runtime.engine.plan import make_plan
from d4pcwl.runtime.engine.worker import Worker
from d4pcwl.runtime.pool.queues import Batch, Queues
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.inputs import root_inputs


class _NoLink:
    """The ways out of a process that has none but for its results."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Callable[[Any], None]:
        return self.items.append

    def result(self, pe: str, output: str) -> Callable[[Any], None]:
        return self.items.append

    def end(self, instance: int) -> None:
        """Nobody else is told."""


def _fan(number: int) -> WorkflowGraph:
    """A source, so many PEs side by side, and one that takes from them all."""
    graph, source, last = WorkflowGraph(), OneShot(), Total()
    for _ in range(number):
        one = Identity()
        graph.connect(source, "output", one, "input")
        graph.connect(one, "output", last, "input")
    return graph


def _pairs(number: int) -> WorkflowGraph:
    """So many graphs of a source and a PE that keeps state."""
    return join(*((OneShot(), "output", Total(), "input") for _ in range(number)))


def _outputs(number: int) -> WorkflowGraph:
    """One PE with so many outputs that are not connected."""
    return join((OneShot(lambda _: 1), "output", Ports(1, number), "in0"))


def _ring(number: int) -> WorkflowGraph:
    """A cycle of so many PEs, which an item goes round once."""

    class Until(GenericPE):
        def __init__(self) -> None:
            super().__init__()
            self._add_input("input")
            self._add_output("output")
            self._add_output("out")

        def _process(self, inputs: dict[str, int]) -> dict[str, int]:
            count = inputs["input"] + 1
            return {"output" if count <= number else "out": count}

    pes = [Until() for _ in range(number)]
    around = [(one, "output", pes[place - 1], "input") for place, one in enumerate(pes)]
    return join((OneShot(), "output", pes[0], "input"), *around)


GRAPHS: dict[str, Callable[[int], WorkflowGraph]] = {
    "chain": lambda number: chain(OneShot(), *(Plus() for _ in range(number))),
    "fan": _fan,
    "pairs": _pairs,
    "outputs": _outputs,
    "ring": _ring,
}


def _lines_run(work: Callable[[], object]) -> int:
    """How many lines of Python a call of ``work`` runs, comprehensions item by item."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def _ratio(make: Callable[[int], Callable[[], object]], number: int = 60) -> float:
    """How much more work ten times as much is."""
    make(number)()  # what is remembered of classes
    return _lines_run(make(10 * number)) / _lines_run(make(number))


@pytest.mark.parametrize("shape", GRAPHS)
@pytest.mark.parametrize("pooled", [False, True])
def test_plans_grow_with_the_graph(shape: str, pooled: bool) -> None:
    def make(number: int) -> Callable[[], object]:
        graph = GRAPHS[shape](number)
        return lambda: make_plan(flatten(graph), 2, pooled=pooled)

    assert _ratio(make) < 14


@pytest.mark.parametrize("shape", GRAPHS)
def test_a_run_in_one_process_grows_with_the_graph(shape: str) -> None:
    def make(number: int) -> Callable[[], object]:
        flat = flatten(GRAPHS[shape](number))
        plan, inputs = make_plan(flat, 1), root_inputs(flat)

        def run() -> None:
            worker = Worker(flat, plan, 0, inputs, _NoLink())
            worker.start()
            while worker.hungry:
                worker.feed()
            assert worker.done

        return run

    assert _ratio(make) < 14


def test_queues_grow_with_the_graph() -> None:
    def make(number: int) -> Callable[[], object]:
        flat = flatten(_fan(number))
        plan = make_plan(flat, 2, pooled=True, given=root_inputs(flat))
        assert plan.pool is not None
        pool = plan.processes[plan.pool]

        def share_out() -> None:
            queues = Queues(plan)
            for index in pool:
                queues.put(Batch((index, "input"), 1, b"x"))
            while queue := queues.next():
                batch = queues.take(queue)
                assert not queues.is_idle(queue[0])
                queues.done(batch, 1, 1e-4)
                assert queues.is_idle(queue[0])
                queues.pooled_batches()
                queues.of(0)

        return share_out

    assert _ratio(make) < 14


def test_roots_named_one_by_one() -> None:
    def make(number: int) -> Callable[[], object]:
        flat = flatten(_pairs(number))
        given = {pe.id: 1 for pe in flat.roots}
        return lambda: root_inputs(flat, given)

    assert _ratio(make) < 14


class _Yields(IterativePE):
    """Passes on by way of C code, whose stack is not Python's own."""

    def _process(self, data: int) -> Any:
        yield from map(int, [data + 1])


class _Writes(IterativePE):
    def _process(self, data: int) -> None:
        list(map(partial(self.write, "output"), [data + 1]))


class _Twice(IterativePE):
    """Writes the first item twice as often as all others need, so that queues are full."""

    def _process(self, data: int) -> None:
        for number in range(40):
            self.write("output", data + number)


@pytest.mark.processes(2)
@pytest.mark.parametrize("kind", [_Yields, _Writes])
def test_a_deep_graph_needs_no_deep_stack(mapping: Mapping, kind: type[IterativePE]) -> None:
    before, depth = sys.getrecursionlimit(), 1500
    graph = chain(Source([1, 10]), *(kind() for _ in range(depth)))
    try:
        assert sorted(mapping.items(graph)) == [1 + depth, 10 + depth]
        assert sys.getrecursionlimit() <= max(before, 11_000)
    finally:
        sys.setrecursionlimit(before)


def test_order_is_kept_where_items_wait_between_floors() -> None:
    """One PE in the middle writes more than a queue between floors takes."""
    before = sys.getrecursionlimit()
    middle = [Identity() for _ in range(220)]
    graph = chain(Source([0, 100, 200]), *middle, _Twice(), *(Identity() for _ in range(220)))
    try:
        items = Mapping("simple", 1).items(graph)
    finally:
        sys.setrecursionlimit(before)
    assert items == [data + number for data in (0, 100, 200) for number in range(40)]
