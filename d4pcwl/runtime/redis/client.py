"""A client of Redis servers (and of those that speak the same protocol, such as Valkey).

Commands are sent with a connection of redis-py, several at a time if that saves a round trip.
Answers are returned as the protocol has them. Only one thread at a time uses a client. Nothing is
sent twice. A client that loses its server before the answer has come cannot be used any more,
because it cannot know what the server has done.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from d4pcwl.errors import RunError, UsageError
from d4pcwl.runtime.transport.compression import is_far

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
"""How long a server may be silent before it counts as lost."""

_URL = re.compile(
    r"""((redis|valkey)s?://([^/?#]*@)?(\[[^]@]+]|[^]\[/?#@:]+)(:\d+)?(/\d*)?
      | unix://([^/?#]*@)?/[^?#]+)
    (\?(db=\d+|ssl_(cert_reqs|ca_certs|ca_path|certfile|keyfile)=[^&]+|&)*)?""",
    re.VERBOSE,
)


class ServerError(RunError):
    """The server refused a command."""


class ServerLost(RunError):
    """The server cannot be reached."""


@dataclass(frozen=True, repr=False)
class Address:
    """The address of a server, with user name and password.

    :param url: as redis-py takes it
    :param username: if the URL has none; the same holds for the password
    """

    url: str = "redis://localhost"
    username: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        """Its URL, without name and password."""
        return re.sub("//[^/]*@", "//", self.url)


def parse_url(url: str) -> Address:
    """Read ``redis://[[user]:password@]host[:port][/database]``, ``rediss://…`` or ``unix:///path``.

    Name and password may come from REDIS_USERNAME and REDIS_PASSWORD as well; ``?ssl_ca_certs=…``
    and the like say what TLS needs.

    :raises UsageError: it has another form
    """
    if not _URL.fullmatch(url):
        raise UsageError(
            f"the Redis URL {without_password(url)} is not valid: it must be "
            "redis://HOST:PORT/DATABASE, rediss://… or unix:///PATH, where PORT and DATABASE are "
            "numbers, an IPv6 address is written in [], and / and @ in a password are written "
            "%2F and %40"
        )
    names = ("REDIS_USERNAME", "REDIS_PASSWORD")
    return Address(re.sub("^valkey", "redis", url), *(os.environ.get(n) or None for n in names))


def without_password(url: str) -> str:
    """A URL for messages, without name and password, also if the URL is misspelt."""
    secret, at, place = url.rpartition("@")
    scheme, mark, _ = secret.partition("://")
    return f"{scheme + mark if mark else ''}***@{place}" if at else url


class Client:
    """A connection.

    :ivar seconds: how long the first commands of the last call took
    :raises ServerLost: there is no answer, or not that of a Redis server
    """

    def __init__(self, address: Address) -> None:
        from redis import ConnectionPool, exceptions

        self.address = address
        self._refused = exceptions.ResponseError
        self._failed = (exceptions.RedisError, OSError, EOFError, ValueError)
        self._lost: ServerLost | None = None
        self.seconds = 0.0
        try:
            connection: Any = ConnectionPool.from_url(
                address.url,
                username=address.username,
                password=address.password,
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=ANSWER_SECONDS,
                protocol=2,
            ).make_connection()  # by itself three times as quick as a pipeline
            connection.connect()
        except (exceptions.AuthenticationError, exceptions.ResponseError) as error:
            raise ServerLost(
                f"the Redis server at {address} refuses the connection: {error}"
            ) from None
        except self._failed as error:
            raise ServerLost(f"no Redis server can be reached at {address}: {error}") from None
        self._connection = connection

    def call(self, *command: Any) -> Any:
        """Send a command and give its answer: bytes, integers, None, and lists of them.

        :raises ServerError: the server refused it
        :raises ServerLost: the connection is lost
        """
        return self.calls([command])[0]

    @property
    def is_far(self) -> bool:
        """Whether the server is, by its address, on another machine."""
        return is_far(getattr(self._connection, "host", None) or "localhost")

    def calls(self, commands: Sequence[Sequence[Any]], first: int = 0) -> list[Any]:
        """Send several commands in one go.

        :param first: how many of them are timed; those after them may wait for something
        :raises ServerError: the server refused one; the others were carried out
        """
        if self._lost is not None:
            raise self._lost
        began = time.perf_counter()
        try:
            self._connection.send_packed_command(self._connection.pack_commands(commands))
            answers = [self._answer() for _ in commands[:first]]
            self.seconds = time.perf_counter() - began
            answers += [self._answer() for _ in commands[first:]]
        except self._failed as error:
            self._lost = ServerLost(
                f"the Redis server at {self.address} no longer answers: {error}"
            )
            raise self._lost from None
        except BaseException:
            self.close()  # the answer may still come
            raise
        for answer in answers:
            if isinstance(answer, self._refused):
                raise ServerError(f"the Redis server at {self.address} refuses a command: {answer}")
        return answers

    def _answer(self) -> Any:
        try:
            return self._connection.read_response()
        except self._refused as refusal:
            return refusal

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()
