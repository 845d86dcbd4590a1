"""What runs tell of themselves: the counts are those of the workflow, under every mapping."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cwl_kit as kit
import pytest
from mapping_kit import (
    CountKeys,
    DiesOnce,
    FaultyPE,
    Homed,
    Identity,
    Mapping,
    OneShot,
    Plus,
    Source,
    Total,
    chain,
    join,
    wait_until,
)

import d4pcwl
from d4pcwl import IterativePE, SimpleFunctionPE
from d4pcwl.errors import D4pcwlError, OutputError, UsageError
from d4pcwl.trace.format import (
    PE,
    Edge,
    End,
    Event,
    Instance,
    Process,
    Record,
    Run,
    Sample,
    Span,
    TraceReader,
    Traffic,
    Usage,
    read_trace,
)
from d4pcwl.trace.observer import EdgeTraffic, InstanceLap, Lap, Observer
from d4pcwl.trace.table import table
from d4pcwl.trace.totals import Totals, last_line, progress_line


class Found:
    """What a trace says, PE by PE."""

    def __init__(self, path: Path) -> None:
        self.records: list[Record] = list(read_trace(path))
        self.pes = {i.instance: i.pe for i in self.of(Instance)}
        self.taken, self.written = Counter[str](), Counter[str]()
        self.busy = Counter[str]()
        for sample in self.of(Sample):
            pe = self.pes[sample.instance]
            self.taken[pe] += sample.taken
            self.written[pe] += sample.written or 0
            self.busy[pe] += sample.busy  # type: ignore[assignment]

    def of(self, kind: type[Any]) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def end(self) -> End:
        (end,) = self.of(End)
        assert self.records[-1] == end
        return end


def traced(mapping: Mapping, graph: Any, path: Path, inputs: Any = None, **more: Any) -> Found:
    d4pcwl.run(graph, inputs, mapping=mapping.name, processes=mapping.processes, trace=path, **more)
    return Found(path)


class Works(IterativePE):
    """Takes some processor time for each item."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def _process(self, data: Any) -> Any:
        until = time.thread_time() + self.seconds
        while time.thread_time() < until:
            pass
        return data


class Sleeps(IterativePE):
    def _process(self, data: Any) -> Any:
        time.sleep(0.25)
        return data


class Flaky(IterativePE):
    """Fails on some numbers: on multiples of 5 once, on those of 7 always."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def _process(self, data: int) -> int:
        if data % 7 == 0:
            raise ValueError(f"never {data}")
        mark = self.folder / str(data)
        if data % 5 == 0 and not mark.exists():
            mark.touch()
            raise ValueError(f"not yet {data}")
        return data


# --- counts ---------------------------------------------------------------------------------------


def test_counts_are_those_of_the_workflow(mapping: Mapping, tmp_path: Path) -> None:
    source, plus, total = Source(range(3000)), Plus(), Total()
    found = traced(mapping, chain(source, plus, total), tmp_path / "t.jsonl")
    assert found.end == End(at=found.end.at, complete=True)
    assert found.taken == {source.id: 1, plus.id: 3000, total.id: 3000}
    assert found.written == {source.id: 3000, plus.id: 3000, total.id: 1}
    (run,) = found.of(Run)
    assert (run.mapping, run.processes, run.inputs) == (mapping.name, mapping.processes, 1)
    assert [(pe.pe, pe.source) for pe in found.of(PE)] == [
        (source.id, True),
        (plus.id, False),
        (total.id, False),
    ]
    assert [pe.state for pe in found.of(PE)][1:] == [False, True]
    assert [(e.source, e.dest) for e in found.of(Edge)] == [
        (source.id, plus.id),
        (plus.id, total.id),
    ]
    assert {i.process for i in found.of(Instance)} <= {p.process for p in found.of(Process)}
    assert all(usage.cpu >= 0 and usage.memory > 0 for usage in found.of(Usage))
    sent = Counter[int]()
    for traffic in found.of(Traffic):
        sent[traffic.edge] += traffic.items
        assert traffic.bytes > 0
    assert set(sent.values()) <= {3000}
    assert bool(sent) == (mapping.processes > 1)


def test_the_amounts_of_time_of_an_instance_fit_the_time(mapping: Mapping, tmp_path: Path) -> None:
    found = traced(mapping, chain(Source(range(20000)), Plus(), Plus()), tmp_path / "t.jsonl.gz")
    ends: dict[int, float] = {}
    for sample in found.of(Sample):
        whole = sample.end - sample.start
        parts = sample.busy + sample.waiting + sample.blocked + sample.encoding
        assert 0 <= parts <= whole + 0.05
        assert sample.start >= ends.get(sample.instance, 0.0) - 1e-6
        ends[sample.instance] = sample.end


def test_all_kinds_of_ways_are_counted(mapping: Mapping, tmp_path: Path) -> None:
    """Several senders to one input, several receivers of an output, keys, and to all."""
    one, two = Source([(n % 7, n) for n in range(600)]), Source([(n % 3, n) for n in range(500)])
    merge, keys, rest = Identity(), CountKeys(numprocesses=2), CountKeys("all", numprocesses=2)
    graph = join(
        (one, "output", merge, "input"),
        (two, "output", merge, "input"),
        (merge, "output", keys, "input"),
        (two, "output", rest, "input"),
    )
    found = traced(mapping, graph, tmp_path / "t.jsonl")
    copies = 1 if mapping.name == "simple" else 2
    assert found.taken[merge.id] == 1100
    assert found.taken[keys.id] == 1100
    assert found.taken[rest.id] == copies * 500
    assert found.written[one.id] == 600
    assert found.written[two.id] == 500
    assert found.written[merge.id] == 1100
    assert found.written[keys.id] == 7
    sent = Counter[int]()
    for traffic in found.of(Traffic):
        sent[traffic.edge] += traffic.items
    if mapping.pools:  # what goes to the pool leaves the process
        assert (sent[0], sent[1]) == (600, 500)


def test_retries_and_skips(mapping: Mapping, tmp_path: Path) -> None:
    flaky, total = Flaky(tmp_path), Total()
    found = traced(
        mapping,
        chain(Source(range(1, 101)), flaky, total),
        tmp_path / "t.jsonl",
        on_error="retry:1,skip",
    )
    left_out = [n for n in range(1, 101) if n % 7 == 0]
    once = [n for n in range(1, 101) if n % 5 == 0 and n % 7]
    events = Counter[str]()
    for event in found.of(Event):
        if event.what == "scale":
            continue
        events[event.what] += event.number or 1
        assert event.pe == flaky.id
        assert re.fullmatch(r"ValueError: (never|not yet) \d+", event.why)
    assert events == {"retry": len(left_out) + len(once), "skip": len(left_out)}
    assert found.taken[flaky.id] == 100
    assert found.taken[total.id] == found.written[flaky.id] == 100 - len(left_out)


def test_a_pe_that_fails(mapping: Mapping, tmp_path: Path) -> None:
    with pytest.raises(D4pcwlError, match="a fault was asked for"):
        traced(mapping, chain(Source(range(10)), FaultyPE("raise", 5)), tmp_path / "t.jsonl")
    found = Found(tmp_path / "t.jsonl")
    assert not found.end.complete
    assert "a fault was asked for" in str(found.end.failed)


@pytest.mark.processes(4)
def test_a_worker_that_dies(mapping: Mapping, tmp_path: Path) -> None:
    if mapping.name == "simple":
        pytest.skip("it has no worker")
    dies, total = DiesOnce(tmp_path / "mark"), Total()
    error = None
    try:
        found = traced(mapping, chain(Homed(range(5000)), dies, total), tmp_path / "t.jsonl")
    except D4pcwlError as caught:
        error, found = caught, Found(tmp_path / "t.jsonl")
    assert found.end.complete == (error is None)
    assert mapping.pools or error is not None
    told = [event.why for event in found.of(Event) if event.what == "death"]
    told.append(str(found.end.failed))
    assert any("killed by signal 9 (SIGKILL)" in why for why in told)
    if error is None:
        assert found.taken[total.id] == 5000
        assert found.taken[dies.id] > 0  # what it did since its last lap is not known


def test_ctrl_c_leaves_a_trace_with_an_end(mapping: Mapping, tmp_path: Path) -> None:
    path, seen = tmp_path / "t.jsonl", threading.Event()

    def interrupt() -> None:
        wait_until(lambda: path.exists() and path.read_text().count('"sample"') > 2)
        seen.set()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        traced(mapping, chain(OneShot(), Sleeps(), Total()), path, iterations=100_000)
    thread.join()
    found = Found(path)
    assert (found.end.complete, found.end.failed) == (False, "interrupted")


def test_nothing_is_measured_without_being_asked_for(mapping: Mapping, tmp_path: Path) -> None:
    told: list[str] = []
    before = Observer.hear
    try:
        Observer.hear = lambda self, lap: told.append("lap")  # type: ignore[method-assign]
        mapping.run(chain(Source(range(10)), Plus()))
    finally:
        Observer.hear = before  # type: ignore[method-assign]
    assert not told


# --- where the time goes --------------------------------------------------------------------------


def slow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pytest.mark.parametrize(
    "make",
    [
        lambda: Works(0.01),
        lambda: SimpleFunctionPE(slow),
        lambda: SimpleFunctionPE(lambda seconds: slow(seconds)),
        lambda: SimpleFunctionPE(time.sleep),
    ],
    ids=["a class", "a function", "a lambda", "a function in C"],
)
def test_the_slow_pe_is_named(make: Callable[[], Any], mapping: Mapping, tmp_path: Path) -> None:
    """Among PEs that share a process, and in one of its own."""
    pe = make()
    graph = chain(Source([0.01] * 100), Identity(), pe, Identity(), Drop())
    found = traced(mapping, graph, tmp_path / "t.jsonl")
    assert max(found.busy, key=lambda name: found.busy[name]) == pe.id


class Drop(IterativePE):
    def _process(self, data: Any) -> None:
        pass


class Yields(IterativePE):
    def _process(self, data: float) -> Any:
        for _ in range(3):
            yield slow(data)


def test_generators_are_named(mapping: Mapping, tmp_path: Path) -> None:
    pe = Yields()
    graph = chain(Source([0.005] * 60), Identity(), pe, Drop())
    found = traced(mapping, graph, tmp_path / "t.jsonl")
    assert max(found.busy, key=lambda name: found.busy[name]) == pe.id


def test_long_calls_are_told(mapping: Mapping, tmp_path: Path) -> None:
    pe = Sleeps()
    found = traced(mapping, chain(Source(range(6)), pe, Drop()), tmp_path / "t.jsonl")
    spans = [span for span in found.of(Span) if found.pes[span.instance] == pe.id]
    assert spans
    assert all(0 <= span.start < span.end <= found.end.at for span in spans)
    assert {span.item for span in spans} <= set(range(6))


# --- files ----------------------------------------------------------------------------------------


def test_a_trace_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        d4pcwl.run(chain(Source([1]), Plus()), trace=tmp_path / "none" / "t.jsonl")
    with pytest.raises(OutputError, match="/dev/full cannot be written"):
        d4pcwl.run(chain(Source([1]), Plus()), trace="/dev/full")


Given = Callable[[int], list[str]]

SCRIPT = """
import time
from dispel4py.base import ConsumerPE, IterativePE
from dispel4py.workflow_graph import WorkflowGraph
class Read(IterativePE):
    def _process(self, data): return data
class Slow(IterativePE):
    def _process(self, data):
        time.sleep(0.02)
        print("line", data)
        return data
class Keep(ConsumerPE):
    def _process(self, data): pass
read, slow, keep = Read(), Slow(), Keep()
graph = WorkflowGraph()
graph.connect(read, "output", slow, "input")
graph.connect(slow, "output", keep, "input")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return kit.write_script(tmp_path, SCRIPT)


@pytest.fixture
def given(tmp_path: Path) -> Callable[[int], list[str]]:
    """From a number of inputs to the options that give them."""

    def make(number: int) -> list[str]:
        path = tmp_path / "inputs.json"
        path.write_text(json.dumps({"Read": [{"input": n} for n in range(number)]}))
        return ["-f", str(path)]

    return make


def test_the_command_leaves_a_trace(given: Given, script: Path, tmp_path: Path) -> None:
    arguments = ("multi", script, "-n", "3", *given(20))
    done = kit.command("dispel4py", *map(str, arguments), "--trace", "t.jsonl", cwd=tmp_path)
    assert done.stderr == ""
    found = Found(tmp_path / "t.jsonl")
    (run,) = found.of(Run)
    assert run.script == str(script)
    assert run.arguments[:2] == ["multi", str(script)]
    assert run.inputs == 20


def test_ranks_tell_of_themselves(given: Given, script: Path, tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    arguments = ("mpi", script, "-n", "3", *given(20))
    more = ("--trace", "t.jsonl", "--progress", "plain", "--progress-interval", "1000")
    done = kit.command("dispel4py", *map(str, arguments), *more, cwd=tmp_path)
    assert re.fullmatch(
        r"20 items in .*; the slowest is Slow, at work \d+% of the time\n", done.stderr
    )
    found = Found(tmp_path / "t.jsonl")
    assert found.end.complete
    assert sorted(found.taken.values()) == [20, 20, 20]
    assert len(found.of(Process)) == 3


def test_a_parent_that_is_killed_leaves_a_trace(given: Given, script: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    arguments = ["simple", str(script), *given(10_000), "--trace", str(path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "d4pcwl", "run", *arguments], stdout=subprocess.DEVNULL
    )
    wait_until(lambda: path.exists() and path.read_text().count('"usage"') > 2)
    process.kill()
    process.wait()
    found = Found(path)
    assert not found.of(End)
    assert sum(found.taken.values()) > 0


# --- progress -------------------------------------------------------------------------------------


def test_progress_as_lines(given: Given, script: Path, tmp_path: Path) -> None:
    arguments = ["simple", str(script), *given(100)]
    more = ["--progress", "plain", "--progress-interval", "0.5"]
    done = kit.command("dispel4py", *arguments, *more)
    assert done.stdout == "".join(f"line {n}\n" for n in range(100))
    *lines, last = done.stderr.splitlines()
    for line in lines:
        assert re.fullmatch(
            r".*s, \d+% of the inputs(, about .* left)?: Read \d+, Slow \d+, Keep \d+", line
        )
    assert ", about " in lines[-1]  # in the first line nothing may be done yet
    assert re.fullmatch(r"100 items in .*; the slowest is Slow, at work \d+% of the time", last)
    for silent in (["--no-progress"], ["-q", "--progress", "plain"], []):
        assert kit.command("dispel4py", *arguments, *silent).stderr == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--progress", "live"], "--progress live needs a terminal; --progress plain does not"),
        (["--progress-interval", "0"], "--progress-interval 0.0: more than 0 is needed"),
        (["--trace", "none/t.jsonl"], "none/t.jsonl cannot be written"),
        (
            ["--trace", "/dev/null", "--results", "/dev/null"],
            "--trace /dev/null: another output has the same path",
        ),
    ],
)
def test_wrong_options(given: Given, script: Path, options: list[str], message: str) -> None:
    done = kit.command("dispel4py", "simple", str(script), *given(1), *options, code=2)
    assert message in done.stderr


class Terminal:
    """A command in a terminal of its own, and all that it writes there."""

    def __init__(self, *arguments: str, columns: int = 80) -> None:
        self.master, slave = pty.openpty()
        import fcntl
        import struct
        import termios

        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "d4pcwl", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(slave)
        self.text = ""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 1 << 16)
            except OSError:
                return
            if not data:
                return
            self.text += data.decode(errors="replace")

    def close(self) -> int:
        code = self.process.wait()
        self._thread.join()
        os.close(self.master)
        return code

    @property
    def screen(self) -> list[str]:
        """What stays: each picture is cleared by what comes after it."""
        lines, row = [""], 0
        for part in re.findall(r"\x1b\[\d*[A-Za-z]|\r\n|\n|\r|[^\x1b\r\n]+", self.text):
            if part == "\x1b[J":
                lines = [*lines[: row + 1]]
                lines[row] = ""
            elif part.startswith("\x1b") and part.endswith("A"):
                row -= int(part[2:-1])
            elif part in ("\r\n", "\n"):
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif part[0] not in "\x1b\r":
                lines[row] += part
        return lines


@pytest.mark.parametrize(
    # There is no table in the first second.
    ("mapping_name", "count"),
    [("simple", 120), ("multi", 120), ("dyn_multi", 360), ("mpi", 120)],
)
def test_a_table_below_what_is_printed(
    given: Given, script: Path, mapping_name: str, count: int
) -> None:
    if mapping_name == "mpi":
        pytest.importorskip("mpi4py")
    terminal = Terminal("run", mapping_name, str(script), "-n", "3", *given(count))
    assert terminal.close() == 0
    *lines, last, empty = terminal.screen
    assert empty == ""
    assert sorted(lines) == sorted(f"line {n}" for n in range(count))
    assert re.fullmatch(
        rf"{count} items in .*; the slowest is Slow, at work \d+% of the time", last
    )
    plain = re.sub(r"\x1b\[[\d;]*m", "", terminal.text)
    assert re.search(r"PE +in +out +items/s +at work +", plain)
    assert re.search(r"\rSlow +\d+ +\d+ ", plain)
    assert "of the inputs" in plain


def test_ranks_on_another_machine_than_the_terminal_show_lines(
    given: Given, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mpi4py")
    monkeypatch.setenv("D4PCWL_TERMINAL", '["another machine", {"2": "/dev/null"}]')
    done = kit.command("dispel4py", "mpi", str(script), "-n", "2", *given(20))
    assert re.fullmatch(r"20 items in .*; the slowest is Slow, .*\n", done.stderr)


@pytest.mark.parametrize("mapping_name", ["multi", "mpi"])
def test_ctrl_c_takes_the_table_away(given: Given, script: Path, mapping_name: str) -> None:
    if mapping_name == "mpi":
        pytest.importorskip("mpi4py")
    terminal = Terminal("run", mapping_name, str(script), "-n", "3", *given(5000), columns=40)
    wait_until(lambda: "items/s" in terminal.text)
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert terminal.close() == 130
    *lines, stopped, told, empty = terminal.screen
    assert lines == [f"line {n}" for n in range(len(lines))]
    assert re.match(r"stopped after .*: Read [\d,]+, Slow [\d,]+, Keep [\d,]+", stopped)
    assert (told, empty) == ("dispel4py: interrupted", "")
    widths = [len(re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", row)) for row in terminal.text.split("\r\n")]
    assert max(widths[: len(lines)]) < 80


# --- what records come to -------------------------------------------------------------------------


def watched(inputs: int | None = 10) -> tuple[Observer, list[Record]]:
    records: list[Record] = []
    observer = Observer([records.append])
    pes = [PE(pe="a0", name="a", class_="A", source=True), PE(pe="b1", name="b", class_="B")]
    edge = Edge(edge=0, source="a0", output="output", dest="b1", input="input")
    observer.begin("multi", 2, pes, [edge], inputs)
    return observer, records


def lap(pid: int, did: dict[int, InstanceLap], **more: Any) -> Lap:
    now = time.time()
    return Lap("host", pid, now - 1, now, did=did, **more)


def test_processes_and_instances_are_numbered() -> None:
    observer, records = watched()
    observer.hear(lap(5, {0: InstanceLap("a0", 0, taken=4, written=4)}))
    observer.hear(
        lap(6, {1: InstanceLap("b1", None, taken=1), 2: InstanceLap("b1", None, taken=2)})
    )
    observer.hear(lap(7, {1: InstanceLap("b1", None, taken=3)}, events=[(1, "skip", "why", 2)]))
    observer.end()
    found = [r for r in records if isinstance(r, Instance)]
    assert [(i.instance, i.pe, i.copy, i.process) for i in found] == [
        (0, "a0", 0, 0),
        (1, "b1", 0, 1),
        (2, "b1", 1, 1),
        (3, "b1", 2, 2),
    ]
    totals = Totals()
    for record in records:
        totals.take(record)
    assert (totals.pes["b1"].taken, totals.pes["b1"].errors) == (6, 2)
    assert totals.items == 4


def test_how_many_items_wait() -> None:
    observer, records = watched()
    way = ("a0", "output", "b1", "input")
    observer.hear(
        lap(5, {0: InstanceLap("a0", 0, taken=1, written=50)}, sent={way: EdgeTraffic(50, 400)})
    )
    observer.hear(lap(6, {1: InstanceLap("b1", 0, taken=20)}))
    observer.hear(lap(7, {2: InstanceLap("b1", 1, taken=5)}))
    observer.queues = lambda: {1: 7, 2: 2}  # the mapping knows; but what was sent is known, too
    observer.hear(lap(6, {1: InstanceLap("b1", 0, taken=10)}))
    assert waiting(records, "b1") == [30, 25, 15]
    observer.hear(lap(5, {1: InstanceLap("b1", 2, taken=1)}))  # here items need not be sent
    assert waiting(records, "b1")[3:] == [9]
    observer.queues = dict
    observer.hear(lap(6, {1: InstanceLap("b1", 0, taken=1)}))
    assert waiting(records, "b1")[4:] == [None]
    assert waiting(records, "a0") == [None]


def waiting(records: list[Record], pe: str) -> list[int | None]:
    instances = {r.instance for r in records if isinstance(r, Instance) and r.pe == pe}
    return [r.queue for r in records if isinstance(r, Sample) and r.instance in instances]


def test_how_much_is_left() -> None:
    observer, records = watched(inputs=100)
    observer.hear(lap(5, {0: InstanceLap("a0", 0, taken=50, written=50)}))
    observer.hear(lap(6, {1: InstanceLap("b1", 0, taken=25, busy=0.5)}))
    totals = Totals()
    for record in records:
        totals.take(record)
    assert totals.done == 0.25  # b is behind a
    assert totals.left == pytest.approx(3 * totals.at)
    assert "25% of the inputs" in progress_line(totals)
    assert "the slowest is b" in last_line(totals)
    assert totals.slowest is totals.pes["b1"]
    totals.run = replace(records[0], inputs=1)  # type: ignore[assignment,arg-type]
    assert totals.done is None


def test_what_comes_late_is_counted() -> None:
    """The clocks of hosts differ, and what a step did is told when it is over."""
    totals = Totals()
    for number, pe in enumerate(("a0", "b1")):
        totals.take(PE(pe=pe, class_="A"))
        totals.take(Instance(instance=number, pe=pe, copy=0, process=number))
    totals.take(Sample(instance=0, start=99, end=100, taken=10))
    totals.take(Sample(instance=1, start=9, end=10, taken=3))
    late = totals.pes["b1"]
    assert (late.taken, totals.rate(late), totals.at) == (3, 0, 100)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("height", [3, 24])
def test_the_table_fits(width: int, height: int) -> None:
    totals = Totals()
    for number in range(30):
        pe = f"a_name_of_a_pe{number}_that_is_longer_than_most_terminals_are_wide_{'x' * number}"
        totals.take(PE(pe=pe, class_="A"))
        totals.take(Instance(instance=number, pe=pe, copy=0, process=0))
        totals.take(Sample(instance=number, start=0, end=1, taken=10**6, written=10, busy=0.5))
    rows = [re.sub(r"\x1b\[[\d;]*m", "", row) for row in table(totals, width, height, "utf-8")]
    assert len(rows) <= height
    assert max(map(len, rows)) < width
    if width >= 40 and height > 3:
        assert re.search("in +out +items/s", rows[0])
        assert all("1,000,000" in row for row in rows[1:-2])


def test_a_trace_is_read_live(tmp_path: Path) -> None:
    """Lines are there as they come: another program reads them while the run goes on."""
    path, read = tmp_path / "t.jsonl", list[Record]()

    class Look(IterativePE):
        def _process(self, data: Any) -> Any:
            wait_until(path.exists)
            with TraceReader(path) as reader:
                read.extend(reader.new())
            return data

    d4pcwl.run(chain(Source([1]), Look()), trace=path)
    assert isinstance(read[0], Run)


# --- CWL ------------------------------------------------------------------------------------------


def run_document(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return kit.command("d4pcwl-runner", "--outdir", "out", *arguments, cwd=cwd)


def test_steps_and_the_pes_in_them(tmp_path: Path) -> None:
    """A document of ``d4p2cwl --trace``: each step leaves a trace, and the runner joins them."""
    script = kit.write_script(tmp_path, SCRIPT)
    kit.command("d4p2cwl", script, "--cut", "pe", "--trace", "-o", "wf.cwl", cwd=tmp_path)
    (tmp_path / "inputs.json").write_text(json.dumps({"Read": [{"input": n} for n in range(20)]}))
    (tmp_path / "job.json").write_text(
        json.dumps({"input_file": {"class": "File", "path": "inputs.json"}})
    )
    done = run_document("--quiet", "--trace", "t.jsonl", "wf.cwl", "job.json", cwd=tmp_path)
    outputs = json.loads(done.stdout)
    found = Found(tmp_path / "t.jsonl")
    assert found.end.complete
    steps = {pe.step: pe for pe in found.of(PE) if pe.heavy}
    assert {pe.class_ for pe in steps.values()} == {"CommandLineTool"}
    traces = {key: value for key, value in outputs.items() if key.endswith("trace")}
    assert len(traces) == len(steps) == 3
    for step, pe in steps.items():
        assert found.taken[pe.pe] == 1
        inner = Found(Path(traces[f"{step}_trace"]["path"]))
        assert inner.end.complete
        for name_inside, number in inner.taken.items():
            assert found.taken[f"{step}/{name_inside}"] == number
        (span,) = [s for s in found.of(Span) if found.pes[s.instance] == pe.pe][:1]
        times = [s for s in found.of(Sample) if found.pes[s.instance].startswith(f"{step}/")]
        assert span.start - 1 < min(s.start for s in times)
    processes = [process.process for process in found.of(Process)]
    assert len(set(processes)) == len(processes)


def test_elements_of_a_scatter_are_counted(tmp_path: Path) -> None:
    (tmp_path / "wf.cwl").write_text("""\
cwlVersion: v1.2
class: Workflow
requirements: {ScatterFeatureRequirement: {}}
inputs: {texts: 'string[]'}
outputs: {said: {type: 'string[]', outputSource: say/said}}
steps:
  say:
    scatter: text
    in: {text: texts}
    out: [said]
    run:
      class: CommandLineTool
      baseCommand: [sh, -c, 'sleep 0.2; printf %s "$0"']
      inputs: {text: {type: string, inputBinding: {}}}
      outputs: {said: {type: string, outputBinding: {glob: out, loadContents: true,
                outputEval: '$(self[0].contents)'}}}
      stdout: out
""")
    (tmp_path / "jobs.jsonl").write_text('{"texts": ["a", "b", "c"]}\n{"texts": ["d"]}\n')
    more = ("--progress", "plain", "--progress-interval", "0.1", "--trace", "t.jsonl")
    done = run_document("-n", "1", *more, "--jobs", "jobs.jsonl", "wf.cwl", cwd=tmp_path)
    assert [json.loads(line)["said"] for line in done.stdout.splitlines()] == [
        ["a", "b", "c"],
        ["d"],
    ]
    assert re.search(r"\d+% of the jobs(, about .* left)?: say \d", done.stderr)
    assert re.search(r"^4 runs of tools in .*", done.stderr, re.MULTILINE)
    found = Found(tmp_path / "t.jsonl")
    (say,) = [pe for pe in found.of(PE) if pe.step]
    assert (say.step, say.class_, found.taken[say.pe]) == ("say", "CommandLineTool", 4)
    assert [event.what for event in found.of(Event)].count("job") == 2


def test_a_tool_leaves_its_trace_under_cwltool(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, SCRIPT)
    kit.command("d4p2cwl", script, "--trace", "-o", "tool.cwl", cwd=tmp_path)
    (tmp_path / "inputs.json").write_text(json.dumps({"Read": [{"input": n} for n in range(20)]}))
    done = kit.command(
        "cwltool", "--quiet", "--outdir", "out", "tool.cwl", "--input_file", "inputs.json",
        cwd=tmp_path,
    )  # fmt: skip
    trace = json.loads(done.stdout)["trace"]
    assert trace["format"] == "https://w3id.org/d4pcwl#trace"
    assert sum(Found(Path(trace["path"])).taken.values()) == 60


def test_a_trace_of_a_step_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    observer, records = watched()
    (tmp_path / "count_trace.jsonl").write_text("nothing\n")
    observer.join(tmp_path / "count_trace.jsonl")
    assert isinstance(records[-1], Event)
    assert (records[-1].what, "not a trace" in records[-1].why) == ("trace", True)
