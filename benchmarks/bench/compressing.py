"""`benchmarks/compressing`: where compression pays, and what it costs where it does not.

First, batches are compressed by themselves: how much smaller they get, how fast, and up to which
rate of a link that saves time. This is processor time, which other programs change little.

Then items go through 3 PEs in 3 processes under `redis`. All of them reach the server by one link
of a chosen rate (`throttled.py`). Each run is a process of its own. Runs with `--compress never`,
`auto` and `always` take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import d4pcwl
from bench.table import rendered
from bench.throttled import Link
from d4pcwl.runtime.pool.exchange import packed
from d4pcwl.runtime.pool.links import PARCEL_BYTES
from d4pcwl.runtime.redis.server import OwnServer
from d4pcwl.runtime.transport.compression import compressed, decompressed
from d4pcwl.runtime.transport.outbox import Outbox

SPEEDS = ["items", "bytes left", "compressed, MB/s", "decompressed, MB/s", "saves time below, MB/s"]
HEADINGS = ["items", "MB/s", "never, s", "auto, s", "always, s", "auto / never", "CPU", "always"]
MODES = ("never", "auto", "always")
RATES = (10, 100, 1000, 0)
"""Millions of bytes a second; 0: no limit."""

_SAMPLES = 4000
"""An array has 32 kB: workers of one machine pass larger ones through shared memory."""

_SECONDS = 1.5
"""About how long a run takes that is bound by the link alone."""

_MOST_MB = 30
_ROUNDS = 10


def lines() -> Iterator[str]:
    """Lines of a log."""
    draw = random.Random(1)
    for number in range(sys.maxsize):
        host, code = draw.randrange(200), draw.choice((200, 200, 200, 304, 404))
        yield (
            f"10.0.{host % 7}.{host} - - [12/Mar/2026:10:{number // 60 % 60:02}:{number % 60:02}] "
            f'"GET /data/{draw.choice(("raw", "clean"))}/{draw.randrange(10**6)} HTTP/1.1" {code} '
            f"{draw.randrange(10**5)}"
        )


def records() -> Iterator[dict[str, Any]]:
    """Small dictionaries: picks of a seismic network."""
    draw = random.Random(1)
    for number in range(sys.maxsize):
        yield {
            "station": f"IV.ST{draw.randrange(40):02}",
            "time": 1.7e9 + number * 0.37,
            "phase": draw.choice("PS"),
            "snr": draw.random() * 30,
        }


def counts() -> Iterator[np.ndarray]:
    """float64 arrays of whole numbers, as a digitiser gives them."""
    draw = np.random.default_rng(1)
    pool = [np.round(np.cumsum(draw.normal(0, 40, _SAMPLES))) for _ in range(16)]
    for number in range(sys.maxsize):
        yield pool[number % 16] + number


def smooth() -> Iterator[np.ndarray]:
    """float64 arrays of a sum of sines: smooth, but with all digits."""
    at = np.arange(_SAMPLES) / 100
    for number in range(sys.maxsize):
        yield np.sin(at + number) + 0.3 * np.sin(7.1 * at)


def noise() -> Iterator[np.ndarray]:
    """float64 arrays of normal noise."""
    draw = np.random.default_rng(1)
    while True:
        yield draw.normal(size=_SAMPLES)


KINDS = {
    "text": (lines, 90),
    "records": (records, 75),
    "counts": (counts, 8 * _SAMPLES),
    "smooth": (smooth, 8 * _SAMPLES),
    "noise": (noise, 8 * _SAMPLES),
}
"""What makes the items, and the bytes of an item, about."""


class _Source(d4pcwl.ProducerPE):
    def __init__(self, kind: str, count: int) -> None:
        super().__init__()
        self.kind, self.count = kind, count

    def _process(self, inputs: object) -> None:
        make, _ = KINDS[self.kind]
        for _, item in zip(range(self.count), make(), strict=False):
            self.write("output", item)


class _Pass(d4pcwl.IterativePE):
    def _process(self, data: Any) -> Any:
        return data


class _Count(d4pcwl.IterativePE):
    def __init__(self) -> None:
        super().__init__()
        self.items = 0

    def _process(self, data: Any) -> None:
        self.items += 1

    def _postprocess(self) -> None:
        self.write("output", self.items)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmarks/compressing", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    parser.add_argument("--kinds", default=",".join(KINDS), metavar="NAMES")
    parser.add_argument("--rates", default=",".join(map(str, RATES)), metavar="MB/S,…")
    parser.add_argument("--speeds", action="store_true", help="only the first table")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        kind, items, mode, url = options.one
        sys.stdout.write(json.dumps(_one(kind, int(items), mode, url)) + "\n")
        return 0
    speeds = [_speeds(kind) for kind in options.kinds.split(",")]
    sys.stdout.write(rendered(speeds, SPEEDS) + "\n")
    if options.speeds:
        return 0
    rows = []
    server = OwnServer()
    try:
        server.wait()
        for kind in options.kinds.split(","):
            for rate in map(float, options.rates.split(",")):
                with contextlib.closing(Link(server.path, rate * 1e6 or None)) as link:
                    rows.append(_row(kind, rate, link, options.repetitions))
                sys.stderr.write(" ".join(rows[-1]) + "\n")
    finally:
        server.stop()
    sys.stdout.write(rendered(rows, HEADINGS) + "\n")
    return 0


def _speeds(kind: str) -> list[str]:
    """What compression does with batches as workers send them."""
    made, full = list[bytes](), []
    outbox = Outbox(PARCEL_BYTES)
    take = outbox.outlet((0, "input"), kind, lambda: full.append(True))
    for item in KINDS[kind][0]():
        take(item)
        if full:
            made += [packed(run, [run]).data for run in outbox.drain()]
            full.clear()
            if len(made) == 8:
                break
    for batch in made:  # what is done once is no part of it
        decompressed(compressed(batch), len(batch))
    began = time.process_time()
    frames = [compressed(batch) for _ in range(_ROUNDS) for batch in made]
    between = time.process_time()
    for frame, batch in zip(frames, _ROUNDS * made, strict=True):
        decompressed(frame, len(batch))
    packing, unpacking = between - began, time.process_time() - between
    size, left = _ROUNDS * sum(map(len, made)), sum(map(len, frames))
    pays = max(0.0, size - left) / (packing + unpacking)
    rates = [f"{figure / 1e6:,.0f}" for figure in (size / packing, size / unpacking, pays)]
    return [kind, f"{left / size:.0%}", *rates]


def _row(kind: str, rate: float, link: Link, repetitions: int) -> list[str]:
    megabytes = min(_MOST_MB, _SECONDS * rate / 2) if rate else _MOST_MB  # each item goes twice
    items = int(megabytes * 1e6 / KINDS[kind][1])
    runs: dict[str, list[tuple[float, float]]] = {mode: [] for mode in MODES}
    for number in range(repetitions):
        turn = number % len(MODES)
        for mode in (*MODES[turn:], *MODES[:turn]):
            runs[mode].append(_measured(kind, items, mode, link.url))

    def ratio(mode: str, figure: int) -> str:
        pairs = zip(runs[mode], runs["never"], strict=True)
        return f"{statistics.median(a[figure] / b[figure] for a, b in pairs):.2f}"

    seconds = [f"{statistics.median(run[0] for run in runs[mode]):.2f}" for mode in MODES]
    shown = f"{rate:g}" if rate else "no limit"
    return [kind, shown, *seconds, ratio("auto", 0), ratio("auto", 1), ratio("always", 0)]


def _measured(kind: str, items: int, mode: str, url: str) -> tuple[float, float]:
    """The seconds, and those of processor time, of a run in a process of its own."""
    command = [sys.executable, sys.argv[0], "--one", kind, str(items), mode, url]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{kind}, {mode}: the run failed")
    seconds, cpu = json.loads(done.stdout)
    return seconds, cpu


def _one(kind: str, items: int, mode: str, url: str) -> tuple[float, float]:
    """A run, after a short one that loads what is needed."""
    _run(kind, 100, mode, url)
    began, before = time.monotonic(), _spent()
    _run(kind, items, mode, url)
    return time.monotonic() - began, _spent() - before


def _run(kind: str, items: int, mode: str, url: str) -> None:
    graph = d4pcwl.WorkflowGraph()
    source, between, last = _Source(kind, items), _Pass(), _Count()
    graph.connect(source, "output", between, "input")
    graph.connect(between, "output", last, "input")
    options = {"redis_url": url, "compress": mode}
    results = d4pcwl.run(graph, mapping="redis", processes=3, options=options)
    if results["_Count"]["output"] != [items]:
        raise SystemExit(f"{kind}, {mode}: items are missing")


def _spent() -> float:
    """The processor time of this process and of those that it has started."""
    uses = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)
