"""A client of Redis servers (and of those that speak the same protocol, such as Valkey).

A connection of redis-py below its commands: they go out, several at a time where that saves a round
trip, and answers come back as the protocol has them. It is used by one thread at a time, and is
never mended: whoever loses it cannot know what the server has done.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from d4pcwl.errors import RunError, UsageError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
"""How long a server may be silent before it is held to be gone."""


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
    password: str = field(default="", repr=False)
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
    username, password = credentials()
    try:
        parts = urlsplit(url)
        scheme = parts.scheme.replace("valkey", "redis")
        username = unquote(parts.username or "") or username
        password = unquote(parts.password or "") or password
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
    except ValueError:
        raise UsageError(
            f"the Redis URL {without_password(url)} is not right: PORT and DATABASE are numbers, "
            "an IPv6 address stands in [], and / and @ in a password are written %2F and %40"
        ) from None
    raise UsageError(
        "a Redis URL is redis://HOST:PORT/DATABASE, rediss://… or unix:///PATH, not "
        f"'{without_password(url)}'"
    )


def without_password(url: str) -> str:
    """A URL for messages: without all that may be name and password, however it is misspelt."""
    secret, at, place = url.rpartition("@")
    scheme, mark, _ = secret.partition("://")
    return f"{scheme + mark if mark else ''}***@{place}" if at else url


def credentials() -> tuple[str, str]:
    """Name and password from the environment."""
    return os.environ.get("REDIS_USERNAME", ""), os.environ.get("REDIS_PASSWORD", "")


class Client:
    """A connection.

    :raises ServerLost: nobody answers, or not as a Redis server does
    """

    def __init__(self, address: Address) -> None:
        from redis import exceptions

        self.address = address
        self._refused = exceptions.ResponseError
        self._lost = (exceptions.RedisError, OSError, EOFError, ValueError)
        try:
            self._connection = _connection(address)
            self._connection.connect()
            self.call("PING")
        except (exceptions.AuthenticationError, exceptions.ResponseError, ServerError) as error:
            raise ServerLost(f"the Redis server at {address} refuses us: {error}") from None
        except (exceptions.RedisError, OSError) as error:
            raise ServerLost(f"no Redis server can be reached at {address}: {error}") from None

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
        connection = self._connection
        try:
            packed = connection.pack_commands(commands)
            connection.send_packed_command(packed, check_health=False)
            answers = [self._answer() for _ in commands]
        except self._lost as error:
            raise ServerLost(
                f"the Redis server at {self.address} does not answer any more: {error}"
            ) from None
        for answer in answers:
            if isinstance(answer, ServerError):
                raise answer
        return answers

    def _answer(self) -> Any:
        try:
            return self._connection.read_response(disable_decoding=True)
        except self._refused as error:
            return ServerError(str(error))

    def close(self) -> None:
        """Hang up."""
        self._connection.disconnect()


def _connection(address: Address) -> Any:
    """A connection of redis-py, not yet made."""
    from redis import connection as connections

    kinds: Any = connections
    options: dict[str, Any] = {
        "db": address.database,
        "username": address.username or None,
        "password": address.password or None,
        "socket_timeout": ANSWER_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "protocol": 2,
    }
    if address.path:
        options.pop("socket_connect_timeout")
        return kinds.UnixDomainSocketConnection(path=address.path, **options)
    kind = kinds.SSLConnection if address.tls else kinds.Connection
    return kind(host=address.host, port=address.port, socket_keepalive=True, **options)
