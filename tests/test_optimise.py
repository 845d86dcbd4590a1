"""Runs by an assignment, and the commands that choose one: results stay as they are."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from assign_kit import costs
from mapping_kit import CountKeys, Mapping, Plus, Source, Total, chain, frozen, join
from mpi_kit import MPIEXEC, needs_mpi

import d4pcwl
from d4pcwl import GenericPE, IterativePE, WorkflowGraph
from d4pcwl.errors import UsageError
from d4pcwl.runtime.engine.policy import parse_policy
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import find_mapping, run_job
from d4pcwl.runtime.results import Results
from d4pcwl.runtime.sample import take_sample
from d4pcwl.trace.assign import ALGORITHMS, assign
from d4pcwl.trace.format import TraceWriter
from d4pcwl.trace.model import cost_model
from d4pcwl.workflow.assignment import Assignment
from d4pcwl.workflow.inputs import root_inputs
from d4pcwl.workflow.numbering import to_run

SCRIPT = """
import time

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Read(ProducerPE):
    def _process(self, inputs=None):
        for number in range(60):
            self.write("output", number)


class Slow(IterativePE):
    def _process(self, number):
        time.sleep(0.005)
        return number % 7, number


class Sum(IterativePE):
    def __init__(self):
        super().__init__()
        self.sum = 0

    def _process(self, item):
        self.sum += item[1]
        return self.sum


graph, read, slow, add = WorkflowGraph(), Read(), Slow(), Sum()
graph.connect(read, "output", slow, "input")
graph.connect(slow, "output", add, "input")
"""


class EvenTwice(IterativePE):
    """Keeps no state, drops items and multiplies them."""

    def _process(self, data: int) -> None:
        if data % 2 == 0:
            self.write("output", data)
            self.write("output", data + 1000)


class Noisy(IterativePE):
    """Draws numbers."""

    def _process(self, data: int) -> Any:
        return data % 5, int(self.rng.integers(1000))


class Running(IterativePE):
    """Keeps state, and so notices the order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def _process(self, data: Any) -> Any:
        self.seen.append(data)
        return sum(n * hash(item) for n, item in enumerate(self.seen)) % 10_007


def ordered_graph() -> WorkflowGraph:
    return chain(Source(range(40)), EvenTwice(), Plus(), Noisy(), Running())


def run_assigned(graph: WorkflowGraph, mapping: Mapping, places: list[tuple[int, ...]]) -> Results:
    flat = to_run(graph)
    results = Results(flat.names)
    assigned = dict(zip([pe.id for pe in flat.pes], places, strict=True))
    job = Job(
        flat,
        root_inputs(flat),
        results,
        processes=mapping.processes,
        own_pes=False,
        assignment=Assignment(assigned),
    )
    run_job(find_mapping(mapping.name), job)
    return results


STATIC = [Mapping(name, 4) for name in ("multi", "zmq_multi", "redis")]


@pytest.fixture(params=STATIC, ids=[mapping.name for mapping in STATIC])
def static(request: pytest.FixtureRequest) -> Mapping:
    found: Mapping = request.param
    return found


@pytest.mark.parametrize(
    "places",
    [
        # In the order of the graph: source, twice, plus, noisy, running, and numbers of noisy.
        [(0,), (1, 2), (1, 2), (3,), (3,), (3,)],
        [(0,), (0, 1, 2), (0, 1, 2), (3, 4), (5,), (2,)],
        [(0,), (0, 1), (1, 2), (2, 3), (3,), (2,)],
        [(0,), (0,), (0, 1, 2), (2, 3), (4,), (2,)],
    ],
)
def test_order_and_numbers_are_those_of_simple(
    static: Mapping, places: list[tuple[int, ...]]
) -> None:
    expected = d4pcwl.run(ordered_graph())
    assert run_assigned(ordered_graph(), static, places) == expected


class Both(GenericPE):
    """Keeps what comes by each of two inputs, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._add_input("left")
        self._add_input("right")
        self._add_output("output")
        self.seen: dict[str, list[Any]] = {"left": [], "right": []}

    def process(self, inputs: dict[str, Any]) -> None:
        for name, item in inputs.items():
            self.seen[name].append(item)

    def _postprocess(self) -> None:
        self.write("output", (self.seen["left"], self.seen["right"]))


@pytest.mark.parametrize(
    "places",
    [
        # Source, twice, left, right, both: the branches stay in their processes, or one of them.
        [(0,), (1, 2), (1, 2), (1, 2), (3,)],
        [(0,), (0, 1), (0, 1), (1, 2), (2,)],
        [(0,), (0, 1, 2), (0, 1, 2), (0, 1, 2), (2,)],
    ],
)
def test_branches_come_together_in_order(static: Mapping, places: list[tuple[int, ...]]) -> None:
    def diamond() -> WorkflowGraph:
        source, twice, left, right, both = Source(range(30)), EvenTwice(), Plus(), Plus0(), Both()
        return join(
            (source, "output", twice, "input"),
            (twice, "output", left, "input"),
            (twice, "output", right, "input"),
            (left, "output", both, "left"),
            (right, "output", both, "right"),
        )

    assert run_assigned(diamond(), static, places) == d4pcwl.run(diamond())


def test_keys_stay_together(static: Mapping) -> None:
    words = [(key, 1) for key in "abcabcabddda"]
    graph = chain(Source(words), Plus0(), CountKeys())
    ((_, expected),) = d4pcwl.run(chain(Source(words), Plus0(), CountKeys())).items()
    ((_, found),) = run_assigned(graph, static, [(0,), (1, 2), (2, 3, 4)]).items()
    assert frozen(found["output"]) == frozen(expected["output"])


class Plus0(IterativePE):
    """Passes on, and keeps no state."""

    def _process(self, data: Any) -> Any:
        return data


@pytest.mark.parametrize("how", ALGORITHMS)
def test_what_is_chosen_runs(static: Mapping, how: str) -> None:
    graph = ordered_graph()
    flat = to_run(graph)
    model = costs(flat, [0.1, 2, 2, 1, 0.5, 0.0])
    chosen = assign(how, flat, model, 4).assignment
    places = [chosen.of(pe) for pe in flat.pes]
    assert run_assigned(graph, static, places) == d4pcwl.run(ordered_graph())


# --- samples --------------------------------------------------------------------------------------


def job_of(graph: WorkflowGraph) -> Job:
    flat = to_run(graph)
    return Job(flat, root_inputs(flat), Results(flat.names))


def test_a_sample_counts_what_passes() -> None:
    words = [("a", n) for n in range(6)] + [("b", n) for n in range(2)]
    model = cost_model(take_sample(job_of(chain(Source(words), Plus0(), CountKeys()))))
    assert model.complete
    assert {work.name: work.items for work in model.works.values()} == {
        "Source": 1,
        "Plus0": 8,
        "CountKeys": 8,
    }
    into, keyed = model.passages.values()
    assert (into.items, keyed.items) == (8, 8)
    assert into.bytes is not None
    assert into.bytes > 0
    assert (into.hot, keyed.hot) == (0, 0.75)


def test_a_sample_of_an_endless_source_ends() -> None:
    class Endless(Source):
        def _process(self, inputs: Any) -> None:
            number = 0
            while True:
                self.write("output", number)
                number += 1

    model = cost_model(take_sample(job_of(chain(Endless([]), Plus(), Total())), 0.2))
    assert not model.complete
    assert min(work.items for work in model.works.values()) > 0


def test_what_a_sample_does_stays_in_it(capfd: pytest.CaptureFixture[str]) -> None:
    class Loud(IterativePE):
        def _process(self, data: int) -> int:
            print("heard", data)
            self.name = f"changed{data}"
            return data

    graph = chain(Source(range(3)), Loud())
    job = job_of(graph)
    take_sample(job)
    assert job.graph.pes[1].name == "Loud"
    assert capfd.readouterr() == ("", "")


def test_a_failure_in_a_sample_is_told() -> None:
    def fail(data: int) -> int:
        raise ValueError(f"not {data}")

    graph = chain(Source(range(3)), d4pcwl.SimpleFunctionPE(fail))
    with pytest.raises(d4pcwl.D4pcwlError, match="ValueError: not 0"):
        take_sample(job_of(graph))


def test_items_that_are_left_out_are_left_out_of_a_sample() -> None:
    def fail(data: int) -> int:
        return 1 // (data - 1)

    graph = chain(Source(range(3)), d4pcwl.SimpleFunctionPE(fail), Total())
    job = replace(job_of(graph), policy=parse_policy("skip", None, "on_error"))
    model = cost_model(take_sample(job))
    assert [work.items for work in model.works.values()] == [1, 3, 2]


def test_a_sample_that_ends_by_itself_is_told() -> None:
    def leave(data: int) -> int:
        import os

        os._exit(3)

    graph = chain(Source(range(3)), d4pcwl.SimpleFunctionPE(leave))
    with pytest.raises(UsageError, match=r"ended early \(exit code 3\); make a trace"):
        take_sample(job_of(graph))


# --- commands -------------------------------------------------------------------------------------


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "slow.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def trace(script: Path) -> Path:
    """A trace of the script: that of a sample."""
    path = script.parent / "trace.jsonl"
    writer = TraceWriter(path)
    writer.write(*take_sample(Job(d4pcwl.load(script).flat(), {"Read0": 1}, Results({})), 0.2))
    writer.close()
    return path


def command(*arguments: Any, code: int = 0) -> tuple[str, str]:
    """Output and messages of ``d4pcwl``."""
    done = subprocess.run(
        [sys.executable, "-m", "d4pcwl", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_a_run_by_a_sample_says_so(script: Path) -> None:
    expected, _ = command("run", "simple", script)
    found, told = command("run", "multi", script, "-n", 4, "--optimise", "best")
    assert found == expected
    assert "a sample of the input runs first" in told
    assert "  best: " in told


@pytest.mark.parametrize("how", ALGORITHMS)
def test_a_run_by_a_trace(script: Path, trace: Path, how: str) -> None:
    expected, _ = command("run", "simple", script)
    given = ("run", "multi", script, "-n", 4, "--optimise", how, "--from", trace)
    found, told = command(*given)
    assert found == expected
    assert "sample" not in told
    shown, _ = command(*given, "--dry-run")
    assert f"\n  {how}: " in shown
    assert "\n  by default: " in shown


@needs_mpi
def test_ranks_agree_on_a_sample(script: Path) -> None:
    expected, _ = command("run", "simple", script)
    done = subprocess.run(
        [
            *(MPIEXEC, "-n", "3", sys.executable, "-m", "mpi4py", "-m", "d4pcwl", "run"),
            *("mpi", str(script), "--optimise", "best"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (0, expected), done.stderr


@needs_mpi
def test_a_dry_run_plans_for_ranks_that_are_not_there(script: Path, trace: Path) -> None:
    given = ("run", "mpi", script, "-n", 3, "--optimise", "best", "--from", trace, "--dry-run")
    shown, _ = command(*given)
    assert "  process 2: " in shown


@pytest.mark.parametrize("name", ["dyn_multi", "dyn_auto_multi", "dyn_redis", "dyn_auto_redis"])
def test_dynamic_mappings_begin_with_a_trace(script: Path, trace: Path, name: str) -> None:
    expected, _ = command("run", "simple", script)
    found, told = command("run", name, script, "-n", 4, "--from", trace, "-v")
    assert found == expected
    assert "scale up" not in told or name.startswith("dyn_auto")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["multi", "--optimise", "bets"], "there is no algorithm 'bets'; did you mean best"),
        (
            ["multi", "--from", "trace.jsonl"],
            "--from TRACE needs --optimise or a dynamic mapping",
        ),
        (["multi", "-s", "--optimise", "best"], "--optimise and -s both say"),
        (["simple", "--optimise", "best"], "--optimise is not for simple"),
        (["dyn_multi", "--optimise", "best"], "leave out --optimise: --from TRACE"),
        (["multi", "--optimise", "best", "--dry-run"], "takes no sample: give a trace with --from"),
        (["multi", "--optimise", "best", "--from", "no.jsonl"], "no.jsonl: cannot be read"),
        (["multi", "--optimise", "best", "--from", "other.jsonl"], "a trace of another graph"),
    ],
)
def test_what_does_not_fit_is_refused(
    script: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], fault: str
) -> None:
    monkeypatch.chdir(script.parent)
    run = {"kind": "run", "format": 1, "id": "", "began": "", "mapping": "multi", "processes": 1}
    Path("other.jsonl").write_text(json.dumps(run) + "\n")
    _, told = command("run", arguments[0], script, *arguments[1:], code=2)
    assert fault in told


def test_a_script_that_writes_files_is_not_sampled(script: Path) -> None:
    text = SCRIPT.replace(
        "        time.sleep(0.005)\n", '        open("out.txt", "a").write("x")\n'
    )
    script.write_text(text)
    _, told = command("run", "multi", script, "--optimise", "best", code=2)
    assert "the script writes files, and a sample would write them, too: out.txt" in told
    assert "--from FILE" in told


def test_a_cut_by_a_trace(script: Path, trace: Path) -> None:
    document, _ = command("compile", script, "--cut", "staging", "--from", trace)
    assert "class: Workflow" in document
    _, told = command("compile", script, "--cut", "best", code=2)
    assert "needs the trace of a run: --from TRACE" in told
    _, told = command("compile", script, "--cut", "pe", "--from", trace, code=2)
    assert "a trace is for the cuts naive, staging, best" in told
