"""Order over shards: who keeps state sees the items as ``simple`` shows them."""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cwl_kit as kit
import pytest
from mapping_kit import Mapping, Source, chain, join, named
from runner_kit import run
from shard_kit import run_stages
from test_order import Difference, Numbered, Pair, Scatter, by_way, random_graph

from d4pcwl import GenericPE, IterativePE, to_cwl
from d4pcwl.errors import StreamFileError
from d4pcwl.runtime import stage as stages
from d4pcwl.runtime.stage_streams import SourceFile, StreamFiles, streams_by_name
from d4pcwl.streams.live import awaited
from d4pcwl.streams.reader import StreamReader
from d4pcwl.streams.writer import StreamWriter
from d4pcwl.workflow.flat import FlatGraph, flatten
from d4pcwl.workflow.shards import shard

# --- PEs ------------------------------------------------------------------------------------------


class Widen(IterativePE):
    """Keeps no state; writes each item up to four times, or leaves it out."""

    def _process(self, item: Any) -> None:
        for number in range(item[0] % 5):
            self.write("output", (item[0] + number, *item[1:]))


class Whole(Widen):
    """The same, in one piece."""

    single = True


class Other(Numbered):
    """Numbers by another key."""

    def __init__(self) -> None:
        super().__init__()
        self.inputconnections["input"]["grouping"] = [0]

    def _process(self, inputs: dict[str, Any]) -> dict[str, Any]:
        item = inputs["input"]
        self.seen[item[0]] += 1
        return {"output": (*item, self.seen[item[0]])}


class Last(Numbered):
    """Writes the last number of each key, too."""

    def _postprocess(self) -> None:
        for key, number in sorted(self.seen.items()):
            self.write("output", (1, key, number))


class History(IterativePE):
    """Each item with the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.previous: Any = None

    def _process(self, item: Any) -> Any:
        found, self.previous = (self.previous, item), item
        return found


class Careless(History):
    ordered = False


CHAINS: dict[str, list[type[Any]]] = {
    "one stage": [Scatter, Difference],
    "one after the other": [Scatter, Scatter, Pair, Widen, History],
    "a key": [Pair, Widen, Numbered, History],
    "two keys": [Scatter, Pair, Widen, Numbered, Widen, Other, Widen, History],
    "state between": [Scatter, Difference, Scatter, Pair, Numbered, History],
    "one piece between": [Pair, Widen, Whole, Widen, History],
}


def graph_of(kinds: list[type[Any]], items: int = 60) -> FlatGraph:
    return flatten(chain(Source(range(1, items)), *(kind() for kind in kinds)))


def simple(graph: FlatGraph) -> list[Any]:
    return Mapping("simple", 1).items(graph)


# --- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("how", [None, "pe"])
@pytest.mark.parametrize("kinds", CHAINS.values(), ids=CHAINS)
def test_who_looks_back_sees_the_items_of_all_shards_in_order(
    kinds: list[type[Any]], how: str | None, count: int, tmp_path: Path
) -> None:
    found = shard(graph_of(kinds), count, how)
    assert found.sharded
    *_, (_, results) = run_stages(found, tmp_path)
    ((_, outputs),) = results.items()
    assert outputs["output"] == simple(graph_of(kinds))


@pytest.mark.processes(1, 5)
def test_so_it_is_under_every_mapping_in_the_stages(mapping: Mapping, tmp_path: Path) -> None:
    kinds = [Scatter, Pair, Widen, Numbered, Widen, History]
    found = shard(graph_of(kinds, 30), 2)
    *_, (_, results) = run_stages(found, tmp_path, mapping.name, mapping.processes)
    ((_, outputs),) = results.items()
    assert outputs["output"] == simple(graph_of(kinds, 30))


@pytest.mark.parametrize("how", [None, "pe"])
@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_keep_the_order_of_each_way(
    seed: int, how: str | None, tmp_path: Path
) -> None:
    flat = flatten(random_graph(seed, 20))
    expected = by_way(Mapping("simple", 1).run(flat))
    found = shard(flatten(random_graph(seed, 20)), 2 + seed % 2, how)
    several: dict[Any, Counter[Any]] = {}
    for stage, results in run_stages(found, tmp_path):
        for way, values in by_way(results).items():
            if stage in found.sharded:  # the results of each shard are a file of their own
                several.setdefault(way, Counter()).update(values)
            else:
                assert values == expected.pop(way)
    assert several == {way: Counter(values) for way, values in expected.items()}


def test_what_goes_to_every_shard_comes_in_order_with_the_rest(tmp_path: Path) -> None:
    class Add(GenericPE):
        """Adds the numbers that every instance is told of, first, and writes each of them too."""

        def __init__(self) -> None:
            super().__init__()
            self._add_input("shift", grouping="all")
            self._add_input("input")
            self._add_output("output")
            self.shift = 0

        def process(self, inputs: dict[str, int]) -> None:
            self.shift += inputs.get("shift", 0)
            for item in [inputs["input"]] * 2 if "input" in inputs else []:
                self.write("output", item + self.shift)

    def graph() -> FlatGraph:
        shift, source = named(Source([100, 10]), "shift"), named(Source(range(30)), "source")
        scatter, add, difference = Scatter(), Add(), Difference()
        return flatten(
            join(
                (shift, "output", add, "shift"),
                (source, "output", scatter, "input"),
                (scatter, "output", add, "input"),
                (add, "output", difference, "input"),
            )
        )

    for how in (None, "pe"):
        folder = tmp_path / str(how)
        folder.mkdir()
        found = shard(graph(), 3, how)
        assert {pe.name for stage in found.sharded for pe in stage.pes} == {"Scatter", "Add"}
        *_, (_, results) = run_stages(found, folder)
        ((_, outputs),) = results.items()
        assert outputs["output"] == simple(graph())


def test_what_is_written_at_the_end_comes_after_all_items(tmp_path: Path) -> None:
    kinds = [Pair, Last, Widen, History]
    *_, (_, results) = run_stages(shard(graph_of(kinds), 3, "pe"), tmp_path)
    ((_, outputs),) = results.items()
    items = [item for _, item in outputs["output"]]
    expected = [item for _, item in simple(graph_of(kinds))]
    ends = 4  # keys
    assert items[:-ends] == expected[:-ends]
    assert Counter(items) == Counter(expected)


# --- stream files ---------------------------------------------------------------------------------


def test_no_marks_where_nobody_can_tell(tmp_path: Path) -> None:
    for number, kinds in enumerate(([Scatter, Pair, Widen], [Scatter, Pair, Careless])):
        folder = tmp_path / str(number)
        folder.mkdir()
        list(run_stages(shard(graph_of(kinds), 2, "pe"), folder))
        for path in folder.iterdir():
            with StreamReader(path) as reader:
                assert not reader.marked
                assert set(reader.header["metadata"]) <= {"split"}


def test_equal_streams_are_equal_bytes_under_every_mapping(
    mapping: Mapping, tmp_path: Path
) -> None:
    kinds = [Scatter, Pair, Widen, History]
    folders = [tmp_path / name for name in ("expected", "found")]
    for folder, how in zip(
        folders, [("simple", 1), (mapping.name, mapping.processes)], strict=True
    ):
        folder.mkdir()
        list(run_stages(shard(graph_of(kinds, 20), 2), folder, *how))
    expected, found = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders)
    assert found == expected


def test_marks_are_shown_beside_the_items(tmp_path: Path) -> None:
    list(run_stages(shard(graph_of([Pair, Widen, History], 6), 2, "pe"), tmp_path))
    shown = kit.command("d4pcwl", "stream", "cat", tmp_path / "1.0.0.0.d4ps").stdout
    lines = [json.loads(line) for line in shown.splitlines()]
    assert [line["mark"] for line in lines] == [[0], [2], [4]]
    assert lines[0] == {"pe": "Pair", "port": "output", "data": [1, 1], "mark": [0]}
    with StreamReader(tmp_path / "1.0.0.0.d4ps") as reader:
        assert [item for _, item in reader] == [(1, 1), (3, 3), (5, 1)]


def test_an_item_without_a_mark_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "s.d4ps"
    for item in ([1, 2], [["a"], 2], [[], 2], 5):
        with StreamWriter(path, [("A", "output")], metadata={"marks": True}) as writer:
            writer.write(0, item)
        with (
            StreamReader(path) as reader,
            pytest.raises(StreamFileError, match=r"record 0, at byte \d+, has no mark"),
        ):
            list(reader)


def test_an_item_that_cannot_be_written_is_told_of_as_ever(tmp_path: Path) -> None:
    from d4pcwl.errors import ItemError

    with StreamWriter(tmp_path / "s", [("A", "output")], metadata={"marks": True}) as writer:
        with pytest.raises(ItemError, match=r"A.output: item\['a'\]"):
            writer.write_marked(0, (1,), {"a": object()})
        writer.write_marked(0, (1,), 2)


def test_a_file_of_a_shard_that_is_missing_is_told_of(tmp_path: Path) -> None:
    graph = graph_of([Scatter, Scatter, Difference])
    list(run_stages(shard(graph, 3, "pe"), tmp_path))
    files = [SourceFile(tmp_path / f"2.{number}.0.0.d4ps") for number in (0, 2)]
    with pytest.raises(StreamFileError, match=r"3 shards have written Scatter_2.output, and"):
        stages.stage_graph(graph, graph.pes[-1:], files)


@pytest.mark.parametrize("name", ["split", "from"])
def test_metadata_that_no_stage_writes_are_told_of(name: str, tmp_path: Path) -> None:
    with StreamWriter(tmp_path / "s", [("A", "output")], metadata={name: "train"}):
        pass
    with pytest.raises(StreamFileError, match=f"s: '{name}' in its metadata is not what a stage"):
        streams_by_name([SourceFile(tmp_path / "s")], allow_pickle=False)


def test_files_are_merged_while_they_are_written(tmp_path: Path) -> None:
    stream = StreamFiles("A.output", allow_pickle=False)
    items: list[Any] = []
    with ExitStack() as locks:
        writers = []
        for name in "ab":
            locks.enter_context(awaited(tmp_path / name))
            stream.add(tmp_path / name, None)
            writers.append(
                StreamWriter(tmp_path / name, [("A", "output")], metadata={"marks": True})
            )
        reading = threading.Thread(target=lambda: items.extend(item for _, item in stream.items()))
        reading.start()
        for number in range(100):
            writers[number // 3 % 2].write_marked(0, (number,), number)
        for writer in writers:
            writer.close()
    reading.join(60)
    assert not reading.is_alive()
    assert items == list(range(100))


# --- the documents --------------------------------------------------------------------------------

SIGNAL = (
    kit.HEAD
    + """
class Samples(ProducerPE):
    def _process(self, inputs):
        for number in range(1, 40):
            self.write("output", number * number % 17)


class Spread(IterativePE):
    def _process(self, sample):
        for more in range(sample % 4):
            self.write("output", [sample % 3, sample + more])


class Numbered(GenericPE):
    def __init__(self):
        super().__init__()
        self._add_input("input", grouping=[0])
        self._add_output("output")
        self.seen = {}

    def process(self, inputs):
        key, sample = inputs["input"]
        self.seen[key] = 2 * self.seen.get(key, 0) % 1009 + sample
        self.write("output", self.seen[key])


class Half(IterativePE):
    def _process(self, sample):
        return sample / 2 if sample % 5 else None


class Difference(IterativePE):
    previous = 0

    def _process(self, sample):
        difference, self.previous = sample - self.previous, sample
        return difference


graph = WorkflowGraph()
samples, spread, numbered, half = Samples(), Spread(), Numbered(), Half()
graph.connect(samples, "output", spread, "input")
graph.connect(spread, "output", numbered, "input")
graph.connect(numbered, "output", half, "input")
graph.connect(half, "output", Difference(), "input")
"""
)


def compiled(tmp_path: Path, *options: str) -> tuple[Path, list[str]]:
    """A document, and the results of the graph under ``simple``."""
    script = kit.write_script(tmp_path, SIGNAL)
    said = kit.command("dispel4py", "simple", script, "-q").stdout
    document = tmp_path / "flow.cwl"
    kit.command("d4p2cwl", "-q", script, *options, "-o", document)
    return document, [line for line in said.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("how", [["--shards", "3"], ["--shards", "2", "--cut", "pe"]])
def test_cwltool_gives_the_results_of_the_graph_in_order(tmp_path: Path, how: list[str]) -> None:
    document, expected = compiled(tmp_path, *how)
    outputs, _ = kit.cwltool(document, None, tmp_path / "out")
    assert Path(outputs["results"]["path"]).read_text().splitlines() == expected


def test_streams_of_shards_are_merged_while_they_are_written(tmp_path: Path) -> None:
    document, expected = compiled(tmp_path, "--shards", "2", "--mapping", "multi", "-n", "4")
    options = ("--mapping", "dyn_multi", "-n", "3")
    made, _ = run(document, *options, outdir=tmp_path / "out", env=kit.with_commands())
    assert Path(made["results"]["path"]).read_text().splitlines() == expected


def test_the_report_tells_where_items_carry_marks(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, SIGNAL)
    unordered = kit.write_script(
        tmp_path / "unordered",
        SIGNAL.replace("    previous = 0", "    previous, ordered = 0, False"),
    )
    found = [
        [entry.kept.split()[0] for entry in to_cwl(path, shards=2).report if entry.code == "order"]
        for path in (script, unordered)
    ]
    # to Spread, to Numbered, which keeps state and stands with Half, and to Difference
    assert found == [["by", "by", "by"], ["by", "by", "only"]]
