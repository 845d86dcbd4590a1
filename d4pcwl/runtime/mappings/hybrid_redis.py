"""``hybrid_redis``: PEs that keep state have private queues on a Redis server, and the others a
pool.

``dyn_redis`` does the same if a graph has PEs that keep state. Both names exist upstream.
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
    "hybrid_redis",
    "like dyn_redis; PEs that keep state have queues of their own",
    run,
    RedisOptions,
    processes="number of worker processes (default: the usable cores)",
    pooled=True,
    server=True,
    modules=("redis",),
    checkpoints=True,
    upstream="new_hybrid_redis",
)
