"""``dyn_auto_redis``: dyn_redis with as many workers as there is work for, at most ``-n``."""

from __future__ import annotations

import argparse

from d4pcwl.runtime.broker import Scale
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.redis_coordinator import run_by_redis
from d4pcwl.runtime.redis_server import add_server_options

_THRESHOLD = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    """Upstream's options, but for -ct, which has no effect there, and ``--redis-url``."""
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
        default=_THRESHOLD,
        metavar="BATCHES",
        help=f"start one more worker when so many batches wait for each (default: {_THRESHOLD})",
    )
    add_server_options(parser)


def run(job: Job) -> None:
    """Run the job; with ``-v`` every step of the scale is told, and why.

    :raises RunError: a PE failed, a worker died that held the state of PEs, or the server is lost
    """
    threshold = getattr(job.options, "threshold", _THRESHOLD)
    run_by_redis(
        job,
        pooled=True,
        scale=lambda processes: Scale(min(2, processes), processes, threshold),
    )
