"""``dyn_auto_redis``: dyn_redis with as many workers as there is work for, at most ``-n``."""

from __future__ import annotations

from dataclasses import dataclass

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import Mapping
from d4pcwl.runtime.options import RedisOptions, option
from d4pcwl.runtime.pool.scale import IDLE_SECONDS, Scale


@dataclass(frozen=True)
class DynAutoRedisOptions(RedisOptions):
    """Upstream's options, without -ct, which has no effect there, and with ``--redis-url``."""

    idle_time: int = option(
        "-thr",
        "--idle_time",
        default=int(1000 * IDLE_SECONDS),
        metavar="MILLISECONDS",
        least=0,
        help="stop a worker that had nothing to do for this long (default: %(default)s)",
    )


def run(job: Job, options: DynAutoRedisOptions) -> None:
    """Run the job; ``-v`` shows each change of the number of workers, and the reason.

    :raises RunError: a PE failed, a worker died that held the state of PEs, or the server is lost
    """
    from d4pcwl.runtime.redis.coordinator import run_by_redis

    idle_seconds = options.idle_time / 1000

    def scale(processes: int) -> Scale:
        least = min(2, processes)
        return Scale(least, processes, idle_seconds=idle_seconds, at_first=job.workers)

    run_by_redis(job, options, pooled=True, scale=scale)


MAPPING = Mapping(
    "dyn_auto_redis",
    "like dyn_redis; the number of workers depends on the work",
    run,
    DynAutoRedisOptions,
    processes="largest number of worker processes (default: the usable cores)",
    pooled=True,
    server=True,
    modules=("redis",),
    checkpoints=True,
    upstream="new_dynamic_redis_auto",
)
