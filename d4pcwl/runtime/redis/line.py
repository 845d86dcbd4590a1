"""Runs through a Redis server, the worker: :class:`RedisLine`.

The server has a stream of messages to each worker, and one to the coordinator
(``runtime/redis/keys.py``). An entry is a pickle: from a worker, its number and a message; to a
worker, a list of messages. Large batches are not part of the messages. They are stored on the
server, and the worker that needs them fetches them.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from d4pcwl.errors import PEError
from d4pcwl.runtime.engine.instance import Halt
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.pool.exchange import Lot, Packed, Parcel, Queue, packed
from d4pcwl.runtime.redis.client import Address, Client, ServerLost
from d4pcwl.runtime.redis.keys import PICO, Command, Keys, add, beat
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.channel import Disconnected
from d4pcwl.runtime.transport.compression import (
    NEVER,
    compressor,
    decompressed,
    is_compressed,
)
from d4pcwl.runtime.transport.outbox import Run

LARGE = 1 << 14
"""Batches of this size are stored on the server."""

MOST_BYTES = 256 << 20
"""Larger batches are split; a server takes values of up to 512 MiB."""

_MOST_ITEM_BYTES = 500 << 20

_LOOK_SECONDS = 0.002
"""How often a worker that has work checks for messages."""

_WAIT_SECONDS = 2.0
"""How long a worker waits for a message before it checks whether the run still exists."""


class Stored(Packed):
    """A batch that is on the server.

    :param name: its name there
    :param size: its size there, in bytes
    """

    __slots__ = ("name", "size")

    def __init__(self, name: str, size: int, shared: int) -> None:
        super().__init__(b"", shared)
        self.name, self.size = name, size

    def __len__(self) -> int:
        return self.size + self.shared

    def __reduce__(self) -> Any:
        return Stored, (self.name, self.size, self.shared)


def plain(data: Packed) -> Packed:
    """A batch that is no longer compressed, if it was.

    :raises ItemError: it is damaged
    """
    if not is_compressed(data.data):
        return data
    return Packed(decompressed(data.data, _MOST_ITEM_BYTES), data.shared)


def read(stream: str, last: bytes, seconds: float) -> list[Command]:
    """Commands that remove the entries of a stream before one, and read those after it.

    :param last: the id of this entry
    :param seconds: how long to wait for an entry
    """
    wait = ("BLOCK", max(1, int(1000 * seconds))) if seconds else ()
    return [("XTRIM", stream, "MINID", last), ("XREAD", *wait, "STREAMS", stream, last)]


def found(answers: list[Any]) -> list[tuple[bytes, bytes]]:
    """The ids and contents of the entries that were read."""
    return [(id_, fields[1]) for id_, fields in answers[-1][0][1]] if answers[-1] else []


class RedisLine:
    """A worker's side: a :class:`~d4pcwl.runtime.pool.exchange.Line`.

    :param name: of the worker, unique in the run
    :param number: of the worker; None for one that joins: it gets its number from the coordinator
    :param looks: the worker has work of its own, and checks for messages in between
    :param compress: see :func:`~d4pcwl.runtime.transport.compression.compressor`
    """

    def __init__(
        self,
        address: Address,
        run: str,
        plan: Plan,
        name: str,
        number: int | None = None,
        *,
        looks: bool = False,
        compress: str = NEVER,
    ) -> None:
        self.name, self.number, self.plan = name, number, plan
        self._is_guest, self._looks = number is None, looks
        self._keys = Keys(run)
        try:
            self._sender, self._receiver = Client(address), Client(address)
        except ServerLost as error:
            raise Disconnected(str(error)) from error
        self.sending = threading.RLock()
        self._compress = compress
        self._compressor = compressor(compress, self._sender.is_far)
        self._quickest = math.inf  # seconds: the way to the server and back, without bytes
        self._reading = 0.0  # seconds to fetch a byte from another host, of the last batches
        self._outgoing: list[Command] = []
        self._inbox = deque[tuple[str, Any]]()
        self._last = b"0-0"
        self._looked = 0.0
        self._names = (f"{name}-{number}" for number in itertools.count())
        if self._is_guest:
            self._ask_in()

    # --- receiving ------------------------------------------------------------------------------

    def has_message(self) -> bool:
        if self._looks and not self._inbox:
            is_time = time.monotonic() - self._looked >= _LOOK_SECONDS
            if is_time or self._outgoing:
                self._read(0)
        return bool(self._inbox)

    def receive(self) -> tuple[str, Any]:
        if self._outgoing and self._inbox:
            self._read(0)
        while not self._inbox:
            self._read(_WAIT_SECONDS)
            if not self._inbox and not self._ask(self._receiver, ("EXISTS", self._keys.up))[0]:
                return "stop", None
        return self._inbox.popleft()

    def _read(self, seconds: float) -> None:
        """Send what waits, and take the messages that have come."""
        answers = self._post(self._receiver, *read(self._keys.to(self.name), self._last, seconds))
        for id_, data in found(answers):
            self._last = id_
            for kind, content in frames.loads(data):
                self._take(kind, content)
        self._looked = time.monotonic()

    def _take(self, kind: str, content: Any) -> None:
        if kind == "welcome":
            self.number = content
            return
        if kind == "reading":
            self._compressor = self._compressor or compressor(self._compress, far=True)
            if self._compressor:
                self._compressor.reading = content / PICO
            return
        if kind in ("task", "private"):
            data = content[-1]
            if isinstance(data, Stored):
                data = self._fetched(data, kind)
                if data is None:
                    return
            content = (*content[:-1], plain(data))
        self._inbox.append((kind, content))

    def _fetched(self, stored: Stored, kind: str) -> Packed | None:
        """A stored batch; None if others have done it, because this worker was considered dead."""
        commands: list[Command] = [("HGET", self._keys.blobs, stored.name)]
        if kind == "private":
            commands.append(("HDEL", self._keys.blobs, stored.name))
        data = self._ask(self._receiver, *commands, first=1)[0]
        if data is not None and self._sender.is_far:
            seconds = self._receiver.seconds
            self._quickest = min(self._quickest, seconds)
            self._reading += ((seconds - self._quickest) / len(data) - self._reading) / 4
        if data is None and not self._is_guest:
            raise Disconnected("items have disappeared from the Redis server")
        return None if data is None else Packed(data, stored.shared)

    # --- sending --------------------------------------------------------------------------------

    def send(self, kind: str, content: Any) -> None:
        with self.sending:
            if kind in ("commit", "stream"):
                first, parcel, *rest = content
                content = (first, self._without_large(parcel), *rest)
            message = frames.dumps((self.number, kind, content))
            self._outgoing.append(add(self._keys.up, message))
            # These wait for the next read, which comes at once: one round trip for both.
            if kind not in ("commit", "taken", "idle"):
                self._post(self._sender)

    def _post(self, client: Client, *more: Command) -> list[Any]:
        """Send what waits, and more commands."""
        compressor = self._compressor
        with self.sending:
            commands, self._outgoing = self._outgoing, []
            batches = compressor.taken() if compressor else []
        answers = self._ask(client, *commands, *more, first=len(commands))
        if commands and compressor:
            self._quickest = min(self._quickest, client.seconds)
            with self.sending:
                compressor.blocked(batches, client.seconds - self._quickest)
        if None in answers[: len(commands)]:  # the run is over: leave nothing
            self._ask(client, ("DEL", self._keys.blobs))
        return answers

    def _without_large(self, parcel: Parcel) -> Parcel:
        """A parcel whose large batches are to be stored on the server."""
        batches, results = (
            [self._stored(part) for lot in lots for part in self._split(lot)]
            for lots in (parcel.batches, parcel.results)
        )
        return Parcel(batches, results, parcel.levels, parcel.spent)

    def _stored(self, lot: Lot) -> Lot:
        data = lot.data.data
        if self._compressor:
            data = self._compressor.batch(lot.to, data)
            self._compressor.sent[lot.to] += lot.data.shared
            lot = lot._replace(data=Packed(data, lot.data.shared))
        if len(data) < LARGE:
            return lot
        name = next(self._names)
        self._outgoing += self._keys.store(name, data)
        return lot._replace(data=Stored(name, len(data), lot.data.shared))

    def _split(self, lot: Lot) -> Iterator[Lot]:
        """A batch, or results, in parts that the server takes.

        :raises Halt: a single item is too large
        """
        if len(lot.data.data) <= MOST_BYTES:
            yield lot
            return
        content = frames.loads(lot.data.data)
        is_results = isinstance(content, list)
        runs: Sequence[Run] = content if is_results else [content]
        for run in runs:
            for part in self._halved(run):
                data = packed([part] if is_results else part, [part])
                yield lot._replace(items=len(part.entries), data=data)

    def _halved(self, run: Run) -> Iterator[Run]:
        size, count = len(frames.dumps(run)), len(run.entries)
        if size <= MOST_BYTES or (count == 1 and size <= _MOST_ITEM_BYTES):
            yield run
        elif count > 1:
            yield from self._halved(run.part(0, count // 2))
            yield from self._halved(run.part(count // 2))
        else:
            port = (
                self.plan.port(*self.plan.results[run.key])
                if isinstance(run.key, int)
                else f"{self.plan.instances[run.key[0]].pe}.{run.key[1]}"
            )
            raise Halt(
                PEError(
                    f"{port}: an item of {size >> 20} MiB cannot be sent through a Redis server, "
                    f"which takes at most {_MOST_ITEM_BYTES >> 20} MiB; write a file and send its "
                    "name, or use the mapping multi"
                )
            )

    def sent(self) -> dict[Queue, int]:
        sent = dict(self._compressor.sent) if self._compressor else {}
        return {to: size for to, size in sent.items() if isinstance(to, tuple)}

    # --- of a worker from elsewhere -------------------------------------------------------------

    def beat(self) -> None:
        """Send a heartbeat. A worker that was considered dead asks to join again."""
        with self.sending:
            reading = int(PICO * self._reading)
            if self._ask(self._sender, beat(self._keys.alive(self.name), "XX", reading))[0] is None:
                self._ask_in()

    def _ask_in(self) -> None:
        message = frames.dumps((None, "join", self.name))
        self._ask(self._sender, add(self._keys.up, message))

    def close(self) -> None:
        """Close the connections."""
        self._sender.close()
        self._receiver.close()

    def _ask(self, client: Client, *commands: Command, first: int = 0) -> list[Any]:
        try:
            return client.calls(commands, first)
        except ServerLost as error:
            raise Disconnected(str(error)) from error
