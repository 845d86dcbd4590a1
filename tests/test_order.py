"""Order: receivers see the items of each edge as ``simple`` shows them; so come the results."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from mapping_kit import Flight, FlightSource, Gate, Mapping, Source, chain, join, named

from d4pcwl import GenericPE, IterativePE, WorkflowGraph
from d4pcwl.runtime.engine.marks import Mark, packed, unpacked
from d4pcwl.runtime.transport import portions

# --- PEs ------------------------------------------------------------------------------------------


class Scatter(IterativePE):
    """Keeps no state; writes an item no times, once or more often."""

    def _process(self, item: int) -> int | None:
        if item % 5 == 0:
            return None
        for _ in range(item % 3):
            self.write("output", item)
        return item


class Difference(IterativePE):
    """What each item is more than the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.previous = 0

    def _process(self, item: int) -> int:
        difference, self.previous = item - self.previous, item
        return difference


class Numbered(GenericPE):
    """Numbers the items of each key."""

    def __init__(self) -> None:
        super().__init__()
        self._add_input("input", grouping=[1])
        self._add_output("output")
        self.seen = Counter[Any]()

    def _process(self, inputs: dict[str, Any]) -> dict[str, Any]:
        item = inputs["input"]
        self.seen[item[1]] += 1
        return {"output": (*item, self.seen[item[1]])}


def pair(item: int) -> tuple[int, int]:
    return item, item % 4


class Pair(IterativePE):
    def _process(self, item: int) -> tuple[int, int]:
        return pair(item)


class Slow(Scatter):
    """Keeps no state; the first of some items takes longer than all that follow."""

    def _process(self, item: int) -> int:
        if item % 50 == 0:
            sum(range(200_000))
        return item


# --- what must hold -------------------------------------------------------------------------------


@pytest.mark.processes(4, 7)
def test_who_looks_back_sees_the_items_in_order_behind_replicas(mapping: Mapping) -> None:
    items = range(1, 600)
    graph = chain(Source(items), Scatter(), Slow(), Difference())
    assert mapping.items(graph) == simple(chain(Source(items), Scatter(), Slow(), Difference()))


@pytest.mark.processes(4, 7)
def test_results_come_in_order(mapping: Mapping) -> None:
    items = list(range(500))
    assert mapping.items(chain(Source(items), Slow(), Slow())) == items


@pytest.mark.processes(5)
def test_each_key_sees_its_items_in_order_and_so_do_those_behind(mapping: Mapping) -> None:
    def graph() -> WorkflowGraph:
        return chain(Source(range(400)), Slow(), Pair(), Numbered())

    assert mapping.items(graph()) == simple(graph())


@pytest.mark.processes(5)
def test_what_is_written_at_the_end_comes_after_all_items(mapping: Mapping) -> None:
    class Last(Pair):
        def _postprocess(self) -> None:
            self.write("output", "end")

    found = mapping.items(chain(Source(range(300)), Slow(), Last()))
    ends = found.count("end")
    assert found == [*map(pair, range(300)), *["end"] * ends]


@pytest.mark.processes(4)
def test_who_does_not_care_need_not_wait(mapping: Mapping) -> None:
    class Unordered(Difference):
        ordered = False

        def _process(self, item: int) -> int:
            self.previous = item
            return item

    found = mapping.items(chain(Source(range(300)), Slow(), Unordered()))
    assert sorted(found) == list(range(300))


@pytest.mark.parametrize("name", ["multi", "zmq_multi", "redis"])
def test_who_puts_items_in_order_need_not_wait_for_all_that_were_sent_together(
    name: str, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Waits(IterativePE):
        stateful = False

        def _process(self, item: int) -> int:
            if item == 20:
                gate.wait()
            return item

    class Opens(IterativePE):
        stateful = True

        def _process(self, item: int) -> int:
            if item == 0:
                gate.open()
            return item

    monkeypatch.setattr(portions, "_TELL_SECONDS", 0)
    found = Mapping(name, 4).items(chain(Source(range(40)), Waits(), Opens()))
    assert found == list(range(40))


@pytest.mark.processes(4)
def test_what_waits_for_an_item_that_takes_long_is_bounded(mapping: Mapping) -> None:
    flight, size, count = Flight(), 1 << 18, 600

    class Straggler(IterativePE):
        """The first item takes until the source has come to a stop."""

        stateful = False

        def _process(self, text: str) -> str:
            if int(text[:9]) == 0 and mapping.name != "simple":
                flight.take(size)
            return text

        def __deepcopy__(self, memo: Any) -> Straggler:
            return self

    class Sees(IterativePE):
        stateful = True

        def _process(self, text: str) -> int:
            return int(text[:9])

    source = FlightSource(flight, lambda number: f"{number:09}" + "x" * size, size, count)
    found = mapping.items(chain(source, Straggler(), Sees()))
    assert found == list(range(count))
    assert flight.most <= 100 << 20 < count * size


def simple(graph: WorkflowGraph) -> list[Any]:
    return Mapping("simple", 1).items(graph)


# --- random graphs --------------------------------------------------------------------------------

Trace = tuple[tuple[str, ...], int, int]
"""An item of the random graphs: the ports that it has come by, a value, and a key."""


class Step(GenericPE):
    """A PE of a random graph; each item says by which way it has come."""

    def __init__(self, name: str, inputs: int, outputs: int, grouping: Any = None) -> None:
        super().__init__()
        self.name = name
        for number in range(inputs):
            self._add_input(f"in{number}", grouping=grouping)
        for number in range(outputs):
            self._add_output(f"out{number}")

    def send(self, name: str, item: Trace, value: int) -> None:
        way, _, key = item
        for number, output in enumerate(self.outputconnections):
            if (value + number) % 4:
                self.write(output, ((*way, f"{name}:{self.name}.{output}"), value, key))


class Stateless(Step):
    def _process(self, inputs: dict[str, Trace]) -> None:
        for name, item in inputs.items():
            for more in range(1 + item[1] % 2):
                self.send(name, item, item[1] + more)


class Stateful(Step):
    """Numbers what comes by each way (and each key, where it is keyed)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen = Counter[Any]()

    def _process(self, inputs: dict[str, Trace]) -> None:
        for name, item in inputs.items():
            way = (name, item[0], item[2])
            self.seen[way] += 1
            self.send(name, item, 31 * item[1] + self.seen[way])


class Begin(Step):
    def __init__(self, name: str, items: int) -> None:
        super().__init__(name, 0, 1)
        self.items = items

    def _process(self, inputs: Any) -> None:
        for number in range(self.items):
            self.write("out0", ((self.name,), number, number % 3))


def random_graph(seed: int, items: int) -> WorkflowGraph:
    chance = random.Random(seed)
    pes: list[Step] = [Begin(f"begin{n}", items) for n in range(chance.randint(1, 2))]
    edges = []
    for number in range(chance.randint(3, 8)):
        kind = chance.choice([Stateless, Stateless, Stateful])
        grouping = [2] if kind is Stateful and chance.random() < 0.5 else None
        inputs = chance.randint(1, 2)
        pe = kind(f"{kind.__name__}{number}", inputs, chance.randint(1, 2), grouping)
        for name in pe.inputconnections:
            for source in chance.sample(pes, k=min(len(pes), chance.randint(1, 2))):
                edges.append((source, chance.choice(list(source.outputconnections)), pe, name))
        pes.append(pe)
    graph = join(*edges)
    for pe in pes:
        graph.add(pe)
    return graph


def by_way(results: Any) -> dict[Any, list[Any]]:
    """The results of each output that came by the same way, in order; of keyed PEs by key, too."""
    found: dict[Any, list[Any]] = {}
    for pe, outputs in results.items():
        for output, items in outputs.items():
            for way, value, key in items:
                found.setdefault((pe, output, way, key), []).append(value)
    return found


@pytest.mark.processes(2, 6)
@pytest.mark.parametrize("seed", range(3))
def test_random_graphs_keep_the_order_of_each_way(mapping: Mapping, seed: int) -> None:
    expected = by_way(Mapping("simple", 1).run(random_graph(seed, 60)))
    assert by_way(mapping.run(random_graph(seed, 60))) == expected


def test_no_marks_where_nobody_can_tell() -> None:
    from d4pcwl.runtime.engine.plan import make_plan
    from d4pcwl.workflow.flat import flatten

    class Printer(IterativePE):
        ordered = False

        def _process(self, item: Any) -> None:
            print(item)

    flat = flatten(chain(Source(range(3)), Scatter(), named(Printer(), "print")))
    assert not make_plan(flat, 6).order
    assert not make_plan(flatten(chain(Source([1]), Difference(), Difference())), 8).order


@pytest.mark.parametrize(
    "marks",
    [
        [(3, 0)],
        [(3, 0), (3, 7), (3, 2)],
        [(3, 0), (4, 1)],
        [(3, 0), (3, 0, -5, 1), (3, 1)],
        [(3, 1 << 61, 0), (3, 2)],
    ],
)
def test_marks_travel_unchanged(marks: list[Mark]) -> None:
    assert unpacked(*packed(marks)) == marks
