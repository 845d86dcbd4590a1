"""The keys of a run on a Redis server: made, kept alive, and taken away.

All begin with ``d4p:RUN:`` (below: without it).

==============  ================================================================================
``meta``        hash: what a worker from elsewhere has to know
``up``          stream: messages to the coordinator
``to:W``        stream: messages to a worker
``blobs``       hash: batches too large to pass through the coordinator
``alive:W``     the heartbeat of a worker from elsewhere
==============  ================================================================================

The streams are made by the coordinator, and nobody writes to one that is missing: where ``up`` is,
the run is over. All keys expire after a minute, so that a coordinator that is killed leaves nothing
for long; one that works puts that off again and again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import Any

from d4pcwl.runtime.redis.client import Address, Client, ServerError, ServerLost

TTL_SECONDS = 60
"""After the coordinator was killed, the keys live on for so long."""

ALIVE_SECONDS = 6.0
"""A worker from elsewhere that is silent for so long is held to be dead."""

Command = tuple[Any, ...]


class Keys:
    """The names of the keys of a run, and commands on them.

    :param run: its id
    """

    def __init__(self, run: str) -> None:
        self.prefix = f"d4p:{run}:"
        self.meta, self.up, self.blobs = (self.prefix + name for name in ("meta", "up", "blobs"))

    def to(self, worker: str) -> str:
        """The stream of messages to a worker."""
        return f"{self.prefix}to:{worker}"

    def alive(self, worker: str) -> str:
        """The heartbeat of a worker from elsewhere."""
        return f"{self.prefix}alive:{worker}"

    def store(self, name: str, data: bytes) -> list[Command]:
        """Keep a batch."""
        return [("HSET", self.blobs, name, data), _expire(self.blobs)]


def add(stream: str, data: bytes) -> Command:
    """Append to a stream, if it is there."""
    return ("XADD", stream, "NOMKSTREAM", "*", "m", data)


def beat(key: str, only: str) -> Command:
    """Write a heartbeat.

    :param only: ``NX`` if there is none yet, ``XX`` if there is one
    """
    return ("SET", key, 1, only, "PX", int(1000 * ALIVE_SECONDS))


def _made(stream: str) -> list[Command]:
    """Make an empty stream."""
    return [("XGROUP", "CREATE", stream, "-", "0", "MKSTREAM"), _expire(stream)]


def _expire(key: str) -> Command:
    return ("EXPIRE", key, TTL_SECONDS)


class KeptKeys(Keys):
    """The keys as the coordinator has them: it makes them, keeps them, and takes them away."""

    def __init__(self, address: Address, run: str) -> None:
        super().__init__(run)
        self.address = address
        self._workers: dict[str, None] = {}
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="d4pcwl-keeper")

    def prepare(self, client: Client, meta: Mapping[str, Any]) -> None:
        """Make those that all workers need, and keep them from now on until :meth:`let_go`.

        :raises ServerError: the server takes none of it
        """
        try:
            client.call(*add(self.up, b""))
        except ServerError as error:
            raise ServerError(f"{error}; Redis 6.2 or later is needed, or Valkey") from None
        told = [part for pair in meta.items() for part in pair]
        # What says that there is a run comes last.
        client.calls([*_made(self.up), ("HSET", self.meta, *told), _expire(self.meta)])
        self._keeper.start()

    def let_in(self, client: Client, worker: str, *more: Command) -> None:
        """Make what a worker needs."""
        self._workers[worker] = None
        client.calls([*_made(self.to(worker)), *more])

    def let_out(self, client: Client, worker: str) -> None:
        """A worker has gone."""
        client.call("DEL", self.to(worker), self.alive(worker))
        del self._workers[worker]

    def let_go(self) -> None:
        """Keep them no longer."""
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
        """Take all keys away, by a connection of our own: what interrupted us may have left the
        other one within an answer."""
        with contextlib.suppress(ServerLost, ServerError):
            client = Client(self.address)
            try:
                of_workers = [key(w) for w in self._workers for key in (self.to, self.alive)]
                client.call("DEL", self.meta, self.up, self.blobs, *of_workers)
            finally:
                client.close()
