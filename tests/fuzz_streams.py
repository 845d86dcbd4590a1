"""Items as strangers might forge them: ``python tests/fuzz_streams.py --cases 100000``.

Each case is what a writer writes, with parts of it exchanged, doubled or bent. Reading and
showing it must end, must raise nothing but ItemError, and must take no more memory than a multiple
of its size.
"""

from __future__ import annotations

import argparse
import base64
import copy
import datetime as dt
import json
import random
import signal
import struct
import sys
import tracemalloc
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from types import FrameType
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import numpy as np

from d4pcwl.errors import ItemError
from d4pcwl.streams.codec import decode, encode, to_json_line

TIMES = 150
HANG_SECONDS = 60


def most_memory(size: int) -> int:
    """The bytes that may be taken for a payload of this size."""
    return 25_000_000 + TIMES * size


SEEDS: list[Any] = [
    {"a": 1, "b": [1.5, None, True, "x"], "c": {"d": {}}},
    (1, (2.5, "x"), [b"ab", bytearray(b"c")]),
    {1, 2, (3, "a")},
    frozenset({"a"}),
    [float("nan"), float("-inf"), 1 << 3000, "\ud800"],
    [1 + 2j, slice(1, None, 2), range(0, 10, 3)],
    {1: 2, None: 3, "$x": 4},
    [OrderedDict(a=1), Counter("aab"), defaultdict(list, {1: [2]}), deque([1], 3)],
    [
        dt.datetime(2020, 1, 1, tzinfo=ZoneInfo("Europe/Rome")),
        dt.time(1, 2),
        dt.date(2020, 1, 1),
        dt.timedelta(1, 2, 3),
        dt.datetime(2020, 1, 1, fold=1),
    ],
    [Decimal("1.50"), Fraction(1, 3), uuid.UUID(int=5), PurePosixPath("a/b")],
    [np.float64(1.5), np.int8(3), np.bool_(True), np.datetime64(1, "ns"), np.longdouble(2)],
    {"x": np.arange(6.0).reshape(2, 3), "y": np.array(["a", "bc"]), "z": b"x" * 300},
    np.array([(1, 2.0)], [("a", "i4"), ("b", "f8", (2,))]),
    np.ma.array([1, 2, 3], mask=[0, 1, 0]),
    np.ma.masked,
    np.zeros((3, 0)),
    {np.datetime64(1, "s"), np.float32(1)},
]

NASTY: list[Any] = [
    {"$range": [0, 10**12, 1]},
    {"$range": [0, 10**30, 1]},
    {"$range": [10**9, 0, -1]},
    {"$decimal": "1E999999999"},
    {"$decimal": "NaN"},
    {"$int": "0x" + "f" * 3000},
    {"$int": "-0x1"},
    {"$float": "inf"},
    {"$fraction": [10**600, 7]},
    {"$array": 0},
    {"$array": 1},
    {"$bytes": 0},
    {"$bytearray": "AAAA"},
    {"$masked": None},
    {"$numpy": ["<M8[Y]", 2**62]},
    {"$numpy": ["<m8[1000000000W]", -(2**63)]},
    {"$numpy": ["<f2", 1e5]},
    {"$numpy": ["|u1", 300]},
    {"$datetime": "9999-12-31T23:59:59.999999"},
    {"$datetime": ["0001-01-01T00:00:00", 1, "../../etc/passwd"]},
    {"$timedelta": [999999999, 0, 0]},
    {"$obspy.UTCDateTime": 10**400},
    {"$obspy.UTCDateTime": ["0001-01-01T00:00:00.000000000Z", 100]},
    {"$obspy.Trace": {"stats": {}, "data": []}},
    {"$obspy.Stream": {"traces": {"$range": [0, 10**12, 1]}}},
    {"$no.Such": []},
    {"$path": ["PosixPath", "\x00"]},
    {"$str": "7aCA"},
    {"$set": [1, True, 1.0]},
    {"$counter": [["a", 10**600]]},
    {"$defaultdict": [None, []]},
    {"$deque": [10**30, []]},
    [],
    {},
    "",
    "npy",
    0,
    -1,
    10**600,
    1e308,
    None,
    True,
]

HEADERS = [
    "'|V0'",
    "'<U0'",
    "'|S1'",
    "'|i1'",
    "'<f8'",
    "'|O'",
    "'>M8[ns]'",
    "('|V0', (1000000000,))",
    "[('a', '|i1', (2, 0)), ('b', '|V0')]",
    "[('a', [('b', '<U0', (1000000,))])]",
    "[]",
]
SHAPES = ["()", "(0,)", "(1,)", "(3,)", "(1000000000,)", "(1000000000, 0)", "(1,) * 60", "(-1,)"]
SHAPES += ["(" + "1, " * 60 + ")", "(9223372036854775807, 2, 0)", "(10000000000000000000000,)"]


def _sites(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in JSON data, as a container and a key."""
    pending = [data]
    while pending:
        holder = pending.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], dict | list):
                pending.append(holder[key])


def _bent(data: Any, rng: random.Random) -> Any:
    """JSON data with something in it exchanged."""
    root = [copy.deepcopy(data)]
    for _ in range(rng.randint(1, 3)):
        sites = list(_sites(root))
        holder, key = rng.choice(sites)
        kind = rng.randrange(5)
        if kind == 0:
            holder[key] = copy.deepcopy(rng.choice(NASTY))
        elif kind == 1:
            other, place = rng.choice(sites)
            holder[key] = copy.deepcopy(other[place])
        elif kind == 2:
            tags = [tag for nasty in NASTY if isinstance(nasty, dict) for tag in nasty]
            holder[key] = {rng.choice([*tags, "$tuple", "$dict", "$slice"]): holder[key]}
        elif kind == 3:
            holder[key] = [holder[key]] * rng.randint(0, 300)
        elif isinstance(holder, dict):
            del holder[key]
    return root[0] if root else None


def _npy(rng: random.Random) -> bytes:
    data = bytes(rng.choice([0, 1, 3, 24]))
    fields = (
        f"{{'descr': {rng.choice(HEADERS)}, 'fortran_order': False, 'shape': {rng.choice(SHAPES)}}}"
    )
    text = fields.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _parts(tag: bytes, payload: bytes) -> tuple[bytes, list[bytes]]:
    if tag == b"J":
        return payload, []
    (count,) = struct.unpack_from("<I", payload)
    sizes = struct.unpack_from(f"<{count + 1}Q", payload, 4)
    start, pieces = 4 + 8 * (count + 1), []
    for size in sizes:
        pieces.append(payload[start : start + size])
        start += size
    return pieces[0], pieces[1:]


def forged(rng: random.Random) -> tuple[bytes, bytes]:
    """A payload as a stranger might forge it, and its codec."""
    tag, buffers = encode(rng.choice(SEEDS))
    payload = b"".join(buffers)
    kind = rng.randrange(8)
    if kind == 0:
        return b"A", _npy(rng)
    if kind == 1:
        at = rng.randrange(len(payload))
        return tag, payload[:at] + rng.randbytes(rng.randint(0, 2)) + payload[at + 1 :]
    if tag == b"A":
        return tag, payload[: rng.randrange(len(payload) + 1)]
    skeleton, parts = _parts(tag, payload)
    data = _bent(json.loads(skeleton), rng)
    if kind == 2:
        npy = base64.b64encode(_npy(rng)).decode()
        data = [data, rng.choice([{"$array": npy}, {"$numpy": ["npy", npy]}])]
    if kind == 3:
        parts = [_npy(rng) for _ in parts] or [_npy(rng)]
    text = json.dumps(data, allow_nan=rng.random() < 0.1).encode() if _finite(data) else b"1"
    if kind == 4:
        text = text.replace(b"1", rng.choice([b"9e999", b"1" * 5000, b"1E+400", b"-0"]), 1)
    if kind == 5:
        text = b'{"a":1,"a":' + text + b"}"
    if kind == 6 and rng.random() < 0.2:
        depth = rng.choice([150, 600, 3000])
        text = b"[" * depth + text + b"]" * depth
    if not parts and tag == b"J":
        return b"J", text
    sizes = [len(text), *map(len, parts)]
    return b"M", struct.pack(f"<I{len(sizes)}Q", len(parts), *sizes) + text + b"".join(parts)


def _finite(data: Any) -> bool:
    try:
        json.dumps(data)
    except (TypeError, ValueError):
        return False
    return True


def check(tag: bytes, payload: bytes) -> None:
    """Read and show an item; AssertionError where it takes too much, or says what it should not."""
    for convert in (True, False):
        tracemalloc.reset_peak()
        start = tracemalloc.get_traced_memory()[0]
        try:
            item = decode(tag, payload, convert=convert)
        except ItemError as error:
            if len(str(error)) > 2000:
                raise AssertionError("a message that is too long") from error
        else:
            line = to_json_line("pe", "output", item)
            assert len(line.splitlines()) == 1
            json.loads(line)
        taken = tracemalloc.get_traced_memory()[1] - start
        assert taken < most_memory(len(payload)), f"{taken} bytes for {len(payload)}"


def fuzz(seed: int, cases: int, tell: Callable[[int], None] = lambda case: None) -> None:
    """Check that many cases; which fails is said by its seed and number."""
    rng = random.Random(seed)
    tracemalloc.start()
    try:
        for case in range(cases):
            tag, payload = forged(rng)
            try:
                check(tag, payload)
            except Exception as error:
                shown = payload if len(payload) < 3000 else payload[:3000] + b"..."
                raise AssertionError(f"seed {seed}, case {case}: {tag!r} {shown!r}") from error
            tell(case)
    finally:
        tracemalloc.stop()


def main() -> None:
    """The long run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()

    def hangs(signum: int, frame: FrameType | None) -> NoReturn:
        raise TimeoutError(f"over {HANG_SECONDS} s")

    def tell(case: int) -> None:
        signal.alarm(HANG_SECONDS)
        if case % 1000 == 0:
            sys.stderr.write(f"\rseed {options.seed}: {case} of {options.cases}")

    signal.signal(signal.SIGALRM, hangs)
    fuzz(options.seed, options.cases, tell)
    sys.stderr.write(f"\rseed {options.seed}: {options.cases} cases, no fault\n")


if __name__ == "__main__":
    main()
