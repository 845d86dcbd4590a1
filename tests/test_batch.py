"""Batches of small items in stream files: exact, a function of the items alone, and bounded."""

from __future__ import annotations

import datetime as dt
import random
import tracemalloc
import uuid
from collections import OrderedDict
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from fuzz_streams import most_memory
from hypothesis import given, settings
from hypothesis import strategies as st

from d4pcwl.errors import ItemError, StreamFileError
from d4pcwl.streams import batch
from d4pcwl.streams.live import awaited
from d4pcwl.streams.reader import StreamReader, scan
from d4pcwl.streams.writer import StreamWriter

PORTS = [("read", "output"), ("plot", "image")]
DATA = Path(__file__).parent / "data"


def write(path: Path, items: list[Any]) -> bytes:
    with StreamWriter(path, PORTS) as writer:
        for item in items:
            writer.write(0, item)
    return path.read_bytes()


def read(path: Path) -> list[Any]:
    with StreamReader(path) as reader:
        return [item for _, item in reader]


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal with types."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(a, b) for a, b in zip(one.items(), other.items(), strict=True)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, np.generic):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    return repr(one) == repr(other)


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.binary(max_size=5).map(bytearray)
    | st.decimals()
    | st.datetimes()
    | st.complex_numbers()
    | st.sampled_from([np.float64(1.5), np.int8(3), np.bool_(True), np.datetime64(5, "s")])
    | st.sampled_from([1 << 64, -(1 << 63), (1 << 64) - 1, -0.0, "\u00c4\u00c5", "\ud800", {1, 2}])
)
ITEMS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.tuples(), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.lists(ITEMS, min_size=8, max_size=30))
@settings(max_examples=150)
def test_items_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, items: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("batch") / "a"
    assert write(path, items) == write(path, items)
    assert same(read(path), items)
    assert scan(path).items == len(items)


LIKE_BYTES = [bytearray(b"x"), msgpack.Timestamp(1), msgpack.ExtType(1, b"\x90"), memoryview(b"x")]


@pytest.mark.parametrize("item", LIKE_BYTES, ids=lambda item: type(item).__name__)
@pytest.mark.parametrize("around", [lambda x: x, lambda x: [x], lambda x: {"a": (1, x)}])
def test_what_messagepack_takes_for_something_else_is_not_in_a_batch(
    item: Any, around: Any
) -> None:
    assert not batch.Batch().take(around(item))


class Level(IntEnum):
    LOW = 1


class Text(str):
    pass


@pytest.mark.parametrize(
    "item",
    [
        *(Level.LOW, Text("x"), {Text("x"): 1}, OrderedDict(a=1), [np.str_("x")], [{1}]),
        *({"a": [[object()]]}, "x" * 2000, [0] * 2000, np.arange(3)),
    ],
    ids=lambda item: repr(item)[:30].split(" at ")[0],
)
def test_what_is_large_or_may_be_refused_is_not_in_a_batch(item: Any) -> None:
    assert not batch.Batch().take(item)


def test_items_are_written_as_they_were_at_that_time(tmp_path: Path) -> None:
    item: dict[str, Any] = {"n": 0, "seen": []}
    with StreamWriter(tmp_path / "a", PORTS) as writer:
        for number in range(100):
            item["n"] = number
            item["seen"] = item["seen"][-2:]
            item["seen"].append(number)
            writer.write(0, item)
    assert read(tmp_path / "a")[50] == {"n": 50, "seen": [48, 49, 50]}


def test_order_is_kept_among_ports_and_large_items(tmp_path: Path) -> None:
    rng = random.Random(1)
    pairs = [
        (rng.choice([0, 0, 0, 0, 1]), rng.choice([n, (n, "w"), "x" * 3000, np.float32(n)]))
        for n in range(2000)
    ]
    with StreamWriter(tmp_path / "a", PORTS) as writer:
        for port, item in pairs:
            writer.write(port, item)
    with StreamReader(tmp_path / "a") as reader:
        first = [next(iter(reader)) for _ in range(100)]  # which may end within a batch
        assert first + list(reader) == pairs
        assert reader.items_per_port == writer.items_per_port


def test_a_stream_of_small_items_is_in_few_records(tmp_path: Path) -> None:
    write(tmp_path / "a", [{"n": n} for n in range(5000)])
    with StreamReader(tmp_path / "a") as reader:
        assert len(list(reader.records())) < 10
    assert scan(tmp_path / "a").codecs == {"B": 5000}


def test_few_items_stay_readable(tmp_path: Path) -> None:
    write(tmp_path / "a", [{"n": n} for n in range(7)])
    assert scan(tmp_path / "a").codecs == {"J": 7}


def test_a_file_that_is_read_along_has_no_batches(tmp_path: Path) -> None:
    with awaited(tmp_path / "a"):
        write(tmp_path / "a", list(range(20)))
    assert scan(tmp_path / "a").codecs == {"J": 20}


def test_what_a_batch_gathers_is_bounded(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with StreamWriter(tmp_path / "a", PORTS) as writer:
            for _ in range(20_000):
                writer.write(0, ["x" * 500, 1.5])
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
        tracemalloc.reset_peak()
        with StreamReader(tmp_path / "a") as reader:
            assert sum(1 for _ in reader) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_an_item_that_cannot_be_written_leaves_those_before_it(tmp_path: Path) -> None:
    with StreamWriter(tmp_path / "a", PORTS) as writer:
        for number in range(20):
            writer.write(0, {"n": number})
        with pytest.raises(ItemError, match=r"read\.output: item\['x'\]\[0\] is of type object"):
            writer.write(0, {"x": [object()]})
        writer.write(0, "after")
    assert read(tmp_path / "a")[19:] == [{"n": 19}, "after"]


def test_a_failed_producer_leaves_what_it_wrote(tmp_path: Path) -> None:
    writer = StreamWriter(tmp_path / "a", PORTS)
    for number in range(20):
        writer.write(0, number)
    writer.abort()
    with StreamReader(tmp_path / "a.partial", partial=True) as reader:
        assert [item for _, item in reader] == list(range(20))
    with pytest.raises(StreamFileError, match="closed"):
        writer.write(0, 1)


def test_old_files_are_read() -> None:
    items = read(DATA / "format-1.d4ps")
    assert items[11] == {"station": "IV.0011", "n": 11, "pga": [1.5, 2.5, 11]}
    assert items[12] == (1, "\u00fc")
    assert items[13].tolist() == [0, 1, 2]
    assert items[14]["at"] == dt.date(2016, 10, 30)
    assert scan(DATA / "format-1.d4ps").sealed
    with StreamReader(DATA / "format-1-marks.d4ps") as reader:
        assert list(reader.marked_items()) == [([n, -2, 1], n * n) for n in range(12)]


# --- from strangers -------------------------------------------------------------------------------


def packed(*values: Any) -> bytes:
    return bytes(msgpack.packb(list(values)))


REFUSED = {
    "nothing": b"",
    "no array": packed()[:0] + msgpack.packb({}),
    "no items": packed(),
    "key twice": b"\x92\x90\x82\xa1a\x01\xa1a\x02",
    "not the shortest": b"\x92\x90\xd1\x00\x01",
    "float of four bytes": b"\x92\x90\xca\x3f\x80\x00\x00",
    "more than it says": packed([], 1) + b"\x01",
    "less than it says": b"\x95\x90\x01",
    "long list": b"\x92\x90\xdd\x7f\xff\xff\xff",
    "deep": b"\x92\x90" + b"\x91" * 5000 + b"\x01",
    "deep and long": b"\x92\x90" + b"\xdc\x03\xff" * 900,
    "tuple that is none": packed([0], "abc"),
    "tuple elsewhere": packed([7], [1]),
    "tuple twice": packed([0, 0], [1]),
    "list as key": b"\x92\x90\x81\x91\x01\x02",
    "unknown extension": packed([], msgpack.ExtType(9, b"x")),
    "extension for what needs none": packed([], msgpack.ExtType(2, b'{"$tuple":[1]}')),
    "spaces": packed([], msgpack.ExtType(2, b'{"$decimal": "1"}')),
    "range": packed([], msgpack.ExtType(2, b'{"$set":{"$range":[0,1000000000000,1]}}')),
    "time": packed([], msgpack.Timestamp(1)),
    "no text": b"\x92\x90\xa1\xff",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_writer_writes_is_refused(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ItemError) as found:
            batch.decode(REFUSED[name])
        assert tracemalloc.get_traced_memory()[1] < most_memory(len(REFUSED[name]))
    finally:
        tracemalloc.stop()
    assert len(str(found.value)) < 1000


def test_a_batch_that_is_none_is_said_by_its_place(tmp_path: Path) -> None:
    with StreamWriter(tmp_path / "a", PORTS) as writer:
        writer.write_encoded(0, b"B", [b"\x01"])
    with pytest.raises(StreamFileError, match=r"record 0, at byte \d+, is not a valid batch"):
        read(tmp_path / "a")
    with StreamWriter(tmp_path / "b", PORTS) as writer:
        writer.write_encoded(0, b"B", [b"\xc0" * 200_000])
    with pytest.raises(StreamFileError, match="longer than a batch may be"):
        read(tmp_path / "b")
    assert "longer than" in str(scan(tmp_path / "b").broken)


def test_batches_that_are_bent_are_read_or_refused_at_bounded_cost() -> None:
    rng = random.Random(5)
    gathered = batch.Batch()
    for number in range(20):
        gathered.take({"a": [number, 1.5, None], "b": {"c": "x" * number}})
        gathered.take((uuid.UUID(int=number), Decimal(number), (b"x", 1 << 70), np.int16(number)))
    payload = gathered.payload()
    assert payload is not None
    tracemalloc.start()
    try:
        for _ in range(2000):
            bent = bytearray(payload)
            for _ in range(rng.randint(1, 3)):
                bent[rng.randrange(len(bent))] = rng.choice([rng.randrange(256), 0xDC, 0xDD, 0x81])
            tracemalloc.reset_peak()
            start = tracemalloc.get_traced_memory()[0]
            try:
                items = batch.decode(bytes(bent))
                assert len(items) == batch.count(bytes(bent))
            except ItemError:
                pass
            assert tracemalloc.get_traced_memory()[1] - start < most_memory(len(bent))
    finally:
        tracemalloc.stop()
