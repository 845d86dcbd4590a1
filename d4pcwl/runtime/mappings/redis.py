"""``redis``: fixed instances, connected by streams of a Redis server.

Every instance stays in one process of the plan, and has a private stream. For work that is
distributed to free processes, and for workers on other hosts, see ``dyn_redis``.
"""

from __future__ import annotations

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import Mapping
from d4pcwl.runtime.options import RedisOptions


def run(job: Job, options: RedisOptions) -> None:
    """Run the job.

    :raises RunError: a PE failed, a worker died, or the server is lost
    """
    from d4pcwl.runtime.pool.scale import fixed
    from d4pcwl.runtime.redis.coordinator import run_by_redis

    run_by_redis(job, options, pooled=False, scale=fixed)


MAPPING = Mapping(
    "redis",
    "several processes, connected by a Redis server",
    run,
    RedisOptions,
    server=True,
    modules=("redis",),
    checkpoints=True,
    upstream="dynamic_redis",
)
