"""Shards: which stages may be scattered, how items pass between them, and that nothing changes."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import cwl_kit as kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapping_kit import Identity, Plus, chain, join, named
from shard_kit import run_stages

from d4pcwl import GenericPE, IterativePE, ProducerPE, run
from d4pcwl.cwl.compile import to_cwl
from d4pcwl.errors import PEError, StreamFileError, TranslationError, UsageError
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import find_mapping, run_job
from d4pcwl.runtime.results import Results
from d4pcwl.runtime.stage import Target, stage_graph, stage_sink
from d4pcwl.runtime.stage_streams import SourceFile
from d4pcwl.workflow.flat import FlatGraph, flatten
from d4pcwl.workflow.inputs import root_inputs
from d4pcwl.workflow.shards import Passage, Sharding, kept_whole, shard


class Pairs(ProducerPE):
    def __init__(self, count: int = 30) -> None:
        super().__init__()
        self.count = count

    def _process(self, inputs: Any) -> None:
        for number in range(self.count):
            self.write("output", [f"key {number % 7}", number])


class Pass(GenericPE):
    """Passes on what comes to any of its inputs, with the name of the input."""

    def __init__(self, *groupings: Any) -> None:
        super().__init__()
        for number, grouping in enumerate(groupings):
            self._add_input(f"in{number}", grouping=grouping)
        self._add_output("output")

    def process(self, inputs: dict[str, Any]) -> None:
        for port, (key, number) in inputs.items():
            self.write("output", [key, f"{number} {port}"])


class CountKeys(Pass):
    """Counts by key, over all inputs."""

    def __init__(self, *groupings: Any) -> None:
        super().__init__(*groupings)
        self.counts: Counter[str] = Counter()

    def process(self, inputs: dict[str, Any]) -> None:
        for key, _ in inputs.values():
            self.counts[key] += 1

    def _postprocess(self) -> None:
        for key, count in sorted(self.counts.items()):
            self.write("output", [key, count])


class Shifted(GenericPE):
    """Adds what every instance is told of."""

    def __init__(self) -> None:
        super().__init__()
        self._add_input("shift", grouping="all")
        self._add_input("input")
        self._add_output("output")
        self.shift = 0

    def process(self, inputs: dict[str, Any]) -> None:
        if "shift" in inputs:
            self.shift = inputs["shift"][1]
        else:
            key, number = inputs["input"]
            self.write("output", [key, number + self.shift])


class Unshifted(Shifted):
    stateful = False  # as long as nothing is connected to ``shift``


class Mean(IterativePE):
    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def _process(self, data: Any) -> int:
        self.seen += 1
        return self.seen


def described(found: Sharding) -> dict[str, bool]:
    """To the PEs of each stage whether it is sharded."""
    return {
        " ".join(pe.name for pe in stage.pes): stage in found.sharded for stage in found.cut.stages
    }


# --- which stages -----------------------------------------------------------------------------


def test_stages_begin_and_end_where_sharding_does() -> None:
    source, a, b, c, d = named(Pairs(), "source"), *(named(Pass(None), x) for x in "abc"), Pass("0")
    count, total = named(CountKeys([0]), "count"), named(CountKeys("global"), "total")
    graph = flatten(
        join(
            (source, "output", a, "in0"),
            (a, "output", b, "in0"),
            (b, "output", count, "in0"),
            (count, "output", c, "in0"),
            (c, "output", total, "in0"),
        )
    )
    found = shard(graph, 3)
    assert described(found) == {"source": False, "a b": True, "count c": True, "total": False}
    passages = [found.passage(edge).value for edge in found.cut.crossing]
    assert passages == ["split", "split", "whole"]
    assert d.inputconnections["in0"]["grouping"] == "0"


def test_what_stays_in_one_piece() -> None:
    class Single(Pass):
        single = True

    source = named(Pairs(), "source")
    pes = [
        named(Single(None), "single"),
        named(Pass("global"), "global"),
        named(Pass("all"), "all"),
        named(Pass(None), "free"),
    ]
    graph = flatten(join(*((source, "output", pe, "in0") for pe in pes)))
    assert described(shard(graph, 2)) == {"source single global all": False, "free": True}


def test_a_cycle_stays_in_one_piece() -> None:
    source, a, b = named(Pairs(), "source"), named(Pass(None, None), "a"), named(Pass(None), "b")
    after = named(Pass(None), "after")
    graph = flatten(
        join(
            (source, "output", a, "in0"),
            (a, "output", b, "in0"),
            (b, "output", a, "in1"),
            (b, "output", after, "in0"),
        )
    )
    assert described(shard(graph, 2)) == {"source a b": False, "after": True}


@pytest.mark.parametrize("pe", [Mean(), CountKeys(None), CountKeys([0], None), CountKeys("all", 0)])
def test_state_without_a_key_on_every_input_stays_in_one_piece(pe: Any) -> None:
    source, free = named(Pairs(), "source"), named(Pass(None), "free")
    inputs = list(pe.inputconnections)
    graph = flatten(
        join((source, "output", free, "in0"), *((free, "output", pe, name) for name in inputs))
    )
    found = shard(graph, 2)
    assert described(found) == {"source": False, "free": True, pe.name: False}
    assert {found.passage(edge).value for edge in found.cut.crossing} == {"split", "whole"}
    assert "keeps state (" in (kept_whole(graph, pe) or "")
    assert kept_whole(graph, free) is None


def test_what_is_declared_to_keep_no_state_is_sharded() -> None:
    class Cached(Mean):
        stateful = False

    assert described(shard(flatten(chain(named(Pairs(), "s"), named(Cached(), "c"))), 2)) == {
        "s": False,
        "c": True,
    }


def test_equally_sharded_stages_are_one_run() -> None:
    source, a, b, c = named(Pairs(), "source"), *(named(Pass(None), x) for x in "abc")
    count = named(CountKeys([0]), "count")
    graph = flatten(
        join(
            (source, "output", a, "in0"),
            (a, "output", b, "in0"),
            (b, "output", count, "in0"),
            (count, "output", c, "in0"),
        )
    )
    runs = [[stage.name for stage in r] for r in shard(graph, 2, "pe").runs()]
    assert runs == [["a", "b"], ["count", "c"]]


def test_a_run_is_not_left_and_entered_again() -> None:
    """a → total → b must end before b begins, though a → b is aligned."""
    source, a = named(Pairs(), "source"), named(Pass(None), "a")
    total, b = named(CountKeys("global"), "total"), named(Pass(None, "all"), "b")
    graph = flatten(
        join(
            (source, "output", a, "in0"),
            (a, "output", b, "in0"),
            (a, "output", total, "in0"),
            (total, "output", b, "in1"),
        )
    )
    found = shard(graph, 2)
    assert described(found) == {"source": False, "a": True, "total": False, "b": True}
    assert [[stage.name for stage in run] for run in found.runs()] == [["a"], ["b"]]
    passages = {str(edge): found.passage(edge) for edge in found.cut.crossing}
    assert set(passages.values()) == {Passage.SPLIT, Passage.ALIGNED, Passage.WHOLE, Passage.ALL}


# --- results do not change --------------------------------------------------------------------


def run_in_shards(found: Sharding, folder: Path) -> Counter[str]:
    """The results' items."""
    items: Counter[str] = Counter()
    for _, results in run_stages(found, folder):
        items.update(itemised(results))
    return items


def itemised(results: Any) -> Counter[str]:
    return Counter(
        json.dumps([pe, port, item])
        for pe, by_port in results.items()
        for port, all_items in by_port.items()
        for item in all_items
    )


@st.composite
def graphs(draw: st.DrawFn) -> FlatGraph:
    """Graphs whose results do not depend on how many instances there are."""
    sources: list[Any] = [Pairs(draw(st.integers(0, 12))) for _ in range(draw(st.integers(1, 2)))]
    edges = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["pass", "count", "total", "shift"]))
        groupings: list[Any] = [None] if kind != "count" else [[0]]
        groupings *= draw(st.integers(1, 2))
        pe = (
            Pass(*groupings)
            if kind == "pass"
            else CountKeys(*groupings)
            if kind == "count"
            else CountKeys(*["global"] * len(groupings))
            if kind == "total"
            else Unshifted()
        )
        if kind == "shift":
            edges.append((sources[0], "output", pe, "input"))
        else:
            for name in pe.inputconnections:
                edges.append((draw(st.sampled_from(sources)), "output", pe, name))
        if kind in ("pass", "shift") or draw(st.booleans()):
            sources.append(pe)
    return flatten(join(*edges))


@settings(max_examples=60)
@given(graph=graphs(), count=st.sampled_from([2, 3, 5]), how=st.sampled_from([None, "pe"]))
def test_shards_give_the_results_of_the_whole(
    graph: FlatGraph, count: int, how: str | None, tmp_path_factory: Any
) -> None:
    expected = itemised(run(graph))
    folder = tmp_path_factory.mktemp("shards")
    assert run_in_shards(shard(graph, count, how), folder) == expected


def test_what_all_shards_are_to_know_reaches_each(tmp_path: Path) -> None:
    shift, source, shifted = Pairs(2), Pairs(20), Shifted()
    graph = flatten(join((shift, "output", shifted, "shift"), (source, "output", shifted, "input")))
    assert run_in_shards(shard(graph, 3), tmp_path) == itemised(run(graph))


# --- stream files that are split --------------------------------------------------------------


def two(key: Any = 0) -> FlatGraph:
    return flatten(join((Pairs(), "output", named(CountKeys([key]), "count"), "in0")))


def leave(graph: FlatGraph, targets: list[Target]) -> None:
    stage = stage_graph(graph, graph.pes[:1], [])
    sink, ports, written = stage_sink(graph, graph.pes[:1], targets, Results(), stage=stage)
    try:
        run_job(find_mapping("simple"), Job(stage, root_inputs(graph), sink, ports))
    finally:
        for file in written:
            file.close(True)


def test_files_of_different_shards_do_not_mix(tmp_path: Path) -> None:
    paths = [tmp_path / "0.d4ps", tmp_path / "1.d4ps"]
    leave(two(), [Target("Pairs.output", tuple(paths), "count.in0")])
    with pytest.raises(
        StreamFileError, match=r"0.d4ps is for shard 0 of 2, .*1.d4ps is for shard 1"
    ):
        stage_graph(two(), two().pes[1:], map(SourceFile, paths))


def test_a_split_for_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"at count.in; did you mean count.in0\?"):
        leave(two(), [Target("Pairs.output", (tmp_path / "0", tmp_path / "1"), "count.in")])


def test_an_item_without_the_key_is_told_of(tmp_path: Path) -> None:
    files = (tmp_path / "0", tmp_path / "1")
    with pytest.raises(PEError, match=r"passed on: count.in0 is grouped by 'name', which"):
        leave(two("name"), [Target("Pairs.output", files, "count.in0")])


def test_the_command_wants_a_file_for_each_shard(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, kit.WORDS)
    said = kit.command(
        "dispel4py", "simple", script, "--stage", "Lines", "--split", "a", "b", code=2
    ).stderr
    assert "--split a b: expected PE.PORT, the PE.PORT that takes its items, and a FILE" in said


# --- the documents ----------------------------------------------------------------------------


def test_equally_sharded_stages_are_one_scattered_subworkflow(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, kit.WORDS)
    document = to_cwl(script, shards=3, cut="pe").document
    main = kit.by_id(document["$graph"])["main"]
    steps = kit.by_id(main["steps"])
    assert list(steps) == ["Lines", "Split", "Count"]
    assert steps["Split"]["scatter"] == ["shard", "Lines_output_for_Split_input"]
    assert steps["Split"]["scatterMethod"] == "dotproduct"
    keyed = kit.by_id(steps["Count"]["in"])["Split_output_for_Count_input"]
    assert keyed["linkMerge"] == "merge_nested"
    assert keyed["source"] == [f"Split/Split_output_for_Count_input_{k}" for k in range(3)]
    assert kit.by_id(main["inputs"])["shards"]["default"] == [0, 1, 2]
    assert kit.by_id(main["outputs"])["results"]["type"] == "File[]"
    classes = {process["class"] for process in document["$graph"]}
    assert classes == {"Workflow", "CommandLineTool"}  # no ExpressionTool
    assert "${" not in str(document)
    assert "InlineJavascriptRequirement" not in str(document)


LONG = kit.WORDS.replace(
    'graph.connect(split, "output", count, "input")',
    """
class Lower(IterativePE):
    def _process(self, pair):
        return [pair[0].lower(), pair[1]]


class Show(IterativePE):
    def _process(self, pair):
        print("shown", pair[0])
        return "=".join(map(str, pair))


class Total(GenericPE):
    def __init__(self):
        super().__init__()
        self._add_input("input", grouping="global")
        self._add_output("output")
        self.total = 0

    def process(self, inputs):
        self.total += inputs["input"][1]

    def _postprocess(self):
        self.write("output", self.total)


lower, show, total = Lower(), Show(), Total()
graph.connect(split, "output", lower, "input")
graph.connect(lower, "output", count, "input")
graph.connect(count, "output", show, "input")
graph.connect(count, "output", total, "input")
""",
)


@pytest.mark.parametrize("how", [[], ["--cut", "pe"], ["--cut", "Lower.output,Count.output"]])
def test_cwltool_gives_the_results_of_the_graph(tmp_path: Path, how: list[str]) -> None:
    script = kit.write_script(tmp_path, LONG)
    expected = kit.command("dispel4py", "simple", script, "-q").stdout
    document = tmp_path / "flow.cwl"
    kit.command("d4p2cwl", "-q", script, "--shards", "3", *how, "-o", document)
    kit.validate(document)
    outputs, _ = kit.cwltool(document, None, tmp_path / "out")
    results = sorted((tmp_path / "out").glob("*results.jsonl"))
    assert len(results) == 4  # three shards of Show, and Total
    wanted = [line for line in expected.splitlines() if line.startswith("{")]
    assert kit.lines_of(results) == sorted(wanted)
    printed = itertools.chain(
        *(outputs[name] for name in outputs if isinstance(outputs[name], list))
    )
    assert len({file["basename"] for file in printed}) >= 6


def test_shards_and_files(tmp_path: Path) -> None:
    """Lists of files come from every shard; a PE that writes one file stays in one piece."""
    script = kit.write_script(
        tmp_path,
        kit.HEAD
        + """
class Names(ProducerPE):
    def _process(self, inputs):
        for name in "abcde":
            self.write("output", name)


class Plot(IterativePE):
    cwl = {"writes": {"plots": {"type": "File[]", "path": "*.plot"}}}

    def _process(self, name):
        with open(f"{name}.plot", "w") as file:
            file.write(name)
        return name


class List(IterativePE):
    cwl = {"writes": {"names": {"type": "File", "path": "names.txt"}}}

    def _process(self, name):
        with open("names.txt", "a") as file:
            file.write(name)


graph = WorkflowGraph()
names, plot, listing = Names(), Plot(), List()
graph.connect(names, "output", plot, "input")
graph.connect(plot, "output", listing, "input")
""",
    )
    document = tmp_path / "flow.cwl"
    kit.command("d4p2cwl", "-q", script, "--shards", "2", "-o", document)
    outputs, _ = kit.cwltool(document, None, tmp_path / "out")
    assert sorted(file["basename"] for files in outputs["plots"] for file in files) == [
        f"{name}.plot" for name in "abcde"
    ]
    assert sorted((tmp_path / "out" / "names.txt").read_text()) == list("abcde")


def test_a_file_of_the_whole_graph_must_say_who_writes_it(tmp_path: Path) -> None:
    text = kit.WORDS.replace("graph =", 'cwl = {"writes": {"log": "File"}}\ngraph =')
    script = kit.write_script(tmp_path, text)
    with pytest.raises(TranslationError, match=r"writes: log: .*in the PE that writes it"):
        to_cwl(script, shards=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": 1}, "at least 2 are needed"),
        ({"shards": 3, "cut": "whole"}, "shards need stages"),
    ],
)
def test_what_makes_no_sense_is_told(tmp_path: Path, options: Any, message: str) -> None:
    script = kit.write_script(tmp_path, kit.WORDS)
    with pytest.raises(UsageError, match=message):
        to_cwl(script, **options)


def test_pes_of_a_stage_that_cannot_be_told_apart_stay_together() -> None:
    """A stage with a keyed edge inside is not sharded: its shards would each have all keys."""
    source, a, count = named(Pairs(), "source"), named(Pass(None), "a"), CountKeys([0])
    graph = flatten(join((source, "output", a, "in0"), (a, "output", count, "in0")))
    found = shard(graph, 2, "source.output")
    assert described(found) == {"source": False, "a CountKeys": False}
    assert described(shard(flatten(chain(Pairs(), Plus(), Identity())), 2))
