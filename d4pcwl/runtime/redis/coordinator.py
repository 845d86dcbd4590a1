"""Runs through a Redis server, the parent process.

Items do not go through the parent: workers send them to each other through the server
(``runtime/redis/exchange.py``). The server counts the items, so it knows when everything is done.
The parent prepares the keys, starts workers, takes the results, watches workers and keys, and
cleans up.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import secrets
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

from d4pcwl.errors import D4pcwlError, WorkerDied
from d4pcwl.runtime.engine.marks import SortedResults
from d4pcwl.runtime.engine.plan import Plan, usable_cores
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.local.console import LineLock
from d4pcwl.runtime.options import ServerOptions
from d4pcwl.runtime.pool.scale import Scale
from d4pcwl.runtime.redis.client import Address, Client, ServerLost
from d4pcwl.runtime.redis.keys import RunKeys
from d4pcwl.runtime.redis.server import OwnServer, named_server
from d4pcwl.runtime.redis.worker import Post
from d4pcwl.runtime.redis.workers import Workers
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.arena import Memory
from d4pcwl.runtime.transport.outbox import deliver, places, with_buffers

_LOOK_SECONDS = 0.1
_GRACE_SECONDS = 1.0
_RESULTS = 16
"""The number of batches of results that are fetched at a time."""


def run_by_redis(
    job: Job, options: ServerOptions, *, pooled: bool, scale: Callable[[int], Scale]
) -> None:
    """Run a job through a Redis server.

    :param options: which server
    :param pooled: any free worker runs PEs that keep no state
    :param scale: from the number of processes asked for to how many run at a time
    :raises RunError: a PE failed, a worker died that held the state of PEs, or the server is lost
    :raises UsageError: no server is named, and none can be started
    """
    processes = job.processes or usable_cores()
    named = named_server(options)
    own = OwnServer() if named is None else None
    try:
        plan = job.plan(pooled=pooled)
        job.say(str(plan))
        address = named if named is not None else own.wait() if own else Address()
        Coordinator(job, plan, scale(processes), address, own).run()
    finally:
        if own is not None:
            own.stop()


class Coordinator:
    """See the module.

    :param own: the server, if this run started it
    """

    def __init__(
        self, job: Job, plan: Plan, scale: Scale, address: Address, own: OwnServer | None = None
    ) -> None:
        self.job, self.plan, self.address, self.own = job, plan, address, own
        self.results = SortedResults(plan, [job.sink.take(*port) for port in plan.results])
        self.run_id = secrets.token_hex(6)
        self.keys = RunKeys(address, self.run_id, plan)
        self.scripts, self.key = self.keys.scripts, self.keys.prefix
        self.client = Client(address)
        self.workers = Workers(job, plan, scale, self.client, self.keys, self._post)
        self.sink = len(plan.instances)
        self.failure: D4pcwlError | None = None
        self.over = False
        self.counts: dict[int, int] = {}
        self.lock = LineLock()
        self.memory = Memory(max(scale.most, len(plan.processes)))
        self._seen = {"events": "0-0", self._sink_lane: "0-0"}
        self._next_look = 0.0

    @property
    def _is_over(self) -> bool:
        return self.over or self.failure is not None

    @property
    def _sink_lane(self) -> str:
        return f"lane:{self.sink}"

    def run(self) -> None:
        """Run until all instances have ended, or something has failed.

        :raises RunError: see :func:`run_by_redis`
        """
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            self.keys.prepare(self.client, self.job)
            self.job.say(f"run {self.run_id} on {self.address}")
            self.workers.start_all()
            self.keys.keep()
            while not self._is_over:
                self._take(_LOOK_SECONDS)
                self._look_around()
                self.job.check()
            self._dismiss_all()
        finally:
            self.keys.let_go()
            names = {*self.workers.local, *self.workers.remote}
            self.workers.end()
            self.client.close()
            if self.own is None:  # otherwise it is stopped, with everything in it
                self.keys.clear_up(names)
            self.lock.close()
            self.results.give_up()
        if self.failure is not None:
            raise self.failure
        self.job.tell_counts(self.plan, self.counts)

    def _post(self, name: str, pinned: int | None, arena: int) -> Post:
        """The work of a worker."""
        job = self.job
        return Post(
            self.address,
            self.run_id,
            job.graph,
            self.plan,
            job.inputs,
            name,
            pinned,
            self.lock,
            self.memory,
            arena,
        )

    def _look_around(self) -> None:
        """Check which workers have died or are idle, and whether there is too much work for
        them."""
        try:
            for worker in list(self.workers.local.values()):
                if worker.ended and not self._is_over:
                    self._take(0)  # what it had to say
                    if not self._is_over:
                        self.workers.note_death(worker)
            if self._is_over:
                return
            self.workers.fit()
            now = time.monotonic()
            if now >= self._next_look:
                self._next_look = now + _GRACE_SECONDS
                self.workers.look_for_remote()
                self._look_for_keys()
        except WorkerDied as error:
            self.failure = error

    def _look_for_keys(self) -> None:
        if not self.client.call("EXISTS", self.key + "state"):
            self.failure = ServerLost(
                f"the keys of the run have disappeared from the Redis server at {self.address}"
            )

    def _dismiss_all(self) -> None:
        """Let workers end, and take the numbers of items that they counted."""
        if self.failure is None:
            while at_work := [worker for worker in self.workers.local.values() if not worker.ended]:
                wait([worker.process.sentinel for worker in at_work], _LOOK_SECONDS)
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
                self.scripts.call(self.client, "stop")  # if they do not know it
                self.workers.end()
                # Results that were on their way when the run failed are kept.
                while self._take(0):
                    pass

    # --- messages -------------------------------------------------------------------------------

    def _take(self, seconds: float) -> int:
        """Take the results and reports, and wait for them for some time.

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
        for name in reversed(names):  # results come before the message that there are no more
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
            if fields[0] == b"l":
                self.results.note([(i, o, n) for i, o, n in json.loads(fields[3])])
                taken += [self.sink, id_, -1]
                continue
            _, _, _, _, _, size, form, data, *_ = fields
            if form.startswith(b"k"):
                key = self.key + "blobs"
                data, _ = self.client.calls([("HGET", key, data), ("HDEL", key, data)])
            taken += [self.sink, id_, size]
            deliver(self.results.takers, frames.loads(data), self.memory.take)
        self.scripts.call(self.client, "taken", *taken)

    def _handle(self, kind: str, data: bytes) -> None:
        if kind == "over":
            self.over = True
            return
        name, content = pickle.loads(data)
        if kind == "lap":
            self.job.hear(content)
            return
        if kind == "failed" and self.failure is None:
            self.failure = content
        elif kind == "done":
            for index, number in content.items():
                self.counts[index] = self.counts.get(index, 0) + number
        elif kind == "want":  # a worker from elsewhere has a task with buffers in shared memory
            blob, run = content
            inlined = frames.dumps(with_buffers(frames.loads(run), self.memory.copy))
            self.client.call("HSET", self.key + "blobs", blob, inlined)
        elif kind == "free":
            self.memory.free(places(frames.loads(content).entries))
        if name in self.workers.local:
            self.workers.local[name].reported = True
