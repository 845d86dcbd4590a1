"""What a border between CWL steps costs: compiling, and a stream that rests in a file."""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

_CHAIN = """
from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Source(ProducerPE):
    def _process(self, inputs):
        self.write("output", 1)


class Pass(IterativePE):
    def _process(self, data):
        return data


graph = WorkflowGraph()
last = Source()
for number in range({pes} - 1):
    pe = Pass()
    pe.name = f"pass{{number}}"
    graph.connect(last, "output", pe, "input")
    last = pe
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="boundary", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--megabytes", type=int, default=100, metavar="MB", help="of a stream file")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write("| what | seconds | beside it |\n| --- | --- | --- |\n")
        for name, seconds, beside in _rows(Path(folder), options):
            sys.stdout.write(f"| {name} | {seconds:.3f} | {beside} |\n")
            sys.stdout.flush()
    return 0


def _rows(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, float, str]]:
    def median(work: Callable[[], object]) -> float:
        return statistics.median(_seconds(work) for _ in range(options.repetitions))

    start = median(lambda: _call(sys.executable, "-c", "pass"))
    yield "Python's own start", start, ""
    for pes in (5, 250, 1000):
        script = folder / f"chain{pes}.py"
        script.write_text(_CHAIN.format(pes=pes), encoding="utf-8")
        for how in ("whole", "pe"):
            compiler = shutil.which("d4p2cwl", path=str(Path(sys.executable).parent))
            command = [compiler or "d4p2cwl", "-q", str(script), "--cut", how]
            seconds = median(lambda command=command: _call(*command, "-o", str(folder / "x.cwl")))
            beside = f"{(seconds - start) / pes * 1000:.2f} ms a PE"
            yield f"d4p2cwl, {pes} PEs, --cut {how}", seconds, beside
    for name, items in (("1 MB arrays", _arrays), ("small records", _records)):
        path = folder / "items.d4ps"
        write = median(lambda items=items, path=path: _write(path, items(options.megabytes)))
        copy = median(lambda path=path: shutil.copyfile(path, path.with_suffix(".copy")))
        read = median(lambda path=path: _read(path))
        size = options.megabytes  # as items by themselves take: batches take less
        yield f"copy a stream file, {size} MB of {name}", copy, ""
        yield (
            f"write it ({name})",
            write,
            f"{write / copy:.1f} times the copy, {size / write:.0f} MB/s",
        )
        yield f"read it ({name})", read, f"{read / copy:.1f} times the copy, {size / read:.0f} MB/s"


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _call(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _arrays(megabytes: int) -> Iterator[Any]:
    import numpy as np

    array = np.random.default_rng(1).random(125_000)
    return (array for _ in range(megabytes))


def _records(megabytes: int) -> Iterator[Any]:
    # 67 bytes each, as JSON in a record of its own
    count = megabytes * 1_000_000 // 67
    return ({"station": f"IV.{n % 100:04}", "n": n, "pga": [1.5, 2.5, n]} for n in range(count))


def _write(path: Path, items: Iterator[Any]) -> None:
    from d4pcwl.streams.writer import StreamWriter

    with StreamWriter(path, [("source", "output")]) as writer:
        for item in items:
            writer.write(0, item)


def _read(path: Path) -> None:
    from d4pcwl.streams.reader import StreamReader

    with StreamReader(path) as reader:
        for _ in reader:
            pass
