"""``dyn_redis``: processes that take work from a common queue on a Redis server.

PEs that keep state, sources and cycles are pinned to a process; everything else runs wherever there
is time, on other hosts too (``dispel4py worker``). A worker that dies is replaced, and its work
done again.
"""

from __future__ import annotations

import argparse

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.options import add_processes, add_server_options
from d4pcwl.runtime.pool.scale import fixed
from d4pcwl.runtime.redis.coordinator import run_by_redis


def add_options(parser: argparse.ArgumentParser) -> None:
    """Upstream's options, but for -ct, which has no effect there, and ``--redis-url``."""
    add_processes(parser, "number of worker processes")
    add_server_options(parser)


def run(job: Job) -> None:
    """Run the job.

    :raises RunError: a PE failed, a worker died that held the state of PEs, or the server is lost
    """
    run_by_redis(job, pooled=True, scale=fixed)
