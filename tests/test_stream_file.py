"""Stream files: whole or an error, equal for equal streams, and readable by others."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4pcwl.cli import stream as cli
from d4pcwl.errors import D4pcwlError, ItemError, StreamFileError, UsageError
from d4pcwl.streams import codec
from d4pcwl.streams.format import Port
from d4pcwl.streams.reader import StreamReader, scan
from d4pcwl.streams.writer import StreamWriter

PORTS = [("read", "output"), ("plot", "image")]
ITEMS: list[tuple[int, Any]] = [
    (0, 1),
    (1, {"station": "AQU", "n": [1, 2.5, None]}),
    (0, (1, "\u00fc")),
    (0, b"x" * 300),
]


class Odd:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd)

    __hash__ = None  # type: ignore[assignment]


def write(path: Path, items: list[tuple[int, Any]], **options: Any) -> bytes:
    with StreamWriter(path, PORTS, **options) as writer:
        for port, item in items:
            writer.write(port, item)
    return path.read_bytes()


def read(path: Path, **options: Any) -> list[tuple[int, Any]]:
    with StreamReader(path, **options) as reader:
        return list(reader)


def read_into(given_out: list[tuple[int, Any]], path: Path) -> None:
    with StreamReader(path) as reader:
        for pair in reader:
            given_out.append(pair)


def write_and_fail(path: Path) -> None:
    with StreamWriter(path, PORTS) as writer:
        writer.write(0, 1)
        raise KeyError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.d4ps"
    write(path, ITEMS, metadata={"graph": "abc"})
    return path


def test_what_is_written_is_read(file: Path) -> None:
    with StreamReader(file) as reader:
        assert reader.ports == [Port("read", "output"), Port("plot", "image")]
        assert reader.header["metadata"] == {"graph": "abc"}
        assert not reader.sealed
        assert list(reader) == ITEMS
        assert reader.sealed
        assert reader.items_per_port == [3, 1]
        assert list(reader) == []


def test_iteration_can_be_taken_up_again(file: Path) -> None:
    with StreamReader(file) as reader:
        assert next(iter(reader)) == ITEMS[0]
        assert list(reader) == ITEMS[1:]


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers() | st.text() | st.binary(max_size=400))),
    st.dictionaries(st.text(), st.integers()),
)
def test_equal_streams_give_equal_bytes(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[int, Any]], metadata: dict[str, int]
) -> None:
    folder = tmp_path_factory.mktemp("law")
    one = write(folder / "one", items, metadata=metadata)
    assert one == write(folder / "two", items, metadata=dict(reversed(metadata.items())))
    assert read(folder / "one") == items
    summary = scan(folder / "one")
    assert (summary.sealed, summary.items) == (True, len(items))


def test_the_layout_is_what_the_format_says(tmp_path: Path) -> None:
    data = write(tmp_path / "a", [(1, 7)])
    magic, header, rest = data.split(b"\n", 2)
    assert magic == b"D4PSTREAM 2"
    assert header == (
        b'{"allow_pickle":false,"digest":"sha256","format":2,"metadata":{},'
        b'"ports":[{"pe":"read","port":"output"},{"pe":"plot","port":"image"}]}'
    )
    fields = struct.pack("<cHQ", b"J", 1, 1)
    crc = zlib.crc32(magic + b"\n" + header + b"\n" + fields + b"7")
    assert rest.startswith(fields + struct.pack("<I", crc) + b"7E")


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
@pytest.mark.parametrize("items", [[], ITEMS[:2]])
def test_every_flipped_byte_is_found(
    tmp_path: Path, items: list[tuple[int, Any]], flip: int
) -> None:
    path = tmp_path / "a"
    data = write(path, items)
    for where in range(len(data)):
        changed = bytearray(data)
        changed[where] ^= flip
        path.write_bytes(changed)
        given_out: list[tuple[int, Any]] = []
        with pytest.raises(StreamFileError, match=re.escape(str(path))):
            read_into(given_out, path)
        assert given_out == items[: len(given_out)]
        try:
            assert not scan(path).sealed
        except StreamFileError:
            assert where < data.index(b"\n", 12) + 1


def test_every_truncation_is_found(file: Path) -> None:
    data = file.read_bytes()
    for length in range(len(data)):
        file.write_bytes(data[:length])
        with pytest.raises(StreamFileError, match=r"truncated|cut off|empty"):
            read(file)
        if length > data.index(b"\n", 12):
            with StreamReader(file, partial=True) as reader:
                given_out = list(reader)
                assert given_out == ITEMS[: len(given_out)]
                assert not reader.sealed
                assert "cut off" in str(reader.broken)


def test_bytes_after_the_end_are_found(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(StreamFileError, match="more bytes follow the end record"):
        read(file)


def test_two_files_in_one_are_found(file: Path) -> None:
    file.write_bytes(file.read_bytes() * 2)
    with pytest.raises(StreamFileError, match="appended"):
        read(file)


def test_lost_and_moved_records_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a"
    data = write(path, [(0, 1), (0, 2), (0, 2)])
    start = data.index(b"\n", 12) + 1
    records = [data[start + 16 * i : start + 16 * (i + 1)] for i in range(3)]
    for order in ([1, 2], [1, 0, 2], [0, 1, 1], [0, 0, 1, 2], [0, 2, 1]):
        mixed = b"".join(records[i] for i in order)
        path.write_bytes(data[:start] + mixed + data[start + 48 :])
        with pytest.raises(StreamFileError, match=r"record \d, at byte \d+"):
            read(path)


def forged(tag: bytes, port: int, payload: bytes, length: int | None = None) -> bytes:
    start = (
        b"D4PSTREAM 1\n"
        + json.dumps(
            {
                "allow_pickle": False,
                "digest": "sha256",
                "format": 1,
                "ports": [{"pe": "a", "port": "b"}],
            }
        ).encode("ascii")
        + b"\n"
    )
    fields = struct.pack("<cHQ", tag, port, len(payload) if length is None else length)
    return start + fields + struct.pack("<I", zlib.crc32(start + fields + payload)) + payload


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (forged(b"J", 0, b"1", 2**63), "cut off"),
        (forged(b"J", 0, b"1", 2**30), "cut off"),
        (forged(b"J", 1, b"1"), "port 1"),
        (forged(b"Z", 0, b"1"), "codec b'Z'"),
        (forged(b"P", 0, pickle.dumps(1)), "runs code"),
        (forged(b"E", 0, b"{}"), "end record"),
    ],
)
def test_forged_records_are_found(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(StreamFileError, match=message):
        read(tmp_path / "a")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"D4PST", "truncated at byte 5"),
        (b"D4PSTREAM 1\n{", "truncated at byte 13, in the header"),
        (b"D4PSTREAM 1\n{}\n", "damaged in the header"),
        (b"D4PSTREAM 1\n[]\n", "damaged in the header"),
        (b"D4PSTREAM 1\n" + b"[" * 100_000 + b"\n", "damaged in the header"),
        (b"D4PSTREAM 3\n{}\n", r"format 3, newer than .* upgrade"),
        (b"D4PSTREAM 12\n{}\n", r"format 12, newer than"),
        (b"D4PSTREAM 1\r\n{}\r\n", "line ends were converted"),
        (gzip.compress(b"D4PSTREAM 1\n", mtime=0), "gzip"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", r"\.npy"),
        (b"PK\x03\x04 and more of it", "zip"),
        (pickle.dumps(list(range(10)), 5), "pickle"),
        (b'{"data": [1, 2, 3]}', "JSON"),
        (b"hello, world of words", "it begins with b'hello, world"),
    ],
)
def test_foreign_files_get_a_hint(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(data)
    for attempt in (read, scan):
        with pytest.raises(StreamFileError, match=message):
            attempt(tmp_path / "a")


def test_a_failed_producer_leaves_a_partial_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with pytest.raises(KeyError):
        write_and_fail(path)
    assert not path.exists()
    with pytest.raises(StreamFileError, match=r"a\.partial: its producer did not finish"):
        StreamReader(path)
    partial = tmp_path / "a.partial"
    with pytest.raises(StreamFileError, match="no end record"):
        read(partial)
    assert read(partial, partial=True) == [(0, 1)]
    write(path, [])
    assert not partial.exists()


def test_a_file_begun_can_be_read_as_partial(tmp_path: Path) -> None:
    writer = StreamWriter(tmp_path / "a", PORTS)
    assert read(tmp_path / "a.partial", partial=True) == []
    writer.close()
    writer.close()
    assert read(tmp_path / "a") == []
    with pytest.raises(StreamFileError, match="closed"):
        writer.write(0, 1)


def test_an_item_that_cannot_be_encoded_does_no_harm(tmp_path: Path) -> None:
    with StreamWriter(tmp_path / "a", PORTS) as writer:
        with pytest.raises(ItemError, match=r"a: plot\.image: item\['x'\] is of type .*Odd"):
            writer.write(1, {"x": Odd()})
        with pytest.raises(UsageError, match="no port number 2"):
            writer.write(2, 1)
        with pytest.raises(ItemError, match="must not contain"):
            writer.write_encoded(0, b"P", [b""])
        with pytest.raises(UsageError, match="no codec b'E'"):
            writer.write_encoded(0, b"E", [b""])
        writer.write_encoded(0, *codec.encode([np.arange(2)]))
    ((port, item),) = read(tmp_path / "a")
    assert (port, item[0].tolist()) == (0, [0, 1])


def test_pickles_are_read_only_when_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(path, [(0, 1), (1, [Odd()])], allow_pickle=True)
    assert read(path, allow_pickle=True) == [(0, 1), (1, [Odd()])]
    with StreamReader(path) as reader:
        assert reader.header["allow_pickle"] is True
        items = iter(reader)
        assert next(items) == (0, 1)
        with pytest.raises(StreamFileError, match=r"record 1, at byte \d+, is a pickle.*runs code"):
            next(items)
    assert scan(path).codecs == {"J": 1, "P": 1}


def test_unknown_types_are_item_errors_with_a_place(tmp_path: Path) -> None:
    with StreamWriter(tmp_path / "a", PORTS) as writer:
        writer.write_encoded(1, b"J", [b'{"$no.Such":1}'])
    with pytest.raises(ItemError, match=r"record 0, at byte \d+, from plot\.image: .*'no\.Such'"):
        read(tmp_path / "a")


def test_wrong_arguments_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="plain JSON"):
        StreamWriter(tmp_path / "a", PORTS, metadata={"x": Odd()})
    with pytest.raises(UsageError, match="65535"):
        StreamWriter(tmp_path / "a", PORTS * 33_000)
    with pytest.raises(StreamFileError, match="cannot be written: No such file"):
        StreamWriter(tmp_path / "no" / "a", PORTS)
    with pytest.raises(StreamFileError, match="cannot be read: No such file"):
        StreamReader(tmp_path / "no")
    with pytest.raises(StreamFileError, match="cannot be read: Is a directory"):
        StreamReader(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_an_error() -> None:
    with pytest.raises(StreamFileError, match="/dev/full: cannot be written: No space"):
        StreamWriter("/dev/full", PORTS)


def test_pipes_carry_streams(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    items = [*ITEMS, (0, b"y" * (1 << 25)), (1, 2)]
    thread = threading.Thread(target=lambda: _feed(pipe, items))
    thread.start()
    assert read(pipe) == items
    thread.join()


def _feed(pipe: Path, items: list[tuple[int, Any]]) -> None:
    with StreamWriter(pipe, PORTS) as writer:
        for port, item in items:
            writer.write(port, item)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    array = np.zeros(1 << 17)
    tracemalloc.start()
    with StreamWriter(tmp_path / "a", PORTS) as writer:
        for _ in range(20):
            writer.write(0, array)
    assert tracemalloc.get_traced_memory()[1] < 4 * array.nbytes
    tracemalloc.reset_peak()
    with StreamReader(tmp_path / "a") as reader:
        assert sum(1 for _ in reader) == 20
    assert tracemalloc.get_traced_memory()[1] < 5 * array.nbytes
    tracemalloc.stop()


def test_scan_counts_without_decoding(file: Path) -> None:
    summary = scan(file)
    assert summary.sealed
    assert summary.broken is None
    assert (summary.items, summary.items_per_port) == (4, [3, 1])
    assert summary.codecs == {"J": 3, "M": 1}
    assert summary.bytes_per_port[0] > 300
    file.write_bytes(file.read_bytes()[:-1])
    summary = scan(file)
    assert not summary.sealed
    assert summary.items == 4
    assert "cut off" in str(summary.broken)


def test_the_reader_in_the_docs_reads(file: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "stream-files.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "stream-files.md", "exec"), names)
    records = list(names["records"](file))
    assert records[0] == ("read", "output", "J", b"1")
    assert [(pe, port) for pe, port, _, _ in records] == [PORTS[port] for port, _ in ITEMS]
    assert json.loads(records[1][3]) == ITEMS[1][1]
    data = file.read_bytes()
    for length in range(len(data)):
        file.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r".+"):
            list(names["records"](file))


# ------------------------------------------------------------------ the command


def command(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    args = parser.parse_args(["stream", *map(str, words)])
    return int(args.run(args))


def test_cat_and_head_print_json_lines(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("cat", file) == 0
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[1]) == {"pe": "plot", "port": "image", "data": ITEMS[1][1]}
    assert lines[2] == '{"pe": "read", "port": "output", "data": [1, "\u00fc"]}'
    assert command("head", "-n", "2", file) == 0
    assert capsys.readouterr().out.splitlines() == lines[:2]
    with pytest.raises(SystemExit):
        command("head", "-n", "-1", file)


def test_cat_shows_pickles_and_unknown_types_without_running_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StreamWriter(tmp_path / "a", PORTS, allow_pickle=True) as writer:
        writer.write_encoded(0, b"P", [b"not even a pickle"])
        writer.write_encoded(1, b"J", [b'{"$no.Such":[1]}'])
    assert command("cat", tmp_path / "a") == 0
    assert capsys.readouterr().out == (
        '{"pe": "read", "port": "output", "pickle": 17}\n'
        '{"pe": "plot", "port": "image", "data": [1]}\n'
    )


def test_cat_of_a_broken_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(D4pcwlError, match="cut off"):
        command("cat", file)
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert command("cat", "--partial", file) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 4
    assert "cut off" in captured.err
    assert command("info", file) == 1
    assert re.search(r"sealed +no \(.*cut off", capsys.readouterr().out)


def test_info(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("info", file) == 0
    out = capsys.readouterr().out
    assert re.search(r"sealed +yes\n", out)
    assert re.search(r"items +4 \(JSON: 3, JSON and arrays: 1\)\n", out)
    assert re.search(r"plot +image +1 +\d+\n", out)
    assert '{"graph": "abc"}' in out
    assert command("info", "--json", file) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["ports"][1]["items"] == 1
    assert shown["codecs"] == {"J": 3, "M": 1}


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    write(tmp_path / "a", [(0, "x" * 1000)] * 1000)
    with subprocess.Popen(
        [sys.executable, "-m", "d4pcwl", "stream", "cat", str(tmp_path / "a")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141
