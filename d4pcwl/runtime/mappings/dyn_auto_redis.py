"""``dyn_auto_redis``: dyn_redis with as many workers as there is work for, at most ``-n``."""

from __future__ import annotations

import argparse

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.options import add_processes, add_server_options
from d4pcwl.runtime.pool.scale import IDLE_SECONDS, Scale
from d4pcwl.runtime.redis.coordinator import run_by_redis


def add_options(parser: argparse.ArgumentParser) -> None:
    """Upstream's options, but for -ct, which has no effect there, and ``--redis-url``."""
    add_processes(parser, "the most worker processes")
    parser.add_argument(
        "-thr",
        "--idle_time",
        type=int,
        default=int(1000 * IDLE_SECONDS),
        metavar="MILLISECONDS",
        help="let a worker go that has had nothing to do for so long (default: %(default)s)",
    )
    add_server_options(parser)


def run(job: Job) -> None:
    """Run the job; with ``-v`` every step of the scale is told, and why.

    :raises RunError: a PE failed, a worker died that held the state of PEs, or the server is lost
    """
    idle_seconds = getattr(job.options, "idle_time", 1000 * IDLE_SECONDS) / 1000
    run_by_redis(
        job,
        pooled=True,
        scale=lambda processes: Scale(min(2, processes), processes, idle_seconds=idle_seconds),
    )
