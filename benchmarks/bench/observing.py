"""`benchmarks/observing`: what progress, a trace, a record and snapshots cost, for four PEs that
pass on ints.

Each run is a process of its own, and runs with and without take turns. Compared is the processor
time of the run and its workers, the least of all repetitions: other programs can only add to it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import itertools
import json
import os
import pty
import resource
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import d4pcwl
from bench.table import rendered
from d4pcwl.lineage.run_record import RunRecord
from d4pcwl.runtime.checkpoint.session import Session
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import find_mapping, run_job
from d4pcwl.runtime.progress import LiveTable
from d4pcwl.runtime.results import Results
from d4pcwl.trace.format import TraceWriter
from d4pcwl.trace.observer import Observer
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.inputs import root_inputs

_MAPPINGS = ("simple", "multi", "dyn_multi", "dyn_redis")
_KINDS = ("progress", "trace", "sampled", "recorded", "snapshots")
_ONE_IN = 100
"""So many items of the source are there for each that is recorded, if it is sampled."""


class _Source(d4pcwl.ProducerPE):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def _process(self, inputs: object) -> None:
        for number in range(self.count):
            self.write("output", number)


class _Pass(d4pcwl.IterativePE):
    def _process(self, data: int) -> int:
        return data


class _Total(d4pcwl.ConsumerPE):
    total = 0

    def _process(self, data: int) -> None:
        self.total += data


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmarks/observing", description=__doc__)
    parser.add_argument("--items", type=int, default=4_000_000, metavar="N", help="under simple")
    parser.add_argument("--repetitions", type=int, default=15, metavar="N")
    parser.add_argument("--mappings", default=",".join(_MAPPINGS), metavar="NAMES")
    parser.add_argument("--kinds", default="progress,trace", metavar=",".join(_KINDS))
    parser.add_argument(
        "--every", type=float, default=10, metavar="SECONDS", help="from snapshot to snapshot"
    )
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        mapping, items, kind, every = options.one
        sys.stdout.write(json.dumps(_one(mapping, int(items), kind, float(every))) + "\n")
        return 0
    rows = []
    kinds = ["", *options.kinds.split(",")]
    for mapping in options.mappings.split(","):
        items = options.items if mapping in ("simple", "multi") else options.items // 5
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for number in range(options.repetitions):
            turn = number % len(kinds)
            for kind in (*kinds[turn:], *kinds[:turn]):
                seconds[kind].append(_measured(mapping, items, kind, options.every))
        # Other programs can only make a run longer.
        without, *costs = (min(seconds[kind]) for kind in kinds)
        shown = [f"{value:.2f}" for value in (without, *costs)]
        rows.append([mapping, *shown, *(f"{cost / without - 1:+.1%}" for cost in costs)])
    headings = ["mapping", "CPU s without", *(f"with {kind}" for kind in kinds[1:]), *kinds[1:]]
    sys.stdout.write(rendered(rows, headings) + "\n")
    return 0


def _measured(mapping: str, items: int, kind: str, every: float) -> float:
    """The processor time, in seconds, of a run in a process of its own, with a terminal."""
    command = [sys.executable, sys.argv[0], "--one", mapping, str(items), kind, str(every)]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        reader = threading.Thread(target=_read_all, args=(ours,))
        reader.start()
        told, _ = process.communicate()
        reader.join()
    if process.returncode:
        raise SystemExit(f"{mapping}: the run failed")
    return float(json.loads(told))


def _read_all(fd: int) -> None:
    """Read what goes to a terminal, until nobody writes there any more."""
    with contextlib.suppress(OSError):
        while os.read(fd, 1 << 16):
            pass
    os.close(fd)


def _one(mapping: str, items: int, kind: str, every: float) -> float:
    """The processor time of a run, after a short one that loads and reads what is needed."""
    _run(mapping, 1000, kind, every)
    if kind == "progress":  # a short run shows no table
        import rich.console
        import rich.table  # noqa: F401
    before = _spent()
    _run(mapping, items, kind, every)
    return _spent() - before


def _run(mapping: str, items: int, kind: str, every: float) -> None:
    graph = d4pcwl.WorkflowGraph()
    pes = [_Source(items), _Pass(), _Pass(), _Total()]
    for source, target in itertools.pairwise(pes):
        graph.connect(source, "output", target, "input")
    flat = flatten(graph)
    with contextlib.ExitStack() as stack:
        observer = record = None
        if kind in ("sampled", "recorded"):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            config = {"d4p:one-in": _ONE_IN} if kind == "sampled" else {}
            record = stack.enter_context(RunRecord(Path(folder, "record"), config))
        elif kind == "trace":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            writer = stack.enter_context(TraceWriter(Path(folder, "trace.jsonl")))
            observer = Observer([writer.write], thorough=True)
        elif kind == "progress":
            live = LiveTable(sys.stderr.write)
            stack.callback(live.stop)
            observer = Observer([live.take])
        session = None
        if kind == "snapshots":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            session = stack.enter_context(Session(folder, every))
        job = Job(flat, root_inputs(flat), Results(), processes=4)
        job = replace(job, observer=observer, record=record, checkpoint=session)
        run_job(find_mapping(mapping), job)


def _spent() -> float:
    """The processor time of this process and of those that it has started."""
    uses = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)
