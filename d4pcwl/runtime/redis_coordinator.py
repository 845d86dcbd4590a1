"""Runs by way of a Redis server, the parent's side.

Items pass the parent by: workers hand them on among themselves (``runtime/redis_exchange.py``), and
the server counts what is under way, so that it knows when everything is done. The parent prepares
the keys, starts workers, takes the results, watches over workers and keys, and clears up.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import pickle
import secrets
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from d4pcwl.errors import D4pcwlError, WorkerDied
from d4pcwl.runtime import wire
from d4pcwl.runtime.broker import ATTEMPTS, IDLE_SECONDS, Scale
from d4pcwl.runtime.console import LineLock
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.plan import Plan, usable_cores
from d4pcwl.runtime.redis_client import Address, Client, ServerError, ServerLost
from d4pcwl.runtime.redis_exchange import scripts
from d4pcwl.runtime.redis_scripts import GROUP, TTL_SECONDS
from d4pcwl.runtime.redis_server import OwnServer, named_server
from d4pcwl.runtime.redis_worker import Post, work

_LOOK_SECONDS = 0.1
_GRACE_SECONDS = 1.0
_RESULTS = 16
"""Batches of results that are fetched in one go."""


def run_by_redis(job: Job, *, pooled: bool, scale: Callable[[int], Scale]) -> None:
    """Run a job by way of a Redis server.

    :param pooled: PEs that keep no state are run wherever there is time
    :param scale: from the number of processes asked for to how many run at a time
    :raises RunError: a PE failed, a worker died that held the state of PEs, or the server is lost
    :raises UsageError: no server is named, and none can be started
    """
    processes = job.processes or usable_cores()
    named = named_server(job.options)
    own = OwnServer() if named is None else None
    try:
        plan = job.plan(pooled=pooled)
        job.say(str(plan))
        address = named if named is not None else own.wait() if own else Address()
        Coordinator(job, plan, scale(processes), address, own).run()
    finally:
        if own is not None:
            own.stop()


@dataclass
class _Seat:
    """A worker process of this machine."""

    name: str
    pinned: int | None
    process: BaseProcess
    reported: bool = False
    leaving: bool = False
    idle_since: float | None = None

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return not self.process.is_alive()


class Coordinator:
    """See the module.

    :param own: the server, if it is our own
    """

    def __init__(
        self, job: Job, plan: Plan, scale: Scale, address: Address, own: OwnServer | None = None
    ) -> None:
        self.job, self.plan, self.scale, self.address, self.own = job, plan, scale, address, own
        self.takers = [job.sink.take(pe, output) for pe, output in plan.results]
        self.run_id = secrets.token_hex(6)
        self.scripts = scripts(self.run_id)
        self.key = self.scripts.prefix
        self.client = Client(address)
        self.pool = plan.processes[plan.pool] if plan.pool is not None else ()
        self.sink = len(plan.instances)
        self.seats: dict[str, _Seat] = {}
        self.remote: set[str] = set()
        self.numbers = count()
        self.failure: D4pcwlError | None = None
        self.over = False
        self.counts: dict[int, int] = {}
        self.context = multiprocessing.get_context("fork")
        self.lock = LineLock()
        self._seen = {"events": "0-0", self._sink_lane: "0-0"}
        self._next_look = 0.0

    @property
    def _sink_lane(self) -> str:
        return f"lane:{self.sink}"

    def run(self) -> None:
        """Run until all instances have ended, or something has failed.

        :raises RunError: see :func:`run_by_redis`
        """
        sys.stdout.flush()
        sys.stderr.flush()
        pinned = [n for n in range(len(self.plan.processes)) if n != self.plan.pool]
        ended = threading.Event()
        keeper = threading.Thread(target=self._keep_keys, args=(ended,), name="d4pcwl-keeper")
        try:
            self._prepare()
            self.job.say(f"run {self.run_id} on {self.address}")
            for number in pinned:
                self._hire(number)
            if self.pool:
                for _ in range(max(0, self.scale.least - len(pinned))):
                    self._hire(None)
            keeper.start()
            while self.failure is None and not self.over:
                self._take(_LOOK_SECONDS)
                self._look_around()
                self.job.check()
            self._dismiss_all()
        finally:
            ended.set()
            self._stop()
            if keeper.ident is not None:
                keeper.join()
            self._clear_up()
            self.lock.close()
        if self.failure is not None:
            raise self.failure
        for index, number in sorted(self.counts.items()):
            self.job.say(f"{self.plan.instances[index].pe}: processed {number} items")

    # --- keys -----------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Write what the scripts and workers from elsewhere have to know."""
        plan, key = self.plan, self.key
        lanes = range(len(plan.instances) + 1)
        pool = frozenset(self.pool)
        place, writers, left = {}, {}, {}
        after: dict[int, list[str]] = {}
        for instance in plan.instances:
            lane = instance.index
            place[lane] = "pool" if lane in pool else str(instance.process)
            writers[lane] = self._units(plan.upstream[lane])
            if lane in pool:
                left[lane] = len(plan.upstream[lane])
            for sender in plan.upstream[lane]:
                if lane in pool or plan.instances[sender].process != instance.process:
                    after.setdefault(sender, []).append(str(lane))
        place[self.sink] = "sink"
        ports = {pe for pe, _ in plan.results}
        writers[self.sink] = self._units(i.index for i in plan.instances if i.pe in ports)
        meta = {**self._script(), "digest": self.job.graph.digest(), "instances": self.sink}
        hashes: dict[str, dict[Any, Any]] = {
            "meta": {**meta, "plan": pickle.dumps(plan)},
            "place": place,
            "writers": writers,
            "after": {sender: " ".join(targets) for sender, targets in after.items()},
            "left": left,
            **{name: {"-": 0} for name in ("bytes", "fresh", "blocked", "pace", "sizes", "blobs")},
        }
        commands: list[tuple[Any, ...]] = []
        for name, fields in hashes.items():
            flat = [part for pair in fields.items() for part in pair]
            if flat:
                commands.append(("HSET", key + name, *flat))
        commands += [
            ("XGROUP", "CREATE", f"{key}lane:{lane}", GROUP, "0", "MKSTREAM") for lane in lanes
        ]
        commands.append(("XGROUP", "CREATE", key + "events", GROUP, "0", "MKSTREAM"))
        commands += [("EXPIRE", key + name, TTL_SECONDS) for name in self._names()]
        # The state comes last: without it no worker begins.
        commands.append(("SET", key + "state", "run", "EX", TTL_SECONDS))
        try:
            self.scripts.load(self.client)
            self.client.calls(commands)
        except ServerError as error:
            raise ServerLost(f"the Redis server at {self.address} refuses us: {error}") from None

    def _units(self, instances: Any) -> str:
        """The units (see ``runtime/redis_scripts.py``) of the instances."""
        units = {
            str(i) if i in self.pool else f"p{self.plan.instances[i].process}" for i in instances
        }
        return " ".join(sorted(units))

    def _script(self) -> dict[str, str]:
        options = self.job.options
        script = getattr(options, "script", None)
        if not script or getattr(options, "stage", None):
            return {"script": "", "attr": ""}
        name, colon, attr = script.partition(":")
        if Path(script).exists():
            name, colon, attr = script, "", ""
        if Path(name).exists():
            script = str(Path(name).resolve()) + colon + attr
        return {"script": script, "attr": getattr(options, "attr", None) or ""}

    def _names(self) -> list[str]:
        """The keys of the run, without the prefix; not those of single workers."""
        lanes = range(len(self.plan.instances) + 1)
        plain = (
            "state meta place writers after bytes left fresh waiting full blocked pace sizes "
            "blobs workers remote idle leaving ended events"
        )
        return [
            *plain.split(),
            *(f"lane:{lane}" for lane in lanes),
            *(f"again:{lane}" for lane in self.pool),
            *(f"news:{process}" for process in range(len(self.plan.processes))),
        ]

    def _keep_keys(self, ended: threading.Event) -> None:
        """Put off the keys' end, as long as there is somebody who does so."""
        with contextlib.suppress(ServerLost, ServerError):
            client = Client(self.address)
            try:
                while not ended.wait(TTL_SECONDS / 4):
                    workers = client.call("SMEMBERS", self.key + "workers")
                    names = [*self._names(), *(f"bell:{name.decode()}" for name in workers)]
                    client.calls([("EXPIRE", self.key + name, TTL_SECONDS) for name in names])
            finally:
                client.close()

    def _clear_up(self) -> None:
        """Take all keys away."""
        with contextlib.suppress(ServerLost, ServerError):
            self.client.close()
            if self.own is not None:
                return  # it is stopped, and everything with it
            # What interrupted us may have left the other connection within an answer.
            client = Client(self.address)
            try:
                names = self._names()
                workers = {*client.call("SMEMBERS", self.key + "workers")}
                known = {name.decode() for name in workers} | set(self.seats) | self.remote
                for name in known:
                    names += [f"bell:{name}", f"alive:{name}"]
                client.call("DEL", *(self.key + name for name in names))
            finally:
                client.close()

    # --- workers --------------------------------------------------------------------------------

    def _hire(self, pinned: int | None) -> None:
        """Start a worker."""
        name = f"p{pinned}" if pinned is not None else f"w{next(self.numbers)}"
        key = self.key + "workers"
        self.client.calls([("SADD", key, name), ("EXPIRE", key, TTL_SECONDS)])
        orphaned = self.own.orphaned if self.own is not None else _nothing
        post = Post(
            self.address,
            self.run_id,
            self.job.graph,
            self.plan,
            self.job.inputs,
            name,
            pinned,
            self.lock,
            orphaned=orphaned,
        )
        process = self.context.Process(target=work, args=(post,))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        self.seats[name] = _Seat(name, pinned, process)

    def _look_around(self) -> None:
        """See who has died, who is idle, and whether there is more work than workers."""
        for seat in list(self.seats.values()):
            if self.failure is None and not self.over and not seat.process.is_alive():
                self._take(0)  # what it had to say
                if self.failure is None and not self.over:
                    self._lose(seat)
        if self.over or self.failure is not None:
            return
        if self.scale.least < self.scale.most:
            self._fit_scale()
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _GRACE_SECONDS
            self._look_for_remote()
            if not self.client.call("EXISTS", self.key + "state"):
                self.failure = ServerLost(
                    f"the keys of the run have gone from the Redis server at {self.address}"
                )

    def _look_for_remote(self) -> None:
        """See which workers from elsewhere have come, and which give no sign of life any more."""
        found = {name.decode() for name in self.client.call("SMEMBERS", self.key + "remote")}
        for name in sorted(found - self.remote):
            self.job.say(f"worker {name} has joined")
        for name in sorted(self.remote - found):
            self.job.say(f"worker {name} has left")
        self.remote = found
        for name in sorted(found):
            if not self.client.call("EXISTS", f"{self.key}alive:{name}"):
                self._bury(name, f"worker {name} gives no sign of life")
                self.remote.discard(name)

    def _lose(self, seat: _Seat) -> None:
        """A worker's process has ended, as it should or not."""
        seat.process.join()
        code = seat.process.exitcode
        seat.process.close()
        del self.seats[seat.name]
        if seat.leaving and seat.reported:
            return
        if seat.pinned is not None:
            ended = {int(i) for i in self.client.call("SMEMBERS", self.key + "ended")}
            held = [i for i in self.plan.processes[seat.pinned] if i not in ended]
            if held:
                names = ", ".join(sorted({self.plan.instances[i].pe for i in held}))
                self.failure = WorkerDied(
                    f"the worker process that held the state of {names} {_cause(code)}; it cannot "
                    "be made up for"
                )
                return
        if self._bury(seat.name, f"a worker {_cause(code)}") and self.pool:
            self._hire(None)

    def _bury(self, name: str, how: str) -> bool:
        """Give a dead worker's tasks to others; False where they are what killed it."""
        answer = self.scripts.call(self.client, "bury", name, ATTEMPTS, *self.pool)
        if answer[0] == b"worn":
            pe = self.plan.instances[int(answer[1])].pe
            self.failure = WorkerDied(
                f"PE {pe}: {ATTEMPTS} worker processes died over the same items; the last one: "
                f"{how}"
            )
            return False
        if answer[0] == b"on":
            self.job.say(f"{how}; its {answer[1]} tasks go to others")
        return True

    def _fit_scale(self) -> None:
        """Start a worker where more is waiting than those at work can take up soon; let one go that
        has had nothing to do for a while."""
        lanes, idle = self.client.calls(
            [("HVALS", self.key + "fresh"), ("ZRANGE", self.key + "idle", 0, -1)]
        )
        waiting = sum(map(int, lanes))
        working = [seat for seat in self.seats.values() if not seat.leaving]
        may_grow = bool(self.pool) and len(working) < self.scale.most
        if may_grow and waiting >= self.scale.threshold * len(working):
            self.job.say(f"scale up to {len(working) + 1} workers: {waiting} batches wait")
            self._hire(None)
            return
        now = time.monotonic()
        names = {name.decode() for name in idle}
        for seat in working:
            if seat.name not in names or seat.pinned is not None:
                seat.idle_since = None
            elif seat.idle_since is None:
                seat.idle_since = now
            elif now - seat.idle_since > IDLE_SECONDS and len(working) > self.scale.least:
                self.job.say(
                    f"scale down to {len(working) - 1} workers: one was idle for "
                    f"{now - seat.idle_since:.1f} s"
                )
                seat.leaving = True
                key = self.key + "bell:" + seat.name
                self.client.calls(
                    [
                        ("SADD", self.key + "leaving", seat.name),
                        ("EXPIRE", self.key + "leaving", TTL_SECONDS),
                        ("XADD", key, "MAXLEN", 1, "*", "r", 1),
                        ("EXPIRE", key, TTL_SECONDS),
                    ]
                )
                return

    def _dismiss_all(self) -> None:
        """Let workers come to their end, and hear what they counted."""
        if self.failure is None:
            while sentinels := [s.process.sentinel for s in self.seats.values() if not s.ended]:
                multiprocessing.connection.wait(sentinels, _LOOK_SECONDS)
                self._take(0)
                self.job.check()
            deadline = time.monotonic() + _GRACE_SECONDS
            while time.monotonic() < deadline:
                self._take(0)
                if not self.client.call("SCARD", self.key + "remote"):
                    break
                time.sleep(_LOOK_SECONDS / 20)
        if not isinstance(self.failure, ServerLost):
            with contextlib.suppress(ServerLost):
                self._end_workers()
                # What was under way when the run failed is kept.
                while self._take(0):
                    pass

    def _end_workers(self) -> None:
        """Tell all that the run is over, if they do not know it."""
        self.scripts.call(self.client, "stop")
        self._stop()

    def _stop(self) -> None:
        """End all processes."""
        for seat in self.seats.values():
            if seat.process.is_alive():
                seat.process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        for seat in self.seats.values():
            seat.process.join(max(0.1, deadline - time.monotonic()))
            if seat.process.is_alive():
                seat.process.kill()
                seat.process.join()
            seat.process.close()
        self.seats.clear()

    # --- messages -------------------------------------------------------------------------------

    def _take(self, seconds: float) -> int:
        """Take the results and reports that are there, waiting for them so long.

        :returns: how many there were
        """
        block = ("BLOCK", max(1, int(seconds * 1000))) if seconds else ()
        names = list(self._seen)
        keys = [self.key + name for name in names]
        last = [self._seen[name] for name in names]
        streams = ("STREAMS", *keys, *last)
        answer = self.client.call("XREAD", "COUNT", _RESULTS, *block, *streams)
        found = {key.decode(): entries for key, entries in answer or []}
        number = 0
        for name in reversed(names):  # results go before the news that they are all
            entries = found.get(self.key + name, [])
            number += len(entries)
            if entries:
                self._seen[name] = entries[-1][0].decode()
            if entries and name == self._sink_lane:
                self._take_results(entries)
            elif name == "events":
                for _, fields in entries:
                    self._handle(fields[1].decode(), fields[3])
        return number

    def _take_results(self, entries: list[Any]) -> None:
        taken: list[Any] = []
        for id_, fields in entries:
            _, slot, _, _, _, size, form, data = fields
            if form == b"k":
                key = self.key + "blobs"
                data, _ = self.client.calls([("HGET", key, data), ("HDEL", key, data)])
            taken += [self.sink, id_, size]
            take = self.takers[int(slot)]
            for item in wire.loads(data):
                take(item)
        self.scripts.call(self.client, "taken", *taken)

    def _handle(self, kind: str, data: bytes) -> None:
        if kind == "over":
            self.over = True
            return
        name, content = pickle.loads(data)
        if kind == "failed" and self.failure is None:
            self.failure = content
        elif kind == "done":
            for index, number in content.items():
                self.counts[index] = self.counts.get(index, 0) + number
        if name in self.seats:
            self.seats[name].reported = True


def _nothing() -> None:
    """An orphan has nothing to do where the server is not our own."""


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    return f"exited with code {code}"
