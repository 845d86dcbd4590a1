"""Chains of PEs in one process: whatever a PE returns, items go depth first, and are counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapping_kit import Source, chain, named

from d4pcwl import ConsumerPE, IterativePE, SimpleFunctionPE
from d4pcwl.errors import PEError
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import find_mapping, run_job
from d4pcwl.runtime.results import Results
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.inputs import root_inputs

Log = list[tuple[str, str]]


def same(item: Any) -> Any:
    """One function, which several PEs of a chain apply."""
    return item


def number_of(item: Any) -> int:
    return item[0] if isinstance(item, list) else item


class Step(IterativePE):
    """Notes what it is given, and returns it, or none of it, or more of it, as ``kind`` says."""

    def __init__(self, kind: str, log: Log) -> None:
        super().__init__()
        self.kind, self.log_of_run = kind, log

    def __deepcopy__(self, memo: Any) -> Any:
        return self  # all instances note in one log

    def _process(self, item: Any) -> Any:
        self.log_of_run.append((self.name, repr(item)))
        kind = self.kind
        if kind == "writes":
            self.write("output", item)
            self.write("output", item)
            return None
        if kind == "both":
            self.write("output", item)
            return item
        if kind == "yields":
            return (item for _ in range(2))
        if kind == "drops":
            return item if number_of(item) % 2 else None
        return [number_of(item)] if kind == "lists" else number_of(item)


class End(ConsumerPE):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log_of_run = log

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def _process(self, item: Any) -> Iterator[Any]:
        self.log_of_run.append((self.name, repr(item)))
        yield item


def expected(names: list[str], kinds: list[str], item: Any) -> Iterator[tuple[str, str]]:
    """What is noted for one item, in order."""
    if not names:
        return
    kind, behind = kinds[0], (names[1:], kinds[1:])
    if kind != "function":
        yield names[0], repr(item)
    if kind == "drops" and number_of(item) % 2 == 0:
        return
    if kind in ("lists", "numbers"):
        item = [number_of(item)] if kind == "lists" else number_of(item)
    for _ in range(2 if kind in ("writes", "both", "yields") else 1):
        yield from expected(*behind, item)


def run(graph: Any) -> Counter[str]:
    """Run a graph under simple; the number of items that each PE has taken."""
    flat = flatten(graph)
    told: list[str] = []
    results = Results({pe.id: pe.name for pe in flat.pes})
    run_job(find_mapping("simple"), Job(flat, root_inputs(flat), results, say=told.append))
    found = re.findall(r"^(\w+) \(rank \d+\): processed (\d+) items", "\n".join(told), re.M)
    return Counter({name: int(number) for name, number in found})


KINDS = ["writes", "both", "yields", "drops", "lists", "numbers", "function"]


@given(st.lists(st.sampled_from(KINDS), max_size=6))
def test_depth_first_and_counted(kinds: list[str]) -> None:
    log: Log = []
    pes = [SimpleFunctionPE(same) if kind == "function" else Step(kind, log) for kind in kinds]
    pes = [named(pe, f"pe{place}x") for place, pe in enumerate([*pes, End(log)], 1)]
    counts = run(chain(Source(range(5)), *pes))
    names = [f"pe{place}x" for place in range(1, len(pes) + 1)]
    wanted = [entry for item in range(5) for entry in expected(names, [*kinds, "end"], item)]
    assert log == wanted
    noted = Counter(name for name, _ in wanted)
    functions = {name for name, kind in zip(names, kinds, strict=False) if kind == "function"}
    assert {n: counts[n] for n in names if n not in functions} == {
        n: noted[n] for n in names if n not in functions
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("function", [False, True])
def test_the_item_that_is_to_blame(kind: str, function: bool) -> None:
    """Its number counts the items of the PE that fails, whatever those before it do."""
    seen: list[Any] = []

    def fails(item: Any) -> Any:
        seen.append(item)
        if len(seen) == 3:
            raise ValueError("the third")
        return item

    class Fails(IterativePE):
        def _process(self, item: Any) -> Any:
            return fails(item)

    bad = named(SimpleFunctionPE(fails) if function else Fails(), "bad")
    before = SimpleFunctionPE(same) if kind == "function" else Step(kind, [])
    graph = chain(Source(range(9)), SimpleFunctionPE(same), before, bad, SimpleFunctionPE(same))
    with pytest.raises(PEError, match=r"^PE bad failed on item 3 of 'input': .*\n.*the third"):
        run(graph)


def test_two_ways_into_a_chain() -> None:
    log: Log = []
    first, second = named(Step("drops", log), "first"), named(Step("lists", log), "second")
    middle, end = named(Step("numbers", log), "middle"), named(End(log), "end")
    graph = chain(Source(range(4)), first, middle, end)
    graph.connect(Source(range(3)), "output", second, "input")
    graph.connect(second, "output", middle, "input")
    counts = run(graph)
    by_name = {re.sub(r"\d+$", "", name): number for name, number in counts.items()}
    assert by_name["middle"] == by_name["end"] == 2 + 3
