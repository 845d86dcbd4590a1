"""What tools print, however much that is."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from runner_kit import run, write

from d4pcwl.cwl.importing.cwltool.tool_printed import (
    HEAD_BYTES,
    TAIL_BYTES,
    Printed,
    end_of_file,
    last_lines,
)


def shown(pieces: list[bytes], capsys: pytest.CaptureFixture[str]) -> str:
    printed = Printed()
    for piece in pieces:
        printed.take(piece)
    printed.end()
    return capsys.readouterr().err


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("lines", [0, 1, 20_000])
def test_what_is_not_too_much_is_shown_as_it_is(
    size: int, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    if size == 1 and lines > 1:
        lines = 200
    text = "".join(f"line {number} of ü\n" for number in range(lines)).encode()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert shown(pieces, capsys).encode() == text


def test_what_comes_before_a_line_is_over_waits_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    printed = Printed()
    printed.take(b"one\ntw")
    assert capsys.readouterr().err == "one\n"
    printed.take(b"o\n")
    assert capsys.readouterr().err == "two\n"
    printed.take(b"three")
    printed.end()
    assert capsys.readouterr().err == "three\n"


@pytest.mark.parametrize("ending", [b"\n", b""])
def test_of_a_flood_beginning_and_end_are_shown(
    ending: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    piece = b"0123456 %07d" + ending
    count = 2 * HEAD_BYTES // 15_000
    pieces = [b"".join(piece % (n * 1000 + m) for m in range(1000)) for n in range(count)]
    text = shown(pieces, capsys)
    head, mark, tail = text.partition("bytes of what it printed are left out here]\n")
    assert mark
    assert len(text) < HEAD_BYTES + TAIL_BYTES + 200
    assert text.startswith("0123456 0000000")
    head, _, number = head.rpartition("[")
    total = sum(map(len, pieces))
    ended_by_us = 0 if ending else head.count("\n") + tail.count("\n")
    assert len(head) + int(number.replace(",", "")) + len(tail) - ended_by_us == total
    assert tail.endswith((piece % (len(pieces) * 1000 - 1) + b"\n").decode().replace("\n\n", "\n"))


def test_memory_does_not_grow_with_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    printed = Printed()
    piece = b"y\n" * 32768
    for _ in range(20):
        printed.take(piece)
    capsys.readouterr()
    tracemalloc.start()
    for _ in range(1000):
        printed.take(piece)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000
    assert len(capsys.readouterr().err) < HEAD_BYTES


def test_the_last_lines_are_few_and_short(tmp_path: Path) -> None:
    text = b"".join(b"line %d\n\n" % n for n in range(100)) + b"x" * 5000
    lines = last_lines(text)
    assert len(lines) == 20
    assert lines[0] == "line 81"
    assert lines[-1] == "x" * 1000 + " …"
    path = tmp_path / "errors"
    path.write_bytes(b"y\n" * 10_000_000 + text)
    assert end_of_file(str(path)) == lines
    assert end_of_file(str(tmp_path / "none")) == []


FLOOD = """
cwlVersion: v1.2
class: CommandLineTool
baseCommand: [sh, -c, 'yes | head -c 100000000 >&2; echo the end >&2; exit 3']
inputs: []
outputs: []
"""


@pytest.mark.parametrize("more", ["", "stderr: errors.txt\n"])
def test_a_tool_that_floods_standard_error_is_told_of_shortly(more: str, tmp_path: Path) -> None:
    write(tmp_path, flood_cwl=FLOOD + more)
    _, told = run(tmp_path / "flood.cwl", outdir=tmp_path / "out", code=1)
    assert len(told) < HEAD_BYTES + 2 * TAIL_BYTES
    assert "permanentFail\n  exited with status: 3" in told
    assert told.rstrip().endswith("the end")
    assert ("are left out here]" in told) == (not more)
