"""The records of a trace, and the file of them."""

from __future__ import annotations

import gzip
import json
import os
import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d4pcwl.errors import OutputError, TraceError, UsageError
from d4pcwl.trace.format import (
    KINDS,
    PE,
    Edge,
    End,
    Event,
    Instance,
    Keys,
    Process,
    Record,
    Run,
    Sample,
    Span,
    TraceReader,
    TraceWriter,
    Traffic,
    Usage,
    from_line,
    read_trace,
    to_line,
)

RUN = Run(id="7a", began="2026-01-02T03:04:05Z", mapping="multi", processes=2, inputs=10)
RECORDS: list[Record] = [
    RUN,
    PE(pe="count1", name="count", class_="Count", state=True),
    Edge(edge=0, source="read0", output="output", dest="count1", input="input", grouping="[0]"),
    Process(process=0, host="here", pid=12, at=0.01),
    Instance(instance=0, pe="count1", copy=0, process=0, at=0.01),
    Sample(instance=0, start=0.0, end=0.5, taken=7, written=0, busy=0.25, queue=3),
    Usage(process=0, start=0.0, end=0.5, cpu=0.4, memory=1 << 20, idle=0.1),
    Keys(edge=0, items=7, most=4),
    Traffic(edge=0, process=0, start=0.0, end=0.5, items=7, bytes=70),
    Span(instance=0, start=0.1, end=0.3, item=2),
    Event(at=0.4, what="retry", why="ValueError: Ä\n2", instance=0, number=1),
    End(at=0.5, complete=True),
]

numbers = st.integers(0, 2**53)
seconds = st.floats(0, 1e6).map(lambda value: round(value, 6))


@pytest.mark.parametrize("name", ["trace.jsonl", "trace.jsonl.gz"])
def test_a_trace_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    writer = TraceWriter(tmp_path / name)
    writer.write(*RECORDS[:3])
    for record in RECORDS[3:]:
        writer.write(record)
    writer.close()
    assert list(read_trace(tmp_path / name)) == RECORDS
    assert {type(record) for record in RECORDS} == set(KINDS.values())


@given(
    st.builds(
        Sample,
        instance=numbers,
        start=seconds,
        end=seconds,
        taken=numbers,
        written=st.none() | numbers,
        busy=seconds,
        queue=st.none() | numbers,
    )
    | st.builds(Event, at=seconds, what=st.text(), why=st.text(), number=st.none() | numbers)
)
def test_any_record_comes_back_from_its_line(record: Record) -> None:
    line = to_line(record)
    assert "\n" not in line
    assert from_line(line) == record


@pytest.mark.parametrize("name", ["trace.jsonl", "trace.jsonl.gz"])
def test_a_trace_is_read_while_it_is_written(tmp_path: Path, name: str) -> None:
    writer = TraceWriter(tmp_path / name)
    with TraceReader(tmp_path / name) as reader:
        assert list(reader.new()) == []
        for record in RECORDS:
            writer.write(record)
            assert list(reader.new()) == [record]
    writer.close()


@settings(max_examples=50)
@given(st.data())
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_was_cut_off_has_its_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, packed: bool, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / ("t.jsonl.gz" if packed else "t.jsonl")
    writer = TraceWriter(path)
    sizes = []
    for record in RECORDS:
        writer.write(record)
        sizes.append(path.stat().st_size)
    writer.close()
    cut = data.draw(st.integers(sizes[0], path.stat().st_size))
    os.truncate(path, cut)
    found = list(read_trace(path))
    assert found == RECORDS[: len(found)]
    assert len(found) >= sum(size <= cut for size in sizes)


def test_kinds_and_keys_of_later_versions_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    lines = [json.loads(to_line(record)) | {"later": [1]} for record in RECORDS]
    lines.insert(3, {"kind": "weather", "sun": True})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert list(read_trace(path)) == RECORDS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "trace.jsonl: not a trace: it is empty"),
        ("nothing\n", "trace.jsonl:1: not a trace: it is not valid JSON"),
        ("[1]\n", "trace.jsonl:1: not a trace: it is not a JSON object with a 'kind'"),
        (to_line(RECORDS[1]) + "\n", "trace.jsonl:1: not a trace: its first record is not a 'run'"),
        (to_line(RUN) + "\n{\n", "trace.jsonl:2: damaged: it is not valid JSON"),
        (
            to_line(RUN) + '\n{"kind":"end","complete":true}\n',
            "trace.jsonl:2: damaged: a record of the kind end has no 'at'",
        ),
        (
            to_line(RUN) + '\n{"kind":"end","complete":true,"at":"x"}\n',
            "trace.jsonl:2: damaged: 'at' of a record of the kind end is 'x'",
        ),
        (
            to_line(RUN).replace('"format":1', '"format":9') + "\n",
            "of format 9; .* upgrade",
        ),
    ],
)
def test_what_is_no_trace_is_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(text)
    with pytest.raises(TraceError, match=message):
        list(read_trace(path))


def test_a_trace_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none/t\.jsonl cannot be written: No such file"):
        TraceWriter(tmp_path / "none" / "t.jsonl")
    with pytest.raises(TraceError, match=r"t\.jsonl: cannot be read: No such file"):
        list(read_trace(tmp_path / "t.jsonl"))


def test_a_full_disk_is_told_in_the_end() -> None:
    writer = TraceWriter("/dev/full")
    writer.write(*RECORDS)
    with pytest.raises(OutputError, match="/dev/full cannot be written: No space"):
        writer.close()


def test_damaged_compression_is_told(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl.gz"
    packed = gzip.compress(to_line(RUN).encode() + b"\n")
    path.write_bytes(packed[:12] + b"\xff" * 20)
    with pytest.raises(TraceError, match="cannot be read"):
        list(read_trace(path))


def test_the_page_tells_each_kind_and_key() -> None:
    page = (Path(__file__).parent.parent / "docs" / "trace-format.md").read_text()
    for kind in KINDS.values():
        section = re.search(rf"^## `{kind.kind}`\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
        assert section, kind.kind
        rows = re.findall(r"^\| (`.*?) \|", section[1], re.MULTILINE)
        told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
        assert told == {found.metadata.get("name", found.name) for found in fields(kind)}
