"""Faults of the machine and of what is given: each is told in a line, and costs nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cwl_kit import HEAD, with_commands, write_script
from mapping_kit import Mapping
from runner_kit import start, write

MUCH = (
    HEAD
    + """
class Source(ProducerPE):
    def _process(self, inputs):
        for number in range(2000):
            self.write("output", "x" * 100)

class Pass(IterativePE):
    def _process(self, data):
        print("passing")
        return data

graph = WorkflowGraph()
graph.connect(Source(), "output", Pass(), "input")
"""
)

WIDE = (
    HEAD
    + """
class Source(ProducerPE):
    def _process(self, inputs):
        self.write("output", 1)

class Pass(IterativePE):
    def _process(self, data):
        return data

graph, source = WorkflowGraph(), Source()
for _ in range(30):
    graph.connect(source, "output", Pass(), "input")
"""
)

ECHO = """\
cwlVersion: v1.2
class: CommandLineTool
inputs: {text: {type: string, default: said, inputBinding: {position: 1}}}
outputs: {said: {type: stdout}}
stdout: said.txt
baseCommand: echo
"""

LARGE = """\
cwlVersion: v1.2
class: CommandLineTool
inputs: []
outputs: {large: {type: File, outputBinding: {glob: large.txt}}}
baseCommand: [sh, -c, 'head -c 300000 /dev/zero > large.txt']
"""


def call(command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell."""
    return subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**with_commands(), **environment},
        check=False,
        timeout=110,
    )


def how(mapping: Mapping) -> str:
    return f"dispel4py {mapping.name} much.py -n {mapping.processes}"


def lines(errors: str) -> list[str]:
    assert "Traceback" not in errors
    assert "fault of d4pcwl" not in errors
    return errors.splitlines()


@contextmanager
def tiny_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 KB."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_script(tmp_path, MUCH, "much.py")
    write(tmp_path, echo_cwl=ECHO, large_cwl=LARGE)
    return tmp_path


# --- disks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["r.jsonl", "r.d4ps"])
@pytest.mark.processes(2)
def test_a_full_disk_keeps_what_was_there(mapping: Mapping, name: str, place: Path) -> None:
    with tiny_disk(place) as disk:
        (disk / name).write_text("of an earlier run")
        done = call(f"{how(mapping)} --results disk/{name}", place)
        note, error = lines(done.stderr)
        assert f"kept in disk/{name}.partial" in note
        assert f"/disk/{name}.partial: cannot be written: No space left on device" in error
        assert done.returncode == 1
        assert (disk / name).read_text() == "of an earlier run"
        kept = (disk / f"{name}.partial").read_bytes()
        assert len(kept) > 30_000
        assert name == "r.d4ps" or kept.endswith(b"}\n")


def test_a_full_disk_for_documents_and_output_files(place: Path) -> None:
    with tiny_disk(place) as disk:
        (disk / "fills").write_bytes(b"x" * 60_000)  # a page is left
        (disk / "wf.cwl").write_text("before")
        for command, name in (("d4p2cwl -q", "wf.cwl"), ("d4pcwl graph", "wf.dot")):
            done = call(f"{command} much.py -o disk/{name}", place)
            (error,) = lines(done.stderr)
            assert f"disk/{name}: cannot be written: No space left on device" in error
            assert done.returncode == 2
        assert (disk / "wf.cwl").read_text() == "before"
        assert sorted(os.listdir(disk)) == ["fills", "wf.cwl"]
        (disk / "fills").unlink()
        ours = " ".join(start("d4pcwl-runner"))
        done = call(f"{ours} --quiet --outdir disk/out large.cwl", place, TMPDIR=str(place))
        note, error = lines(done.stderr)
        assert error.endswith("cannot be written: No space left on device")
        assert done.returncode == 1
        folder = Path(note.rpartition(" ")[2])
        assert [path.stat().st_size for path in folder.rglob("large.txt")] == [300_000]


# --- standard streams -----------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.processes(2)
def test_standard_streams_of_runs(mapping: Mapping, place: Path) -> None:
    run = how(mapping)
    for command in (f"{run} > /dev/full", f"{run} --results r.jsonl -q > /dev/full"):
        done = call(command, place)
        (error,) = lines(done.stderr)
        assert error.endswith("standard output: cannot be written: No space left on device")
        assert done.returncode == 1
    done = call(f"{run} >&-", place)
    assert "standard output is closed: --results FILE" in "".join(lines(done.stderr))
    assert done.returncode == 2
    for closed in (">&- 2>&- <&-", "2> /dev/full"):
        done = call(f"{run} --results r.jsonl {closed}", place)
        assert (done.returncode, done.stderr) == (0, "")
        text = (place / "r.jsonl").read_text()
        assert (text.count('xxx"}\n'), text.count("passing")) == (2000, 0)
        (place / "r.jsonl").unlink()
    done = call(f"({run}; echo $? > code) | head -1", place)
    assert (done.stderr, (place / "code").read_text()) == ("", "141\n")


OTHERS = [
    "d4p2cwl much.py",
    "d4pcwl graph much.py",
    "d4pcwl stream cat r.d4ps",
    "d4pcwl stream info r.d4ps",
    "cwl2d4p echo.cwl",
    "d4pcwl-runner --quiet --outdir out echo.cwl",
]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("command", OTHERS)
def test_standard_streams_of_the_other_commands(command: str, place: Path) -> None:
    call("dispel4py simple much.py --results r.d4ps", place)
    plain = call(command, place).stdout
    done = call(f"{command} > /dev/full", place)
    (error,) = lines(done.stderr)
    assert error.endswith("standard output: cannot be written: No space left on device")
    assert done.returncode == 1
    done = call(f"{command} >&-", place)
    (error,) = lines(done.stderr)
    assert "standard output is closed" in error
    assert done.returncode == 2
    done = call(f"{command} 2>&- <&-", place)
    assert (done.returncode, done.stdout) == (0, plain)
    done = call(f"({command}; echo $? > code) | true", place)
    assert done.stderr == ""
    assert (place / "code").read_text() in ("141\n", "0\n")


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.processes(8)
def test_too_few_descriptors(mapping: Mapping, place: Path) -> None:
    write_script(place, WIDE, "wide.py")
    (place / "r.jsonl").write_text("of an earlier run")
    run = f"dispel4py {mapping.name} wide.py -q -n {mapping.processes} --results r.jsonl"
    done = call(f"ulimit -n 20; {run}", place, REDIS_URL="")
    if done.returncode == 0:
        assert mapping.name == "simple"  # which needs none
        return
    assert done.returncode == 1
    told = [line for line in lines(done.stderr) if "epoll.cpp" not in line]  # libzmq's own word
    assert len(told) == 1
    assert "too many open files: the limit is 20" in told[0] or "ulimit -n" in told[0]
    assert (place / "r.jsonl").read_text() == "of an earlier run"


# --- what is no script, no document and no input -------------------------------------------------

CONTENTS = {
    "empty": b"",
    "odd": b"a\0b",
    "binary": bytes(range(255, 0, -1)),
}


@pytest.mark.parametrize("kind", [*CONTENTS, "folder"])
@pytest.mark.parametrize(
    ("command", "suffix", "code"),
    [
        ("dispel4py simple", "py", 2),
        ("d4p2cwl", "py", 2),
        ("d4pcwl graph", "py", 2),
        ("d4pcwl-runner --outdir out", "cwl", 2),
        ("cwl2d4p", "cwl", 2),
        ("d4pcwl graph", "cwl", 2),
        ("d4pcwl stream cat", "d4ps", 1),
        ("dispel4py simple much.py -f", "json", 2),
        ("d4pcwl-runner --outdir out echo.cwl", "yml", 2),
    ],
)
def test_what_is_not_what_it_should_be(
    command: str, suffix: str, code: int, kind: str, place: Path
) -> None:
    file = place / f"{kind}.{suffix}"
    if kind == "folder":
        file.mkdir()
    else:
        file.write_bytes(CONTENTS[kind])
    done = call(f"{command} {file.name}", place)
    told = lines(done.stderr)
    assert done.returncode == code
    assert done.stdout == ""
    assert file.name in told[0]
    assert not (place / "out").exists()
