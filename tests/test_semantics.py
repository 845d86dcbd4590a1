"""What a run means, whatever the mapping and the number of processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapping_kit import (
    MOST_UNDER_WAY,
    CountKeys,
    Flight,
    FlightConsumer,
    FlightSource,
    Gate,
    Identity,
    Mapping,
    OneShot,
    Plus,
    Ports,
    Source,
    Tag,
    Total,
    Trail,
    TrailConsumer,
    chain,
    frozen,
    join,
    named,
    wait_until,
)

import d4pcwl
from d4pcwl import (
    CompositePE,
    ConsumerPE,
    GenericPE,
    IterativePE,
    ProducerPE,
    SimpleFunctionPE,
    WorkflowGraph,
    create_iterative_chain,
)

WORDS = [("the", 1), ("sea", 2), ("the", 3), ("land", 4), ("sea", 5), ("the", 6), ("sky", 7)]


# --- groupings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grouping", "items", "key"),
    [
        ([0], WORDS, lambda item: item[0]),
        ([1], WORDS, lambda item: item[1]),
        ([0, 1], WORDS, lambda item: item),
        (0, WORDS, lambda item: item[0]),
        (["word"], [{"word": w, "n": n} for w, n in WORDS], lambda item: item["word"]),
        ("word", [{"word": w, "n": n} for w, n in WORDS], lambda item: item["word"]),
        (["word", "n"], [{"word": w, "n": n} for w, n in WORDS], lambda item: repr(item)),
        ([0], [([1, 2], "list"), ([1, 2], "again"), ([3], "list")], lambda item: str(item[0])),
        ([0], [(1, "int"), (1.0, "float"), (True, "bool"), (2, "int")], lambda item: item[0]),
    ],
    ids=["index", "index1", "indices", "int", "key", "string", "keys", "lists", "equal-numbers"],
)
@pytest.mark.processes(1, 2, 4)
def test_group_by_sends_equal_keys_to_one_instance(
    mapping: Mapping, grouping: Any, items: list[Any], key: Any
) -> None:
    tag = Tag(grouping, numprocesses=3)
    tagged = mapping.items(chain(Source(items * 3), tag))
    assert frozen(item for _, item in tagged) == frozen(items * 3)
    owners: dict[Any, set[int]] = {}
    for rank, item in tagged:
        owners.setdefault(key(item), set()).add(rank)
    assert {len(ranks) for ranks in owners.values()} == {1}


@pytest.mark.processes(1, 2, 4)
def test_group_by_agrees_between_senders(mapping: Mapping) -> None:
    """Two PEs send the same keys, from processes of their own."""
    first, second, count = Source(WORDS), Source(WORDS), CountKeys(numprocesses=2)
    graph = join((first, "output", count, "input"), (second, "output", count, "input"))
    expected = Counter(word for word, _ in WORDS * 2)
    assert Counter(mapping.items(graph)) == Counter(expected.items())


@pytest.mark.parametrize(
    ("grouping", "copies", "ranks"), [("all", 3, 3), ("global", 1, 1), (None, 1, 3)]
)
@pytest.mark.processes(1, 4)
def test_all_global_and_shuffle(mapping: Mapping, grouping: Any, copies: int, ranks: int) -> None:
    tagged = mapping.items(chain(Source(range(9)), Tag(grouping, numprocesses=3)))
    if mapping.name == "simple":  # it has one instance of each
        copies = ranks = 1
    assert Counter(item for _, item in tagged) == Counter(dict.fromkeys(range(9), copies))
    # A pool has no instances to count; what comes to all or to one, it does not take.
    assert len({rank for rank, _ in tagged}) == (ranks if grouping or not mapping.pools else 1)


def test_grouping_may_be_set_on_the_connection(mapping: Mapping) -> None:
    tag = Tag(numprocesses=3)
    tag.inputconnections["input"]["grouping"] = "global"
    assert len({rank for rank, _ in mapping.items(chain(Source(range(9)), tag))}) == 1


_HASH_SCRIPT = """
import datetime, decimal
from d4pcwl.workflow.grouping import GroupBy, stable_hash, freeze
keys = ["sea", 1, 1.5, None, b"x", (1, "a"), frozenset("abc"), True, 10**30, -0.0, "é", "",
        datetime.date(2020, 1, 2), decimal.Decimal("1.5"), freeze({"a": [1], "b": {2, 3}})]
print([stable_hash(key) for key in keys])
print([GroupBy("group-by", (0,)).owner(7)((key,)) for key in keys])
"""


def test_hash_is_equal_in_every_interpreter() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _HASH_SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "12345")
    }
    assert len(outputs) == 1
    hashes = outputs.pop().splitlines()[0].strip("[]").split(", ")
    assert (len(hashes), len(set(hashes))) == (
        15,
        13,
    )  # 1 and True are one key; 1.5 and Decimal('1.5'), too


# --- shapes of graphs -----------------------------------------------------------------------------


@pytest.mark.processes(1, 2, 4, 7)
def test_fan_out_and_fan_in(mapping: Mapping) -> None:
    source, first, second, end = Source(range(50)), Plus(100), Plus(1000), Identity()
    graph = join(
        (source, "output", first, "input"),
        (source, "output", second, "input"),
        (source, "output", end, "input"),
        (first, "output", end, "input"),
        (second, "output", end, "input"),
    )
    expected = [n + k for n in range(50) for k in (0, 100, 1000)]
    assert sorted(mapping.items(graph)) == sorted(expected)


@pytest.mark.processes(1, 2, 3)
def test_two_edges_between_two_pes(mapping: Mapping) -> None:
    one, two = TwoWays(), Ports(2, 2)
    graph = join((one, "double", two, "in0"), (one, "square", two, "in1"))
    results = mapping.run(graph, {one: [{"input": n} for n in range(5)]})
    found = {output: sorted(items) for output, items in results[two].items()}
    assert found == {"out0": [0, 2, 4, 6, 8], "out1": [0, 1, 4, 9, 16]}


class TwoWays(GenericPE):
    def __init__(self) -> None:
        super().__init__()
        self._add_input("input")
        self._add_output("double")
        self._add_output("square")

    def _process(self, inputs: dict[str, Any]) -> Any:
        return {"double": 2 * inputs["input"], "square": inputs["input"] ** 2}


@pytest.mark.processes(1, 2, 3)
def test_two_outputs_to_one_input_and_one_output_to_two_inputs(mapping: Mapping) -> None:
    ways, both, ports = TwoWays(), Identity(), Ports(2, 2)
    graph = join(
        (ways, "double", both, "input"),
        (ways, "square", both, "input"),
        (ways, "double", ports, "in0"),
        (ways, "double", ports, "in1"),
    )
    results = mapping.run(graph, {ways: [{"input": 3}, {"input": 4}]})
    assert sorted(results[both]["output"]) == [6, 8, 9, 16]
    assert {output: sorted(items) for output, items in results[ports].items()} == {
        "out0": [6, 8],
        "out1": [6, 8],
    }


class Countdown(GenericPE):
    """Sends numbers round until they are 0; each arrival is a result too."""

    def __init__(self) -> None:
        super().__init__()
        self._add_input("input")
        self._add_input("back")
        self._add_output("round")
        self._add_output("seen")

    def _process(self, inputs: dict[str, Any]) -> None:
        (number,) = inputs.values()
        self.write("seen", number)
        if number:
            self.write("round", number - 1)


@pytest.mark.processes(1, 2, 4)
def test_feedback_loop_ends(mapping: Mapping) -> None:
    source, down, other = Source([3, 2]), Countdown(), Identity()
    graph = join(
        (source, "output", down, "input"),
        (down, "round", other, "input"),
        (other, "output", down, "back"),
    )
    assert sorted(mapping.items(graph, down, "seen")) == [0, 0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("instances", [1, 3])
@pytest.mark.processes(1, 2, 5)
def test_self_loop_ends(mapping: Mapping, instances: int) -> None:
    source, down, after = Source([3, 2]), Countdown(), Total()
    down.numprocesses = instances
    graph = join(
        (source, "output", down, "input"),
        (down, "round", down, "back"),
        (down, "seen", after, "input"),
    )
    assert mapping.items(graph, after) == [9]


@pytest.mark.processes(2, 4)
def test_deep_loop_does_not_recurse(mapping: Mapping) -> None:
    source, down = Source([20_000]), Countdown()
    graph = join((source, "output", down, "input"), (down, "round", down, "back"))
    assert len(mapping.items(graph, down, "seen")) == 20_001


@pytest.mark.processes(1, 3)
def test_cycle_fed_by_inputs_alone(mapping: Mapping) -> None:
    down = Countdown()
    graph = join((down, "round", down, "back"))
    assert mapping.run(graph, {down: [{"input": 2}]})[down]["seen"] == [2, 1, 0]


def inner_composite() -> CompositePE:
    def build(graph: CompositePE, number: int) -> None:
        first, second = Plus(number), Plus(number)
        graph.connect(first, "output", second, "input")
        graph._map_input("in", first, "input")
        graph._map_output("out", second, "output")

    return CompositePE(build, {"number": 10})


class Outer(CompositePE):
    """A composite in which two composites are connected to each other."""

    def __init__(self) -> None:
        super().__init__()
        first, second = inner_composite(), inner_composite()
        self.connect(first, "out", second, "in")
        self._map_input("in", first, "in")
        self._map_output("out", second, "out")


@pytest.mark.processes(1, 3, 7)
def test_composites_two_deep(mapping: Mapping) -> None:
    source, first, second, end = Source(range(5)), Outer(), Outer(), Identity()
    graph = join(
        (source, "output", first, "in"), (first, "out", second, "in"), (second, "out", end, "input")
    )
    assert sorted(mapping.items(graph)) == [80, 81, 82, 83, 84]


def test_unconnected_output_of_a_composite_is_a_result(mapping: Mapping) -> None:
    graph = join((Source(range(3)), "output", Outer(), "in"))
    assert sorted(mapping.items(graph)) == [40, 41, 42]


def add(data: int, number: int = 1) -> int:
    return data + number


def test_iterative_chain(mapping: Mapping) -> None:
    source = Source(range(3))
    steps = create_iterative_chain([add, (add, {"number": 10}), lambda data: data * 2])
    end = Identity()
    graph = join((source, "output", steps, "input"), (steps, "output", end, "input"))
    assert sorted(mapping.items(graph)) == [22, 24, 26]


@pytest.mark.processes(3, 4, 7)
def test_join_into_several_instances_ends(mapping: Mapping) -> None:
    """The sources end at different times, and so do the instances."""
    sources = [Source(range(n)) for n in (0, 1, 500)]
    tag = Tag(numprocesses=3)
    graph = join(*((source, "output", tag, "input") for source in sources))
    items = [item for _, item in mapping.items(graph)]
    assert Counter(items) == Counter([*range(1), *range(500)])


def test_a_sender_may_end_long_before_its_receiver(mapping: Mapping, gate: Gate) -> None:
    """One source has ended, and its process too, when the other begins."""

    class Late(ProducerPE):
        def _process(self, inputs: Any) -> str:
            gate.wait()
            return "late"

    class Opens(IterativePE):
        def _process(self, data: Any) -> Any:
            return data

        def _postprocess(self) -> None:
            gate.open()

    early, opens, late, end = Source(["early"]), Opens(), Late(), Identity()
    if mapping.processes < 3 or mapping.pools:  # they share a process
        gate.open()
    graph = join(
        (early, "output", opens, "input"),
        (opens, "output", end, "input"),
        (late, "output", end, "input"),
    )
    assert sorted(mapping.items(graph)) == ["early", "late"]


@pytest.mark.processes(2, 8)
def test_diamond_ends(mapping: Mapping) -> None:
    source, left, right, end = Source(range(2000)), Plus(1), Plus(2), Total()
    left.numprocesses = right.numprocesses = 3
    graph = join(
        (source, "output", left, "input"),
        (source, "output", right, "input"),
        (left, "output", end, "input"),
        (right, "output", end, "input"),
    )
    assert mapping.items(graph) == [2 * sum(range(2000)) + 3 * 2000]


def test_a_chain_of_a_thousand_pes(mapping: Mapping) -> None:
    graph = chain(Source(range(3)), *(Plus() for _ in range(999)))
    assert sorted(mapping.items(graph)) == [999, 1000, 1001]


def test_single_pe(mapping: Mapping) -> None:
    assert mapping.items(chain(Source([1, 2]))) == [1, 2]


def test_parts_that_are_not_connected(mapping: Mapping) -> None:
    first, second, graph = Source([1]), Source([2]), WorkflowGraph()
    graph.add(first)
    graph.add(second)
    results = mapping.run(graph)
    assert (results[first], results[second]) == ({"output": [1]}, {"output": [2]})


# --- the life of a PE, and what it writes ---------------------------------------------------------


class Lives(IterativePE):
    """Writes in every stage of its life."""

    def _preprocess(self) -> None:
        self.write("output", f"{self.name} begins")

    def _process(self, data: Any) -> Any:
        return data

    def _postprocess(self) -> None:
        self.write("output", f"{self.name} ends")


@pytest.mark.processes(1, 2, 4)
def test_pre_and_postprocess_write(mapping: Mapping) -> None:
    pes = [named(Lives(), name) for name in "abc"]
    items = mapping.items(chain(Source(["item"]), *pes))
    begins, ends = items[:3], items[-3:]
    assert sorted(begins) == ["a begins", "b begins", "c begins"]
    assert items[3] == "item"
    assert ends == ["a ends", "b ends", "c ends"]


class Recorder(IterativePE):
    def __init__(self, trail: Trail) -> None:
        super().__init__()
        self.trail = trail

    def _preprocess(self) -> None:
        self.trail.leave("pre", self.rank)

    def _process(self, data: Any) -> None:
        self.trail.leave("item", self.rank)

    def _postprocess(self) -> None:
        self.trail.leave("post", self.rank)


@pytest.mark.parametrize("items", [0, 6])
def test_each_instance_is_set_up_and_ended_once(mapping: Mapping, trail: Trail, items: int) -> None:
    recorder = Recorder(trail)
    recorder.numprocesses = 3
    mapping.run(chain(Source(range(items)), recorder))
    by_rank: dict[str, list[str]] = {}
    for line in trail.lines():
        what, rank = line.split()
        by_rank.setdefault(rank, []).append(what)
    instances = 1 if mapping.name == "simple" else 3
    assert list(by_rank.values()) == [["pre", *["item"] * (items // instances), "post"]] * instances


def test_postprocess_runs_once_all_upstream_have_ended(mapping: Mapping) -> None:
    totals = [Total() for _ in range(4)]
    assert mapping.items(chain(Source(range(10)), *totals)) == [45]


FALSY = [0, False, "", [], {}, 0.0, (), b""]


def test_falsy_items_are_items_and_none_is_not(mapping: Mapping) -> None:
    returned = mapping.items(chain(Source([*FALSY, None, 1]), Identity()))
    assert frozen(returned) == frozen([*FALSY, 1])


def test_none_is_an_item_where_it_is_written(mapping: Mapping) -> None:
    class Write(IterativePE):
        def _process(self, data: Any) -> None:
            self.write("output", data)

    items = mapping.items(chain(Source([None, 1, None]), Write()))
    assert frozen(items) == frozen([None, 1, None])


def test_none_in_a_returned_dictionary_is_an_item(mapping: Mapping) -> None:
    class Generic(GenericPE):
        def __init__(self) -> None:
            super().__init__()
            self._add_input("input")
            self._add_output("output")

        def _process(self, inputs: Any) -> Any:
            return {"output": None}

    assert mapping.items(chain(Source([1]), Generic())) == [None]


class Repeats(IterativePE):
    """Yields, where upstream would hand on the generator."""

    def _process(self, data: int) -> Any:
        for _ in range(data):
            yield data


class GenericGenerator(GenericPE):
    def __init__(self) -> None:
        super().__init__()
        self._add_input("input")
        self._add_output("output")

    def process(self, inputs: dict[str, Any]) -> Any:
        for _ in range(inputs["input"]):
            yield {"output": inputs["input"]}


class GeneratorInDictionary(GenericGenerator):
    def process(self, inputs: dict[str, Any]) -> Any:
        return {"output": (inputs["input"] for _ in range(inputs["input"]))}


class WritesGenerator(IterativePE):
    def _process(self, data: int) -> None:
        self.write("output", (data for _ in range(data)))


def repeat(data: int) -> Any:
    for _ in range(data):
        yield data


@pytest.mark.parametrize(
    "make",
    [
        Repeats,
        GenericGenerator,
        GeneratorInDictionary,
        WritesGenerator,
        lambda: SimpleFunctionPE(repeat),
        lambda: SimpleFunctionPE(lambda data: (data for _ in range(data))),
    ],
    ids=["iterative", "generic", "in-dictionary", "written", "function", "lambda"],
)
def test_items_of_a_generator_are_written_one_by_one(mapping: Mapping, make: Any) -> None:
    for graph in (chain(Source([2, 0, 3]), make(), Identity()), chain(Source([2, 0, 3]), make())):
        assert sorted(mapping.items(graph)) == [2, 2, 3, 3, 3]


def test_generator_of_a_producer(mapping: Mapping) -> None:
    class Yields(ProducerPE):
        def _process(self, inputs: Any) -> Any:
            yield from range(3)

    results = mapping.run(chain(Yields(), Identity()), iterations=2)
    assert sorted(results["Identity"]["output"]) == [0, 0, 1, 1, 2, 2]


def test_one_item_in_many_out(mapping: Mapping) -> None:
    class Many(IterativePE):
        def _process(self, data: int) -> None:
            for number in range(data):
                self.write("output", number)

    assert mapping.items(chain(Source([2500]), Many())) == list(range(2500))


def test_several_outputs(mapping: Mapping) -> None:
    ways = TwoWays()
    results = mapping.run(chain(Source([1, 2, 3]), ways))
    assert {output: sorted(items) for output, items in results[ways].items()} == {
        "double": [2, 4, 6],
        "square": [1, 4, 9],
    }


def test_lambdas_and_closures(mapping: Mapping) -> None:
    offset = 10
    graph = chain(
        Source(range(3)),
        SimpleFunctionPE(lambda x: x + offset),
        SimpleFunctionPE(add, {"number": 5}),
    )
    assert sorted(mapping.items(graph)) == [15, 16, 17]


def test_pe_that_holds_a_lock(mapping: Mapping) -> None:
    class Locked(IterativePE):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

        def _process(self, data: Any) -> Any:
            with self.lock:
                return data

    assert sorted(mapping.items(chain(Source([1, 2]), Locked()))) == [1, 2]


def test_own_log_write_and_rank(mapping: Mapping, trail: Trail) -> None:

    class Own(IterativePE):
        def __init__(self) -> None:
            super().__init__()
            self.log = trail.leave  # type: ignore[method-assign]

        def write(self, name: str, data: Any, **kwargs: Any) -> None:
            super().write(name, ("own", data), **kwargs)

        def _process(self, data: Any) -> Any:
            self.log("seen", data, self.rank)
            self.write("output", "first", metadata={"a": 1}, location="here")
            return data

    assert mapping.items(chain(Source([5]), Own())) == [("own", "first"), ("own", 5)]
    assert trail.lines() == ["seen 5 1"]


# --- inputs ---------------------------------------------------------------------------------------


def test_iterations_of_a_producer(mapping: Mapping) -> None:
    results = mapping.run(chain(OneShot(), Plus()), iterations=3)
    assert sorted(results["Plus"]["output"]) == [1, 2, 3]


def test_inputs_of_a_producer(mapping: Mapping) -> None:
    class Reads(ProducerPE):
        def _process(self, inputs: Any) -> Any:
            return inputs["number"] * 2

    graph = chain(Reads(), Plus())
    results = mapping.run(graph, {"Reads": [{"number": 2}, {"number": 3}]})
    assert sorted(results["Plus"]["output"]) == [5, 7]


def test_inputs_of_a_root_with_an_input(mapping: Mapping) -> None:
    plus = Plus()
    items = mapping.items(chain(plus, Plus(10)), inputs={plus: [{"input": 1}, {"input": 2}]})
    assert sorted(items) == [12, 13]


def test_all_of_an_input_dictionary_comes_in_one_call(mapping: Mapping) -> None:
    ports = Ports(2, 2)
    graph = WorkflowGraph()
    graph.add(ports)
    results = mapping.run(graph, {ports: [{"in0": 1, "in1": 2}, {"in1": 3}]})
    assert results[ports] == {"out0": [1], "out1": [2, 3]}


@pytest.mark.processes(1, 2, 3)
def test_inputs_and_a_stream_both_arrive(mapping: Mapping) -> None:
    source, plus = Source([1, 2]), Plus()
    graph = chain(source, plus, Identity())
    assert sorted(mapping.items(graph, inputs={source: 1, plus: [{"input": 100}]})) == [2, 3, 101]


def test_only_what_is_given_runs(mapping: Mapping) -> None:
    first, second, end = Source([1]), Source([2]), Identity()
    graph = join((first, "output", end, "input"), (second, "output", end, "input"))
    assert mapping.items(graph, inputs={first: 1}) == [1]


@pytest.mark.processes(2, 5)
def test_inputs_of_a_pe_in_several_instances_follow_its_grouping(mapping: Mapping) -> None:
    count = CountKeys(numprocesses=2)
    graph = chain(Source([]), count)
    items = mapping.items(graph, inputs={count: [{"input": pair} for pair in WORDS * 2]})
    assert dict(items) == Counter(word for word, _ in WORDS * 2)


# --- items are values -----------------------------------------------------------------------------


class Reuses(ProducerPE):
    """Writes one object again and again, changing it after every write."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def _process(self, inputs: Any) -> None:
        if self.kind == "list":
            seen: list[int] = []
            for number in range(3):
                seen.append(number)
                self.write("output", seen)
            seen.clear()
            return
        import numpy as np

        array = np.zeros(4 if self.kind == "small array" else 200_000)
        for number in range(3):
            array[:] = number
            self.write("output", [{"array": array}] if self.kind == "nested array" else array)
        array[:] = -1


@pytest.mark.parametrize("kind", ["list", "small array", "large array", "nested array"])
@pytest.mark.parametrize("followed", [True, False])
def test_change_after_write_is_not_seen(mapping: Mapping, kind: str, followed: bool) -> None:
    items = mapping.items(chain(Reuses(kind), *([Identity()] if followed else [])))
    if kind == "list":
        assert sorted(items) == [[0], [0, 1], [0, 1, 2]]
    else:
        arrays = [item[0]["array"] if kind == "nested array" else item for item in items]
        found = sorted((float(a.min()), float(a.max())) for a in arrays)
        assert found == [(0, 0), (1, 1), (2, 2)]


class Spoils(IterativePE):
    """Changes the item that it is given."""

    def _process(self, data: Any) -> Any:
        data["list"].append("spoilt")
        data["array"][0] = 99
        return data


@pytest.mark.processes(1, 2, 4)
def test_receivers_have_items_of_their_own(mapping: Mapping) -> None:
    import numpy as np

    item = {"list": [], "array": np.zeros(3)}
    source, first, second, clean = Source([item, item]), Spoils(), Spoils(), Identity()
    graph = join(
        (source, "output", first, "input"),
        (source, "output", second, "input"),
        (source, "output", clean, "input"),
    )
    results = mapping.run(graph)
    for pe, expected in ((first, ["spoilt"]), (second, ["spoilt"]), (clean, [])):
        assert [i["list"] for i in results[pe]["output"]] == [expected] * 2
        assert [i["array"][0] for i in results[pe]["output"]] == [99 if expected else 0] * 2
    assert item["list"] == []


@pytest.mark.compressed
@pytest.mark.processes(1, 2)
def test_kinds_of_items_arrive_unchanged(mapping: Mapping) -> None:
    import datetime
    from fractions import Fraction

    items = [
        (1, 2), {1, 2}, frozenset("a"), b"\x00", bytearray(b"ab"), 2**200, 1 + 2j, "\ud800",
        datetime.datetime(2020, 1, 1), Fraction(1, 3), Path("/a"), range(3), {(1, 2): [None]},
        ..., int, add,
    ]  # fmt: skip
    received = mapping.items(chain(Source(items), Sequenced(None), Sequenced(None)))
    assert received == items
    assert list(map(type, received)) == list(map(type, items))


@pytest.mark.compressed
@pytest.mark.processes(2, 3)
def test_large_arrays(mapping: Mapping) -> None:
    import numpy as np

    array = np.arange(50 << 17, dtype=np.float64)  # 50 MiB
    array = array.reshape(1 << 10, -1)
    for source in (array, array.T, array[::2, 1:]):
        (received,) = mapping.items(chain(Source([source]), Identity()))
        assert np.array_equal(received, source)
        received[0, 0] = -1  # it is writable, and nobody else's
    assert array[0, 0] == 0


# --- order, instances and processes ---------------------------------------------------------------


@pytest.mark.compressed
@pytest.mark.processes(2, 4, 7)
def test_order_is_kept_between_a_pair_of_instances(mapping: Mapping) -> None:
    class Pairs(Tag):
        def _process(self, data: Any) -> Any:
            return (self.rank, *data)

    by_pair: dict[tuple[int, int], list[int]] = {}
    first, second = Tag(numprocesses=3), Pairs(numprocesses=2)
    first.stateful = second.stateful = True  # so that no pool takes them
    items = mapping.items(chain(Source(range(5000)), first, second))
    for to, sender, item in items:
        by_pair.setdefault((sender, to), []).append(item)
    assert len(by_pair) == 1 if mapping.name == "simple" else len(by_pair) >= 6
    assert all(sequence == sorted(sequence) for sequence in by_pair.values())
    assert sorted(item for _, _, item in items) == list(range(5000))


def test_order_is_kept_from_one_instance_to_one(mapping: Mapping) -> None:
    graph = chain(Source(range(3000)), Total(), Identity())
    assert mapping.items(graph) == [sum(range(3000))]
    stateful = [Sequenced() for _ in range(3)]
    assert mapping.items(chain(Source(range(3000)), *stateful)) == list(range(3000))


class Sequenced(IterativePE):
    """Keeps state, so that there is one instance; fails where numbers are out of order."""

    def __init__(self, first: int | None = 0) -> None:
        super().__init__()
        self.next = first

    def _process(self, data: Any) -> Any:
        if self.next is not None:
            if data != self.next:
                raise AssertionError(f"{data} came, {self.next} was expected")
            self.next += 1
        return data


@pytest.mark.processes(1, 2, 3, 4, 5, 8, 12, 16)
def test_results_do_not_depend_on_the_number_of_processes(mapping: Mapping) -> None:
    source, plus, pairs = Source(range(300)), Plus(), SimpleFunctionPE(lambda n: (n % 7, n))
    counts, total, double = CountKeys(), Total(), SimpleFunctionPE(lambda n: 2 * n)
    graph = join(
        (source, "output", plus, "input"),
        (plus, "output", pairs, "input"),
        (pairs, "output", counts, "input"),
        (plus, "output", total, "input"),
        (total, "output", double, "input"),
    )
    results = mapping.run(graph)
    numbers = range(1, 301)
    assert results[double] == {"output": [2 * sum(numbers)]}
    assert dict(results[counts]["output"]) == Counter(n % 7 for n in numbers)
    assert len(results[counts]["output"]) == 7


@pytest.mark.processes(1, 6, 12)
def test_state_that_is_not_keyed_is_not_replicated(mapping: Mapping) -> None:
    assert mapping.items(chain(Source(range(100)), Plus(), Total())) == [5050]


@pytest.mark.processes(2, 7)
def test_numprocesses_and_single(mapping: Mapping) -> None:
    class Pinned(Tag):
        single = True

    class Keeps(Tag):
        stateful = True

    found = {}
    for make in (Tag, Keeps, Pinned):
        items = mapping.items(chain(Source(range(40)), make(numprocesses=4)))
        found[make] = len({rank for rank, _ in items})
    # What keeps no state may be given the processes that are left over; what does, may not.
    most, keeps = 1 if mapping.pools else max(4, mapping.processes - 1), 4
    if mapping.name == "simple":
        most = keeps = 1
    assert found == {Tag: most, Keeps: keeps, Pinned: 1}


def test_simple_has_one_instance_of_each_pe() -> None:
    class Halves(IterativePE):
        def __init__(self) -> None:
            super().__init__()
            self.numprocesses = 2
            self.seen = 0

        def _process(self, data: int) -> int:
            self.seen += 1
            return self.seen

    halves = Halves()
    graph = chain(Source([1, 2, 3, 4]), halves)
    assert d4pcwl.run(graph)[halves]["output"] == [1, 2, 3, 4]
    assert halves.numprocesses == 2


def test_pes_that_are_run_are_left_as_they_were(mapping: Mapping) -> None:
    total = Total()
    graph = chain(Source(range(4)), total)
    assert [mapping.items(graph), mapping.items(graph)] == [[6], [6]]
    assert total.total == 0


# --- flow -----------------------------------------------------------------------------------------


def test_items_arrive_promptly(mapping: Mapping, gate: Gate, trail: Trail) -> None:
    """A slow source's first item is consumed before its third is written."""

    class Slow(ProducerPE):
        def _process(self, inputs: Any) -> None:
            self.write("output", 1)
            self.write("output", 2)
            gate.wait()
            trail.leave("third")
            self.write("output", 3)

    class Consumer(ConsumerPE):
        def _process(self, data: Any) -> None:
            trail.leave(data)
            if data == 1:
                gate.open()

    mapping.run(chain(Slow(), Identity(), Consumer()))
    lines = trail.lines()
    assert lines.index("1") < lines.index("third") < lines.index("3")


def test_items_of_a_source_that_does_not_return_arrive(mapping: Mapping, trail: Trail) -> None:
    """Each item is consumed before the next one is written."""

    class Slow(ProducerPE):
        def _process(self, inputs: Any) -> None:
            for number in range(8):
                self.write("output", number)
                wait_until(lambda: len(trail.lines()) > number)  # noqa: B023

    mapping.run(chain(Slow(), Identity(), TrailConsumer(trail)))
    assert trail.lines() == [str(number) for number in range(8)]


@pytest.mark.processes(2, 3)
def test_a_fast_source_does_not_run_ahead(mapping: Mapping) -> None:
    flight, count = Flight(), 3 * MOST_UNDER_WAY
    mapping.run(chain(FlightSource(flight, int, 1, count), FlightConsumer(flight, 1)))
    assert flight.taken == count
    assert flight.most <= MOST_UNDER_WAY


def test_memory_does_not_grow_with_the_stream() -> None:
    script = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from mapping_kit import *
def run(n):
    list(d4pcwl.stream(chain(Source(range(n)), Plus(), Swallow())))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
class Swallow(ConsumerPE):
    def _process(self, data):
        pass
first = run(10_000)
print(run(2_000_000) - first)
"""
    grown = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert int(grown) < 8 << 10  # KiB


# --- a law ----------------------------------------------------------------------------------------


class Mixes(GenericPE):
    """A pure function of an item and of the PE's number, over any number of ports."""

    def __init__(self, number: int, groupings: list[Any], outputs: int, instances: int) -> None:
        super().__init__()
        self.number, self.numprocesses = number, instances
        for port, grouping in enumerate(groupings):
            self._add_input(f"in{port}", grouping=grouping)
        for port in range(outputs):
            self._add_output(f"out{port}")

    def _process(self, inputs: dict[str, Any]) -> Any:
        for port, (key, value) in inputs.items():
            value = (value * 31 + self.number * 7 + int(port[2:])) % 10_007
            for place, output in enumerate(self.outputconnections):
                if (value + place) % 3:
                    self.write(output, (key, value + place))


@st.composite
def graphs(draw: st.DrawFn) -> WorkflowGraph:
    """A random DAG: sources, PEs of several ports and instances, edges forward, all groupings."""
    graph = WorkflowGraph()
    sources = draw(st.integers(1, 2))
    nodes: list[GenericPE] = []
    for number in range(sources):
        size = draw(st.integers(0, 12))
        nodes.append(Source([(n % 4, n + 100 * number) for n in range(size)]))
    for number in range(draw(st.integers(1, 5))):
        groupings = draw(
            st.lists(
                st.sampled_from([None, [0], [0, 1], 1, "global", "all"]), min_size=1, max_size=2
            )
        )
        # An item for 'all' comes to each instance, and simple has but one.
        instances = 1 if "all" in groupings else draw(st.integers(1, 3))
        pe = Mixes(number, groupings, draw(st.integers(0, 2)), instances)
        joined = set()
        for port in range(len(groupings)):
            for _ in range(draw(st.integers(1, 2))):
                source = draw(st.sampled_from([n for n in nodes if n.outputconnections]))
                output = draw(st.sampled_from(sorted(source.outputconnections)))
                if (id(source), output, port) not in joined:
                    joined.add((id(source), output, port))
                    graph.connect(source, output, pe, f"in{port}")
        nodes.append(pe)
    return graph


@settings(max_examples=25)
@given(graph=graphs(), processes=st.integers(1, 6))
@pytest.mark.processes(1)
def test_random_graphs_give_equal_results(
    mapping: Mapping, graph: WorkflowGraph, processes: int
) -> None:
    expected = d4pcwl.run(graph)
    found = Mapping(mapping.name, processes).run(graph)
    assert {pe: {o: sorted(i) for o, i in outputs.items()} for pe, outputs in found.items()} == {
        pe: {o: sorted(i) for o, i in outputs.items()} for pe, outputs in expected.items()
    }


@pytest.mark.processes(3)
def test_runs_side_by_side(mapping: Mapping) -> None:
    found: dict[int, list[Any]] = {}

    def run(size: int) -> None:
        found[size] = [
            mapping.items(chain(Source(range(size)), Plus(), Total()))[0] for _ in "abcd"
        ]

    threads = [threading.Thread(target=run, args=(size,)) for size in (10, 100, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {size: [sum(range(size + 1))] * 4 for size in (10, 100, 1000)}


@pytest.mark.processes(1, 2)
def test_a_run_within_a_pe(mapping: Mapping) -> None:
    class Nested(IterativePE):
        def _process(self, data: int) -> Any:
            return mapping.items(chain(Source(range(data)), Total()))

    assert sorted(mapping.items(chain(Source([3, 4]), Nested()))) == [[3], [6]]


def test_consumer_sees_everything(mapping: Mapping, trail: Trail) -> None:
    results = mapping.run(chain(Source(range(10)), TrailConsumer(trail)))
    assert sorted(map(int, trail.lines())) == list(range(10))
    assert dict(results) == {}
