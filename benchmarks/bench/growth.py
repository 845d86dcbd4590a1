"""`benchmarks/growth`: whether the time of a run grows as the graph does.

What is measured is the time of processors, of all processes of a run together, the embedded Redis
server among them: on a busy machine it says more than the clock.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.processes import ended_by_signals, scratch
from bench.table import rendered

_SCRIPT = Path(__file__).parent / "pipelines" / "large.py"
_SHAPES = ("chain", "fan", "pairs", "outputs")
_MAPPINGS = ("simple", "multi", "dyn_multi", "dyn_redis")
_MOST_GROWTH = 2.0
HEADINGS = ["graph", "PEs", "mapping", "CPU s, a quarter", "CPU s", "growth", "fault"]


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 1 where time outgrows the graph, or a run fails."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/growth", description="Run graphs of thousands of PEs."
    )
    parser.add_argument("--pes", type=int, default=10_000, metavar="N", help="of the larger graph")
    for name, values in (("only", _MAPPINGS), ("shapes", _SHAPES)):
        parser.add_argument(
            f"--{name}", type=lambda text: text.split(","), default=values, metavar="NAME,…"
        )
    options = parser.parse_args(argv)
    ended_by_signals()
    rows = [
        [shape, f"{options.pes:,}", mapping, *_cells(shape, mapping, options.pes)]
        for shape in options.shapes
        for mapping in options.only
    ]
    sys.stdout.write(rendered(rows, HEADINGS) + "\n")
    return 1 if any(row[-1] for row in rows) else 0


def _cells(shape: str, mapping: str, pes: int) -> list[str]:
    """The seconds for a quarter and for all, their ratio beyond that of the sizes, and a fault."""
    sys.stderr.write(f"{shape} {mapping}\n")
    try:
        small, large = seconds(shape, mapping, pes // 4), seconds(shape, mapping, pes)
    except subprocess.CalledProcessError as error:
        return ["", "", "", f"exit code {error.returncode}"]
    growth = large / (4 * small)
    fault = "faster than the graph" if growth > _MOST_GROWTH else ""
    return [f"{small:.2f}", f"{large:.2f}", f"{growth:.2f}", fault]


def seconds(shape: str, mapping: str, pes: int) -> float:
    """The processors' time for one run.

    :raises CalledProcessError: it failed
    """
    command = [sys.executable, "-m", "d4pcwl.cli.dispel4py", mapping, str(_SCRIPT), "-n", "2"]
    env = {**os.environ, "BENCH_SHAPE": shape, "BENCH_PES": str(pes)}
    env.pop("REDIS_URL", None)  # a server of its own is counted too
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with scratch() as folder, (folder / "output").open("w") as output:
        subprocess.run(
            command, env={**env, "TMPDIR": str(folder)}, stdout=output, check=True, cwd=folder
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
