"""A folder for sockets that is removed at the end of the run, also if the run is killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from d4pcwl.runtime.local.processes import release, start


class PrivateFolder:
    """A folder that no other user may enter. It exists until :meth:`remove`.

    A separate process waits for the end of the process that made the folder, and of all processes
    that this one forked later. Then it removes the folder, if it still exists. It gets the name
    before the folder is made.

    :param dir: where it is made (default: the folder for temporary files)
    :param at_end: what that process does with such a folder before it removes it
    :raises UsageError: this system cannot fork
    """

    def __init__(
        self,
        prefix: str,
        dir: str | None = None,
        at_end: Callable[[Path], None] = lambda path: None,
    ) -> None:
        self.path = Path(dir or tempfile.gettempdir(), prefix + secrets.token_hex(8))
        self._owner = os.getpid()
        self._socket, keepers = socket.socketpair()
        try:
            self._keeper = start(_keep, keepers.fileno(), self.path, at_end)
        except BaseException:
            self._socket.close()
            raise
        finally:
            keepers.close()
        try:
            self._socket.recv(1)  # it is ready
            self.path.mkdir(mode=0o700)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Remove it, and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if os.getpid() == self._owner and self._socket.fileno() >= 0:
            with contextlib.suppress(BrokenPipeError):
                self._socket.send(b".")
            self._socket.close()
            self._keeper.join()
            release(self._keeper)


def _keep(fd: int, path: Path, at_end: Callable[[Path], None]) -> None:
    """Remove the folder when no process holds the socket's other end any more."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.setsid()  # signals to the whole job are not for this process
        os.closerange(0, fd)  # no pipe stays open because of this process
        os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))
        os.write(fd, b".")
        if not os.read(fd, 1):
            at_end(path)
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os._exit(0)
