"""``dyn_auto_multi``: dyn_multi with as many workers as there is work for, at most ``-n``."""

from __future__ import annotations

import argparse

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.options import add_processes
from d4pcwl.runtime.pool.parent import run_by_broker
from d4pcwl.runtime.pool.scale import THRESHOLD, Scale


def add_options(parser: argparse.ArgumentParser) -> None:
    """Upstream's options, but for -ct, which has no effect there."""
    add_processes(parser, "the most worker processes")
    parser.add_argument(
        "-thr",
        "--queue_threshold",
        dest="threshold",
        type=int,
        default=THRESHOLD,
        metavar="BATCHES",
        help="start one more worker when so many batches wait for each (default: %(default)s)",
    )


def run(job: Job) -> None:
    """Run the job; with ``-v`` every step of the scale is told, and why.

    :raises RunError: a PE failed, or a worker died that held the state of PEs
    """
    threshold = getattr(job.options, "threshold", THRESHOLD)
    run_by_broker(job, lambda processes: Scale(min(2, processes), processes, threshold))
