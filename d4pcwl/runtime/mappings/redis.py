"""``redis``: fixed instances, joined by streams of a Redis server.

Every instance has a process of the plan and a private stream. For work that is shared out among
processes, and for workers from other hosts, see ``dyn_redis``.
"""

from __future__ import annotations

import argparse

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.options import add_processes, add_server_options
from d4pcwl.runtime.pool.scale import fixed
from d4pcwl.runtime.redis.coordinator import run_by_redis


def add_options(parser: argparse.ArgumentParser) -> None:
    """Upstream's options, and ``--redis-url``."""
    add_processes(parser)
    add_server_options(parser)


def run(job: Job) -> None:
    """Run the job.

    :raises RunError: a PE failed, a worker died, or the server is lost
    """
    run_by_redis(job, pooled=False, scale=fixed)
