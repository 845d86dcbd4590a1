"""Workers that join a run through a Redis server, from this host or another one."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from d4pcwl.errors import GraphError, RunError
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.local.console import LineLock
from d4pcwl.runtime.local.processes import end, signals_held_back, start
from d4pcwl.runtime.local.worker import live
from d4pcwl.runtime.pool.exchange import Exchange
from d4pcwl.runtime.pool.worker import DynamicDuty, DynamicWorker
from d4pcwl.runtime.redis.client import Address, Client, ServerError, ServerLost
from d4pcwl.runtime.redis.keys import ALIVE_SECONDS, Keys
from d4pcwl.runtime.redis.line import RedisLine
from d4pcwl.runtime.transport.arena import Memory
from d4pcwl.runtime.transport.compression import NEVER, require
from d4pcwl.workflow.flat import FlatGraph


def describe_run(client: Client, run: str) -> dict[str, Any]:
    """What a worker that joins must know: ``script``, ``attr``, ``parameters``, ``digest``,
    ``plan``, ``compress``.

    :raises RunError: the server has no such run
    """
    found = client.call("HGETALL", Keys(run).meta)
    if not found:
        raise RunError(f"the server at {client.address} has no run '{run}'; it may be over")
    return {
        key.decode(): pickle.loads(value) if key == b"plan" else value.decode()
        for key, value in zip(found[::2], found[1::2], strict=True)
    }


def join(
    address: Address,
    run: str,
    graph: FlatGraph,
    told: dict[str, Any],
    workers: int,
    say: Callable[[str], None],
) -> None:
    """Take part in a run with a number of worker processes until it is over.

    :raises GraphError: the script is not the one that runs
    :raises UsageError: the run may compress, and this Python cannot
    :raises RunError: a worker failed, or the server was lost
    """
    if graph.digest() != told["digest"]:
        raise GraphError(
            f"the script is not the one that run '{run}' was started with: its PEs, their ports "
            "or their edges differ"
        )
    plan: Plan = told["plan"]
    if plan.pool is None:
        raise RunError(f"run '{run}' has no work to share: every PE is pinned to a process")
    if told["compress"] != NEVER:
        require()
    host = socket.gethostname()
    lock = LineLock()
    processes = []
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        for number in range(workers):
            name = f"{host}-{os.getpid()}-{number}"
            open_line = partial(RedisLine, address, run, plan, name, compress=told["compress"])
            with signals_held_back():
                enter = partial(_GuestDuty, graph, plan, open_line)
                processes.append(start(live, enter, lock, name=name))
            say(f"worker {name} joined run {run}")
        for process in processes:
            process.join()
        codes = [process.exitcode for process in processes]
    finally:
        killed = [process.name for process in processes if process.is_alive()]
        end(processes)
        for name in killed:
            _sign_off(address, run, name)
        lock.close()
    if any(codes):
        raise RunError(f"a worker process ended with code {next(filter(None, codes))}")


class _GuestDuty(DynamicDuty):
    """The work of a worker that has joined: it sends a heartbeat, too."""

    def __init__(self, graph: FlatGraph, plan: Plan, open_line: Callable[[], RedisLine]) -> None:
        self._line = open_line()
        exchange = Exchange(self._line, plan, None, Memory(0))
        super().__init__(exchange, partial(DynamicWorker, graph, plan, None, {}, exchange))
        self._next_beat = time.monotonic() + ALIVE_SECONDS / 4

    def tick(self) -> None:
        if time.monotonic() > self._next_beat:
            self._line.beat()
            self._next_beat = time.monotonic() + ALIVE_SECONDS / 4
        super().tick()


def _sign_off(address: Address, run: str, name: str) -> None:
    """Let the coordinator know at once that a worker has ended."""
    with contextlib.suppress(ServerLost, ServerError):
        client = Client(address)
        client.call("DEL", Keys(run).alive(name))
        client.close()
