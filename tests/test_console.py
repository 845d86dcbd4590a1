"""Standard output: whole lines, whoever prints them."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import FaultyPE, Identity, Mapping, Source, chain, has_ended_with_all
from mpi_kit import needs_mpi

from d4pcwl import IterativePE
from d4pcwl.errors import D4pcwlError, ReaderGone
from d4pcwl.runtime.local.console import LineLock, LineWriter


@pytest.fixture
def lock() -> Iterator[LineLock]:
    lock = LineLock()
    yield lock
    lock.close()


@pytest.fixture
def out(lock: LineLock) -> Iterator[tuple[LineWriter, Callable[[], str]]]:
    """A writer, and what has come out of it since one last looked."""
    read, write = os.pipe()
    os.set_blocking(read, False)

    def look() -> str:
        try:
            return os.read(read, 1 << 16).decode(errors="surrogateescape")
        except BlockingIOError:
            return ""

    yield LineWriter(write, lock), look
    os.close(read)
    os.close(write)


Out = tuple[LineWriter, Callable[[], str]]


def test_flush_hands_on_whole_lines(out: Out) -> None:
    writer, look = out
    print("one", file=writer)
    writer.write("two\nthr")
    assert look() == ""
    writer.flush()
    assert look() == "one\ntwo\n"
    writer.write("ee\n")
    writer.flush()
    assert look() == "three\n"


def test_lines_go_out_although_nobody_flushes(lock: LineLock) -> None:
    """A slow PE prints, and then works on for an hour."""
    read, write = os.pipe()
    writer = LineWriter(write, lock)
    print("here", file=writer)
    print("no end", file=writer, end="")
    assert os.read(read, 100) == b"here\n"  # waits until there is something
    print(" yet", file=writer)
    assert os.read(read, 100) == b"no end yet\n"
    os.close(read)
    os.close(write)


def test_lines_of_others_do_not_get_into_a_line(out: Out) -> None:
    writer, look = out
    writer.write("dots ...")
    writer.put_lines("{}\n")
    writer.write(" done\n")
    writer.flush()
    assert look() == "{}\ndots ... done\n"


def test_alone_a_line_may_be_shown_before_its_end() -> None:
    """As progress is: it ends where a result comes."""
    read, write = os.pipe()
    writer = LineWriter(write)
    print("50 %", end="", flush=True, file=writer)
    assert os.read(read, 100) == b"50 %"
    writer.put_lines("{}\n")
    print("100 %", flush=True, file=writer)
    assert os.read(read, 100) == b"\n{}\n100 %\n"
    os.close(read)
    os.close(write)


def test_a_fork_does_not_repeat_what_waits(out: Out) -> None:
    writer, look = out
    print("once", file=writer)
    pid = os.fork()
    if pid == 0:
        print("child", file=writer)
        writer.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    writer.flush()
    assert sorted(look().splitlines()) == ["child", "once"]


def test_a_reader_that_has_gone_is_told_of_once(lock: LineLock) -> None:
    read, write = os.pipe()
    writer = LineWriter(write, lock)
    os.close(read)
    print("lost", file=writer)
    with pytest.raises(ReaderGone):
        writer.flush()
    writer.flush()
    os.close(write)


def test_bytes_may_be_written(out: Out) -> None:
    writer, look = out
    print("text", file=writer)
    writer.buffer.write(b"bytes\n")
    writer.flush()
    assert look() == "text\nbytes\n"


def test_finish_ends_the_last_line(out: Out) -> None:
    writer, look = out
    writer.write("a\nb")
    writer.finish()
    assert look() == "a\nb\n"
    writer.finish()
    assert look() == ""
    writer.write("c\n")
    writer.finish()
    assert look() == "c\n"


def test_much_text_goes_out_by_itself(out: Out) -> None:
    writer, look = out
    for _ in range(200):
        print("x" * 99, file=writer)
    sent = look()
    assert len(sent) >= 8192
    assert sent.endswith("\n")


def test_what_is_not_utf8_and_what_is_empty(out: Out) -> None:
    writer, look = out
    writer.write("")
    writer.flush()
    assert look() == ""
    print(os.fsdecode(b"\xff") + "é", file=writer, flush=True)
    assert os.fsencode(look()) == b"\xff\xc3\xa9\n"


def test_is_a_stream(out: Out) -> None:
    writer, look = out
    assert (writer.writable(), writer.isatty(), writer.encoding) == (True, False, "utf-8")
    subprocess.run([sys.executable, "-c", "print('child')"], stdout=writer, check=True)
    assert look() == "child\n"


def test_threads(out: Out) -> None:
    writer, look = out

    def fill(letter: str) -> None:
        for _ in range(50):
            writer.write(letter * 20 + "\n")

    threads = [threading.Thread(target=fill, args=(letter,)) for letter in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.finish()
    assert Counter(look().splitlines()) == {letter * 20: 50 for letter in "abc"}


def test_lock_holds_off_other_processes(lock: LineLock) -> None:
    """A child that wants the lock gets it when the parent lets go, and not before."""
    read, write = os.pipe()
    with lock:
        pid = os.fork()
        if pid == 0:
            with lock:
                os.write(write, b"child")
            os._exit(0)
        os.write(write, b"parent ")
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"parent child"
    os.close(read)
    os.close(write)


def test_lock_of_a_dead_holder_is_free(lock: LineLock) -> None:
    pid = os.fork()
    if pid == 0:
        lock.__enter__()
        os._exit(0)
    os.waitpid(pid, 0)
    with lock:
        pass


# --- in runs --------------------------------------------------------------------------------------


class Prints(IterativePE):
    def _preprocess(self) -> None:
        print("pre")

    def _process(self, data: Any) -> Any:
        print(data * 100, end="")
        print(data * 100)
        self.log(data)
        return data

    def _postprocess(self) -> None:
        sys.stdout.write("no newline")
        sys.stdout.flush()


@pytest.mark.processes(1, 4)
def test_lines_of_pes_are_whole(mapping: Mapping, capfd: pytest.CaptureFixture[str]) -> None:
    prints = Prints()
    prints.numprocesses = 3 if mapping.processes > 1 else 1
    mapping.run(chain(Source("abcdefghi" * 100), prints, Identity()))
    lines = capfd.readouterr().out.splitlines()
    texts = Counter(line for line in lines if re.fullmatch(r"(\w)\1{199}", line))
    assert texts == {letter * 200: 100 for letter in "abcdefghi"}
    logs = [line for line in lines if re.fullmatch(r"Prints1 \(rank \d\): \w", line)]
    assert len(logs) == 900
    # Instances that share a process share its last line, too.
    assert lines.count("pre") == prints.numprocesses
    last = [line for line in lines if "no newline" in line]
    assert sum(line.count("no newline") for line in last) == prints.numprocesses
    assert len(lines) == 1800 + prints.numprocesses + len(last)


def test_lines_before_a_failure_are_kept(
    mapping: Mapping, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(D4pcwlError):
        mapping.run(chain(Source("ab"), Prints(), FaultyPE("raise", 1)))
    out = capfd.readouterr().out
    assert "a" * 200 + "\n" in out


def test_a_line_is_seen_while_its_pe_goes_on(mapping: Mapping) -> None:
    """What a PE prints and flushes is not held back until the end of the run."""
    script = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from mapping_kit import *
class Waits(IterativePE):
    def _process(self, data):
        print("here", flush=True)
        sys.stdin.readline()
d4pcwl.run(chain(Source([1]), Waits()), mapping={mapping.name!r}, processes={mapping.processes})
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.kill()


SLOW = """
from dispel4py.base import *
from dispel4py.workflow_graph import WorkflowGraph

class Numbers(ProducerPE):
    def _process(self, inputs):
        for line in iter(open({gate!r}).readline, ""):
            yield int(line)

class Shows(IterativePE):
    def _process(self, data):
        print("got", data)
        return data

graph = WorkflowGraph()
graph.connect(Numbers(), "output", Shows(), "input")
"""


def begin(how: list[str], folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A run whose items the test gives it one by one, by a named pipe."""
    gate, script = folder / "gate", folder / "slow.py"
    os.mkfifo(gate)
    script.write_text(SLOW.format(gate=str(gate)))
    process = subprocess.Popen(
        [sys.executable, "-m", "d4pcwl", "run", how[0], str(script), *how[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return process, os.open(gate, os.O_RDWR)


def check_results_as_they_come(how: list[str], folder: Path) -> None:
    process, gate = begin(how, folder)
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        os.write(gate, b"1\n")
        first = {process.stdout.readline(), process.stdout.readline()}
        assert first == {"got 1\n", '{"pe": "Shows", "port": "output", "data": 1}\n'}
        process.stdout.close()
        while process.poll() is None:
            os.write(gate, b"2\n")
            time.sleep(0.05)
        assert (process.returncode, process.stderr.read()) == (141, "")
        os.close(gate)
    has_ended_with_all(process.pid)


def test_results_come_at_once_and_a_reader_that_goes_ends_the_run(
    mapping: Mapping, tmp_path: Path
) -> None:
    many = [] if mapping.name == "simple" else ["-n", str(mapping.processes)]
    check_results_as_they_come([mapping.name, *many], tmp_path)


@needs_mpi
def test_results_of_ranks_come_at_once(tmp_path: Path) -> None:
    check_results_as_they_come(["mpi", "-n", "2"], tmp_path)


_LETTERS = """
from d4pcwl import IterativePE, WorkflowGraph

class Letters(IterativePE):
    def _process(self, text):
        print("gr\u00f6\u00dfe", "\u65e5", text)

pe = Letters()
pe.name = "\u65e5"
graph = WorkflowGraph()
graph.add(pe)
"""


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", b"gr\\xf6\\xdfe \\u65e5"), ("latin-1", b"gr\xf6\xdfe \\u65e5")],
)
@pytest.mark.parametrize("how", ["simple", "multi"])
def test_a_terminal_without_all_characters(
    encoding: str, shown: bytes, how: str, tmp_path: Path
) -> None:
    (tmp_path / "letters.py").write_text(_LETTERS, encoding="utf-8")
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    run = [how, "letters.py", "-n", "1", "-q", "-d", '[{"input": "a"}]']
    ours, theirs = pty.openpty()
    for command in (["run", *run], ["graph", "letters.py"]):
        process = [sys.executable, "-m", "d4pcwl", *command]
        subprocess.run(process, cwd=tmp_path, env=env, stdout=theirs, check=True, timeout=60)
        seen = os.read(ours, 1 << 12)
        assert (shown if command[0] == "run" else b"\\u65e5") in seen
        piped = subprocess.run(
            process, cwd=tmp_path, env=env, capture_output=True, check=True, timeout=60
        )
        assert "\u65e5" in piped.stdout.decode("utf-8")
    os.close(ours)
    os.close(theirs)
