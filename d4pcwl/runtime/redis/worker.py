"""The worker processes of runs by way of a Redis server, forked here or joined from elsewhere."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from d4pcwl.errors import GraphError, OutputError, RunError
from d4pcwl.runtime.engine.instance import Halt
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.local.console import LineLock, LineWriter
from d4pcwl.runtime.local.processes import end, hear_signals, is_orphan, signals_held_back, start
from d4pcwl.runtime.local.reports import explained
from d4pcwl.runtime.pool.exchange import Parcel
from d4pcwl.runtime.pool.worker import DynamicWorker
from d4pcwl.runtime.redis.client import Address, Client, ServerError, ServerLost
from d4pcwl.runtime.redis.exchange import RedisExchange
from d4pcwl.runtime.transport.arena import Memory
from d4pcwl.runtime.transport.channel import PROMPT_SECONDS
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.inputs import RootInputs

ALIVE_SECONDS = 6.0
"""A worker from elsewhere that is silent for so long is held to be dead."""


@dataclass(frozen=True)
class Post:
    """What a worker process is to do.

    :param name: of the worker, unique in the run
    :param process: the number of its pinned process; None for a worker of the pool only
    :param memory: shared with the coordinator, which has forked it; None for one from elsewhere,
        which has to send a heartbeat
    :param arena: the number of the part of it that is its own
    :param orphaned: called when the parent process has gone
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
    orphaned: Callable[[], None] = lambda: None

    @property
    def remote(self) -> bool:
        """Whether it was not started by the coordinator."""
        return self.memory is None


def work(post: Post) -> None:
    """A worker process, from its fork to its end."""
    hear_signals()
    code = 1
    try:
        code = _work(post)
    except BaseException:  # noqa: BLE001 - nothing may escape into the parent's code
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        _leave(post, code)


def _leave(post: Post, code: int) -> NoReturn:
    """End the process, and where its parent has gone what that leaves behind.

    The parent's own server ends with it, so a server that is lost may be the first sign of that.
    """
    looks = 5 if code else 1
    while not is_orphan() and (looks := looks - 1):
        time.sleep(0.01)
    if is_orphan():
        post.orphaned()
    os._exit(code)


def _work(post: Post) -> int:
    out = LineWriter(1, post.lock)
    sys.stdout = out
    try:
        if post.memory is not None:
            post.memory.enter(post.arena)
        exchange = RedisExchange(
            post.address, post.run, post.plan, post.name, post.process, post.memory
        )
    except ServerLost:
        return 1  # the coordinator finds that out, too
    worker = None
    try:
        if post.remote:
            _give_sign(exchange)
        worker = DynamicWorker(
            post.graph, post.plan, post.process, post.inputs, exchange, out.flush
        )
        _watch_time(post, worker, exchange, out)
        worker.run()
        out.finish()
        exchange.report("done", worker.counts)
        if post.remote:
            exchange.scripts.call(exchange.client, "alive", post.name, 0, "leave")
    except ServerLost:
        return 1
    except BaseException as error:  # noqa: BLE001 - the coordinator is told, whatever it is
        with contextlib.suppress(OutputError):
            out.finish()
        return _report_failure(exchange, worker, error)
    return 0


def _report_failure(
    exchange: RedisExchange, worker: DynamicWorker | None, error: BaseException
) -> int:
    try:
        if worker is not None:
            with contextlib.suppress(BaseException):
                exchange.stream(Parcel(results=worker.results_so_far()))
        if isinstance(error, ServerError):
            error = RunError(f"the Redis server refuses a command: {error}")
        exchange.report("failed", explained(error))
    except ServerLost:
        return 1
    return 0


def _watch_time(
    post: Post, worker: DynamicWorker, exchange: RedisExchange, out: LineWriter
) -> None:
    """Send on what a slow PE has written while it is at work; send a heartbeat; end when the
    parent is gone."""

    def tick() -> None:
        signed = time.monotonic()
        while True:
            time.sleep(PROMPT_SECONDS)
            if is_orphan():
                _leave(post, 1)
            try:
                if post.remote and time.monotonic() - signed > ALIVE_SECONDS / 4:
                    _give_sign(exchange)
                    signed = time.monotonic()
                if post.process is not None:
                    if not exchange.may_stream():
                        exchange.look()
                    worker.flush()
            except Halt as halt:
                code = _report_failure(exchange, worker, halt)
                with contextlib.suppress(OutputError):
                    out.finish()
                _leave(post, code)
            except ServerLost:
                _leave(post, 1)
            except BaseException:  # noqa: BLE001 - Stopped, or what the main thread meets as well
                return

    threading.Thread(target=tick, name="d4pcwl-flusher", daemon=True).start()


def _give_sign(exchange: RedisExchange) -> None:
    milliseconds = int(1000 * ALIVE_SECONDS)
    with exchange.sending:
        exchange.scripts.call(exchange.client, "alive", exchange.name, milliseconds, "")


# --- joining from elsewhere -----------------------------------------------------------------------


def describe_run(client: Client, run: str) -> dict[str, Any]:
    """What a worker that joins has to know: ``script``, ``attr``, ``digest``, ``plan``.

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
    """Take part in a run with so many worker processes until it is over.

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
    """Let the coordinator see at once that a worker is no more."""
    with contextlib.suppress(ServerLost, ServerError):
        client = Client(address)
        client.call("DEL", f"d4p:{run}:alive:{name}")
        client.close()
