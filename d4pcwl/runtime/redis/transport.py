"""Runs through a Redis server, the parent: :class:`RedisTransport`.

The parent is called the coordinator here, because workers may run on other hosts. Those join by
themselves, and send a heartbeat. A worker that sends none is considered dead, and its tasks go to
others. It may still be alive, and report these tasks later. So a message counts only if the
coordinator knows its sender by this number, and a commit counts only if the sender has the task
now.
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
from d4pcwl.runtime.redis.client import Client, ServerError, ServerLost
from d4pcwl.runtime.redis.keys import Command, KeptKeys, add, beat
from d4pcwl.runtime.redis.line import RedisLine, Stored, found, plain, read
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.compression import NEVER
from d4pcwl.runtime.transport.outbox import places, with_buffers

_LOOK_SECONDS = 0.1
"""How often it checks whether worker processes have died."""

_LOOK_FAR_SECONDS = 1.0
"""How often it checks the heartbeats, and its own keys."""


@dataclass
class _TaskBuffers:
    """What a task needs besides its message, until it is done.

    :param stored: the name of its batch on the server, if it is there
    :param copy: the same of a copy, made for a worker that does not share the memory
    :param shared: places and sizes of its buffers in this memory, if such a worker has the task
    """

    stored: str = ""
    copy: str = ""
    shared: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class _Worker:
    """What the coordinator knows about a worker.

    :param name: part of the name of its stream
    :param is_guest: it has joined by itself
    :param outgoing: messages that are sent next
    :param tasks: the tasks that it has, by number
    """

    number: int
    name: str
    is_guest: bool
    outgoing: list[tuple[str, Any]] = field(default_factory=list)
    tasks: dict[int, _TaskBuffers] = field(default_factory=dict)


class RedisTransport:
    """See the module; a :class:`~d4pcwl.runtime.pool.parent.Transport`.

    :param owned: the server ends with the run
    :param compress: see :func:`~d4pcwl.runtime.transport.compression.compressor`
    """

    def __init__(
        self, processes: WorkerProcesses, client: Client, *, owned: bool, compress: str = NEVER
    ) -> None:
        self.processes, self.client, self.owned = processes, client, owned
        self.compress = compress
        self.address = client.address
        self.run_id = secrets.token_hex(6)
        self.keys = KeptKeys(self.address, self.run_id)
        self.workers: dict[int, _Worker] = {}
        self._last = b"0-0"
        self._commands: list[Command] = []  # sent next
        self._next_look = self._next_far_look = 0.0
        self._missed: set[int] = set()
        self._reading = 0
        self._numbers = count()

    def prepare(self) -> None:
        """Make the keys.

        :raises ServerError: the server refuses them
        """
        job = self.processes.job
        origin = job.origin or Origin("")
        meta = {
            "script": origin.script,
            "attr": origin.attr,
            "parameters": json.dumps(origin.parameters),
            "digest": job.graph.digest(),
            "plan": pickle.dumps(self.processes.plan),
            "compress": self.compress,
        }
        self.keys.prepare(self.client, meta)
        job.say(f"run {self.run_id} on {self.address}")

    # --- workers --------------------------------------------------------------------------------

    def start(self, number: int, pinned: int | None) -> None:
        name = str(number)
        self._let_in(number, name)
        looks = pinned is not None
        plan = self.processes.plan
        line = partial(RedisLine, self.address, self.run_id, plan, name, number)
        self.processes.fork(number, pinned, partial(line, looks=looks, compress=self.compress))
        if self._reading:
            self.workers[number].outgoing.append(("reading", self._reading))

    def _let_in(self, number: int, name: str, *more: Command, is_guest: bool = False) -> None:
        self.workers[number] = _Worker(number, name, is_guest)
        self.keys.let_in(self.client, name, *more)

    def _join(self, name: str, broker: Broker) -> None:
        """Let a worker join that asks for it."""
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
        """Check which workers have died, and whether the keys still exist."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        for number in set(self.processes.dead()) - self._missed:
            # Through the stream, so that earlier messages of this worker are taken first.
            self._missed.add(number)
            self.client.call(*add(self.keys.up, frames.dumps((number, "closed", None))))
        if now < self._next_far_look:
            return
        self._next_far_look = now + _LOOK_FAR_SECONDS
        guests = [worker for worker in self.workers.values() if worker.is_guest]
        beats_of = [("GET", self.keys.alive(worker.name)) for worker in guests]
        is_there, *beats = self.client.calls([("EXISTS", self.keys.meta), *beats_of])
        if not is_there:
            raise ServerLost(
                f"the keys of the run have disappeared from the Redis server at {self.address}"
            )
        for worker, reading in zip(guests, beats, strict=True):
            if reading is None:
                self._forget(worker.number)
                broker.scheduler.lost(worker.number, "sent no heartbeat")
        self._tell_reading(max((int(reading) for reading in beats if reading), default=0))

    def _tell_reading(self, reading: int) -> None:
        """Tell the workers how long those of other hosts take to fetch a byte that they write."""
        if abs(reading - self._reading) > 0.2 * max(reading, self._reading):
            self._reading = reading
            for worker in self.workers.values():
                worker.outgoing.append(("reading", reading))

    def close(self) -> None:
        self.keys.let_go()
        with contextlib.suppress(ServerLost, ServerError):
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
            worker.tasks[task] = lent = _TaskBuffers(data.name if isinstance(data, Stored) else "")
            if data.shared and worker.is_guest:
                data = self._without_shared(data, lent)
            content = (task, *rest, data)
        worker.outgoing.append((kind, content))

    def _without_shared(self, data: Packed, lent: _TaskBuffers) -> Packed:
        """A task's items, for a worker that does not share the memory with their buffers."""
        run = frames.loads(self._here(data).data)
        copy = frames.dumps(with_buffers(run, self.processes.memory.copy))
        lent.shared, lent.copy = list(places(run.entries)), f"copy-{next(self._numbers)}"
        self.client.calls(self.keys.store(lent.copy, copy))
        return Stored(lent.copy, len(copy), 0)

    def _here(self, batch: Packed) -> Packed:
        """A batch as its writer packed it, wherever it is."""
        if not isinstance(batch, Stored):
            return plain(batch)
        data: bytes | None = self.client.call("HGET", self.keys.blobs, batch.name)
        if data is None:
            raise ServerLost(f"items have disappeared from the Redis server at {self.address}")
        return plain(Packed(data, batch.shared))

    def portable(self, data: Packed) -> Packed:
        return self.processes.portable(self._here(data))

    def _drop(self, *names: str) -> None:
        """Remove batches from the server."""
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
        """Whether a message counts; see the module."""
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
        """Results, with their items if they were on the server."""
        if isinstance(lot.data, Stored):
            self._drop(lot.data.name)
        return lot._replace(data=self._here(lot.data))
