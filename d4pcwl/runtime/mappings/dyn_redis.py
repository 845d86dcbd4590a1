"""``dyn_redis``: processes that take work from a common queue on a Redis server.

PEs that keep state, sources and cycles are pinned to a process. Any free process runs the other
PEs, also on other hosts (``dispel4py worker``). If a worker dies, it is replaced, and its work is
done again.
"""

from __future__ import annotations

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import Mapping
from d4pcwl.runtime.options import RedisOptions


def run(job: Job, options: RedisOptions) -> None:
    """Run the job.

    :raises RunError: a PE failed, a worker died that held the state of PEs, or the server is lost
    """
    from d4pcwl.runtime.pool.scale import fixed
    from d4pcwl.runtime.redis.coordinator import run_by_redis

    run_by_redis(job, options, pooled=True, scale=fixed)


MAPPING = Mapping(
    "dyn_redis",
    "several processes, on one host or several, that take work from a common queue on a Redis "
    "server",
    run,
    RedisOptions,  # upstream's -ct has no effect there and is not taken
    processes="number of worker processes (default: the usable cores)",
    pooled=True,
    server=True,
    modules=("redis",),
    checkpoints=True,
    upstream="new_dynamic_redis",
)
