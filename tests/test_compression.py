"""Compression: batches come out as they went in, strangers' are bounded, and a choice is worth it.

What runs compressed is in the tests that have the marker ``compressed``, and in tests/test_mpi.py.
"""

from __future__ import annotations

import contextlib
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapping_kit import Identity, Source, chain

import d4pcwl
from d4pcwl.cli.main import main
from d4pcwl.errors import ItemError, UsageError
from d4pcwl.runtime.redis.joining import join
from d4pcwl.runtime.transport import compression
from d4pcwl.runtime.transport.compression import (
    ALWAYS,
    AUTO,
    LEAST_BYTES,
    NEVER,
    Choice,
    Compressor,
    compressed,
    compressor,
    decompressed,
    is_compressed,
    is_far,
    usable,
)
from d4pcwl.trace.format import Traffic, read_trace

batches = st.one_of(
    st.binary(max_size=2000), st.text(max_size=500).map(lambda text: 9 * text.encode("utf-16"))
)


# --- batches --------------------------------------------------------------------------------------


@given(batches)
@settings(max_examples=30)
def test_round_trip(data: bytes) -> None:
    frame = compressed(memoryview(data))
    assert is_compressed(frame)
    assert decompressed(bytearray(frame), len(data)) == data
    if not is_compressed(data):
        assert decompressed(data, 0) is data


@given(batches, st.data())
@settings(max_examples=60)
def test_damage_is_found(data: bytes, draw: st.DataObject) -> None:
    frame = bytearray(compressed(data))
    place = draw.draw(st.integers(4, len(frame) - 1))
    if draw.draw(st.booleans()):
        del frame[place:]
    else:
        frame[place] ^= 1 << draw.draw(st.integers(0, 7))
    if place == 4 and len(frame) > 4:
        with contextlib.suppress(ItemError):  # a bit of the fifth byte has no meaning
            assert decompressed(frame, len(data)) == data
        return
    with pytest.raises(ItemError, match="compressed batch of items"):
        decompressed(frame, len(data))


def _of_unknown_size(data: bytes) -> bytes:
    writer = compression._zstd().ZstdCompressor()
    frame: bytes = writer.compress(data) + writer.flush()
    return frame


def _that_lies(data: bytes) -> bytes:
    """A frame with more bytes than it declares, which are 4 bytes from the fifth on."""
    frame = bytearray(compressed(data))
    start = next(n for n in (5, 6) if int.from_bytes(frame[n : n + 4], "little") == len(data))
    frame[start : start + 4] = (1000).to_bytes(4, "little")
    return bytes(frame)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (compressed, "has 10,000,000 bytes; at most 1,000,000 are allowed"),
        (_of_unknown_size, "has an unknown number of bytes"),
        (_that_lies, "damaged"),
        (lambda data: compressed(data[:9]) + b"more", "its length is wrong"),
    ],
)
def test_what_would_take_too_much_memory_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ItemError, match=said):
        decompressed(make(bytes(10_000_000)), 1_000_000)


# --- what is decided ------------------------------------------------------------------------------


class Link:
    """An edge over a link with given costs, in nanoseconds a byte.

    :param packing: to compress a byte
    :param ratio: what is left of a byte
    :param noise: each cost is multiplied by up to this
    """

    unpacking = 0.5

    def __init__(self, packing: float, ratio: float, *, lag: int = 0, noise: float = 1) -> None:
        self.packing, self.ratio, self.noise = packing, ratio, noise
        self.choice = Choice(lag)
        self.cost = self.without = self.always = 0.0
        self._draw = random.Random(1)

    def send(self, batches: int, rate: float) -> float:
        """Send some, at a rate in nanoseconds a byte; which part of them was compressed."""
        count = 0
        for _ in range(batches):
            size = self._draw.randrange(20_000, 100_000)
            noise = self._draw.uniform(1, self.noise)
            plain, shrunk = rate * size * noise, rate * size * noise * self.ratio
            packing, unpacking = self.packing * size * noise, self.unpacking * size
            choice = self.choice
            if choice.wants_sample:
                self.cost += packing + unpacking
                choice.sampled(size, int(size * self.ratio), packing / 1e9, unpacking / 1e9)
            spent = packing + shrunk if choice.compresses else plain
            self.cost += spent + (unpacking if choice.compresses else 0)
            self.without += plain
            self.always += packing + shrunk + unpacking
            count += choice.compresses
            choice.note(size, spent / 1e9)
        return count / batches


@pytest.mark.parametrize("noise", [1, 3])
@pytest.mark.parametrize("lag", [0, 16])
@pytest.mark.parametrize(("packing", "ratio"), [(2, 0.2), (2, 0.95), (20, 0.5)])
@pytest.mark.parametrize("rate", [0.1, 1, 3, 10, 100])
def test_a_choice_costs_little_and_gains_what_there_is(
    packing: float, ratio: float, rate: float, lag: int, noise: float
) -> None:
    link = Link(packing, ratio, lag=lag, noise=noise)
    link.send(3000, rate)
    assert link.cost < 1.05 * link.without
    if link.always < 0.7 * link.without:
        assert link.cost < 1.2 * link.always


def test_a_link_that_changes_is_followed() -> None:
    link = Link(packing=3, ratio=0.3)
    assert link.send(500, rate=100) > 0.8
    link.send(600, rate=1)
    assert link.send(1000, rate=1) < 0.1
    link.send(600, rate=100)
    assert link.send(500, rate=100) > 0.8


def test_a_sample_that_does_not_keep_its_promise() -> None:
    """What blocks the sender is the receiver, who takes as long with fewer bytes."""
    choice, compresses = Choice(), 0
    for _ in range(3000):
        if choice.wants_sample:
            choice.sampled(50_000, 5_000, 1e-5, 1e-5)
        compresses += choice.compresses
        choice.note(50_000, 1e-2 + 1e-5 * choice.compresses)
    assert compresses < 100


def test_a_link_that_never_blocks_is_left_alone() -> None:
    choice = Choice()
    for _ in range(1000):
        choice.note(50_000, 0.0)
        assert not choice.wants_sample
        assert not choice.compresses


# --- links ----------------------------------------------------------------------------------------

TEXT = b"the sea, the land, the sky; " * 100
NOISE = random.Random(1).randbytes(3000)


def test_always_compresses_what_gets_smaller() -> None:
    made = Compressor(always=True)
    sent = [made.batch("edge", data) for data in (TEXT, NOISE, TEXT[: LEAST_BYTES - 1])]
    assert decompressed(sent[0], len(TEXT)) == TEXT
    assert len(sent[0]) < 200
    assert sent[1:] == [NOISE, TEXT[: LEAST_BYTES - 1]]
    assert made.sent == {"edge": sum(map(len, sent))}
    assert made.taken() == []


def test_edges_are_decided_one_by_one() -> None:
    made = Compressor()
    for _ in range(100):
        for edge, data in (("text", TEXT), ("noise", NOISE)):
            made.batch(edge, data)
        made.blocked(made.taken(), 1.0)
    assert is_compressed(made.batch("text", TEXT))
    assert made.batch("noise", NOISE) is NOISE


def test_inside_a_machine_nothing_is_compressed() -> None:
    assert compressor(AUTO, far=False) is None
    assert compressor(NEVER, far=True) is None
    assert compressor(AUTO, far=True) is not None
    assert compressor(ALWAYS, far=False) is not None
    near = ("localhost", "127.0.0.1", "127.8.8.8", "::1")
    assert [is_far(host) for host in (*near, "node7", "10.0.0.7")] == [False] * 4 + [True] * 2


# --- without the package --------------------------------------------------------------------------


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, compression._EXTENSION, None)


@pytest.mark.usefixtures("no_package")
def test_without_the_package_auto_is_off_and_always_says_what_to_do() -> None:
    assert usable(AUTO) == usable(NEVER) == NEVER
    graph = chain(Source(range(5)), Identity())
    found = d4pcwl.run(graph, mapping="redis", processes=2)
    assert found["Identity"]["output"] == list(range(5))
    with pytest.raises(UsageError, match=r"pip install 'd4pcwl\[compression\]'"):
        d4pcwl.run(graph, mapping="redis", processes=2, options={"compress": "always"})


@pytest.mark.usefixtures("no_package")
def test_a_worker_that_cannot_decompress_does_not_join() -> None:
    flat: Any = type("Flat", (), {"digest": lambda self: "1"})()
    plan = type("Plan", (), {"pool": 0})()
    told = {"digest": "1", "plan": plan, "compress": AUTO}
    with pytest.raises(UsageError, match="or run with --compress never"):
        join(None, "run", flat, told, 1, print)  # type: ignore[arg-type]


# --- traces ---------------------------------------------------------------------------------------


def test_a_trace_has_the_bytes_before_and_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.jsonl"
    graph = chain(Source([f"{number:09} is a number" for number in range(5000)]), Identity())
    for compress in ("always", "never"):
        options = {"compress": compress}
        d4pcwl.run(graph, mapping="dyn_redis", processes=2, options=options, trace=path)
        traffic = [record for record in read_trace(path) if isinstance(record, Traffic)]
        before = sum(record.bytes or 0 for record in traffic)
        after = [record.sent for record in traffic if record.sent is not None]
        assert before > 100_000
        assert main(["trace", "summary", str(path)]) == 0
        head = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("edge "))
        if compress == "always":
            assert 0 < sum(after) < before / 2
            assert head.split() == ["edge", "items", "bytes", "sent"]
        else:
            assert after == []
            assert head.split() == ["edge", "items", "bytes"]
        assert main(["trace", "report", str(path), "-o", str(tmp_path / "report.html")]) == 0
        page = (tmp_path / "report.html").read_text()
        assert ("<th>sent</th>" in page) == (compress == "always")
        capsys.readouterr()
