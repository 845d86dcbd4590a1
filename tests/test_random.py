"""Random numbers: from the seed, the PE and the item's number, under every mapping."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cwl_kit as kit
import numpy as np
import pytest
from mapping_kit import Mapping, Source, chain, join, named
from mpi_kit import MPIEXEC, needs_mpi
from shard_kit import run_stages

import d4pcwl
from d4pcwl import BasePE, GenericPE, IterativePE, ProducerPE, WorkflowGraph
from d4pcwl.errors import PEError
from d4pcwl.workflow.numbering import to_run
from d4pcwl.workflow.shards import staged
from d4pcwl.workflow.state import keeps_state


class Noisy(IterativePE):
    def _process(self, data: Any) -> Any:
        return data, float(self.rng.normal()), int(self.rng.integers(1000))


class EvenTwice(IterativePE):
    """Keeps no state, drops items and multiplies them."""

    def _process(self, data: int) -> None:
        if data % 2 == 0:
            self.write("output", data)
            self.write("output", data + 1000)


class Running(IterativePE):
    """Keeps state."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = 0.0

    def _process(self, data: Any) -> Any:
        self.sum += data[1]
        return data[0], self.sum + self.rng.random()


def noise(count: int = 40) -> WorkflowGraph:
    return chain(Source(range(count)), EvenTwice(), Noisy(), Running())


def test_numbers_are_those_of_simple(mapping: Mapping) -> None:
    expected = d4pcwl.run(noise())
    assert mapping.run(noise()) == expected
    ((_, outputs),) = expected.items()
    assert len({number for _, number in outputs["output"]}) == 40


def test_another_seed_other_numbers() -> None:
    first, again, other = (d4pcwl.run(noise(), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_it_may_have_several_instances() -> None:
    assert keeps_state(Noisy()) is None


class Shuffled(IterativePE):
    def _process(self, data: Any) -> Any:
        numbers = list(range(10))
        self.rng.shuffle(numbers)
        return numbers


def test_shuffling_by_it_is_no_state() -> None:
    assert keeps_state(Shuffled()) is None


class Dice(ProducerPE):
    def _process(self, inputs: Any) -> Any:
        return int(self.rng.integers(1, 7, size=20).sum()), self.rng.random()


def test_roots_draw(mapping: Mapping) -> None:
    drawn = mapping.items(chain(Dice()), inputs=5)
    assert drawn == d4pcwl.run(chain(Dice()), 5)["Dice"]["output"]
    assert len(set(drawn)) == 5


def test_equal_items_and_equal_pes_get_numbers_of_their_own() -> None:
    source, first, second = Source([7, 7]), Noisy(), Noisy()
    edges = [(source, "output", pe, "input") for pe in (first, second)]
    results = d4pcwl.run(join(*edges))
    drawn = [item[1] for pe in (first, second) for item in results[pe]["output"]]
    assert len(set(drawn)) == 4


class Keyed(GenericPE):
    """Grouped by key, with state for each key."""

    def __init__(self) -> None:
        super().__init__()
        self._add_input("input", grouping=[0])
        self._add_output("output")
        self.seen: Counter[str] = Counter()

    def _process(self, inputs: Any) -> Any:
        key, value = inputs["input"]
        self.seen[key] += 1
        return {"output": (key, value, self.seen[key], self.rng.random())}


def test_grouped_inputs(mapping: Mapping) -> None:
    items = [("abc"[number % 3], number) for number in range(30)]
    expected = d4pcwl.run(chain(Source(items), Keyed()))["Keyed"]["output"]
    assert sorted(mapping.items(chain(Source(items), Keyed()))) == sorted(expected)


class TwoInputs(BasePE):
    def __init__(self) -> None:
        super().__init__(inputs=["a", "b"], outputs=["output"])

    def _process(self, inputs: Any) -> Any:
        ((name, item),) = inputs.items()
        return {"output": (name, item, self.rng.random())}


def two_inputs() -> WorkflowGraph:
    target = TwoInputs()
    first, second = named(Source(range(9)), "First"), named(Source(range(9)), "Second")
    return join((first, "output", target, "a"), (second, "output", target, "b"))


def test_edges_have_numbers_of_their_own(mapping: Mapping) -> None:
    expected = d4pcwl.run(two_inputs())["TwoInputs"]["output"]
    found = mapping.items(two_inputs())
    assert sorted(found) == sorted(expected)
    assert len({number for _, _, number in found}) == 18


class Unsure(IterativePE):
    """Fails until it draws what it likes; what it drew before must not count."""

    on_error = "retry:3"
    attempts = 0

    def __init__(self) -> None:
        super().__init__()
        self.attempts = 0

    def _process(self, data: Any) -> Any:
        number = self.rng.random()
        self.attempts += 1
        if self.attempts % 3:
            raise ValueError("again")
        return number


class Sure(IterativePE):
    def _process(self, data: Any) -> Any:
        return self.rng.random()


def test_retries_draw_the_same() -> None:
    sure = d4pcwl.run(chain(Source(range(3)), named(Sure(), "A")))["A"]["output"]
    assert d4pcwl.run(chain(Source(range(3)), named(Unsure(), "A")))["A"]["output"] == sure


class SetUp(IterativePE):
    """Draws in its set-up and at its end."""

    def _preprocess(self) -> None:
        self.offset = self.rng.random()

    def _process(self, data: Any) -> Any:
        return data + self.offset

    def _postprocess(self) -> None:
        self.write("output", self.rng.random())


def test_set_up_and_end(mapping: Mapping) -> None:
    expected = d4pcwl.run(chain(Source([1, 2]), SetUp()))
    assert mapping.run(chain(Source([1, 2]), SetUp())) == expected


def by_helper(pe: Any) -> float:
    return float(pe.rng.random())


class ByHelper(IterativePE):
    def _process(self, data: Any) -> Any:
        return by_helper(self)


def test_helpers_may_draw(mapping: Mapping) -> None:
    expected = d4pcwl.run(chain(Source(range(8)), ByHelper()))
    assert mapping.run(chain(Source(range(8)), ByHelper())) == expected


class OwnGenerator(IterativePE):
    """As scripts were before: a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(3)

    def _process(self, data: Any) -> Any:
        return float(self.rng.random())


class OwnInSetUp(IterativePE):
    def _preprocess(self) -> None:
        self.rng = np.random.default_rng(3)

    def _process(self, data: Any) -> Any:
        return float(self.rng.random())


@pytest.mark.parametrize("kind", [OwnGenerator, OwnInSetUp])
def test_a_generator_of_its_own_is_left_alone(kind: type[IterativePE]) -> None:
    drawn = d4pcwl.run(chain(Source(range(3)), named(kind(), "A")))["A"]["output"]
    assert drawn == [float(x) for x in np.random.default_rng(3).random(3)]


class InInit(IterativePE):
    def __init__(self) -> None:
        super().__init__()
        self.first = self.rng.random()


def test_there_is_none_before_the_run() -> None:
    with pytest.raises(PEError, match="while the PE runs"):
        InInit()


class Hidden(IterativePE):
    def _process(self, data: Any) -> Any:
        return getattr(self, "r" + "ng").random()


def test_what_reading_does_not_find_is_refused() -> None:
    with pytest.raises(PEError, match="not found when the class was read"):
        d4pcwl.run(chain(Source([1]), Hidden()))


def test_running_twice_changes_nothing() -> None:
    graph = noise(10)
    assert d4pcwl.run(graph) == d4pcwl.run(graph)
    assert len(graph.nodes) == 4


class Walk(GenericPE):
    """In a cycle with itself."""

    def __init__(self) -> None:
        super().__init__()
        self._add_input("start")
        self._add_input("again")
        self._add_output("next")
        self._add_output("end")

    def _process(self, inputs: Any) -> Any:
        ((_, (steps, place)),) = inputs.items()
        place += self.rng.choice([-1, 1])
        return {"end": int(place)} if steps == 0 else {"next": (steps - 1, place)}


def test_cycles(mapping: Mapping) -> None:
    def walk() -> WorkflowGraph:
        pe = Walk()
        source = Source([(5, 0)] * 20)
        return join((source, "output", pe, "start"), (pe, "next", pe, "again"))

    expected = d4pcwl.run(walk())["Walk"]["end"]
    assert sorted(mapping.items(walk(), output="end")) == sorted(expected)
    assert len(set(expected)) > 2


@pytest.mark.parametrize(("how", "count"), [("pe", None), (None, 3), ("pe", 2)])
def test_stages_and_shards(tmp_path: Path, how: str | None, count: int | None) -> None:
    expected = d4pcwl.run(noise())["Running"]["output"]
    stages = staged(to_run(noise()), how, count)
    *_, (_, results) = run_stages(stages, tmp_path)
    assert [outputs["output"] for outputs in results.values()] == [expected]
    if count:
        sharded = {type(pe) for stage in stages.sharded for pe in stage.pes}
        assert Noisy in sharded


def test_a_stage_for_each_pe_has_none_of_ours() -> None:
    assert [stage.name for stage in staged(to_run(noise()), "pe").cut.stages] == [
        "Source",
        "EvenTwice",
        "Noisy",
        "Running",
    ]


SCRIPT = """
from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Numbers(ProducerPE):
    def _process(self, inputs):
        for number in range(6):
            self.write("output", number)


class Draw(IterativePE):
    def _process(self, data):
        return [data, self.rng.random()]


numbers, draw = Numbers(), Draw()
graph = WorkflowGraph()
graph.connect(numbers, "output", draw, "input")
"""


def drawn(text: str) -> list[Any]:
    return [json.loads(line)["data"] for line in text.splitlines()]


def test_the_seed_of_the_command(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, SCRIPT)
    ran = [kit.command("dispel4py", "simple", script, "--seed", seed) for seed in (4, 4, 5)]
    first, again, other = (drawn(done.stdout) for done in ran)
    assert first == again != other
    assert first == d4pcwl.run(script, seed=4)["Draw"]["output"]


@pytest.mark.parametrize("options", [[], ["--cut", "pe"], ["--shards", "2"]], ids=" ".join)
def test_the_seed_of_compiled_cwl(tmp_path: Path, options: list[str]) -> None:
    script = kit.write_script(tmp_path, SCRIPT)
    kit.command("d4p2cwl", script, "-o", tmp_path / "flow.cwl", *options)
    outputs, _ = kit.cwltool(tmp_path / "flow.cwl", {"seed": 4}, tmp_path / "out")
    files = outputs["results"] if isinstance(outputs["results"], list) else [outputs["results"]]
    found = [item for file in files for item in drawn(Path(file["path"]).read_text())]
    assert sorted(found) == d4pcwl.run(script, seed=4)["Draw"]["output"]


@needs_mpi
def test_ranks_draw_what_simple_draws(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, SCRIPT)
    command = [MPIEXEC, "-n", "3", sys.executable, "-m", "d4pcwl.cli.dispel4py", "mpi", script]
    done = subprocess.run(
        [*map(str, command), "--seed", "4"], capture_output=True, text=True, timeout=60, check=True
    )
    assert drawn(done.stdout) == d4pcwl.run(script, seed=4)["Draw"]["output"]
