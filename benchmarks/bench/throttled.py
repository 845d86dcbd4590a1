"""A link of a chosen rate to a Redis server of this machine, without privileges.

A proxy listens on an address of this machine that is not a loopback address, so that the link
counts as a network. It takes connections of this machine only, and passes their bytes on to the
server's Unix socket. In each direction, all connections together have a number of bytes a second:
they share a bucket of tokens, as the packets of a network card do.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

_CHUNK = 1 << 16
_BUFFER = 1 << 18
_BURST_SECONDS = 0.002


class _Bucket:
    """The bytes that a direction lets through.

    :param rate: bytes a second; None: as many as come
    """

    def __init__(self, rate: float | None) -> None:
        self._rate, self._lock = rate, threading.Lock()
        self._free = time.monotonic()

    def take(self, count: int) -> None:
        """Wait until so many bytes may pass."""
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now - _BURST_SECONDS) + count / self._rate
            wait = self._free - now
        if wait > 0:
            time.sleep(wait)


class Link:
    """The proxy, until :meth:`close`.

    :param server: the Unix socket
    :param rate: bytes a second in each direction; None: as many as come
    :ivar url: what clients are told
    """

    def __init__(self, server: Path, rate: float | None) -> None:
        self._server, self._address = str(server), own_address()
        self._buckets = _Bucket(rate), _Bucket(rate)
        self._listening = socket.create_server((self._address, 0))
        self._sockets: list[socket.socket] = [self._listening]
        self.url = f"redis://{self._address}:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, (host, _) = self._listening.accept()
                if host != self._address:
                    client.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._sockets += [client, server]
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for end in (client, server):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
                up, down = self._buckets
                for way in ((client, server, up), (server, client, down)):
                    threading.Thread(target=_pass_on, args=way, daemon=True).start()

    def close(self) -> None:
        """Take no more, and cut what is connected."""
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _pass_on(source: socket.socket, target: socket.socket, bucket: _Bucket) -> None:
    """Move bytes without a copy, until one end is closed."""
    out, into = os.pipe()
    try:
        while count := os.splice(source.fileno(), into, _CHUNK):
            bucket.take(count)
            while count:
                count -= os.splice(out, target.fileno(), count)
    except (OSError, ValueError):  # ValueError: the socket is closed
        pass
    finally:
        os.close(out)
        os.close(into)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def own_address() -> str:
    """An address of this machine that is not a loopback address.

    :raises SystemExit: it has none
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            raise SystemExit("this machine has no network address to listen on") from None
        return str(probe.getsockname()[0])
