"""A client of Redis servers (and of those that speak the same protocol, such as Valkey).

It is small because little is asked of it: commands go out, several at a time where that saves a
round trip, and answers come back, large values without a detour. A connection is used by one
thread at a time, and is never mended: whoever loses it cannot know what the server has done.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from d4pcwl.errors import RunError, UsageError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
"""How long a server may be silent before it is held to be gone."""

_LARGE = 1 << 14
_MOST_PARTS = 512  # below the smallest IOV_MAX there is


class ServerError(Exception):
    """The server refused a command."""


class ServerLost(RunError):
    """The server cannot be reached, or not any more."""


@dataclass(frozen=True)
class Address:
    """Where a server is, and who we are to it.

    :param path: of its Unix socket; with one, host and port have no meaning
    """

    host: str = "localhost"
    port: int = 6379
    path: str = ""
    username: str = ""
    password: str = ""
    database: int = 0
    tls: bool = False

    def __str__(self) -> str:
        """Its URL, without name and password."""
        if self.path:
            return f"unix://{self.path}" + (f"?db={self.database}" if self.database else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        database = f"/{self.database}" if self.database else ""
        return f"redis{'s' if self.tls else ''}://{host}:{self.port}{database}"


def parse_url(url: str) -> Address:
    """Read ``redis://[[user]:password@]host[:port][/database]``, ``rediss://…`` or ``unix:///path``.

    Name and password may come from REDIS_USERNAME and REDIS_PASSWORD as well.

    :raises UsageError: it has another form
    """
    parts = urlsplit(url)
    scheme = parts.scheme.replace("valkey", "redis")
    username, password = credentials()
    username = unquote(parts.username or "") or username
    password = unquote(parts.password or "") or password
    try:
        if scheme == "unix" and parts.path:
            number = parse_qs(parts.query).get("db", ["0"])[0]
            return Address(
                path=unquote(parts.path),
                username=username,
                password=password,
                database=int(number),
            )
        if scheme in ("redis", "rediss") and parts.hostname:
            number = parts.path.strip("/") or "0"
            return Address(
                parts.hostname,
                parts.port or 6379,
                username=username,
                password=password,
                database=int(number),
                tls=scheme == "rediss",
            )
    except ValueError as error:
        raise UsageError(f"the Redis URL is not right: {error}") from None
    raise UsageError(
        "a Redis URL is redis://HOST:PORT/DATABASE, rediss://… or unix:///PATH"
        + ("" if parts.password else f", not '{url}'")
    )


def credentials() -> tuple[str, str]:
    """Name and password from the environment."""
    return os.environ.get("REDIS_USERNAME", ""), os.environ.get("REDIS_PASSWORD", "")


class Client:
    """A connection.

    :raises ServerLost: nobody answers, or not as a Redis server does
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        try:
            self._socket = _connect(address)
        except OSError as error:
            what = error.strerror or str(error)
            raise ServerLost(f"no Redis server can be reached at {address}: {what}") from None
        self._file = self._socket.makefile("rb", buffering=1 << 16)
        try:
            self._greet()
        except ServerError as error:
            self.close()
            raise ServerLost(f"the Redis server at {address} refuses us: {error}") from None
        except BaseException:
            self.close()
            raise

    def _greet(self) -> None:
        known = self.address
        if known.password:
            self.call("AUTH", *([known.username] if known.username else []), known.password)
        if known.database:
            self.call("SELECT", known.database)
        self.call("PING")

    def call(self, *command: Any) -> Any:
        """Send a command and give its answer: bytes, integers, None, and lists of them.

        :raises ServerError: the server refused it
        :raises ServerLost: the connection is lost
        """
        return self.calls([command])[0]

    def calls(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send several commands in one go.

        :raises ServerError: the server refused one; the others were carried out
        """
        try:
            self._send(commands)
            answers = [self._answer() for _ in commands]
        except (OSError, EOFError, ValueError) as error:
            raise ServerLost(
                f"the Redis server at {self.address} does not answer any more: {error}"
            ) from None
        for answer in answers:
            if isinstance(answer, ServerError):
                raise answer
        return answers

    def _send(self, commands: Sequence[Sequence[Any]]) -> None:
        parts: list[bytes] = []
        small: list[bytes] = []
        for command in commands:
            small.append(b"*%d\r\n" % len(command))
            for value in command:
                data = value if isinstance(value, bytes) else str(value).encode()
                small.append(b"$%d\r\n" % len(data))
                if len(data) >= _LARGE:
                    parts += [b"".join(small), data]
                    small = [b"\r\n"]
                else:
                    small += [data, b"\r\n"]
        parts.append(b"".join(small))
        if len(parts) == 1 or self.address.tls:
            for part in parts:
                self._socket.sendall(part)
            return
        views = [memoryview(part) for part in parts]
        while views:
            sent = self._socket.sendmsg(views[:_MOST_PARTS])
            while views and sent >= views[0].nbytes:
                sent -= views.pop(0).nbytes
            if views and sent:
                views[0] = views[0][sent:]

    def _answer(self) -> Any:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("the connection was closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            size = int(rest)
            if size < 0:
                return None
            data = self._file.read(size)
            if len(data) != size or len(self._file.read(2)) != 2:
                raise EOFError("the connection was closed")
            return data
        if kind == b"*":
            return None if rest == b"-1" else [self._answer() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        if kind == b"-":
            return ServerError(rest.decode("utf-8", "replace"))
        raise ValueError(f"its answer {line[:40]!r} is none of a Redis server's")

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._socket.close()


def _connect(address: Address) -> socket.socket:
    if address.path:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(CONNECT_SECONDS)
            connection.connect(address.path)
        except BaseException:
            connection.close()
            raise
    else:
        connection = socket.create_connection((address.host, address.port), CONNECT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if address.tls:
            import ssl

            connection = ssl.create_default_context().wrap_socket(
                connection, server_hostname=address.host
            )
    connection.settimeout(ANSWER_SECONDS)
    return connection
