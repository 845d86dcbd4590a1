"""Runs through a Redis server, from its start to its end."""

from __future__ import annotations

from collections.abc import Callable

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.options import RedisOptions
from d4pcwl.runtime.pool.parent import WorkerProcesses, run_dynamic
from d4pcwl.runtime.pool.scale import Scale
from d4pcwl.runtime.redis.client import Address, Client
from d4pcwl.runtime.redis.server import OwnServer, named_server
from d4pcwl.runtime.redis.transport import RedisTransport
from d4pcwl.runtime.transport.compression import usable


def run_by_redis(
    job: Job, options: RedisOptions, *, pooled: bool, scale: Callable[[int], Scale]
) -> None:
    """Run a job through a Redis server.

    :param options: which server, and whether batches are compressed
    :param pooled: any free worker runs PEs that keep no state
    :param scale: from the number of processes asked for to how many run at a time
    :raises RunError: a PE failed, a worker died that held the state of PEs, or the server is lost
    :raises UsageError: no server is named, and none can be started; or this Python cannot compress
    """
    compress = usable(options.compress)
    named = named_server(options)
    own = OwnServer() if named is None else None

    def connect(processes: WorkerProcesses) -> RedisTransport:
        client = Client(named if named is not None else own.wait() if own else Address())
        return RedisTransport(processes, client, owned=own is not None, compress=compress)

    try:
        run_dynamic(job, scale, connect, pooled=pooled)
    finally:
        if own is not None:
            own.stop()
