"""The keys of a run on a Redis server.

All begin with ``d4p:RUN:`` (left out below).

==============  ================================================================================
``meta``        hash: what a worker that joins must know
``up``          stream: messages to the coordinator
``to:W``        stream: messages to a worker
``blobs``       hash: batches that are too large for messages
``alive:W``     the heartbeat of a worker that has joined: how long it takes to fetch a byte
==============  ================================================================================

The coordinator makes the streams. Nobody writes to a stream that does not exist, so nothing is
written after the end of the run. All keys expire after a minute, so that a coordinator that is
killed leaves none for long. While it works, it renews them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import Any

from d4pcwl.runtime.redis.client import Address, Client, ServerError, ServerLost

TTL_SECONDS = 60
"""The keys exist for this long after the coordinator was killed."""

ALIVE_SECONDS = 6.0
"""A worker that has joined and sends no heartbeat for this long is considered dead."""

PICO = 1e12
"""Picoseconds in a second; heartbeats have whole numbers."""

Command = tuple[Any, ...]


class Keys:
    """The names of the keys of a run.

    :param run: its id
    """

    def __init__(self, run: str) -> None:
        self.prefix = f"d4p:{run}:"
        self.meta, self.up, self.blobs = (self.prefix + name for name in ("meta", "up", "blobs"))

    def to(self, worker: str) -> str:
        """The stream of messages to a worker."""
        return f"{self.prefix}to:{worker}"

    def alive(self, worker: str) -> str:
        """The heartbeat of a worker that has joined."""
        return f"{self.prefix}alive:{worker}"

    def store(self, name: str, data: bytes) -> list[Command]:
        """Commands that store a batch."""
        return [("HSET", self.blobs, name, data), _expire(self.blobs)]


def add(stream: str, data: bytes) -> Command:
    """The command that appends to a stream, if it exists."""
    return ("XADD", stream, "NOMKSTREAM", "*", "m", data)


def beat(key: str, only: str, reading: int = 0) -> Command:
    """The command that writes a heartbeat.

    :param only: ``NX``: only if there is none yet; ``XX``: only if there is one
    :param reading: how long the worker takes to fetch a byte, in picoseconds
    """
    return ("SET", key, reading, only, "PX", int(1000 * ALIVE_SECONDS))


def _made(stream: str) -> list[Command]:
    """Commands that make an empty stream."""
    return [("XGROUP", "CREATE", stream, "-", "0", "MKSTREAM"), _expire(stream)]


def _expire(key: str) -> Command:
    return ("EXPIRE", key, TTL_SECONDS)


class KeptKeys(Keys):
    """The keys for the coordinator, which makes them, renews them, and removes them."""

    def __init__(self, address: Address, run: str) -> None:
        super().__init__(run)
        self.address = address
        self._workers: dict[str, None] = {}
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="d4pcwl-keeper")

    def prepare(self, client: Client, meta: Mapping[str, Any]) -> None:
        """Make the keys that all workers need, and renew all keys from now on, until
        :meth:`let_go`.

        :raises ServerError: the server refuses them
        """
        try:
            client.call(*add(self.up, b""))
        except ServerError as error:
            raise ServerError(f"{error}; Redis 6.2 or later is needed, or Valkey") from None
        told = [part for pair in meta.items() for part in pair]
        # A worker can join as soon as it finds this hash.
        client.calls([*_made(self.up), ("HSET", self.meta, *told), _expire(self.meta)])
        self._keeper.start()

    def let_in(self, client: Client, worker: str, *more: Command) -> None:
        """Make the keys of a worker.

        :param more: commands that follow
        """
        self._workers[worker] = None
        client.calls([*_made(self.to(worker)), *more])

    def let_out(self, client: Client, worker: str) -> None:
        """Remove the keys of a worker."""
        client.call("DEL", self.to(worker), self.alive(worker))
        del self._workers[worker]

    def let_go(self) -> None:
        """Stop renewing the keys."""
        self._ended.set()
        if self._keeper.ident is not None:
            self._keeper.join()

    def _keep(self) -> None:
        with contextlib.suppress(ServerLost, ServerError):
            client = Client(self.address)
            try:
                while not self._ended.wait(TTL_SECONDS / 4):
                    streams = [self.to(worker) for worker in list(self._workers)]
                    kept = [self.meta, self.up, self.blobs, *streams]
                    client.calls([_expire(key) for key in kept])
            finally:
                client.close()

    def clear_up(self) -> None:
        """Remove all keys, with a new connection: after an interrupt, the other one may be in the
        middle of an answer."""
        with contextlib.suppress(ServerLost, ServerError):
            client = Client(self.address)
            try:
                of_workers = [key(w) for w in self._workers for key in (self.to, self.alive)]
                client.call("DEL", self.meta, self.up, self.blobs, *of_workers)
            finally:
                client.close()
