"""``hybrid_redis``: PEs that keep state have private queues on a Redis server, the others a pool.

That is what ``dyn_redis`` does, too, where a graph has PEs that keep state; both names are kept.
"""

from __future__ import annotations

import argparse

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.options import add_processes, add_server_options
from d4pcwl.runtime.pool.scale import fixed
from d4pcwl.runtime.redis.coordinator import run_by_redis


def add_options(parser: argparse.ArgumentParser) -> None:
    """Upstream's options, and ``--redis-url``."""
    add_processes(parser, "number of worker processes")
    add_server_options(parser)


def run(job: Job) -> None:
    """Run the job.

    :raises RunError: a PE failed, a worker died that held the state of PEs, or the server is lost
    """
    run_by_redis(job, pooled=True, scale=fixed)
