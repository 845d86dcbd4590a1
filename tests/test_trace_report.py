"""What a trace says: the figures, the page, what changed; and the commands that show it."""

from __future__ import annotations

import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import cwl_kit as kit
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapping_kit import Mapping
from trace_kit import Stage, begun, simulated, summed, write

from d4pcwl.trace.bottleneck import bottleneck
from d4pcwl.trace.changes import changes, verdict
from d4pcwl.trace.format import (
    PE,
    Edge,
    End,
    Event,
    Instance,
    Process,
    Record,
    Sample,
    Span,
    Traffic,
    Usage,
    read_trace,
)
from d4pcwl.trace.page import page
from d4pcwl.trace.picture import picture
from d4pcwl.trace.suggestion import Suggestion
from d4pcwl.trace.summary import STATES, levels, percentile, spread, summary_of
from d4pcwl.trace.text import summary_text

HAS_DOT = shutil.which("dot") is not None

FLOW = [
    Stage({"read0": 0.001}, size=8000),
    Stage({"parse1": 0.004, "clean2": 0.002}, copies=2, size=2000, encoding=0.0005),
    Stage({"count3": 0.009}, state=True),
]

TOLD: list[Record] = [
    Event(at=1.0, what="scale", why="12 batches wait", number=2),
    Event(at=2.0, what="skip", why="ValueError: <b>n/a</b>", pe="parse1", instance=1, number=3),
    Usage(process=3, start=0.0, end=1.0, cpu=0.9, memory=40_000_000),
    Usage(process=3, start=1.0, end=2.0, cpu=0.8, memory=50_000_000),
    Span(instance=5, start=1.0, end=1.5, item=7),
]

SLOW = """
import time

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Numbers(ProducerPE):
    def _process(self, inputs):
        for _ in range(30):
            self.write("output", time.monotonic())


class Double(IterativePE):
    def _process(self, moment):
        return 2 * moment


class Total(IterativePE):
    count = first = 0

    def _process(self, doubled):
        self.count += 1
        self.first = self.first or doubled / 2
        if self.count == 30:  # longer than all before, however busy the machine is
            time.sleep(1 + 4 * (time.monotonic() - self.first))
        return self.count


graph = WorkflowGraph()
numbers, double, total = Numbers(), Double(), Total()
graph.connect(numbers, "output", double, "input")
graph.connect(double, "output", total, "input")
"""


def flow(items: int = 400) -> list[Record]:
    records = simulated(FLOW, items)
    return [*records[:-1], *TOLD, records[-1]]


# --- real runs -----------------------------------------------------------------------------------


@pytest.mark.processes(3)
def test_a_real_run(mapping: Mapping, tmp_path: Path) -> None:
    """The slow PE is named, whatever the mapping, and nothing is counted twice or left out."""
    (tmp_path / "slow.py").write_text(SLOW)
    run = ["dispel4py", mapping.name, "slow.py", "--trace", "run.jsonl", "--results", "out.jsonl"]
    if mapping.processes > 1:
        run += ["-n", mapping.processes]
    kit.command(*run, cwd=tmp_path)
    summary = summary_of(tmp_path / "run.jsonl")
    by_name = {pe.name: pe for pe in summary.pes.values()}
    assert by_name["Double"].taken == by_name["Total"].taken == 30
    assert summary.from_sources == 30
    assert by_name["Total"].record.state
    found = bottleneck(summary)
    assert found is not None
    assert found.pe is not None
    assert summary.name(found.pe) == "Total", found
    text = kit.command("d4pcwl", "trace", "summary", "run.jsonl", cwd=tmp_path).stdout
    assert str(found) in text
    kit.command("d4pcwl", "trace", "report", "run.jsonl", "-o", "run.html", cwd=tmp_path)
    checked((tmp_path / "run.html").read_text(encoding="utf-8"))
    if mapping.pools or mapping.name == "simple":
        return
    sent = {summary.name(edge.record.source): edge.items for edge in summary.edges.values()}
    assert sent == {"Numbers": 30, "Double": 30}


# --- figures -------------------------------------------------------------------------------------


def test_figures_are_sums_of_the_samples() -> None:
    records = flow()
    summary = summed(records)
    samples = [record for record in records if isinstance(record, Sample)]
    assert summary.items == sum(sample.taken for sample in samples) == 4 * 400
    for state in STATES:
        told = sum(getattr(sample, state) for sample in samples)
        assert sum(getattr(pe.seconds, state) for pe in summary.pes.values()) == pytest.approx(told)
    traffic = [record for record in records if isinstance(record, Traffic)]
    assert sum(edge.bytes or 0 for edge in summary.edges.values()) == sum(t.bytes for t in traffic)
    assert summary.seconds == records[-1].at
    assert 0 < summary.at_work < 1
    count = summary.pes["count3"]
    assert count.mean == pytest.approx(0.009, rel=0.02)
    assert summary.share(count.instances, "busy") > 0.9
    assert summary.processes[3].memory == summary.memory == 50_000_000
    assert summary.processes[3].cpu == pytest.approx(1.7)


def test_an_instance_that_moves() -> None:
    moves = Instance(instance=5, pe="count3", copy=0, process=1, at=2.0)
    summary = summed([*flow()[:-1], moves])
    assert summary.instances[5].record.process == 1
    assert len(summary.pes["count3"].instances) == 1
    assert summary.pes["count3"].taken == 400


def test_what_was_never_told_of_is_passed_over() -> None:
    strange = [
        Sample(instance=99, start=0.0, end=1.0, taken=5),
        Instance(instance=98, pe="nobody", copy=0, process=0),
        Span(instance=98, start=0.0, end=1.0),
        Traffic(edge=77, process=0, start=0.0, end=1.0, items=5),
        Usage(process=55, start=0.0, end=1.0, cpu=1.0),
        Sample(instance=0, start=3.0, end=3.0, taken=0),
    ]
    records = flow()
    assert summary_text(summed([*records, *strange])) == summary_text(summed(records))


intervals = st.tuples(st.floats(0, 9), st.floats(0, 1), st.floats(0, 1e6)).map(
    lambda found: (found[0], found[0] + found[1], found[2])
)


@given(st.lists(intervals), st.integers(1, 50))
def test_spreading_loses_nothing(amounts: list[tuple[float, float, float]], parts: int) -> None:
    whole = sum(amount for start, end, amount in amounts if end - start > 1e-9)
    amounts = [found for found in amounts if found[1] - found[0] > 1e-9]
    assert sum(spread(amounts, 10.0, parts)) == pytest.approx(whole, rel=1e-6, abs=1e-6)


def test_levels_stay_until_the_next() -> None:
    assert levels([], 10.0, 2) == [None, None]
    assert levels([(0.0, 1), (9.0, 2), (10.0, 3)], 10.0, 5) == [1, 1, 1, 1, 3]


calls = st.lists(st.floats(0.001, 10), min_size=1, max_size=60)


@given(calls, st.floats(0.01, 0.99))
def test_percentiles_where_all_calls_were_seen(seconds: list[float], part: float) -> None:
    """At most ``part`` of the calls take less, and at least so many do not take more."""
    found = percentile(part, seconds, len(seconds), sum(seconds))
    assert found in seconds
    assert sum(call > found for call in seconds) <= (1 - part) * len(seconds)
    assert sum(call < found for call in seconds) <= part * len(seconds) + 1e-6


@given(calls, st.integers(1, 1000), st.sampled_from([0.5, 0.9, 0.99]))
def test_percentiles_where_short_calls_were_not_seen(
    seconds: list[float], short: int, part: float
) -> None:
    every = sorted([*seconds, *[0.0001] * short], reverse=True)
    found = percentile(part, seconds, len(every), sum(every))
    known = every[int((1 - part) * len(every) * (1 - 1e-9))]
    assert found == (known if known > 0.0001 else None)


def test_a_sample_of_the_calls_stands_for_all() -> None:
    seen = [0.02 + 0.001 * number for number in range(21)]
    assert percentile(0.5, seen, 2100, 100 * sum(seen)) == pytest.approx(0.03)
    assert percentile(0.5, seen[:5], 500, 100 * sum(seen[:5])) is None  # too few
    assert percentile(0.5, [0.1, 0.2], 1, 0.3) is None  # parts of one call
    assert percentile(0.5, [], 10, 0.3) is None


# --- the page ------------------------------------------------------------------------------------


class _Reader(HTMLParser):
    """Sees to it that elements are closed in order, and takes what is shown, and what is named."""

    VOID = {"meta", "br"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.shown: list[str] = []
        self.named: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.named += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.named += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.shown.append(data)


def checked(text: str) -> str:
    """What a page shows, which is well formed and loads nothing."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    assert not {name for name, _ in reader.named} & {"src", "href", "xlink:href", "action"}
    assert not re.search(r"url\(|@import|\bfetch\(|XMLHttp|import\(", text)
    ids = [value for name, value in reader.named if name == "id"]
    assert len(ids) == len(set(ids))
    return " ".join(reader.shown)


def test_the_page_shows_all_there_is() -> None:
    text = page([("run.jsonl", summed(flow()))])
    shown = checked(text)
    assert "count3 is busy" in shown
    assert "3 items were skipped in parse1" in shown
    for title in ("read0[0]", "parse1[1]", "clean2[1]", "count3[0]", "process 3", "multi"):
        assert title in shown
    for heading in ("Timeline", "Items a second", "Workers", "Memory", "PEs", "Events"):
        assert heading in shown
    assert "ValueError: <b>n/a</b>" in shown  # as text
    assert "read0.output" in shown
    assert ("Graph" in shown) == HAS_DOT
    assert len(text) < 150_000


def test_two_runs_on_one_page() -> None:
    before, after = summed(flow()), summed(simulated([*FLOW[:2], Stage({"count3": 0.002})], 400))
    shown = checked(page([("before.jsonl", before), ("after.jsonl", after)]))
    assert "What changed" in shown
    assert verdict(before, after)[0] in shown
    assert shown.count("Timeline") == 2


def test_many_instances_are_folded_away() -> None:
    summary = summed(simulated([Stage({"read0": 0.001}), Stage({"work1": 0.02}, 20)], 400))
    text = page([("run.jsonl", summary)])
    shown = checked(text)
    assert "mean of 20 instances" in shown
    assert "20 instances" in shown
    assert text.count("<details>") == 1


@pytest.mark.parametrize(
    "records",
    [
        [begun()],
        [begun(script=None, host=None, python=None, versions={}), End(at=0.0, complete=True)],
        [begun(), PE(pe="read0", class_="Read", source=True), End(at=0.2, complete=True)],
        flow()[:-1],
        flow()[:12],
    ],
    ids=["only begun", "nothing", "no instance", "cut off", "cut off at the beginning"],
)
def test_the_page_of_a_trace_that_says_little(records: list[Record]) -> None:
    checked(page([("run.jsonl", summed(records))]))
    summary_text(summed(records))


def test_names_are_text() -> None:
    bad = "<script>alert(1)</script>\x1b[31m\t\n|&"
    records: list[Record] = [
        begun(script=bad, mapping=bad, host=bad, arguments=[bad], versions={bad: bad}, began="?"),
        PE(pe=bad, name=bad, class_=bad, source=True),
        PE(pe="next", class_="Next", step=bad),
        Edge(edge=0, source=bad, output=bad, dest="next", input=bad, grouping=bad),
        Process(process=0, host=bad, pid=1, at=0.0),
        Instance(instance=0, pe=bad, copy=0, process=0),
        Sample(instance=0, start=0.0, end=1.0, taken=1, busy=0.9),
        Traffic(edge=0, process=0, start=0.0, end=1.0, items=1, bytes=1),
        Event(at=0.5, what=bad, why=bad, pe=bad),
        End(at=1.0, complete=False, failed=bad),
    ]
    text = page([(bad, summed(records)), (bad, summed(records))])
    assert "<script>alert" not in text
    assert "\x1b" not in text
    checked(text)


@pytest.mark.skipif(not HAS_DOT, reason="Graphviz is not installed")
def test_the_picture_has_the_figures() -> None:
    dot = picture(summed(flow())).dot()
    assert "400\u00a0items" in dot
    assert "3.2\u00a0MB" in dot  # 400 items of 8000 bytes
    assert "2 instances" in dot
    text = page([("run.jsonl", summed(flow()))])
    (hot,) = re.findall(r'<g class="node hot">\s*<title>(\w+)</title>', text)
    assert hot == "pe3"


def test_the_page_without_graphviz(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    shown = checked(page([("run.jsonl", summed(flow()))]))
    assert "Graph" not in shown
    assert "What went between processes" in shown


# --- what changed --------------------------------------------------------------------------------


def test_what_changed() -> None:
    before = summed(flow())
    after = summed(simulated([*FLOW[:2], Stage({"count3": 0.009}, 3, weights=(1, 1, 1))], 400))
    told = {change.what: change for change in changes(before, after)}
    assert told["time"].better
    assert told["processes"].told == "1.5 times"
    assert told["processes"].better is None
    assert (told["count3: instances"].before, told["count3: instances"].after) == ("1", "3")
    assert "count3: items" not in told
    first, then, *_ = verdict(before, after)
    assert first.startswith("The second run is ")
    assert then.startswith("First: count3 is busy")


def test_nothing_changed() -> None:
    summary = summed(flow())
    assert [change.what for change in changes(summary, summary)] == ["time"]
    same, held = verdict(summary, summary)
    assert same.startswith("Both take equally long")
    assert held.startswith("Both have the same bottleneck: count3 is busy")


def test_pes_that_came_and_went() -> None:
    before = summed(simulated([Stage({"read0": 0.001}), Stage({"old1": 0.002})], 100))
    after = summed(simulated([Stage({"read0": 0.001}), Stage({"new1": 0.02})], 100))
    told = [(c.before, c.after) for c in changes(before, after) if c.what == "PE"]
    assert told == [("old1", ""), ("", "new1")]
    assert verdict(before, after)[0].startswith("The second run takes ")


# --- plans for the next run -----------------------------------------------------------------------


def test_plans_for_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    stages = [Stage({"Numbers0": 0.001}), Stage({"Double1": 0.02}), Stage({"Total2": 0.002})]
    write(tmp_path / "run.jsonl", simulated(stages, 300))
    run = ["d4pcwl", "trace", "summary", "run.jsonl", "--script", "slow.py"]
    lines = kit.command(*run, cwd=tmp_path).stdout.splitlines()
    plans = [line.split(maxsplit=1)[0] for line in lines[-4:]]
    assert plans == ["default", "naive", "staging", "best"]
    assert lines[-4].endswith(" Numbers | Double | Total")
    six = kit.command(*run, "-n", "6", cwd=tmp_path).stdout.splitlines()
    assert "Double (4 times)" in six[-4]
    page_of = ["d4pcwl", "trace", "report", "run.jsonl", "--script", "slow.py", "-n", "6"]
    shown = checked(kit.command(*page_of, cwd=tmp_path).stdout)
    assert "Plans for the next run" in shown
    assert "Numbers | Double (4 times) | Total" in shown


def test_the_quickest_plan_is_told_how_to_run() -> None:
    plans = [
        Suggestion("default", 9.0, (("a", "b"), ("c",))),
        Suggestion("best", 3.0, (("a",), ("b", "c"), ("b", "c"))),
    ]
    shown = checked(page([("run.jsonl", summed(flow()))], plans))
    assert "The plan best is predicted to be 3 times as fast as the default" in shown
    assert "multi -n 3 --optimise best --from run.jsonl" in shown
    assert "a | b, c (2 times)" in shown
    shown = checked(page([("run.jsonl", summed(flow()))], plans[:1]))
    assert "predicted to be" not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["summary", "a.jsonl", "--script", "slow.py"], "a trace of another graph"),
        (["summary", "a.jsonl", "--script", "gone.py"], "gone.py"),
        (["summary", "a.jsonl", "-n", "3"], "-a and -n need --script"),
        (["summary", "a.jsonl", "--script", "slow.py", "-n", "0"], "at least one process"),
        (["report", "a.jsonl", "a.jsonl", "--script", "slow.py"], "--script: give only one trace"),
    ],
)
def test_plans_that_cannot_be_made(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    write(tmp_path / "a.jsonl", flow(20))
    done = kit.command("d4pcwl", "trace", *arguments, cwd=tmp_path, code=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


# --- commands ------------------------------------------------------------------------------------


def test_commands(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", flow())
    write(tmp_path / "b.jsonl.gz", simulated(FLOW, 800))
    text = kit.command("d4pcwl", "trace", "summary", "a.jsonl", cwd=tmp_path).stdout
    assert text.startswith("flow.py, multi, 4 processes")
    text = kit.command("d4pcwl", "trace", "compare", "a.jsonl", "b.jsonl.gz", cwd=tmp_path).stdout
    assert text.startswith("The second run takes 2 times as long")
    kit.command("d4pcwl", "trace", "report", "a.jsonl", "b.jsonl.gz", "-o", "r.html", cwd=tmp_path)
    page_text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "b.jsonl.gz" in checked(page_text)
    done = kit.command("d4pcwl", "trace", "report", "a.jsonl", "b.jsonl.gz", cwd=tmp_path)
    assert done.stdout == page_text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["summary", "missing.jsonl"], 2, "missing.jsonl: cannot be read: No such file"),
        (["report", "no.jsonl"], 2, "no.jsonl:1: not a trace"),
        (["compare", "a.jsonl", "empty.jsonl"], 2, "empty.jsonl: not a trace: it is empty"),
        (["export", "a.jsonl"], 2, "one of the arguments --chrome --otlp is required"),
        (["report", "a.jsonl", "-o", "a.jsonl/x.html"], 2, "a.jsonl/x.html: cannot be written"),
        (["tell", "a.jsonl"], 2, "invalid choice: 'tell'"),
    ],
)
def test_errors_are_one_message(
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    write(tmp_path / "a.jsonl", flow(20))
    (tmp_path / "no.jsonl").write_text('{"kind": "nothing"}\n')
    (tmp_path / "empty.jsonl").write_text("")
    done = kit.command("d4pcwl", "trace", *arguments, cwd=tmp_path, code=code)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(os.listdir(tmp_path)) == ["a.jsonl", "empty.jsonl", "no.jsonl"]


def test_a_trace_that_is_cut_in_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", flow())
    path.write_bytes(path.read_bytes()[:-10])
    text = kit.command("d4pcwl", "trace", "summary", path).stdout
    assert "The trace has no end" in text
    assert len(list(read_trace(path))) == len(flow()) - 1
