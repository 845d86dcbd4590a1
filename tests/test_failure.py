"""Failure: a run that fails says who, where and why, keeps what it has, and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import (
    MOST_UNDER_WAY,
    FaultyPE,
    FaultySource,
    Flight,
    FlightSource,
    Gate,
    Identity,
    Mapping,
    Plus,
    Source,
    Tag,
    Total,
    Trail,
    chain,
    children,
    commit,
    have_ended,
    join,
    named,
    nothing_left,
)

import d4pcwl
from d4pcwl import GenericPE, IterativePE, ProducerPE, SimpleFunctionPE, WorkflowGraph
from d4pcwl.errors import D4pcwlError, GraphError, InputError, PEError, UsageError, WorkerDied
from d4pcwl.runtime.static import watch

ENDLESS = 10**9


def failure(mapping: Mapping, graph: Any, inputs: Any = None) -> D4pcwlError:
    """The error that a run ends with, nothing being left behind."""
    with nothing_left(), pytest.raises(D4pcwlError) as caught:
        mapping.run(graph, inputs)
    return caught.value


class RaisesIn(IterativePE):
    """Raises in the stage of its life that is asked for."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.stage = stage

    def _preprocess(self) -> None:
        self.check("preprocess")

    def _process(self, data: Any) -> Any:
        self.check("process")
        return data

    def _postprocess(self) -> None:
        self.check("postprocess")

    def check(self, stage: str) -> None:
        if stage == self.stage:
            raise KeyError("the user's mistake")


class RaisesInGenerator(IterativePE):
    def _process(self, data: Any) -> Any:
        yield data
        raise KeyError("the user's mistake")


class RaisesInGenericGenerator(GenericPE):
    def __init__(self) -> None:
        super().__init__()
        self._add_input("input")
        self._add_output("output")

    def process(self, inputs: dict[str, Any]) -> Any:
        yield {"output": 1}
        raise KeyError("the user's mistake")


class WritesNowhere(IterativePE):
    def _process(self, data: Any) -> None:
        self.write("outptu", data)


class ReturnsNowhere(GenericPE):
    def __init__(self) -> None:
        super().__init__()
        self._add_input("input")
        self._add_output("output")

    def _process(self, inputs: dict[str, Any]) -> Any:
        return {"outptu": 1}


class ReturnsNoDictionary(ReturnsNowhere):
    def _process(self, inputs: dict[str, Any]) -> Any:
        return [1]


def fails(data: Any) -> Any:
    return data["key"]


@pytest.mark.parametrize(
    ("make", "message", "line"),
    [
        (lambda: RaisesIn("preprocess"), r"in preprocess\n.*KeyError: \"the", "raise"),
        (lambda: RaisesIn("process"), r"on item 1 of 'input': 1\n.*KeyError", "raise"),
        (lambda: RaisesIn("postprocess"), r"in postprocess\n.*KeyError", "raise"),
        (RaisesInGenerator, r"on item 1 of 'input': 1\n.*KeyError", "raise"),
        (RaisesInGenericGenerator, r"on item 1 of 'input': 1\n.*KeyError", "raise"),
        (lambda: FaultyPE("exit", 3), r"on item 3.*\n.*called exit\(3\)", "sys.exit"),
        (lambda: FaultyPE("interrupt", 3), r"on item 3.*\n.*KeyboardInterrupt", "raise Key"),
        (lambda: FaultyPE("raise", 4), r"on item 4.*\n.*ValueError", "raise Value"),
        (lambda: SimpleFunctionPE(fails), r"on item 1.*\n.*TypeError", "return data["),
        (WritesNowhere, r"on item 1.*\n.*no output 'outptu'.*'?output", "self.write"),
        (ReturnsNowhere, r"on item 1.*\n.*no output 'outptu'; did you mean output", ""),
        (ReturnsNoDictionary, r"on item 1.*\n.*returned .*dictionary", ""),
    ],
)
def test_message_names_pe_item_and_line(
    mapping: Mapping, make: Callable[[], Any], message: str, line: str
) -> None:
    bad = named(make(), "bad")
    bad.stateful, bad.single = True, True
    error = failure(mapping, chain(Source(range(1, 9)), bad, Identity()))
    assert isinstance(error, PEError)
    assert re.match(f"PE bad failed {message}", str(error)), str(error)
    if line:
        place = re.search(r"^(\S+?):(\d+): ", str(error), re.M)
        assert place, str(error)
        source = Path(place[1]).read_text().splitlines()[int(place[2]) - 1].strip()
        assert source.startswith(line)
        assert str(error).endswith(f"\n    {source}")
        assert "Traceback (most recent call last)" in error.traceback


@pytest.mark.processes(4, 5)
def test_message_names_the_instance(mapping: Mapping) -> None:
    class FailsInSecond(Tag):
        def _process(self, data: Any) -> Any:
            if self.rank == (1 if mapping.name == "simple" else 2):
                raise ValueError("no")
            return data

    bad = named(FailsInSecond(numprocesses=3), "bad")
    bad.stateful = True
    error = failure(mapping, chain(Source(range(9)), bad))
    # The number of an item is that in the stream: an instance of several does not know it.
    told = (
        "PE bad failed on item 1 of 'input': 0\n"
        if mapping.name == "simple"
        else "PE bad (instance 2 of 3) failed on an item of 'input': 1\n"
    )
    assert str(error).startswith(told)


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: FaultySource("raise", 5), "PE bad failed in iteration 1"),
        (lambda: FaultySource("exit", 0), "PE bad failed in iteration 1"),
    ],
)
def test_source_fails(mapping: Mapping, make: Callable[[], Any], where: str) -> None:
    error = failure(mapping, chain(named(make(), "bad"), Plus(), Total()))
    assert str(error).startswith(where)


class Shrugs(ProducerPE):
    """Ignores every error that writing leads to."""

    def __init__(self, bare: bool) -> None:
        super().__init__()
        self.bare = bare

    def _process(self, inputs: Any) -> None:
        shrug = BaseException if self.bare else Exception
        for number in range(5000):
            with contextlib.suppress(shrug):
                self.write("output", number)


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("middle", [0, 1])
def test_a_pe_upstream_cannot_swallow_a_failure(
    mapping: Mapping, trail: Trail, bare: bool, middle: int
) -> None:

    class Bad(IterativePE):
        single = True

        def _process(self, data: Any) -> None:
            trail.leave(data)
            raise ValueError("the first")

    bad = named(Bad(), "bad")
    error = failure(mapping, chain(Shrugs(bare), *(Identity() for _ in range(middle)), bad))
    # Which item is the first, a pool between the two does not say.
    assert re.match(r"PE bad failed on item 1 of 'input': \d+\n.*the first", str(error))
    assert len(trail.lines()) == 1  # nothing is worked on after the failure


class NotForPipes:
    """Can be neither copied nor pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("cannot be taken apart")


class ShrugsOverItems(ProducerPE):
    def _process(self, inputs: Any) -> None:
        with contextlib.suppress(BaseException):
            self.write("output", NotForPipes())


@pytest.mark.parametrize("make", [lambda: Source([NotForPipes()]), ShrugsOverItems])
@pytest.mark.parametrize("followed", [True, False])
@pytest.mark.processes(1, 2, 4)
def test_item_that_cannot_be_passed_on(
    mapping: Mapping, make: Callable[[], Any], followed: bool
) -> None:
    source = named(make(), "bad")
    error = failure(mapping, chain(source, *([Identity()] if followed else [])))
    assert "bad.output: " in str(error)
    assert "cannot be taken apart" in str(error)


@pytest.mark.parametrize("name", ["multi", "zmq_multi", "dyn_multi"])
def test_item_that_can_be_copied_but_not_pickled(name: str) -> None:
    """A lambda passes within a process, and not between processes; who writes it is told where."""
    mapping = Mapping(name, 2)
    source = named(Source([lambda: None]), "bad")
    told = str(failure(mapping, chain(source, Identity())))
    assert re.match(r"\S*mapping_kit.py:\d+: bad.output: an item of type function cannot be", told)
    assert "item: <function" in told
    assert re.search(r"\n.*mapping_kit\.py:\d+: \w+: .*\n +self.write\(", told)


def test_item_without_the_key_of_its_grouping(mapping: Mapping) -> None:
    source = named(Source([("a", 1), {"a": 1}]), "bad")
    graph = chain(source, named(Tag([0], numprocesses=2), "tag"))
    if mapping.name == "simple":  # its only instance gets all
        assert len(mapping.items(graph)) == 2
        return
    error = failure(mapping, graph)
    assert "bad.output" in str(error)
    assert "tag.input is grouped by 0, which this dict does not have" in str(error)


def test_pe_that_cannot_be_copied_cannot_have_two_instances() -> None:
    bad = named(Tag(numprocesses=2), "bad")
    bad.lock = threading.Lock()
    with pytest.raises(PEError, match=r"PE bad cannot be copied.*two|several instances.*lock"):
        d4pcwl.run(chain(Source([1]), bad), mapping="multi", processes=1)


# --- workers that die -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2, 3, 5])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_worker_that_is_killed(number: int, place: int) -> None:
    pes: list[Any] = [Source(range(20_000)), Plus(), Total()]
    pes[place] = named(FaultySource("die", 5) if place == 0 else FaultyPE("die", 10), "victim")
    error = failure(Mapping("multi", number), chain(*pes))
    assert isinstance(error, WorkerDied)
    assert "victim" in str(error)
    assert "killed by signal 9 (SIGKILL)" in str(error)


def test_a_worker_that_exits_under_our_feet() -> None:
    class Exits(IterativePE):
        def _process(self, data: Any) -> None:
            os._exit(7)

    error = failure(Mapping("multi", 2), chain(Source([1]), named(Exits(), "victim")))
    assert re.match(r".*of victim exited with code 7", str(error))


def test_a_dead_worker_is_found_though_its_pipes_are_held_open(trail: Trail) -> None:
    """The process that the PE has started holds the worker's pipes."""

    class Parent(IterativePE):
        def _process(self, data: Any) -> None:
            pid = os.fork()
            if pid == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                threading.Event().wait()
            trail.leave(pid)
            commit("die")

    try:
        with pytest.raises(WorkerDied, match="Parent was killed"):
            d4pcwl.run(chain(Source([1]), Parent()), mapping="multi", processes=2)
    finally:
        for pid in trail.lines():
            os.kill(int(pid), signal.SIGKILL)


@pytest.mark.processes(6)
def test_workers_that_stall_are_stopped(mapping: Mapping) -> None:
    """One PE fails; others are stuck, or busy for ever, or deaf."""
    if mapping.processes == 1:
        pytest.skip("one process does one thing at a time")
    if mapping.pools:  # half of the processes have PEs of their own
        mapping = Mapping(mapping.name, 2 * mapping.processes)

    class Deaf(IterativePE):
        def _process(self, data: Any) -> None:
            while True:
                try:
                    threading.Event().wait()
                except:  # noqa: E722 - what users do
                    continue

    source, stalls, deaf, bad = Source([1]), FaultyPE("stall"), Deaf(), FaultyPE("raise")
    busy = FaultySource("raise", at=ENDLESS, n=ENDLESS)
    graph = join(
        (source, "output", stalls, "input"),
        (source, "output", deaf, "input"),
        (source, "output", bad, "input"),
    )
    graph.connect(busy, "output", Identity(), "input")
    # The source's process has to be free of those that never return.
    error = failure(mapping, graph)
    assert "a fault was asked for" in str(error)


# --- what is kept ---------------------------------------------------------------------------------


def test_results_so_far_are_kept(mapping: Mapping) -> None:
    source = FaultySource("raise", at=5)
    results, error = mapping.run_partly(chain(source, Total()))
    assert isinstance(error, PEError)
    results, error = mapping.run_partly(chain(source))
    assert isinstance(error, PEError)
    assert results[source]["output"] == [0, 1, 2, 3, 4]


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those behind a failure have as long as a busy machine lets them take."""
    monkeypatch.setattr(watch, "_PATIENCE_SECONDS", 100.0)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_what_was_written_before_a_failure_comes_through(number: int) -> None:
    """The items before the bad one go on to the other processes, and come out."""
    source = Source(range(5))
    bad = FaultyPE("raise", at=3)
    graph = chain(source, bad, Plus(10))
    results, error = Mapping("multi", number).run_partly(graph)
    assert isinstance(error, PEError)
    assert [item for outputs in results.values() for item in outputs["output"]] == [10, 11]


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("name", ["multi", "zmq_multi"])
def test_who_is_slow_still_does_what_was_written_before_a_failure(name: str) -> None:
    """Its first item takes until its process has been silent for long."""

    class Slow(IterativePE):
        def _process(self, data: int) -> int:
            time.sleep(0.6)
            return data

    bad = FaultyPE("raise", at=3)
    results, error = Mapping(name, 3).run_partly(chain(Source(range(5)), bad, Slow()))
    assert isinstance(error, PEError)
    assert [item for outputs in results.values() for item in outputs["output"]] == [0, 1]


@pytest.mark.parametrize("name", ["multi", "dyn_multi"])
def test_an_interrupt_in_a_finaliser_is_not_shown(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It ends nothing there. The process is ended later."""

    class Long:
        def __del__(self) -> None:
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                pass

    class MakesThem(IterativePE):
        def _process(self, data: Any) -> None:
            while True:
                Long()

    class Fails(IterativePE):
        def _process(self, data: Any) -> None:
            time.sleep(0.2)
            raise ValueError("no")

    graph, source = WorkflowGraph(), Source([1])
    for pe in (MakesThem(), Fails()):
        graph.connect(source, "output", pe, "input")
    with pytest.raises(PEError, match="no"):
        Mapping(name, 3).run(graph)
    assert capfd.readouterr().err == ""


def test_stream_gives_what_there_is_before_it_raises(mapping: Mapping) -> None:
    items: list[Any] = []

    def read() -> None:
        for result in mapping.stream(chain(FaultySource("raise", at=5))):
            items.append(result.item)

    with nothing_left(), pytest.raises(PEError, match="a fault was asked for"):
        read()
    assert items == [0, 1, 2, 3, 4]


def test_a_run_after_a_failure(mapping: Mapping) -> None:
    graph = chain(FaultySource("raise", at=2), Total())
    first, second = (str(failure(mapping, graph)) for _ in range(2))
    assert first == second
    assert mapping.items(chain(Source([1, 2]), Total())) == [3]


def test_a_run_that_goes_well_leaves_nothing(
    mapping: Mapping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with nothing_left(tmp_path):
        mapping.run(chain(Source(range(100)), Plus(), Total()))
        list(mapping.stream(chain(Source(range(100)), Plus(), Total())))


# --- stream() -------------------------------------------------------------------------------------


def test_stream_gives_results_as_they_come(mapping: Mapping, gate: Gate) -> None:

    class Waits(ProducerPE):
        def _process(self, inputs: Any) -> None:
            self.write("output", "first")
            gate.wait()
            self.write("output", "second")

    source = Waits()
    results = mapping.stream(chain(source))
    assert next(results) == d4pcwl.Result("Waits", "output", "first")
    gate.open()
    assert [result.item for result in results] == ["second"]


def test_stream_is_not_far_ahead_of_its_reader(mapping: Mapping) -> None:
    flight, count = Flight(), 3 * MOST_UNDER_WAY
    for _ in mapping.stream(chain(FlightSource(flight, int, 1, count))):
        flight.take(1)
    assert flight.taken == count
    assert flight.most <= MOST_UNDER_WAY


def test_a_worker_that_has_ended_is_heard_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its last results wait for a reader for long."""
    monkeypatch.setattr(watch, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.0)
    before = children()
    results = d4pcwl.stream(chain(Source(range(15_000))), mapping="multi", processes=2)
    first = next(results)
    have_ended(children() - before)
    assert [first.item, *(result.item for result in results)] == list(range(15_000))


@pytest.mark.parametrize("read", [1, 2500])
def test_closing_a_stream_ends_the_run(mapping: Mapping, read: int) -> None:
    with nothing_left():
        results = mapping.stream(chain(Source(range(ENDLESS)), Plus()))
        assert len([next(results) for _ in range(read)]) == read
        results.close()


def test_closing_a_stream_that_gives_nothing_ends_the_run(mapping: Mapping) -> None:
    """The source goes on for ever, and after its first item nothing is a result."""
    endless = SimpleFunctionPE(lambda number: "first" if number == 0 else None)
    source = chain(Iterations(), endless)
    with nothing_left():
        results = mapping.stream(source, iterations=ENDLESS)
        next(results)
        results.close()


class Iterations(ProducerPE):
    def __init__(self) -> None:
        super().__init__()
        self.number = -1

    def _process(self, inputs: Any) -> int:
        self.number += 1
        return self.number


def test_faults_of_the_call(mapping: Mapping) -> None:
    plus = Plus()
    graph = chain(Source([1]), plus)
    for arguments, error, message in [
        ((graph, {"Plsu": 1}), InputError, "no such PE; did you mean Plus"),
        ((graph, {plus: [{"inptu": 1}]}), InputError, "no input 'inptu'; did you mean input"),
        (("no/such.py",), D4pcwlError, "no such script"),
        (
            (42,),
            D4pcwlError,
            "expected a WorkflowGraph, a function that makes one, or a script, not int",
        ),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            mapping.run(*arguments)


def test_processes_and_mapping_are_checked() -> None:
    with pytest.raises(UsageError, match="at least one process is needed, not 0"):
        d4pcwl.run(chain(Source([1])), mapping="multi", processes=0)
    with pytest.raises(UsageError, match="no mapping is called 'mutli'; did you mean multi"):
        d4pcwl.run(chain(Source([1])), mapping="mutli")
    assert d4pcwl.run(chain(Source([1])), mapping="dispel4py.new.multi_process")
    with pytest.raises(GraphError):
        d4pcwl.run(join_badly())


def join_badly() -> WorkflowGraph:
    graph = WorkflowGraph()
    composite = d4pcwl.CompositePE()
    graph.connect(Source([1]), "output", composite, "no such input")
    return graph


# --- the parent is stopped ------------------------------------------------------------------------

PARENT = """
import sys
sys.path.insert(0, {kit!r})
from mapping_kit import *

class Swallow(ConsumerPE):
    def _process(self, data):
        pass

class Ready(IterativePE):
    def _process(self, data):
        if data == 0:
            sys.stdout.write("ready\\n")
            sys.stdout.flush()
        {does}

graph = chain(Source(range(10**9)), Plus(0), Ready(), Swallow())
"""


@pytest.mark.parametrize("does", ["return data", "threading.Event().wait()"], ids=["busy", "stuck"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_parent(how: signal.Signals, does: str) -> None:
    script = textwrap.dedent(PARENT.format(kit=str(Path(__file__).parent), does=does))
    script += "d4pcwl.run(graph, mapping='multi', processes=3)\n"
    # Every worker holds the write end of this pipe: it is at its end when all have gone.
    end, held = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[held],
        text=True,
    ) as parent:
        os.close(held)
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        workers = children(parent.pid)
        assert len(workers) == 3
        parent.send_signal(how)
        ready, _, _ = select.select([end], [], [], 60)
        gone = bool(ready)
        for pid in [] if gone else workers:
            os.kill(pid, signal.SIGKILL)
        _, stderr = parent.communicate()
    os.close(end)
    assert gone, "workers outlive their parent"
    assert parent.returncode == -how, stderr
