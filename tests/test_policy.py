"""What happens when a PE fails on an item, under every mapping."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import Mapping, Source, Total, chain, nothing_left

import d4pcwl
from d4pcwl import ConsumerPE, IterativePE, ProducerPE
from d4pcwl.errors import PEError, UsageError
from d4pcwl.runtime.engine.policy import FAIL, Policy, parse_policy, policy_of


class Picky(IterativePE):
    """Writes every item twice, the second time by returning it, but fails on some in between."""

    def __init__(self, bad: tuple[int, ...] = (2,)) -> None:
        super().__init__()
        self.bad = bad

    def _process(self, data: int) -> int:
        self.write("output", data)
        if data in self.bad:
            raise ValueError(f"{data} is bad")
        return data


class Tired(IterativePE):
    """Fails on every item until it has been tried so often; attempts are counted in a folder."""

    def __init__(self, folder: Path, attempts: int) -> None:
        super().__init__()
        self.folder, self.attempts = folder, attempts

    def _process(self, data: int) -> int:
        tried = len(list(self.folder.glob(f"{data}.*")))
        (self.folder / f"{data}.{tried}").touch()
        self.write("output", -data)
        if tried + 1 < self.attempts:
            raise ValueError("not yet")
        return data


def run(mapping: Mapping, graph: Any, **policy: Any) -> d4pcwl.Results:
    with nothing_left():
        return d4pcwl.run(graph, mapping=mapping.name, processes=mapping.processes, **policy)


def items(results: d4pcwl.Results) -> list[Any]:
    return sorted(item for outputs in results.values() for item in outputs["output"])


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("fail", FAIL),
        ("skip", Policy(0, True)),
        ("retry:3", Policy(3, False)),
        ("retry:1,skip", Policy(1, True)),
    ],
)
def test_policies_are_read(text: str, policy: Policy) -> None:
    assert parse_policy(text) == policy


@pytest.mark.parametrize("text", ["", "retry", "retry:-1", "retry:x", "skip,retry:1", "never"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected fail, skip"):
        parse_policy(text)


@pytest.mark.parametrize("time_out", [0, -1.5, float("nan"), float("inf"), "soon"])
def test_a_time_out_leaves_time(time_out: Any) -> None:
    with pytest.raises(UsageError, match="--time-out: a time-out must be more than 0 s"):
        parse_policy("fail", time_out)
    pe = Picky()
    pe.time_out = time_out  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"^Picky\.time_out: a time-out must be more than 0 s"):
        policy_of(pe, False, FAIL)


def test_a_pe_says_otherwise_than_the_run() -> None:
    pe = Picky()
    assert policy_of(pe, False, Policy(2)) == Policy(2)
    assert policy_of(pe, True, Policy(2)) == FAIL  # a source
    pe.on_error, pe.time_out = "skip", 5  # type: ignore[attr-defined]
    assert policy_of(pe, False, Policy(2)) == Policy(0, True, 5.0)
    assert policy_of(pe, True, FAIL) == Policy(0, True, 5.0)


def test_an_item_is_left_out_whole(mapping: Mapping) -> None:
    results = run(mapping, chain(Source(range(5)), Picky()), on_error="skip")
    assert items(results) == [0, 0, 1, 1, 3, 3, 4, 4]
    (error,) = results.errors
    assert error["pe"].startswith("Picky")
    assert (error["input"], error["item"]) == ("input", "2")
    assert error["error"] == "ValueError: 2 is bad"
    assert "raise ValueError" in error["traceback"]


def test_what_is_left_out_does_not_reach_those_downstream(mapping: Mapping) -> None:
    graph = chain(Source(range(100)), Picky(tuple(range(0, 100, 3))), Total())
    results = run(mapping, graph, on_error="skip")
    assert items(results) == [2 * sum(n for n in range(100) if n % 3)]
    assert len(results.errors) == 34


def test_an_item_is_tried_again(mapping: Mapping, tmp_path: Path) -> None:
    results = run(mapping, chain(Source([1, 2, 3]), Tired(tmp_path, 3)), on_error="retry:2")
    assert items(results) == [-3, -2, -1, 1, 2, 3]  # of each item once, though tried three times
    assert len(list(tmp_path.iterdir())) == 9
    assert results.errors == []


def test_after_the_last_attempt_the_run_ends(mapping: Mapping, tmp_path: Path) -> None:
    with pytest.raises(PEError, match=r"on (item 1|an item) of 'input', tried 3 times: 1"):
        run(mapping, chain(Source([1]), Tired(tmp_path, 9)), on_error="retry:2")


def test_after_the_last_attempt_the_item_is_left_out(mapping: Mapping, tmp_path: Path) -> None:
    graph = chain(Source([1, 2]), Tired(tmp_path, 9))
    results = run(mapping, graph, on_error="retry:1,skip")
    assert (items(results), len(results.errors)) == ([], 2)
    assert len(list(tmp_path.iterdir())) == 4


def test_an_attempt_gets_the_item_as_it_came(mapping: Mapping) -> None:
    class Spoils(IterativePE):
        def _process(self, data: list[int]) -> list[int]:
            data.append(0)
            if len(data) == 2:
                data.append(1)
                raise ValueError("spoiled")
            return data

    graph = chain(Source([[7]]), Spoils())
    with pytest.raises(PEError, match="spoiled"):
        run(mapping, graph, on_error="retry:3")


def test_the_attributes_of_a_pe(mapping: Mapping) -> None:
    picky = Picky()
    picky.on_error = "skip"  # type: ignore[attr-defined]
    assert items(run(mapping, chain(Source(range(4)), picky))) == [0, 0, 1, 1, 3, 3]


def test_work_that_takes_too_long_has_failed(mapping: Mapping) -> None:
    class Slow(IterativePE):
        def _process(self, data: int) -> int:
            if data == 1:
                time.sleep(60)
            return data

    graph = chain(Source(range(3)), Slow())
    results = run(mapping, graph, on_error="skip", time_out=1)
    assert items(results) == [0, 2]
    assert results.errors[0]["error"].endswith("it took longer than 1 s")


def test_generators_consumers_and_sources(mapping: Mapping) -> None:
    class Spreads(IterativePE):
        def _process(self, data: int) -> Any:
            yield data
            if data == 1:
                raise ValueError("half way")
            yield data + 10

    class Refuses(ConsumerPE):
        def _process(self, data: int) -> None:
            if data == 12:
                raise ValueError("no")

    class Falters(ProducerPE):
        on_error = "skip"

        def _process(self, inputs: Any) -> None:
            self.write("output", 5)
            raise ValueError("never mind")

    spreads = Spreads()
    graph = chain(Source(range(3)), spreads)
    graph.connect(spreads, "output", Refuses(), "input")
    graph.connect(Falters(), "output", Refuses(), "input")
    results = run(mapping, graph, on_error="skip")
    assert sorted(error["error"] for error in results.errors) == [
        "ValueError: half way",
        "ValueError: never mind",
        "ValueError: no",
    ]


SCRIPT = """
from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph

class Count(ProducerPE):
    def _process(self, inputs):
        for number in range(4):
            self.write("output", number)

class Divide(IterativePE):
    def _process(self, data):
        return 12 // data

graph = WorkflowGraph()
graph.connect(Count(), "output", Divide(), "input")
"""


def test_the_command_tells_of_what_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "d4pcwl", "run", "simple", "flow.py", "--on-error", "skip"]

    def call(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True)

    done = call()
    assert done.returncode == 0
    assert [json.loads(line)["data"] for line in done.stdout.splitlines()] == [12, 6, 4]
    assert "left out: item 1 of 'input' of PE Divide: ZeroDivisionError" in done.stderr
    done = call("--errors", "errors.jsonl")
    assert done.stderr == ""
    (line,) = (tmp_path / "errors.jsonl").read_text().splitlines()
    assert json.loads(line)["number"] == 1
    assert call("--on-error", "perhaps").returncode == 2
