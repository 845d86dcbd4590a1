"""``dyn_auto_multi``: dyn_multi with as many workers as there is work for, at most ``-n``."""

from __future__ import annotations

import argparse

from d4pcwl.runtime.broker import Scale, run_by_broker
from d4pcwl.runtime.job import Job


def add_options(parser: argparse.ArgumentParser) -> None:
    """Upstream's options, but for -ct, which has no effect there."""
    parser.add_argument(
        "-n",
        "--num",
        type=int,
        metavar="PROCESSES",
        help="the most worker processes (default: the usable cores)",
    )
    parser.add_argument(
        "-thr",
        "--threshold",
        type=int,
        default=10,
        metavar="BATCHES",
        help="start one more worker when so many batches wait for each (default: 10)",
    )


def run(job: Job) -> None:
    """Run the job; with ``-v`` every step of the scale is told, and why.

    :raises RunError: a PE failed, or a worker died that held the state of PEs
    """
    threshold = getattr(job.options, "threshold", 10)
    run_by_broker(job, lambda processes: Scale(min(2, processes), processes, threshold))
