"""`benchmarks/memory`: whether memory stays flat when a long stream has a slow consumer.

The memory of a run is what all its processes hold together, an embedded Redis server among them:
the sum of their proportional set sizes, so that what they share counts once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.pipelines import marks
from bench.processes import ended_by_signals, marked, scratch, started
from bench.table import rendered

_PIPELINES = Path(__file__).parent / "pipelines"
_MAPPINGS = ("simple", "multi", "dyn_multi", "redis")
_PROCESSES = 3
_LOOK_SECONDS = 0.05
_MOST_GROWTH = 1.2
HEADINGS = [
    *("mapping", "items", "items/s", "MB, first tenth", "MB, the rest", "growth", "fault"),
]


@dataclass
class Course:
    """What one run took.

    :param early: the most memory, in MB, until a tenth of the items was consumed
    :param late: the most memory after that
    :param fault: what is wrong; empty where nothing is
    """

    rate: float = 0.0
    early: float = 0.0
    late: float = 0.0
    fault: str = ""

    @property
    def growth(self) -> float:
        """How much more memory there was in the long run."""
        return self.late / self.early if self.early else 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/memory", description="Watch memory under a slow consumer."
    )
    parser.add_argument("--items", type=int, default=10_000_000, metavar="N", help="of a stream")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=_MAPPINGS,
        metavar="MAPPING,…",
        help="(default: %(default)s)",
    )
    options = parser.parse_args(argv)
    ended_by_signals()
    rows, fine = [], True
    try:
        for mapping in options.only:
            sys.stderr.write(f"{mapping}\n")
            course = watch(mapping, options.items)
            fine = fine and not course.fault
            rows.append(_cells(mapping, options.items, course))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    sys.stdout.write(rendered(rows, HEADINGS) + "\n")
    return 0 if fine else 1


def watch(mapping: str, items: int) -> Course:
    """Run the pipeline and look at its memory all the while."""
    course = Course()
    command = [sys.executable, "-m", "d4pcwl.cli.dispel4py", mapping]
    command += [str(_PIPELINES / "slow.py"), "-n", str(_PROCESSES)]
    with scratch() as folder:
        notes = folder / "marks"
        notes.mkdir()
        env = {
            "BENCH_MARKS": str(notes),
            "BENCH_ITEMS": str(items),
            "PYTHONPATH": os.pathsep.join([str(_PIPELINES), os.environ.get("PYTHONPATH", "")]),
            "TMPDIR": str(folder),
        }
        with started(command, env, folder / "output") as (process, mark):
            while process.poll() is None:
                held = sum(map(_held_mb, marked(mark)))
                if marks.read(str(notes))[1] <= items // 10:
                    course.early = max(course.early, held)
                else:
                    course.late = max(course.late, held)
                time.sleep(_LOOK_SECONDS)
        began, count, total, end = marks.read(str(notes))
        said = (folder / "output").read_text()
    if process.returncode or began is None:
        course.fault = f"exit code {process.returncode}: {said[-200:].strip()}"
    elif (count, total) != (items, items * (items - 1) // 2):
        course.fault = f"{count:,} of {items:,} items arrived, or they were wrong"
    else:
        course.rate = items / (end - began)
        if course.growth > _MOST_GROWTH:
            course.fault = "memory grows"
    return course


def _held_mb(pid: int) -> float:
    with contextlib.suppress(OSError):  # it has ended
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _cells(mapping: str, items: int, course: Course) -> list[str]:
    figures = [f"{course.rate:,.0f}", f"{course.early:.1f}", f"{course.late:.1f}"]
    return [mapping, f"{items:,}", *figures, f"{course.growth:.2f}", course.fault]
