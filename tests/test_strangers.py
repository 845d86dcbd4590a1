"""Stream files from strangers: what is read takes no more than a bounded multiple of its size."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tracemalloc
from base64 import b64encode
from collections import deque
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz_streams import TIMES, fuzz, most_memory

from d4pcwl.cli.main import main
from d4pcwl.errors import ItemError, StreamFileError
from d4pcwl.streams.codec import decode, encode, to_json_line
from d4pcwl.streams.reader import StreamReader, scan
from d4pcwl.streams.writer import StreamWriter

MEGABYTE = b"\x00" * 1_000_000


def mixed(skeleton: Any, *parts: bytes) -> bytes:
    text = json.dumps(skeleton).encode()
    sizes = [len(text), *map(len, parts)]
    return struct.pack(f"<I{len(sizes)}Q", len(parts), *sizes) + text + b"".join(parts)


def npy(descr: str, shape: str, data: bytes = b"") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def array(data: bytes) -> dict[str, str]:
    return {"$array": b64encode(data).decode()}


HUGE = {"$range": [0, 10**12, 1]}

REFUSED = {
    # what a few bytes made grow
    "range in set": (b"J", {"$set": HUGE}, "'\\$set' an item does not hold a list"),
    "range in frozenset": (
        b"J",
        {"$frozenset": HUGE},
        "'\\$frozenset' an item does not hold a list",
    ),
    "range in tuple": (b"J", {"$tuple": HUGE}, "'\\$tuple' an item does not hold a list"),
    "range in deque": (b"J", {"$deque": [None, HUGE]}, "'\\$deque' an item does not hold a list"),
    "range in dict": (b"J", {"$dict": HUGE}, "'\\$dict'"),
    "range in counter": (b"J", {"$counter": HUGE}, "'\\$counter'"),
    "range in ordereddict": (b"J", {"$ordereddict": HUGE}, "'\\$ordereddict'"),
    "range in defaultdict": (b"J", {"$defaultdict": ["int", HUGE]}, "'\\$defaultdict'"),
    "range of dates": (b"J", {"$timedelta": HUGE}, "'\\$timedelta'"),
    "range in complex": (b"J", {"$complex": HUGE}, "'\\$complex'"),
    "range in path": (b"J", {"$path": ["PosixPath", HUGE]}, "'\\$path'"),
    "range in masked": (
        b"J",
        {"$masked": {"data": HUGE, "mask": None, "fill_value": 0, "hard": False}},
        "'\\$masked'",
    ),
    "range in numpy": (b"J", {"$numpy": ["<f8", HUGE]}, "'\\$numpy'"),
    "exponent": (b"J", {"$fraction": ["9E99999999"]}, "'\\$fraction' .* two integers"),
    "exponents": (b"J", {"$fraction": ["9E99999999", "7"]}, "'\\$fraction' .* two integers"),
    "long fraction": (
        b"J",
        {"$fraction": [{"$int": "0x" + "f" * 100_000}, 3]},
        "'\\$fraction' .* bits",
    ),
    "arrays of one part": (
        b"M",
        mixed([{"$array": 0}] * 3000, npy("'|i1'", "(1000000,)", MEGABYTE)),
        "part 0 is already used",
    ),
    "bytes of one part": (b"M", mixed([{"$bytes": 0}] * 3000, MEGABYTE), "part 0 is already used"),
    "part from the end": (b"M", mixed([{"$bytes": -1}], b"abc"), "number of one of its 1 parts"),
    "no bytes each": (b"A", npy("'|V0'", "(1000000000,)"), "more values than bytes"),
    "empty texts": (b"A", npy("'|S0'", "(1000000000,)"), "more values than bytes"),
    "fields without bytes": (
        b"A",
        npy("[('a', [('c', '<f8', (1000000000, 0))]), ('b', '|i1')]", "(1,)", b"a"),
        "more values than bytes",
    ),
    "empty fields": (
        b"A",
        npy("[('a', '<f8', (1000000000, 0)), ('b', '|i1')]", "(1,)", b"a"),
        "more values than bytes",
    ),
    "dtype of many": (b"J", {"$numpy": ["1000000000f8", 3]}, "'\\$numpy'"),
    "dtype of objects": (b"J", {"$numpy": ["O", 3]}, "'\\$numpy'"),
    "long dtype": (b"J", {"$numpy": ["S1000000000", 3]}, "'\\$numpy'"),
    "many digits": (b"J", b"9" * 5000, "digits"),
    # what no writer writes
    "too large for a float": (b"J", b"9e999", "too large for a float"),
    "far too large": (b"J", b'{"a": [1, -9E+99999]}', "too large for a float"),
    "float of many digits": (b"J", b"[%s.5]" % (b"9" * 400), "too large for a float"),
    "too large, with tags": (b"J", b'{"$tuple": [9e999]}', "too large for a float"),
    "constant": (b"J", b'{"$tuple": [Infinity]}', "not valid JSON"),
    "key twice": (b"J", b'{"a": 1, "a": 2}', "key 'a' twice"),
    "key twice, deep": (b"J", b'[{"b": [{"a" : 1, "a": 2, "c:": 3}]}]', "key 'a' twice"),
    "key twice, with tags": (b"J", b'{"a": 1, "a": {"$tuple": []}}', "key 'a' twice"),
    "tag twice": (b"J", b'{"$tuple": [], "$tuple": []}', "twice"),
    "pair twice": (b"J", {"$dict": [[1, 2], [1, 3]]}, "same key twice"),
    "texts for pairs": (b"J", {"$dict": ["ab", "cd"]}, "list of \\[key, value\\]"),
    "short slice": (b"J", {"$slice": [1]}, "a list of three"),
    "range of texts": (b"J", {"$range": ["0", "9", "1"]}, "three integers"),
    "range of nothing": (b"J", {"$range": [1]}, "three integers"),
    "finite float": (b"J", {"$float": "1.5"}, "nan, inf or -inf"),
    "int in base 36": (b"J", {"$int": "zz"}, "hexadecimal"),
    "short deque": (b"J", {"$deque": [1, [1, 2]]}, "no longer"),
    "number for a date": (b"J", {"$date": 3}, "a string"),
    "number for a decimal": (b"J", {"$decimal": 3}, "a string"),
    "date without zone": (b"J", {"$datetime": ["2020-01-01T00:00:00", 0]}, "fold and zone"),
    "kind of path": (b"J", {"$path": ["Path", "a"]}, "one of PurePosixPath"),
    "factory": (b"J", {"$defaultdict": ["eval", []]}, "null or one of list"),
    "mask that does not fit": (
        b"J",
        {
            "$masked": {
                "data": array(npy("'|i1'", "(2,)", b"ab")),
                "mask": array(npy("'|b1'", "(1,)", b"a")),
                "fill_value": 0,
                "hard": False,
            }
        },
        "the data's shape",
    ),
    "unhashable member": (b"J", {"$set": [[1]]}, "cannot be in a set"),
    "unhashable key": (b"J", {"$dict": [[{"$tuple": [[]]}, 1]]}, "cannot be a key"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_stream_takes_a_bounded_multiple_of_its_size(name: str, tmp_path: Path) -> None:
    tag, content, message = REFUSED[name]
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    path = tmp_path / "a.d4ps"
    with StreamWriter(path, [("read", "output")]) as writer:
        writer.write(0, 1)
        writer.write_encoded(0, tag, [payload])
    with StreamReader(path) as reader:
        tracemalloc.start()
        try:
            with pytest.raises(ItemError, match=message) as found:
                list(reader)
            assert tracemalloc.get_traced_memory()[1] < most_memory(len(payload))
        finally:
            tracemalloc.stop()
    assert f"{path}: record 1, at byte " in str(found.value)
    assert "from read.output" in str(found.value)


def test_head_refuses_them_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.d4ps"
    with StreamWriter(path, [("read", "output")]) as writer:
        writer.write(0, 1)
        writer.write_encoded(0, b"J", [b'{"$tuple":{"$range":[0,10000000000,1]}}'])
    assert main(["stream", "head", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == '{"pe": "read", "port": "output", "data": 1}\n'
    assert len(err.splitlines()) == 1
    assert "record 1, at byte" in err


LEGITIMATE = [
    range(10**12),
    [range(0, -(10**30), -7)] * 100,
    Fraction(10**5000, 3),
    deque([1, 2], maxlen=10**15),
    deque([1, 2]),
    np.zeros((10**9, 0)),
    np.zeros(1000, "V0"),
    np.zeros(3, [("a", "f8", (0,)), ("b", "i1")]),
    [1e300, 1.7976931348623157e308, -1e100, 123456789012345678.5],
    {"time: ": "12:30", 'a"': '":', "e000": "1e999", "d" * 300: "9" * 300},
    [{"a": i, "b": {"c": [i, {}]}} for i in range(50)],
]


@pytest.mark.parametrize("item", LEGITIMATE, ids=lambda item: type(item).__name__)
def test_what_a_writer_writes_can_be_read_at_bounded_cost(item: Any) -> None:
    tag, parts = encode(item)
    payload = b"".join(parts)
    tracemalloc.start()
    try:
        back = decode(tag, payload)
        line = to_json_line("pe", "output", back)
        assert tracemalloc.get_traced_memory()[1] < most_memory(len(payload))
    finally:
        tracemalloc.stop()
    assert type(back) is type(item)
    assert np.array_equal(back, item) if isinstance(item, np.ndarray) else back == item
    assert len(line) < 20_000 + TIMES * len(payload)


def test_ranges_are_shown_as_lists_while_they_are_short() -> None:
    assert to_json_line("p", "o", [range(3)]).endswith('"data": [[0, 1, 2]]}')
    assert to_json_line("p", "o", [range(10**12)]).endswith('"repr": "[range(0, 1000000000000)]"}')
    assert '"repr"' in to_json_line("p", "o", [range(90_000)] * 2)
    assert '"repr"' in to_json_line("p", "o", range(10**30))


def test_a_fraction_that_would_be_refused_is_not_written() -> None:
    with pytest.raises(ItemError, match=r"item\[0\] is a Fraction of integers with more than"):
        encode([Fraction(1, (1 << (1 << 18)) + 1)])


def test_an_array_that_would_be_refused_is_not_written() -> None:
    with pytest.raises(ItemError, match="more values than bytes"):
        encode(np.zeros(10**9, "V0"))


def test_members_of_registered_types_are_shown_without_their_code() -> None:
    times = b'{"$set":[{"$no.Such":[1]},{"$no.Such":[2]}]}'
    assert decode(b"J", times, convert=False) == [[1], [2]]
    keys = b'{"$dict":[[{"$no.Such":1},"a"],[{"$no.Such":1},"b"]]}'
    assert decode(b"J", keys, convert=False) == [[1, "a"], [1, "b"]]


@pytest.mark.parametrize(
    "payload",
    [
        '{"$obspy.Trace":{"$range":[0,1000000000000,1]}}',
        '{"$obspy.Stream":[["traces",[]]]}',
        '{"$obspy.Latitude":{"$range":[0,2,1]}}',
        '{"$obspy.Latitude":["1.0",{}]}',
        '{"$obspy.UTCDateTime":[1,1000000000000]}',
        '{"$obspy.UTCDateTime":{"$range":[0,1000000000000,1]}}',
        '{"$obspy.UTCDateTime":"2016"}',
    ],
)
def test_obspy_types_are_held_to_their_form(payload: str) -> None:
    pytest.importorskip("obspy")
    with pytest.raises(ItemError):
        decode(b"J", payload.encode())


def test_head_shows_the_first_items_without_reading_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "large.d4ps"
    with StreamWriter(path, [("read", "output")]) as writer:
        writer.write(0, "first")
        writer.write(0, np.zeros(1 << 20))
        writer.write(0, "third")
        writer.write(0, 4)
    whole = path.stat().st_size
    with path.open("r+b") as file:  # what nobody reads is not there: a hole, of a terabyte
        file.truncate(whole + (1 << 40))
    tracemalloc.start()
    try:
        assert main(["stream", "head", "-n", "3", str(path)]) == 0
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("data") for line in lines] == ["first", None, "third"]
    assert lines[1] == {"pe": "read", "port": "output", "bytes": (1 << 23) + 128}


def test_info_of_long_items_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.d4ps"
    with StreamWriter(path, [("read", "output")]) as writer:
        writer.write(0, np.zeros(1 << 20))
    tracemalloc.start()
    try:
        assert scan(path).bytes_per_port == [(1 << 23) + 128]
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    data = path.read_bytes()
    path.write_bytes(data[:5_000_000] + b"\x01" + data[5_000_001:])
    assert "check sum" in str(scan(path).broken)
    path.write_bytes(data[:5_000_000])
    assert f"cut off: {(1 << 23) + 128} bytes" in str(scan(path).broken)


@pytest.mark.parametrize(
    "header",
    [
        b'{"digest":"sha256","digest":"sha256","format":1,"ports":[]}',
        b'{"digest":"sha256","format":1,"metadata":NaN,"ports":[]}',
        b'{"digest":"sha256","format":1,"metadata":9e999,"ports":[]}',
        b'{"digest":"sha256","format":1,"metadata":' + b"[" * 100_000 + b',"ports":[]}',
        b'{"digest":"sha256","format":' + b"1" * 5000 + b',"ports":[]}',
        b'{"digest":"sha256","format":1,"ports":{"a":1}}',
        b"[]",
    ],
)
def test_headers_from_strangers(header: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"D4PSTREAM 1\n" + header + b"\n")
    with pytest.raises(StreamFileError, match="damaged in the header, at byte 12"):
        StreamReader(tmp_path / "a")


def test_a_length_that_memory_does_not_hold(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with StreamWriter(path, [("a", "b")]) as writer:
        writer.write(0, 1)
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, data.index(b"\n", 12) + 1 + 3, 1 << 40)
    path.write_bytes(data)
    with path.open("r+b") as file:
        file.truncate((1 << 40) + 4096)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31));"
        "from d4pcwl.cli.main import main; sys.exit(main(['stream', 'cat', sys.argv[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "record 0" in done.stderr
    assert "there is not enough memory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("seed", range(4))
def test_fuzz(seed: int) -> None:
    fuzz(seed, 250)
