"""One stage of a cut graph by itself: its streams, its digest, and what it refuses."""

from __future__ import annotations

import json
import os
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import cwl_kit as kit
import pytest
from mapping_kit import Mapping, chain

from d4pcwl import GenericPE, IterativePE, ProducerPE, WorkflowGraph
from d4pcwl.errors import D4pcwlError, GraphError, StreamFileError, UsageError
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import find_mapping, run_job
from d4pcwl.runtime.results import Results, StreamFileSink
from d4pcwl.runtime.stage import (
    Target,
    chosen_pes,
    stage_graph,
    stage_sink,
)
from d4pcwl.runtime.stage_streams import READERS, SourceFile
from d4pcwl.streams.reader import StreamReader
from d4pcwl.workflow.flat import FlatGraph, flatten
from d4pcwl.workflow.inputs import root_inputs


class Numbers(ProducerPE):
    def _process(self, inputs: Any) -> None:
        for number in range(10):
            self.write("output", number)


class Double(IterativePE):
    def _process(self, data: int) -> int:
        return 2 * data


class Half(IterativePE):
    def _process(self, data: int) -> float:
        return data / 2


def three() -> FlatGraph:
    return flatten(chain(Numbers(), Double(), Half()))


def run_stage(
    graph: FlatGraph,
    names: list[str],
    sources: dict[str, Path],
    targets: dict[str, Path],
    **options: Any,
) -> Results:
    """Run one stage as the command does; its results."""
    pes = chosen_pes(graph, names)
    stage = stage_graph(graph, pes, [SourceFile(path, port) for port, path in sources.items()])
    results = Results(graph.names)
    files = [Target(port, (path,)) for port, path in targets.items()]
    sink, ports, written = stage_sink(graph, pes, files, results, stage=stage)
    inputs = {pe: n for pe, n in root_inputs(graph).items() if graph.names[pe] in names}
    inputs.update({pe.id: 1 for pe in stage.pes if isinstance(pe, READERS)})
    complete = False
    try:
        run_job(
            find_mapping(options.get("mapping", "simple")),
            Job(stage, inputs, sink, results=ports, processes=options.get("processes")),
        )
        complete = True
    finally:
        for file in written:
            file.close(complete)
    return results


def test_stages_one_after_the_other_are_the_graph(tmp_path: Path, mapping: Any) -> None:
    first, second = tmp_path / "1.d4ps", tmp_path / "2.d4ps"
    how = {"mapping": mapping.name, "processes": mapping.processes}
    assert dict(run_stage(three(), ["Numbers"], {}, {"Numbers.output": first}, **how)) == {}
    run_stage(three(), ["Double"], {"Numbers.output": first}, {"Double.output": second}, **how)
    results = run_stage(three(), ["Half"], {"Double.output": second}, {}, **how)
    assert sorted(results["Half"]["output"]) == [float(number) for number in range(10)]


def forked() -> FlatGraph:
    graph = WorkflowGraph()
    numbers, double, half = Numbers(), Double(), Half()
    graph.connect(numbers, "output", double, "input")
    graph.connect(numbers, "output", half, "input")
    return flatten(graph)


def test_one_stream_feeds_all_that_take_it(tmp_path: Path) -> None:
    stream = tmp_path / "s.d4ps"
    run_stage(forked(), ["Numbers"], {}, {"Numbers.output": stream})
    results = run_stage(forked(), ["Double", "Half"], {"Numbers.output": stream}, {})
    assert results["Double"]["output"] == [2 * number for number in range(10)]
    assert results["Half"]["output"] == [number / 2 for number in range(10)]


def test_an_output_taken_inside_and_outside_goes_both_ways(tmp_path: Path) -> None:
    stream = tmp_path / "s.d4ps"
    results = run_stage(forked(), ["Numbers", "Double"], {}, {"Numbers.output": stream})
    assert len(results["Double"]["output"]) == 10
    with StreamReader(stream) as reader:
        assert [item for _, item in reader] == list(range(10))


def test_equal_streams_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_stage(three(), ["Numbers"], {}, {"Numbers.output": tmp_path / name})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_digest_is_of_structure_and_not_of_code() -> None:
    def digest(*pes: Any, stage: str = "Double") -> str:
        graph = flatten(chain(*pes))
        return graph.digest(chosen_pes(graph, [stage]))

    class Grouped(Double):
        def __init__(self) -> None:
            super().__init__()
            self.inputconnections["input"]["grouping"] = [0]

    Grouped.__qualname__ = "Double"
    other_body = type("Double", (IterativePE,), {"_process": lambda self, data: 3 * data})
    plain = digest(Numbers(), Double(), Half())
    assert digest(Numbers(), other_body(), Half()) == plain
    grouped = Grouped()
    grouped.name = "Double"
    assert digest(Numbers(), grouped, Half()) != plain
    assert digest(Numbers(), Double(), Double(), stage="Double_1") != plain
    # What is elsewhere does not concern it, nor how many PEs there are before it.
    third = type("Third", (IterativePE,), {"_process": lambda self, data: data})
    assert digest(Numbers(), Double(), Half(), third()) == plain
    graph = WorkflowGraph()
    graph.add(third())
    pes = Numbers(), Double(), Half()
    for source, target in pairwise(pes):
        graph.connect(source, "output", target, "input")
    assert flatten(graph).digest([pes[1]]) == plain


def test_another_digest_is_refused() -> None:
    graph = three()
    pes = chosen_pes(graph, ["Double"])
    assert chosen_pes(graph, ["Double"], graph.digest(pes)) == pes
    with pytest.raises(GraphError, match="has changed since this CWL was made: the PEs Double,"):
        chosen_pes(graph, ["Double"], graph.digest())
    with pytest.raises(GraphError, match="has changed since this CWL was made: the PEs Doubled1"):
        chosen_pes(graph, ["Doubled1"], graph.digest(pes))


def test_all_unknown_pes_are_named() -> None:
    with pytest.raises(GraphError) as caught:
        chosen_pes(three(), ["Double", "Duble1", "Xyz"])
    assert "no PE 'Duble1'; did you mean Double" in str(caught.value)
    assert "no PE 'Xyz'" in str(caught.value)


@pytest.mark.parametrize(
    ("sources", "targets", "message"),
    [
        ({}, {"Double.output": "x"}, "--from Numbers.output=FILE is missing"),
        ({"Numbers.output": "s"}, {}, "--to Double.output=FILE is missing"),
        (
            {"Numbers.output": "s", "Half.output": "s"},
            {"Double.output": "x"},
            "--from Half.output: this stage has no such stream",
        ),
        (
            {"Numbers.output": "s"},
            {"Double.output": "x", "Doubel1.output": "y"},
            "did you mean Double.output",
        ),
    ],
)
def test_streams_that_do_not_fit_the_stage_are_refused(
    tmp_path: Path, sources: dict[str, str], targets: dict[str, str], message: str
) -> None:
    run_stage(three(), ["Numbers"], {}, {"Numbers.output": tmp_path / "s"})
    with pytest.raises(UsageError, match=message):
        run_stage(
            three(),
            ["Double"],
            {port: tmp_path / name for port, name in sources.items()},
            {port: tmp_path / name for port, name in targets.items()},
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


def test_a_wrong_file_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no stream")
    StreamFileSink(tmp_path / "other", [("Half", "output")]).close(True)
    for name, message in {
        "gone": "no such file",
        "text": "not a stream file",
        "other": "--from Numbers.output: .*other holds the items of Half.output",
    }.items():
        with pytest.raises((StreamFileError, UsageError), match=message):
            run_stage(
                three(),
                ["Double"],
                {"Numbers.output": tmp_path / name},
                {"Double.output": tmp_path / "out"},
            )
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def test_a_truncated_stream_is_an_error_and_never_a_short_stream(tmp_path: Path) -> None:
    stream, out = tmp_path / "s", tmp_path / "out"
    run_stage(three(), ["Numbers"], {}, {"Numbers.output": stream})
    stream.write_bytes(stream.read_bytes()[:-20])
    with pytest.raises(D4pcwlError, match=r"cut off|no end record"):
        run_stage(three(), ["Double"], {"Numbers.output": stream}, {"Double.output": out})
    assert not out.exists()


def test_a_stream_may_come_by_a_named_pipe(tmp_path: Path) -> None:
    stream, pipe = tmp_path / "s", tmp_path / "pipe"
    run_stage(three(), ["Numbers"], {}, {"Numbers.output": stream})
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(stream.read_bytes()))
    writer.start()
    results = run_stage(three(), ["Double", "Half"], {"Numbers.output": pipe}, {})
    writer.join()
    assert len(results["Half"]["output"]) == 10


class Keyed(GenericPE):
    """Counts by key in each instance."""

    def __init__(self) -> None:
        super().__init__()
        self._add_input("input", grouping=[0])
        self._add_output("output")
        self.counts: dict[str, int] = {}
        self.numprocesses = 3

    def process(self, inputs: dict[str, Any]) -> None:
        key, number = inputs["input"]
        self.counts[key] = self.counts.get(key, 0) + number

    def _postprocess(self) -> None:
        for key, number in self.counts.items():
            self.write("output", [key, number])


class Pairs(ProducerPE):
    def _process(self, inputs: Any) -> None:
        for number in range(30):
            self.write("output", ("abcde"[number % 5], 1))


def test_grouping_holds_across_a_cut(tmp_path: Path, mapping: Any) -> None:
    stream = tmp_path / "s"
    how = {"mapping": mapping.name, "processes": mapping.processes}
    run_stage(flatten(chain(Pairs(), Keyed())), ["Pairs"], {}, {"Pairs.output": stream})
    results = run_stage(
        flatten(chain(Pairs(), Keyed())), ["Keyed"], {"Pairs.output": stream}, {}, **how
    )
    assert sorted(results["Keyed"]["output"]) == [[key, 6] for key in "abcde"]


class Events(ProducerPE):
    def _process(self, inputs: Any) -> Any:
        from obspy.core import event

        origin = event.Origin(latitude=42.8, longitude=13.1)
        found = event.Event(origins=[origin])
        found.extra = {"felt": {"value": "yes"}}
        found.preferred_origin_id = origin.resource_id
        return {"events": [event.Catalog([found])]}


class Latitude(IterativePE):
    def _process(self, data: Any) -> Any:
        (found,) = data["events"][0]
        return found.preferred_origin().latitude, found.extra["felt"]["value"]


def test_events_cross_a_cut(tmp_path: Path, mapping: Mapping) -> None:
    pytest.importorskip("obspy")
    stream = tmp_path / "s"
    how = {"mapping": mapping.name, "processes": mapping.processes}
    pes = Events(), Latitude()
    run_stage(flatten(chain(*pes)), ["Events"], {}, {"Events.output": stream}, **how)
    results = run_stage(flatten(chain(*pes)), ["Latitude"], {"Events.output": stream}, {}, **how)
    assert results["Latitude"]["output"] == [(42.8, "yes")]
    assert mapping.items(chain(*pes)) == [(42.8, "yes")]


def test_a_failed_stage_leaves_a_stream_that_is_marked(tmp_path: Path) -> None:
    text = kit.CHAIN.replace("return 2 * data", "return 2 * data if data < 3 else 1 / 0")
    text += '\nlast = Double()\ngraph.connect(double, "output", last, "input")\n'
    script = kit.write_script(tmp_path, text)
    numbers = tmp_path / "n.d4ps"
    run = ("dispel4py", "simple", script, "--stage")
    kit.command(*run, "Numbers", "--to", f"Numbers.output={numbers}")
    out = tmp_path / "d.d4ps"
    options = ["--from", f"Numbers.output={numbers}", "--to", f"Double_1.output={out}"]
    done = kit.command(*run, "Double_1", *options, code=1)
    assert "ZeroDivisionError" in done.stderr
    assert not out.exists()
    kept = kit.command("d4pcwl", "stream", "cat", "--partial", f"{out}.partial")
    assert [json.loads(line)["data"] for line in kept.stdout.splitlines()] == [0, 2, 4]
