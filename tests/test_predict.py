"""Cost models of traces, runs of pools that are played through, and ``d4pcwl predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from assign_kit import costs
from mapping_kit import CountKeys, Plus, Source, Total, chain

from d4pcwl.cli.main import main
from d4pcwl.errors import UsageError
from d4pcwl.runtime.pool.forecast import forecast
from d4pcwl.trace import format as t
from d4pcwl.trace.model import BYTE_SECONDS, ITEM_SECONDS, cost_model, read_model
from d4pcwl.trace.predict import Machine
from d4pcwl.workflow.flat import FlatGraph, flatten

# --- the model of a trace -------------------------------------------------------------------------

PES = [
    t.PE(pe="a0", name="a", class_="A", source=True),
    t.PE(pe="b1", class_="B"),
    t.PE(pe="c2", class_="C", state=True),
]
EDGES = [
    t.Edge(edge=0, source="a0", output="o", dest="b1", input="i", grouping="shuffle"),
    t.Edge(edge=1, source="b1", output="o", dest="c2", input="i", grouping="group-by [0]"),
]


def sample(instance: int, taken: int, **more: Any) -> t.Sample:
    return t.Sample(instance=instance, start=0.0, end=1.0, taken=taken, **more)


def traced(records: Sequence[t.Record]) -> list[t.Record]:
    run = t.Run(id="", began="", mapping="multi", processes=3, inputs=1)
    return [run, *PES, *EDGES, *records, t.End(at=2.0, complete=True)]


def test_seconds_are_added_up_over_copies_and_intervals() -> None:
    model = cost_model(
        traced(
            [
                t.Instance(instance=0, pe="a0", copy=0, process=0),
                t.Instance(instance=1, pe="b1", copy=0, process=1),
                t.Instance(instance=2, pe="b1", copy=1, process=2),
                sample(0, 1, written=30, busy=0.1),
                sample(1, 5, written=5, busy=1.0),
                sample(1, 10, written=10, busy=2.0),
                sample(2, 15, written=15, busy=3.0),
                t.Usage(process=1, start=0.0, end=1.0, cpu=1.5),
                t.Usage(process=2, start=0.0, end=1.0, cpu=9.0),
            ]
        )
    )
    work = model.works["b1"]
    assert (work.items, work.seconds, work.pace) == (30, 6.0, 0.2)
    assert work.cpu == 1.5 + 3.0  # no more than it was busy
    assert (model.works["a0"].name, model.works["b1"].name) == ("a", "b1")
    assert (model.inputs, model.seconds, model.complete) == (1, 2.0, True)


def test_what_left_a_process_tells_of_bytes_and_seconds() -> None:
    model = cost_model(
        traced(
            [
                t.Instance(instance=0, pe="a0", copy=0, process=0),
                t.Instance(instance=1, pe="b1", copy=0, process=1),
                sample(0, 1, written=10, encoding=0.5),
                sample(1, 10, written=20),
                t.Traffic(edge=0, process=0, start=0.0, end=1.0, items=4, bytes=400),
                t.Traffic(edge=0, process=0, start=1.0, end=2.0, items=6, bytes=600),
                t.Traffic(edge=1, process=1, start=1.0, end=2.0, items=20, bytes=60_000_000),
            ]
        )
    )
    first, second = model.passages.values()
    assert (first.items, first.bytes, first.sending) == (10, 100, pytest.approx(0.05))
    # Nobody said how long encoding took.
    assert second.sending == pytest.approx(ITEM_SECONDS + 3_000_000 * BYTE_SECONDS)
    assert second.receiving == pytest.approx(second.sending / 2)


def test_edges_that_end_at_one_pe_share_its_items() -> None:
    records = [
        t.Run(id="", began="", mapping="multi", processes=1),
        *(t.PE(pe=pe, class_="") for pe in ("a0", "b1", "c2")),
        t.Edge(edge=0, source="a0", output="o", dest="c2", input="i"),
        t.Edge(edge=1, source="b1", output="o", dest="c2", input="i"),
        *(t.Instance(instance=n, pe=pe, copy=0, process=0) for n, pe in enumerate(("a0", "b1"))),
        t.Instance(instance=2, pe="c2", copy=0, process=0),
        sample(0, 1, written=10),
        sample(1, 1, written=30),
        sample(2, 40),
    ]
    model = cost_model(records)
    assert [passage.items for passage in model.passages.values()] == [10, 30]
    assert not model.complete


def test_a_hot_key_is_seen_by_how_copies_were_fed() -> None:
    def hot(*fed: int) -> float:
        copies = [
            record
            for n, taken in enumerate(fed)
            for record in (t.Instance(instance=n, pe="c2", copy=n, process=n), sample(n, taken))
        ]
        return cost_model(traced(copies)).passages["b1", "o", "c2", "i"].hot

    assert hot(10, 10) == 0
    assert hot(75, 25) == pytest.approx(0.5)
    assert hot(50) == 0


def write_trace(path: Path, records: Sequence[t.Record]) -> Path:
    writer = t.TraceWriter(path)
    writer.write(*records)
    writer.close()
    return path


def test_a_trace_without_time_is_refused(tmp_path: Path) -> None:
    graph = flatten(chain(Source([]), Plus()))
    run = t.Run(id="", began="", mapping="multi", processes=1)
    pes = [t.PE(pe=pe.id, class_="") for pe in graph.pes]
    path = write_trace(tmp_path / "trace.jsonl", [run, *pes])
    with pytest.raises(UsageError, match="no PE takes any time in this trace"):
        read_model(path, graph)
    path = write_trace(tmp_path / "trace.jsonl", [run, *pes[:1]])
    with pytest.raises(UsageError, match="it does not know Plus; make a new one"):
        read_model(path, graph)


# --- pools that are played through ----------------------------------------------------------------


def pool_graph() -> FlatGraph:
    return flatten(chain(Source([]), Plus(), Plus(), Total()))


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_a_pool_shares_out_the_work(workers: int) -> None:
    graph = pool_graph()
    found = forecast(graph, costs(graph, [0.1, 12, 6, 0.1], items=600), workers)
    assert found.seconds == pytest.approx(18.2 / workers, rel=0.1)
    assert found.busy > 0.9


def test_what_cannot_be_shared_out_bounds_a_pool() -> None:
    graph = pool_graph()
    found = forecast(graph, costs(graph, [0.1, 4, 4, 3]), 64)
    assert found.seconds == pytest.approx(3, rel=0.2)
    assert found.pinned > 0.8
    assert found.held[-1] == "Total3"


def test_the_parent_bounds_a_large_pool_of_short_tasks() -> None:
    graph = pool_graph()
    found = forecast(graph, costs(graph, [0.0, 20, 20, 0.0], items=5000), 512)
    assert found.parent > 0.8
    assert found.seconds > 3 * 40 / 512


def test_a_part_of_a_long_run_stands_for_the_whole() -> None:
    graph = pool_graph()
    found = forecast(graph, costs(graph, [1, 5000, 5000, 1], items=1_000_000), 4)
    assert found.seconds == pytest.approx(10_002 / 4, rel=0.1)


def test_keys_and_a_network_do_not_keep_a_pool_from_its_end() -> None:
    graph = flatten(chain(Source([]), Plus(), CountKeys(), Plus(), Total()))
    model = costs(graph, [0.1, 4, 1, 2, 0.1], items=500)
    for machine in (Machine(), Machine(bandwidth=1e6, latency=0.001)):
        found = forecast(graph, model, 5, machine)
        assert 7 / 5 < found.seconds < 4


# --- the command ----------------------------------------------------------------------------------

SCRIPT = """
from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class A(ProducerPE):
    def _process(self, inputs):
        self.write("output", 1)


class B(IterativePE):
    def _process(self, data):
        return data


graph, a, b = WorkflowGraph(), A(), B()
graph.connect(a, "output", b, "input")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "script.py").write_text(SCRIPT)
    records = [
        t.Run(id="", began="", mapping="multi", processes=2, inputs=1),
        t.PE(pe="A0", name="A", class_="A", source=True),
        t.PE(pe="B1", name="B", class_="B"),
        t.Edge(edge=0, source="A0", output="output", dest="B1", input="input", grouping="shuffle"),
        t.Instance(instance=0, pe="A0", copy=0, process=0),
        t.Instance(instance=1, pe="B1", copy=0, process=1),
        sample(0, 1, written=1000, busy=1.0),
        sample(1, 1000, written=0, busy=20.0),
        t.End(at=21.0, complete=True),
    ]
    write_trace(tmp_path / "trace.jsonl", records)
    return tmp_path / "script.py"


def predict(script: Path, *options: str) -> int:
    given = ["predict", str(script), "--from", str(script.with_name("trace.jsonl")), *options]
    return main(given)


def test_a_table(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(script, "--processes", "1,3,64") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["processes", "used", "seconds", "items/s", "faster", "bottleneck"]
    assert lines[1].split() == ["1", "1", "21", "48", "1.0", "B"]
    assert lines[2].split()[:2] == ["3", "3"]
    assert lines[3].split()[-1] == "A"
    assert lines[4].startswith("more than 32 processes help little: twice as many are ")


@pytest.mark.parametrize("how", ["default", "naive", "staging"])
def test_other_plans(script: Path, capsys: pytest.CaptureFixture[str], how: str) -> None:
    assert predict(script, "--processes", "11", "--optimise", how) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["11", "11", "2"]


def test_a_pool(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(script, "--processes", "4", "--mapping", "dyn_multi") == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert float(line.split()[2]) == pytest.approx(21 / 4, rel=0.1)


def test_a_slow_network(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(script, "--processes", "4", "--network", "1kbit,1ms") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["4", "1"]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--processes", "0"], "expected numbers from 1, such as 1,8,64"),
        (["--network", "fast"], "'fast' is not a number with a unit (bit, kbit"),
        (["--network", "1Gbit,soon"], "'soon' is not a number with a unit (ns, us"),
        (["--optimise", "bets"], "there is no algorithm 'bets'"),
        (["--mapping", "mulit"], "no mapping is called 'mulit'"),
    ],
)
def test_wrong_usage(
    script: Path, capsys: pytest.CaptureFixture[str], options: list[str], fault: str
) -> None:
    try:
        code = predict(script, *options)
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 2
    assert fault in capsys.readouterr().err
