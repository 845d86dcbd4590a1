"""The mapping mpi, by real mpiexec: results equal those of simple, and failures end all ranks."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import wait_until
from mpi_kit import MPIEXEC, needs_mpi

from d4pcwl.runtime.mpi.launch import _descendants

pytestmark = needs_mpi

_SECONDS = 200
_KIT = str(Path(__file__).parent)
_NOTE = """
import os
with open("/proc/self/maps") as maps, open(os.environ["TEST_MPI_MAPPED"], "a") as mapped:
    for line in maps:
        if "/dev/shm/mpich_shm_" in line:
            mapped.write(line.split()[5] + "\\n")
"""
_BEGIN = f"""
import os, sys
sys.path.insert(0, {_KIT!r})
from mapping_kit import *
from d4pcwl import SimpleFunctionPE
"""


def python(*arguments: str, ranks: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python, by mpiexec where a number of ranks is given."""
    launcher = [str(MPIEXEC), "-n", str(ranks)] if ranks else []
    return subprocess.run(
        [*launcher, sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )


class Script:
    """A script with a graph, and the commands that run it."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        path.write_text(_BEGIN + _NOTE + textwrap.dedent(text))

    def run(self, ranks: int | None, *options: str) -> subprocess.CompletedProcess[str]:
        command = ["-m", "mpi4py", "-m", "d4pcwl", "run", "mpi", str(self.path), *options]
        return python(*command, ranks=ranks)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "script.py"


@pytest.fixture(autouse=True)
def mapped(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A file with the names of what MPICH has put into /dev/shm; a test that fails leaves none."""
    mapped = tmp_path_factory.mktemp("mapped") / "files"
    mapped.touch()
    monkeypatch.setenv("TEST_MPI_MAPPED", str(mapped))
    yield mapped
    for name in set(mapped.read_text().splitlines()):
        Path(name).unlink(missing_ok=True)


MANY = """
import numpy as np
import d4pcwl
from collections import Counter
from mpi4py import MPI

words = [(word, number) for number, word in enumerate("the sea the land the sky".split() * 50)]

class Ends(IterativePE):
    def _process(self, data):
        return data
    def _postprocess(self):
        self.write("output", "end")

class Sum(IterativePE):
    def _process(self, data):
        data += 1  # the array is the receiver's own
        return (data.shape, float(data.sum()), data.flags.writeable)

class Changes(ProducerPE):
    def _process(self, inputs):
        array, small = np.zeros(200_000), [0]
        for number in range(8):
            array[:] = number
            small[0] = number
            self.write("output", array)
            self.write("small", small)
    def __init__(self):
        super().__init__()
        self._add_output("small")

class Keeps(IterativePE):
    def __init__(self):
        super().__init__()
        self.kept = []
    def _process(self, data):
        self.kept.append(data)
    def _postprocess(self):
        self.write("output", [float(array.mean()) for array in self.kept])

def fan():
    source, first, second, end = Source(range(50)), Plus(100), Plus(1000), Identity()
    return join(
        (source, "output", first, "input"),
        (source, "output", second, "input"),
        (source, "output", end, "input"),
        (first, "output", end, "input"),
        (second, "output", end, "input"),
    )

def several():
    ports = Ports(2, 3)
    return join((Source(range(9)), "output", ports, "in0"), (Source("ab"), "output", ports, "in1"))

def changes():
    source = Changes()
    graph = join((source, "output", Sum(), "input"), (source, "small", Identity(), "input"))
    return graph

def tags(grouping):
    return chain(Source(words), Tag(grouping, numprocesses=3), SimpleFunctionPE(lambda t: t[1]))

graphs = {
    "chain": lambda: chain(Source(range(5000)), Plus(), Plus(), Identity()),
    "group-by": lambda: chain(Source(words), CountKeys(numprocesses=3)),
    "all": lambda: tags("all"),
    "global": lambda: tags("global"),
    "fan": fan,
    "several results": several,
    "postprocess": lambda: chain(Source(range(100)), Ends(), Total_()),
    "arrays": lambda: chain(Source([np.full(300_000, n) for n in range(40)]), Identity(), Sum()),
    "arrays that change": changes,
    "arrays that are kept": lambda: chain(Source([np.full(10**6, n) for n in range(9)]), Keeps()),
    "50 MB": lambda: chain(Source([np.ones(6_250_000)]), Identity(), Sum()),
    "array results": lambda: chain(Source([np.full(20_000, n) for n in range(9)]), Identity()),
    "odd items": lambda: chain(Source([None, 0, "", (1, {2}), b"x", 2**90]), Identity(), Plus0()),
    "no items": lambda: chain(Source([]), Plus(), Total()),
}

class Plus0(Identity):
    pass

class Total_(IterativePE):
    def _process(self, data):
        return (str(data), 1)

def multisets(results):
    return {(pe, port): frozen(map(as_lists, items))
            for pe, ports in results.items() for port, items in ports.items()}

def as_lists(item):
    return item.tolist() if isinstance(item, np.ndarray) else item

for name, make in graphs.items():
    found = multisets(d4pcwl.run(make(), mapping="mpi"))
    if MPI.COMM_WORLD.rank == 0:
        expected = multisets(d4pcwl.run(make(), mapping="multi", processes=1))
        print(name, "ok" if found == expected else f"differs: {found} {expected}", flush=True)
    elif found:
        print("results on another rank")
# The order of one instance's items, and the stream as it comes.
found = d4pcwl.run(chain(Source(range(9000)), Plus(0)), mapping="mpi", processes=2)
if MPI.COMM_WORLD.rank == 0:
    print("order", "ok" if found["Plus"]["output"] == list(range(9000)) else "differs")
try:
    d4pcwl.run(chain(Source(range(9)), FaultyPE("raise", 5)), mapping="mpi")
except d4pcwl.errors.PEError as error:
    print(f"caught {str(error).splitlines()[0]}\\n", end="", flush=True)
found = d4pcwl.run(chain(Source(range(9)), Total()), mapping="mpi")
if MPI.COMM_WORLD.rank == 0:
    print("again", found["Total"]["output"])
"""


@pytest.mark.parametrize(
    ("ranks", "compress"), [(None, "auto"), (2, "auto"), (5, "auto"), (3, "always")]
)
def test_results_are_those_of_simple(path: Path, ranks: int | None, compress: str) -> None:
    many = MANY.replace('"mpi"', f'"mpi", options={{"compress": "{compress}"}}')
    path.write_text(_BEGIN + _NOTE + "import d4pcwl.errors\n" + many)
    done = python("-m", "mpi4py", str(path), ranks=ranks)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert not [line for line in lines if "differs" in line or "another rank" in line]
    assert sum(line.endswith(" ok") for line in lines) == 15
    caught = "caught PE FaultyPE failed on item 5 of 'input': 4"
    assert lines.count(caught) == (ranks or 1)  # every rank can go on
    assert lines[-1] == "again [36]"
    assert done.stderr == ""


PRINTS = """
class Prints(IterativePE):
    def _process(self, data):
        print("x" * 3000, "at", self.rank)
        return data

graph = chain(Source(range(200)), Prints(), Prints())
"""


@pytest.mark.parametrize("ranks", [1, 3])
def test_lines_of_ranks_are_whole(path: Path, ranks: int) -> None:
    done = Script(path, PRINTS).run(ranks)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 600
    prints = [line for line in lines if re.fullmatch(r"x{3000} at [12]", line)]
    assert len(prints) == 400
    assert sum(line.startswith('{"pe": "Prints_2"') for line in lines) == 200


def test_results_file_is_written_once(path: Path, tmp_path: Path) -> None:
    script = Script(path, "graph = chain(Source(range(100)), Plus(), Plus())\n")
    results = tmp_path / "results.jsonl"
    assert script.run(3, "--results", str(results)).returncode == 0
    assert len(results.read_text().splitlines()) == 100
    left = {entry.name for entry in tmp_path.iterdir()} - {"__pycache__"}
    assert left == {"results.jsonl", "script.py"}


@pytest.mark.parametrize("option", ["-n", "--num", "--num_processes"])
def test_without_mpiexec_it_is_called(path: Path, option: str) -> None:
    Script(
        path,
        """
        size = SimpleFunctionPE(lambda number: (number, os.environ["PMI_SIZE"]))
        graph = chain(Source(range(3)), size)
        """,
    )
    done = python("-m", "d4pcwl", "run", "mpi", str(path), option, "3")
    assert done.returncode == 0, done.stderr
    assert [line.partition('"data": ')[2] for line in sorted(done.stdout.splitlines())] == [
        f'[{number}, "3"]}}' for number in range(3)
    ]


def test_n_beside_mpiexec(path: Path) -> None:
    script = Script(path, "graph = chain(Source([1, 2]), Plus(), Total())\n")
    done = script.run(2, "-n", "7")
    assert (done.returncode, '"data": 5' in done.stdout) == (0, True)
    assert done.stderr == "dispel4py: note: -n 7, but there are 2 ranks\n"
    for options in (["-n", "2"], ["-s"]):
        done = script.run(1 if "-s" in options else 2, *options)
        assert (done.returncode, '"data": 5' in done.stdout, done.stderr) == (0, True, "")


def test_streams_of_a_stage_are_written_once(path: Path, tmp_path: Path) -> None:
    script = Script(path, "graph = chain(Source(range(50)), Plus())\n")
    from d4pcwl.streams.reader import scan

    split = ("--split", "Source.output", "Plus.input")
    for target in (("--to", "Source.output={}"), split):
        files = [str(tmp_path / f"{target[0]}{number}.d4ps") for number in (1, 2)]
        given = [target[1].format(files.pop())] if target != split else [*target[1:], *files]
        done = script.run(3, "--stage", "Source", target[0], *given)
        assert (done.returncode, done.stderr) == (0, "")
    found = {file.name: scan(file).items for file in tmp_path.glob("*.d4ps")}
    assert found == {"--to2.d4ps": 50, "--split1.d4ps": 25, "--split2.d4ps": 25}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("fault", ["raise", "exit"])
def test_one_failure_ends_all_ranks(path: Path, tmp_path: Path, place: int, fault: str) -> None:
    pes = ["Source(range(10**7))", "Plus()", "Plus()", "Plus()"]
    pes[place] = f"FaultySource({fault!r}, 5)" if place == 0 else f"FaultyPE({fault!r}, 2000)"
    script = Script(path, f"graph = chain({', '.join(pes)})\n")
    results = tmp_path / "results.jsonl"
    done = script.run(4, "-q", "--results", str(results))
    assert done.returncode == 1
    said = "it called exit(3)" if fault == "exit" else "ValueError: a fault was asked for"
    assert done.stderr.startswith("dispel4py: error: PE Faulty"), done.stderr
    assert done.stderr.count(said) == 1
    assert len(done.stderr.splitlines()) == 3  # the message, the place, the line
    assert results.with_name("results.jsonl.partial").exists()
    assert not results.exists()


def test_results_so_far_are_kept(path: Path) -> None:
    done = Script(path, "graph = chain(FaultySource('raise', 5), Plus(0), Plus(0))\n").run(1)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 5


@pytest.mark.parametrize("deaf", [0, 1])
def test_ranks_that_stall_are_ended(path: Path, deaf: int) -> None:
    """One PE fails, and another neither returns nor lets itself be interrupted."""
    first, second = "Source([1])", "FaultyPE('raise')"
    deaf_source = "Deaf()" if deaf == 0 else "Source([1])"
    deaf_pe = "Identity()" if deaf == 0 else "DeafPE()"
    script = Script(
        path,
        f"""
        def listen_to_nobody():
            while True:
                try:
                    threading.Event().wait()
                except:
                    continue

        class Deaf(ProducerPE):
            def _process(self, inputs):
                listen_to_nobody()

        class DeafPE(IterativePE):
            def _process(self, data):
                listen_to_nobody()

        graph = join(
            ({deaf_source}, "output", {deaf_pe}, "input"),
            ({first}, "output", {second}, "input"),
        )
        """,
    )
    done = script.run(4)
    assert done.returncode not in (0, None)
    assert done.stderr.count("a fault was asked for") in (1, 2)


def test_a_rank_that_is_killed(path: Path, mapped: Path) -> None:
    """It cannot tidy up, nor can the others, which mpiexec kills."""
    done = Script(path, "graph = chain(Source(range(10**7)), FaultyPE('die', 9), Plus())\n").run(3)
    assert done.returncode not in (0, None)
    segments = set(mapped.read_text().splitlines())
    assert len(segments) == 1
    assert not any(Path(name).exists() for name in segments)


def test_a_rank_that_is_killed_in_a_run_from_python(path: Path, mapped: Path) -> None:
    text = "d4pcwl.run(chain(Source([1]), FaultyPE('die')), mapping='mpi')\n"
    path.write_text(_BEGIN + "import mpi4py.MPI\n" + _NOTE + text)
    assert python("-m", "mpi4py", str(path), ranks=2).returncode not in (0, None)
    assert mapped.read_text()
    assert not any(Path(name).exists() for name in mapped.read_text().splitlines())


def test_no_temporary_folders(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that are killed could not remove theirs."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    seen = "SimpleFunctionPE(lambda number: sorted(os.listdir(os.environ['TMPDIR'])))"
    done = Script(path, f"graph = chain(Source([1]), {seen})\n").run(2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith('"data": []}\n')


def test_an_item_that_cannot_be_sent(path: Path) -> None:
    done = Script(path, "graph = chain(Source([1, lambda: 2]), Plus())\n").run(2)
    assert done.returncode == 1
    assert done.stderr.count("Source.output: an item of type function cannot be sent") == 1


@pytest.mark.parametrize(
    "text",
    [
        "graph = 1 / 0\n",
        "graph = chain(Source([1])) if int(os.environ['PMI_RANK']) < 2 else 1 / 0\n",
    ],
)
def test_a_script_that_does_not_load(path: Path, text: str) -> None:
    """On all ranks, or on one: it is said once."""
    done = Script(path, text).run(3)
    assert done.returncode == 2
    assert done.stderr.count("ZeroDivisionError") == 1


def test_the_launcher_is_interrupted(path: Path) -> None:
    Script(
        path,
        """
        class Ready(IterativePE):
            def _process(self, data):
                if data == 0:
                    print("ready", flush=True)
                return data
        graph = chain(Source(range(10**9)), Ready(), Plus(), FaultyPE("stall", 10**8))
        """,
    )
    command = [str(MPIEXEC), "-n", "3", sys.executable, "-m", "d4pcwl", "run", "mpi", str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "ready\n"
        launcher.send_signal(signal.SIGINT)
        launcher.communicate(timeout=_SECONDS)
    assert launcher.returncode != 0


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
@pytest.mark.parametrize("when", ["mpiexec", "ranks", "at work"])
@pytest.mark.parametrize("group", [False, True])
def test_the_command_that_launches_ranks_is_interrupted(
    path: Path, mapped: Path, number: signal.Signals, code: int, word: str, when: str, group: bool
) -> None:
    """In the start of mpiexec and of the ranks, and at work: the exit code is the same."""
    Script(path, "graph = chain(Source(range(10**9)), Plus(), FaultyPE('stall', 1000))")
    command = [sys.executable, "-m", "d4pcwl", "run", "mpi", str(path), "-n", "3"]

    def begun() -> bool:
        if when == "at work":
            return bool(mapped.read_text())
        return len(set(_descendants(launcher.pid))) >= (2 if when == "mpiexec" else 5)

    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as launcher:
        try:
            wait_until(begun)
            (os.killpg if group else os.kill)(launcher.pid, number)
            _, said = launcher.communicate(timeout=_SECONDS)
        finally:
            launcher.kill()
    assert launcher.returncode == code
    assert said.count(word) == 1  # MPI may add a line of its own
    assert "Traceback" not in said
    assert "egmentation" not in said
    assert not any(Path(name).exists() for name in mapped.read_text().splitlines())
    assert not _running_with(str(mapped))


def _running_with(value: str) -> list[str]:
    """The processes that have a value in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if value in (folder / "environ").read_text(errors="replace"):
                found.append(folder.name)
    return found


def test_mpi4py_is_missing(path: Path) -> None:
    Script(path, "graph = chain(Source([1]))\n")
    code = (
        "import sys; sys.modules['mpi4py'] = None; from d4pcwl.cli.dispel4py import main; "
        f"sys.exit(main(['mpi', {str(path)!r}]))"
    )
    done = python("-c", code)
    assert done.returncode == 2
    assert "pip install 'd4pcwl[mpi]'" in done.stderr
    environment = {**os.environ, "PATH": "/nowhere"}
    code = (
        "import sys, pathlib; sys.executable = '/nowhere/python'; "
        "from d4pcwl.cli.dispel4py import main; "
        f"sys.exit(main(['mpi', {str(path)!r}, '-n', '2']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "needs mpiexec" in done.stderr) == (2, True)
