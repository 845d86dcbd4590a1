"""``d4pcwl top``: a run that goes on, seen from another terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import cwl_kit as kit
import pytest
from trace_kit import Stage, simulated, write

from d4pcwl.trace.format import Record, TraceWriter

RECORDS: list[Record] = simulated(
    [Stage({"read0": 0.001}), Stage({"count1": 0.01}, state=True)], 500
)
OTHERS, LAST = RECORDS[:-1], RECORDS[-1]


@contextlib.contextmanager
def top(path: Path, **streams: int) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, **kit.with_commands(), "TERM": "xterm"}
    command = ["d4pcwl", "top", str(path), "--every", "0.02"]
    with subprocess.Popen(command, env=env, text=True, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def test_lines_until_the_run_ends(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "run.jsonl")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with top(writer.path, **pipes) as process:
        assert process.stdout is not None
        writer.write(*OTHERS[: len(OTHERS) // 2])
        while "count1" not in process.stdout.readline():
            pass
        writer.write(*OTHERS[len(OTHERS) // 2 :])
        while "count1 500" not in process.stdout.readline():
            pass
        writer.write(LAST)
        *_, last = process.stdout
        assert last.startswith("500 items in ")
        assert process.wait() == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    writer.close()


def test_a_run_that_is_over(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl.gz", RECORDS)
    done = kit.command("d4pcwl", "top", path)
    assert done.stdout.startswith("500 items in ")


@pytest.mark.parametrize("way", ["q", "Ctrl-C", "the run ends"])
def test_a_terminal(way: str, tmp_path: Path) -> None:
    """The table is shown on a screen of its own, and afterwards the terminal is as it was."""
    writer = TraceWriter(tmp_path / "run.jsonl")
    writer.write(*OTHERS)
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    with top(writer.path, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        seen = b""
        while b"count1" not in seen:
            seen += os.read(ours, 4096)
        assert b"\x1b[?1049h" in seen
        if way == "q":
            os.write(ours, b"q")
        elif way == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        else:
            writer.write(LAST)
        while b"\x1b[?1049l" not in seen:
            seen += os.read(ours, 4096)
        assert process.wait() == 0
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    with contextlib.suppress(OSError):  # the end
        while found := os.read(ours, 4096):
            seen += found
    os.close(ours)
    writer.close()
    after = seen.partition(b"\x1b[?1049l")[2]
    assert b"count1" in after  # the last table stays
    assert b"interrupted" not in after


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.jsonl"], "missing.jsonl: cannot be read: No such file or directory"),
        (["no.jsonl"], "no.jsonl:1: not a trace"),
        (["no.jsonl", "--every", "0"], "argument --every: expected seconds"),
    ],
)
def test_errors(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "no.jsonl").write_text("{}\n")
    done = kit.command("d4pcwl", "top", *arguments, cwd=tmp_path, code=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
