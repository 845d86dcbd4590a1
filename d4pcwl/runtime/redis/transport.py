"""Runs by way of a Redis server, the parent's side: :class:`RedisTransport`.

Here the parent is called the coordinator, as workers may be on other hosts: those come by
themselves, and have to send a heartbeat. One that is silent is held to be dead, and its tasks go to
others. It may live all the same, and say what nobody waits for any more: a message counts only
where it comes from a worker that is known by that number, and a commit only where that one has the
task.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import secrets
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from d4pcwl.runtime.job import Origin
from d4pcwl.runtime.pool.exchange import Lot, Packed, Parcel
from d4pcwl.runtime.pool.parent import Broker, WorkerProcesses
from d4pcwl.runtime.redis.client import Client, ServerLost
from d4pcwl.runtime.redis.keys import Command, KeptKeys, add, beat
from d4pcwl.runtime.redis.line import RedisLine, Stored, found, read
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.outbox import places, with_buffers

_LOOK_SECONDS = 0.1
"""How often it looks for worker processes that have died."""

_LOOK_FAR_SECONDS = 1.0
"""How often it looks for heartbeats, and for its own keys."""


@dataclass
class _Lent:
    """What the items of a task take up outside of its message.

    :param stored: the batch on the server
    :param copy: one that was made for a worker that does not share the memory
    :param shared: places and sizes of buffers in that memory
    """

    stored: str = ""
    copy: str = ""
    shared: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class _Worker:
    """A worker.

    :param name: of its stream
    :param is_guest: it has come by itself
    :param outgoing: messages that wait to be sent
    :param tasks: in its hands, by number
    """

    number: int
    name: str
    is_guest: bool
    outgoing: list[tuple[str, Any]] = field(default_factory=list)
    tasks: dict[int, _Lent] = field(default_factory=dict)


class RedisTransport:
    """See the module; a :class:`~d4pcwl.runtime.pool.parent.Transport`.

    :param owned: the server ends with the run, and everything on it
    """

    def __init__(self, processes: WorkerProcesses, client: Client, *, owned: bool) -> None:
        self.processes, self.client, self.owned = processes, client, owned
        self.address = client.address
        self.run_id = secrets.token_hex(6)
        self.keys = KeptKeys(self.address, self.run_id)
        self.workers: dict[int, _Worker] = {}
        self._last = b"0-0"
        self._commands: list[Command] = []  # that wait to be sent
        self._next_look = self._next_far_look = 0.0
        self._missed: set[int] = set()
        self._numbers = count()

    def prepare(self) -> None:
        """Make the keys.

        :raises ServerError: the server takes none of it
        """
        job = self.processes.job
        origin = job.origin or Origin("")
        meta = {
            "script": origin.script,
            "attr": origin.attr,
            "parameters": json.dumps(origin.parameters),
            "digest": job.graph.digest(),
            "plan": pickle.dumps(self.processes.plan),
        }
        self.keys.prepare(self.client, meta)
        job.say(f"run {self.run_id} on {self.address}")

    # --- workers --------------------------------------------------------------------------------

    def start(self, number: int, pinned: int | None) -> None:
        name = str(number)
        self._let_in(number, name)
        looks = pinned is not None
        plan = self.processes.plan
        line = partial(RedisLine, self.address, self.run_id, plan, name, number, looks=looks)
        self.processes.fork(number, pinned, line)

    def _let_in(self, number: int, name: str, *more: Command, is_guest: bool = False) -> None:
        self.workers[number] = _Worker(number, name, is_guest)
        self.keys.let_in(self.client, name, *more)

    def _join(self, name: str, broker: Broker) -> None:
        """A worker from elsewhere asks to be let in."""
        if any(worker.name == name for worker in self.workers.values()):
            return
        number = broker.scheduler.join()
        self._let_in(number, name, beat(self.keys.alive(name), "NX"), is_guest=True)
        self.send(number, "welcome", number)
        self.processes.job.say(f"worker {name} has joined")

    def _forget(self, number: int) -> None:
        worker = self.workers.pop(number)
        self._drop(*(lent.copy for lent in worker.tasks.values()))
        self._missed.discard(number)
        self.keys.let_out(self.client, worker.name)

    def _look_around(self, broker: Broker) -> None:
        """See who has died, and whether the run is still there."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        for number in set(self.processes.dead()) - self._missed:
            # What it had to say comes before this.
            self._missed.add(number)
            self.client.call(*add(self.keys.up, frames.dumps((number, "closed", None))))
        if now < self._next_far_look:
            return
        self._next_far_look = now + _LOOK_FAR_SECONDS
        guests = [worker for worker in self.workers.values() if worker.is_guest]
        keys = [self.keys.meta, *(self.keys.alive(worker.name) for worker in guests)]
        is_there, *beats = self.client.calls([("EXISTS", key) for key in keys])
        if not is_there:
            raise ServerLost(
                f"the keys of the run have gone from the Redis server at {self.address}"
            )
        for worker, beats_on in zip(guests, beats, strict=True):
            if not beats_on:
                self._forget(worker.number)
                broker.scheduler.lost(worker.number, "sent no heartbeat")

    def close(self) -> None:
        self.keys.let_go()
        with contextlib.suppress(ServerLost):
            guests = [worker for worker in self.workers.values() if worker.is_guest]
            stop = frames.dumps([("stop", None)])
            self.client.calls([add(self.keys.to(worker.name), stop) for worker in guests])
        self.processes.end()
        self.client.close()
        if not self.owned:
            self.keys.clear_up()

    # --- messages -------------------------------------------------------------------------------

    def send(self, number: int, kind: str, content: Any) -> None:
        worker = self.workers[number]
        if kind == "task":
            task, *rest, data = content
            worker.tasks[task] = lent = _Lent(data.name if isinstance(data, Stored) else "")
            if data.shared and worker.is_guest:
                data = self._without_shared(data, lent)
            content = (task, *rest, data)
        worker.outgoing.append((kind, content))

    def _without_shared(self, data: Packed, lent: _Lent) -> Packed:
        """Items for a worker that does not share the memory that they are in."""
        run = frames.loads(self._fetch(data) if isinstance(data, Stored) else data.data)
        copy = frames.dumps(with_buffers(run, self.processes.memory.copy))
        lent.shared, lent.copy = list(places(run.entries)), f"copy-{next(self._numbers)}"
        self.client.calls(self.keys.store(lent.copy, copy))
        return Stored(lent.copy, len(copy), 0)

    def _fetch(self, stored: Stored) -> bytes:
        data: bytes = self.client.call("HGET", self.keys.blobs, stored.name)
        return data

    def _drop(self, *names: str) -> None:
        """Stored batches are needed no longer."""
        if any(names):
            self._commands.append(("HDEL", self.keys.blobs, *names))

    def receive(self, broker: Broker, seconds: float) -> None:
        for worker in self.workers.values():
            if worker.outgoing:
                data = frames.dumps(worker.outgoing)
                self._commands.append(add(self.keys.to(worker.name), data))
                worker.outgoing = []
        commands, self._commands = self._commands, []
        commands += read(self.keys.up, self._last, min(seconds, _LOOK_SECONDS))
        for id_, data in found(self.client.calls(commands)):
            self._last = id_
            sender, kind, content = frames.loads(data)
            if kind == "join":
                self._join(content, broker)
            elif self._counts(sender, kind, content):
                self._hear(broker, self.workers[sender], kind, content)
            elif kind in ("commit", "stream"):
                parcel: Parcel = content[1]
                lots = (*parcel.batches, *parcel.results)
                self._drop(*(lot.data.name for lot in lots if isinstance(lot.data, Stored)))
        self._look_around(broker)

    def _counts(self, sender: int | None, kind: str, content: Any) -> bool:
        """Whether a message does not come too late."""
        worker = self.workers.get(-1 if sender is None else sender)
        return worker is not None and (kind != "commit" or content[0] in worker.tasks)

    def _hear(self, broker: Broker, worker: _Worker, kind: str, content: Any) -> None:
        if kind == "commit":
            lent = worker.tasks.pop(content[0])
            self._drop(lent.stored, lent.copy)
            self.processes.memory.free(lent.shared)
        if kind in ("commit", "stream"):
            results = content[1].results
            results[:] = map(self._brought, results)
        if kind != "closed":
            broker.hear(worker.number, kind, content)
        if kind in ("closed", "done"):
            self._forget(worker.number)
            how = "has left" if worker.is_guest else self.processes.note_end(worker.number)
            broker.scheduler.lost(worker.number, how)

    def _brought(self, lot: Lot) -> Lot:
        """Results as the coordinator takes them."""
        if not isinstance(lot.data, Stored):
            return lot
        self._drop(lot.data.name)
        return lot._replace(data=Packed(self._fetch(lot.data), lot.data.shared))
