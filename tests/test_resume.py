"""Runs with snapshots, killed as a whole, go on to the results of a run that nothing disturbed."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cwl_kit import CHAIN, write_script
from hypothesis import given, settings
from hypothesis import strategies as st
from mapping_kit import Identity, Mapping, Source, Total, chain, frozen, named, wait_until
from resume_kit import EVERY_SECONDS, Life, Readings, make_graph, newest, told

import d4pcwl
from d4pcwl import GenericPE, IterativePE, ProducerPE, SimpleFunctionPE
from d4pcwl.errors import CheckpointError, PEError, UsageError
from d4pcwl.runtime.checkpoint.session import Session
from d4pcwl.runtime.mappings.registry import find_mapping
from d4pcwl.streams.reader import StreamReader

KILLS = 2


def run(mapping: Mapping, may_end: Path, folder: Path | None = None, seconds: float = 0.004) -> Any:
    graph, inputs = make_graph(may_end, seconds)
    own = {} if folder is None else {"checkpoint": folder, "every": EVERY_SECONDS, "resume": True}
    how = {"processes": mapping.processes, "options": mapping.options, "seed": 7}
    return told(d4pcwl.run(graph, inputs, mapping=mapping.name, **how, **own))


@pytest.mark.processes(3)
def test_a_killed_run_ends_with_the_same_results(mapping: Mapping, tmp_path: Path) -> None:
    if not find_mapping(mapping.name).checkpoints:
        pytest.skip("it has no snapshots")
    folder, may_end, draw = tmp_path / "snapshots", tmp_path / "may_end", random.Random(5)
    for _ in range(KILLS):
        before = newest(folder)
        life = Life(lambda: run(mapping, may_end, folder), tmp_path)
        wait_until(lambda: newest(folder) > before or life.ended)  # noqa: B023
        assert not life.ended
        time.sleep(draw.uniform(0, 3 * EVERY_SECONDS))
        life.kill()
    may_end.touch()
    found = Life(lambda: run(mapping, may_end, folder), tmp_path).answer()
    undisturbed = run(mapping, may_end, seconds=0)
    assert found.keys() == undisturbed.keys()
    for port in ("Steps.output", "errors", "Shares.output"):
        assert found[port] == undisturbed[port]
    assert {port: frozen(items) for port, items in found.items()} == {
        port: frozen(items) for port, items in undisturbed.items()
    }
    assert len(list(folder.glob("snapshot-*"))) <= 2
    again = Life(lambda: run(mapping, may_end, folder), tmp_path).answer()
    assert again == found  # it had come to its end


# --- what is under way ----------------------------------------------------------------------------


class HandsOn(IterativePE):
    """Writes an item before it is done with it, and another one after that."""

    def _process(self, data: Any) -> tuple[Any, str]:
        self.write("output", (data, "begun"))
        if self.hand_on is not None:
            self.hand_on()
        time.sleep(0.01)
        return data, "done"


class Counting(IterativePE):
    """Keeps how many items there were."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def _process(self, data: Any) -> Any:
        self.count += 1
        return data


def under_way(kind: str) -> Any:
    """A graph, and its inputs.

    :param kind: ``handed on``: the task of a free worker writes before it is done; ``deep``: a
        source waits inside its work, while a long chain in its process gets items
    """
    if kind == "handed on":
        source = named(Readings(0), "source")
        return chain(source, HandsOn()), {source: [{"count": 40}]}
    source, second = named(Readings(0), "first"), named(Readings(), "second")
    graph = chain(source, HandsOn(), *(Counting() for _ in range(120)))
    graph.connect(second, "output", Counting(), "input")
    return graph, {source: [{"count": 40}], second: [{"count": 200}]}


HOW = {"handed on": ("dyn_multi", 3), "deep": ("multi", 2)}


@pytest.mark.parametrize("kind", HOW)
def test_what_is_under_way_in_a_pause_is_kept(kind: str, tmp_path: Path) -> None:
    def work() -> Any:
        how = dict(zip(("mapping", "processes"), HOW[kind], strict=True))
        how |= {"checkpoint": tmp_path / "s", "every": 0.02, "resume": True}
        return told(d4pcwl.run(*under_way(kind), **how))

    for _ in range(2):
        before, life = newest(tmp_path / "s"), Life(work, tmp_path)
        wait_until(lambda: newest(tmp_path / "s") > before + 1 or life.ended)  # noqa: B023
        life.kill()
    found, undisturbed = Life(work, tmp_path).answer(), told(d4pcwl.run(*under_way(kind)))
    assert {port: frozen(items) for port, items in found.items()} == {
        port: frozen(items) for port, items in undisturbed.items()
    }


# --- sources --------------------------------------------------------------------------------------


class Numbers(GenericPE):
    """A source of consecutive numbers, so many for each input, which it puts out in some way."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self._add_output("output")
        self.how, self.number = how, 0

    def process(self, inputs: dict[str, int]) -> Any:
        if self.how == "return":
            self.number += 1
            return {"output": self.number}
        if self.how == "yield":
            return ({"output": number} for number in self.next(inputs["count"]))
        if self.how == "write them all":
            self.write("output", self.next(inputs["count"]))
        for number in self.next(inputs["count"]) if self.how == "write" else ():
            self.write("output", number)
        return None

    def next(self, count: int) -> Iterator[int]:
        for _ in range(count):
            self.number += 1
            yield self.number


class Stateless(GenericPE):
    """A source that makes numbers of its input alone."""

    def __init__(self) -> None:
        super().__init__()
        self._add_output("output")

    def process(self, inputs: dict[str, int]) -> None:
        for number in range(inputs["count"]):
            self.write("output", (inputs["first"], number))


class Seeking(Numbers):
    """A source that knows where it is."""

    made: ClassVar[int] = 0
    """How many numbers it has made; only a test needs it."""

    stateful = False

    def __init__(self) -> None:
        super().__init__("write")

    def next(self, count: int) -> Iterator[int]:
        while self.number < count:
            self.number += 1
            Seeking.made += 1
            yield self.number
        self.number = 0

    def position(self) -> int:
        return self.number

    def seek(self, position: int) -> None:
        self.number = position


class Trace(IterativePE):
    """Writes all that it has seen, and fails where a test says so."""

    def __init__(self, fails: Callable[[int], bool]) -> None:
        super().__init__()
        self.fails, self.seen = fails, list[Any]()

    def _process(self, data: Any) -> Any:
        self.seen.append(data)
        if self.fails(len(self.seen)):
            raise ValueError("the run ends here")
        return len(self.seen), data

    def _postprocess(self) -> None:
        self.write("output", self.seen)


def resumed(
    make: Callable[[Callable[[int], bool]], tuple[Any, Any]],
    folder: Path,
    snapshots: list[int],
    ends: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """The results of a run that failed, and was resumed.

    :param make: from when it fails to the graph and its inputs
    :param snapshots: after how many looks there is a snapshot, again and again
    :param ends: the items at which it fails
    """
    looks, lives = [0], list(ends)

    def due(session: Session) -> bool:
        looks[0] += 1
        return looks[0] % 97 in snapshots

    monkeypatch.setattr(Session, "due", property(due))
    while True:
        ending = lives.pop(0) if lives else 0
        graph, inputs = make(lambda count, ending=ending: count == ending)
        try:
            return d4pcwl.run(graph, inputs, checkpoint=folder, every=1e6, resume=True)
        except PEError:
            continue


class Careful(Numbers):
    """A source with a policy: what it writes is held back until it is done with an input."""

    on_error = "retry:1"


SOURCES: dict[str, Callable[[], Any]] = {
    **{how: lambda how=how: Numbers(how) for how in ("write", "yield", "return", "write them all")},
    "stateless": Stateless,
    "seek": Seeking,
    "careful": lambda: Careful("write"),
}


def check_resumed(
    kinds: list[str], counts: list[int], snapshots: list[int], ends: list[int], depth: int
) -> None:
    """A run that failed at some items, and was resumed each time, has the usual results."""

    def make(fails: Callable[[int], bool]) -> tuple[Any, Any]:
        sources, trace = [SOURCES[kind]() for kind in kinds], Trace(fails)
        graph = chain(*(Identity() for _ in range(depth)), trace)
        given: dict[Any, Any] = {graph.nodes[0]: [{"input": -count} for count in counts]}
        for source in sources:
            graph.connect(source, "output", graph.nodes[0], "input")
            given[source] = [{"count": count, "first": n} for n, count in enumerate(counts)]
        return graph, given

    undisturbed = d4pcwl.run(*make(lambda count: False))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        assert dict(resumed(make, Path(folder), snapshots, ends, monkeypatch)) == undisturbed


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from(sorted(SOURCES)), min_size=1, max_size=2),
    st.lists(st.integers(0, 12), min_size=1, max_size=8),
    st.lists(st.integers(0, 96), min_size=1, max_size=8),
    st.lists(st.integers(1, 60), max_size=3),
)
def test_wherever_a_snapshot_is_taken_the_results_are_the_same(
    kinds: list[str], counts: list[int], snapshots: list[int], ends: list[int]
) -> None:
    check_resumed(kinds, counts, snapshots, ends, 0)


def test_in_a_deep_graph() -> None:
    check_resumed(["write", "stateless"], [9, 4, 0, 12], [3, 20, 41], [14, 30], 120)


def test_a_source_with_seek_does_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(fails: Callable[[int], bool]) -> tuple[Any, Any]:
        source = Seeking()
        return chain(source, Trace(fails)), {source: [{"count": 50}]}

    Seeking.made = 0
    always = list(range(97))
    results = resumed(make, tmp_path, always, [40], monkeypatch)
    assert results["Trace"]["output"][-1] == list(range(1, 51))
    assert Seeking.made == 51  # the item at which it failed was not in the snapshot


def test_a_source_that_writes_less_the_second_time_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = [10, 3]

    class Changing(ProducerPE):
        stateful = False

        def _process(self, inputs: Any) -> None:
            for number in range(lengths.pop(0)):
                self.write("output", number)

    def make(fails: Callable[[int], bool]) -> tuple[Any, Any]:
        source = Changing()
        return chain(source, Trace(fails)), {source: 1}

    with pytest.raises(PEError, match=r"Changing cannot go on: it wrote 8 items .* and 3 when"):
        resumed_once(make, tmp_path, monkeypatch)


def resumed_once(make: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run that fails at its ninth item, and is resumed once."""
    monkeypatch.setattr(Session, "due", property(lambda session: True))
    with pytest.raises(PEError, match="the run ends here"):
        d4pcwl.run(*make(lambda count: count == 9), checkpoint=folder, every=1e6)
    return d4pcwl.run(*make(lambda count: False), checkpoint=folder, every=1e6, resume=True)


# --- the state of PEs -----------------------------------------------------------------------------


class Prepared(IterativePE):
    """Makes a lock before the first item, and says what is kept without it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0

    def _preprocess(self) -> None:
        self.lock = threading.Lock()
        self.lines = -1  # is set to what was kept

    def _process(self, data: Any) -> Any:
        with self.lock:
            self.lines += 1
        return self.lines

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "lock"}


class OwnState(IterativePE):
    """Says itself what its state is, and sets it."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.total = threading.Lock(), 0

    def _process(self, data: int) -> int:
        with self.lock:
            self.total += data
        return self.total

    def __getstate__(self) -> tuple[dict[str, Any], str]:  # type: ignore[override]
        attributes = super().__getstate__()
        del attributes["lock"], attributes["total"]
        return attributes, str(self.total)

    def __setstate__(self, state: tuple[dict[str, Any], str]) -> None:
        vars(self).update(state[0])
        self.lock, self.total = threading.Lock(), int(state[1])


class ClassWide(IterativePE):
    """Fills a list of its class."""

    seen: ClassVar[list[Any]] = []

    def _process(self, data: Any) -> int:
        self.seen.append(data)
        return len(self.seen)


class Forgetful(IterativePE):
    """Removes an attribute, and has a function that cannot be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice = True, lambda number: 2 * number

    def _process(self, data: int) -> Any:
        if hasattr(self, "first"):
            del self.first
            return "the first"
        return self.twice(data)


@pytest.mark.parametrize("kind", ["prepared", "own", "class", "forgetful"])
def test_what_a_pe_keeps(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: dict[str, Callable[[], Any]] = {
        "prepared": Prepared,
        "own": OwnState,
        "class": ClassWide,
        "forgetful": Forgetful,
    }
    ClassWide.seen.clear()

    def make(fails: Callable[[int], bool]) -> tuple[Any, Any]:
        source = Numbers("write")
        return chain(source, named(kinds[kind](), "it"), Trace(fails)), {source: [{"count": 20}]}

    results = resumed_once(make, tmp_path / "snapshots", monkeypatch)
    found = [item for _, item in results["Trace"]["output"][:-1]]
    expected: dict[str, list[Any]] = {
        "prepared": list(range(20)),
        "own": [n * (n + 1) // 2 for n in range(1, 21)],
        "class": list(range(1, 21)),
        "forgetful": ["the first", *range(4, 41, 2)],
    }
    assert found == expected[kind]


class Locked(Total):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class LateGenerator(Total):
    def _process(self, data: int) -> None:
        self.rest = (number for number in range(data))


SEEN: list[Any] = []


class Global(IterativePE):
    def _process(self, data: Any) -> Any:
        SEEN.append(data)
        return data


class OfClass(IterativePE):
    total = 0

    def _process(self, data: int) -> int:
        type(self).total += data
        return OfClass.total


def _closure() -> Callable[[int], int]:
    kept = [0]

    def add(number: int) -> int:
        kept[0] += number
        return kept[0]

    return add


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Locked, "PE Locked cannot be kept in a snapshot: self.lock: cannot pickle"),
        (Global, r"Global keeps state that is not in its attributes: calls SEEN.append .*py:\d+"),
        (OfClass, r"OfClass keeps state that is not in its attributes: assigns type\(self\).total"),
        (lambda: SimpleFunctionPE(_closure()), r"PE_add keeps state .*: assigns kept\[0\]"),
    ],
    ids=["a lock", "a global", "the class", "a closure"],
)
def test_state_that_no_snapshot_can_have_is_refused_by_name(
    make: Callable[[], Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=why):
        d4pcwl.run(chain(Source([1]), make()), checkpoint=tmp_path / "snapshots")


def test_state_that_cannot_be_kept_later_ends_the_run(
    mapping: Mapping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not find_mapping(mapping.name).checkpoints:
        pytest.skip("it has no snapshots")
    graph = chain(named(Source(range(100_000)), "source"), LateGenerator())
    how = {"processes": mapping.processes, "options": mapping.options}
    with pytest.raises(PEError, match=r"PE LateGenerator cannot be kept in a snapshot: self\.rest"):
        d4pcwl.run(graph, mapping=mapping.name, checkpoint=tmp_path / "s", every=0.01, **how)


# --- what is refused, and damage ------------------------------------------------------------------


def plain(count: int = 20) -> tuple[Any, Any]:
    source = Numbers("write")
    return chain(source, Total()), {source: [{"count": count}]}


def refused(error: type[Exception], match: str, *arguments: Any, **how: Any) -> None:
    with pytest.raises(error, match=match):
        d4pcwl.run(*(arguments or plain()), **how)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    refused(UsageError, "name the folder of the snapshots", every=1)
    refused(UsageError, "name the folder of the snapshots", resume=True)
    refused(UsageError, "--every 0: more than 0", checkpoint=folder, every=0)
    refused(
        UsageError, "runs of mpi cannot be resumed; use one of", checkpoint=folder, mapping="mpi"
    )
    refused(UsageError, "provenance", checkpoint=folder, provenance=tmp_path / "record")
    assert not newest(folder)
    d4pcwl.run(*plain(), checkpoint=folder)
    refused(
        UsageError, "add --resume to continue this run, or remove the folder", checkpoint=folder
    )
    resumes: dict[str, Any] = {"checkpoint": folder, "resume": True}
    refused(CheckpointError, "was different:\n  seed: 0 before, 3 now", seed=3, **resumes)
    refused(CheckpointError, "mapping: simple before, multi now", mapping="multi", **resumes)
    refused(CheckpointError, "inputs", *plain(21), **resumes)
    _, inputs = plain()
    other = chain(next(iter(inputs)), Identity())
    match = r"PEs, only before: Total \(Total\)\n  PEs, only now: Identity"
    refused(CheckpointError, match, other, inputs, **resumes)
    with Session(folder, resume=True):
        # Another process: a lock is of a process.
        life = Life(lambda: refused(UsageError, "another run uses", **resumes), tmp_path)
        assert life.answer() is None
    assert d4pcwl.run(*plain(), **resumes)["Total"]["output"] == [210]


@pytest.mark.parametrize("damage", ["cut", "changed", "of the log", "of all"])
def test_a_damaged_snapshot(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(fails: Callable[[int], bool]) -> tuple[Any, Any]:
        source = Numbers("write")
        return chain(source, Trace(fails)), {source: [{"count": 20}]}

    undisturbed = d4pcwl.run(*make(lambda count: False))
    monkeypatch.setattr(Session, "due", property(lambda session: True))
    with pytest.raises(PEError):
        d4pcwl.run(*make(lambda count: count == 9), checkpoint=tmp_path)
    path, log = tmp_path / f"snapshot-{newest(tmp_path)}", tmp_path / "results.log"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "changed":
        path.write_bytes(path.read_bytes().replace(b"format", b"former"))
    elif damage == "of the log":  # the last result of before the newest snapshot
        length = json.loads(path.read_bytes().partition(b"\n")[0])["log"]
        os.truncate(log, length - 1)
    else:
        for each in tmp_path.glob("snapshot-*"):
            each.write_bytes(b"")
        refused(
            CheckpointError,
            "snapshot-7: it is incomplete or damaged; no snapshot can be used: remove .* to begin "
            "again",
            *make(lambda count: False),
            checkpoint=tmp_path,
            resume=True,
        )
        return
    again = d4pcwl.run(*make(lambda count: False), checkpoint=tmp_path, resume=True)
    assert dict(again) == undisturbed


# --- the command ----------------------------------------------------------------------------------


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "d4pcwl.cli.dispel4py", *map(str, arguments)]


RUNNING = CHAIN.replace(
    "numbers, double = Numbers(), Double()",
    """
import os, time

class Slow(ProducerPE):
    def _process(self, inputs):
        for number in range(200):
            time.sleep(0 if os.path.exists("go_on") else 0.2)
            self.write("output", number)

numbers, double = Slow(), Double()
""",
)


@pytest.mark.parametrize("how", [("simple",), ("multi", "-n", "2")], ids=" ".join)
def test_a_command_that_was_interrupted(how: tuple[str, ...], tmp_path: Path) -> None:
    """It says how to go on; all its results come out, in a file as on standard output."""
    mapping, *options = how
    script = write_script(tmp_path, RUNNING)
    started = command(mapping, script, *options, "--checkpoint", "s", "--every", "0.1")
    with subprocess.Popen(
        [*started, "--results", "r.jsonl"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_until(lambda: newest(tmp_path / "s") > 1)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert "note: the same command with --resume continues after the last snapshot" in errors
    (tmp_path / "go_on").touch()
    for results in (["--results", "r.jsonl"], ["--results", "r.d4ps"], []):
        done = call([*started, "--resume", *results], tmp_path)
        assert done.returncode == 0, done.stderr
        text = (tmp_path / "r.jsonl").read_text() if results else done.stdout
        assert [json.loads(line)["data"] for line in text.splitlines()] == list(range(0, 400, 2))
    with StreamReader(tmp_path / "r.d4ps") as stream:
        assert [item for _, item in stream] == list(range(0, 400, 2))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """As on a full disk: one message, and the snapshots from before are whole."""
    script = write_script(tmp_path, CHAIN.replace("range(5)", "range(100_000)"))

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))

    done = call(
        command("simple", script, "--checkpoint", "s", "--every", "0.01", "--results", "/dev/null"),
        tmp_path,
        preexec_fn=limited,
    )
    assert done.returncode == 1
    message = f"dispel4py: error: --checkpoint {tmp_path}/s: cannot be written: File too large"
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "s" / "lock").unlink()
    (tmp_path / "file").touch()
    done = call(command("simple", script, "--checkpoint", "file"), tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dispel4py: error: --checkpoint file: File exists\n"


def call(how: list[str], folder: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(how, cwd=folder, capture_output=True, text=True, check=False, **more)
