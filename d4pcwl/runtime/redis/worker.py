"""The worker processes of runs through a Redis server: forked here, or joined from another host."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from d4pcwl.errors import GraphError, RunError
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.local.console import LineLock
from d4pcwl.runtime.local.processes import end, signals_held_back, start
from d4pcwl.runtime.local.worker import Duty, live
from d4pcwl.runtime.pool.worker import DynamicDuty, DynamicWorker
from d4pcwl.runtime.redis.client import Address, Client, ServerError, ServerLost
from d4pcwl.runtime.redis.exchange import RedisExchange
from d4pcwl.runtime.transport.arena import Memory
from d4pcwl.runtime.transport.channel import Disconnected
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.inputs import RootInputs

ALIVE_SECONDS = 6.0
"""A joined worker that sends no heartbeat for this long counts as dead."""


@dataclass(frozen=True)
class Post:
    """The work of a worker process.

    :param name: of the worker, unique in the run
    :param process: the number of its pinned process; None for a worker of the pool only
    :param memory: shared with the coordinator, which has forked it; None for one from elsewhere,
        which has to send a heartbeat
    :param arena: the number of the part of it that is its own
    """

    address: Address
    run: str
    graph: FlatGraph
    plan: Plan
    inputs: RootInputs
    name: str
    process: int | None
    lock: LineLock
    memory: Memory | None = None
    arena: int = 0

    @property
    def remote(self) -> bool:
        """Whether it was not started by the coordinator."""
        return self.memory is None


class _Duty(DynamicDuty):
    gone = (ServerLost, Disconnected)
    exchange: RedisExchange

    def __init__(self, post: Post) -> None:
        if post.memory is not None:
            post.memory.enter(post.arena)
        exchange = RedisExchange(
            post.address, post.run, post.plan, post.name, post.process, post.memory
        )
        super().__init__(
            exchange,
            partial(DynamicWorker, post.graph, post.plan, post.process, post.inputs, exchange),
        )
        self.post = post
        self.signed = -ALIVE_SECONDS
        self.tick()

    def tick(self) -> None:
        if self.post.remote and time.monotonic() - self.signed > ALIVE_SECONDS / 4:
            self._sign(int(1000 * ALIVE_SECONDS))
            self.signed = time.monotonic()
        if self.worker is not None and self.post.process is not None:
            if not self.exchange.may_stream():
                self.exchange.look()
            self.worker.flush()

    def done(self) -> None:
        super().done()
        if self.post.remote:
            self._sign(0, "leave")

    def _sign(self, milliseconds: int, leave: str = "") -> None:
        """Send a heartbeat."""
        exchange = self.exchange
        with exchange.sending:
            exchange.scripts.call(exchange.client, "alive", self.post.name, milliseconds, leave)


def work(post: Post) -> None:
    """A worker process, from its fork to its end."""

    def enter() -> Duty:
        try:
            return _Duty(post)
        except ServerLost as error:  # the coordinator finds this, too
            raise Disconnected(str(error)) from None

    live(enter, post.lock)


# --- joining from elsewhere -----------------------------------------------------------------------


def describe_run(client: Client, run: str) -> dict[str, Any]:
    """What a worker that joins must know: ``script``, ``attr``, ``parameters``, ``digest``,
    ``plan``.

    :raises RunError: the server has no such run
    """
    found = client.call("HGETALL", f"d4p:{run}:meta")
    if not found:
        raise RunError(f"the server at {client.address} has no run '{run}'; it may be over")
    pairs = dict(zip(found[::2], found[1::2], strict=True))
    told: dict[str, Any] = {key.decode(): value for key, value in pairs.items()}
    told["plan"] = pickle.loads(told["plan"])
    return {key: v.decode() if isinstance(v, bytes) else v for key, v in told.items()}


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
    :raises RunError: a worker failed, or the server was lost
    """
    if graph.digest() != told["digest"]:
        raise GraphError(
            f"the script is not the one that run '{run}' was started with: its PEs, their ports "
            "or their edges differ"
        )
    if told["plan"].pool is None:
        raise RunError(f"run '{run}' has no work to share: every PE is pinned to a process")
    host = socket.gethostname()
    lock = LineLock()
    processes = []
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        for number in range(workers):
            name = f"{host}-{os.getpid()}-{number}"
            post = Post(address, run, graph, told["plan"], {}, name, None, lock)
            with signals_held_back():
                processes.append(start(work, post, name=name))
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


def _sign_off(address: Address, run: str, name: str) -> None:
    """Let the coordinator know at once that a worker has ended."""
    with contextlib.suppress(ServerLost, ServerError):
        client = Client(address)
        client.call("DEL", f"d4p:{run}:alive:{name}")
        client.close()
