"""Running commands so that nothing of them is left: no process, no server, no file.

Every command gets a mark in its environment, which all its descendants inherit, wherever they move
to; by that mark they are found again and ended.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_MARK = "BENCH_RUN"


@dataclass(frozen=True)
class Outcome:
    """How a command went.

    :param code: its exit code, negative for a signal; None where it was ended for taking too long
    :param seconds: from its start to its end
    :param peak_mb: the most memory that one of its processes had resident
    :param said: the end of what it wrote
    :param strays: processes of it that were still there when it had ended
    """

    code: int | None
    seconds: float
    peak_mb: float
    said: str
    strays: int


def marked(mark: str) -> list[int]:
    """The processes that carry a mark."""
    wanted = f"{_MARK}={mark}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.append(int(name))
    return found


def sweep(mark: str) -> int:
    """End whatever carries a mark; how many that were."""
    swept: set[int] = set()
    for _ in range(100):
        left = marked(mark)
        if not left:
            break
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        swept.update(left)
        time.sleep(0.02)
    return len(swept)


@contextlib.contextmanager
def started(
    command: Sequence[str], env: Mapping[str, str], output: Path
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A command at work, with its mark; at the end of the block all of it is gone."""
    mark = secrets.token_hex(8)
    with open(output, "wb") as file:
        process = subprocess.Popen(
            command,
            env={**os.environ, **env, _MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=output.parent,
            start_new_session=True,
        )
    try:
        yield process, mark
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
        sweep(mark)


def run(command: Sequence[str], *, env: Mapping[str, str], folder: Path, timeout: float) -> Outcome:
    """Run a command to its end, or until it has taken too long."""
    output = folder / "output"
    began = time.monotonic()
    with started(command, env, output) as (process, mark):
        watched = os.pidfd_open(process.pid)
        try:
            in_time = bool(select.select([watched], [], [], timeout)[0])
        finally:
            os.close(watched)
        seconds = time.monotonic() - began
        if not in_time:
            process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        # What ends by itself may take a moment more, as the processes of mpiexec do.
        deadline = time.monotonic() + 0.5
        while in_time and marked(mark) and time.monotonic() < deadline:
            time.sleep(0.02)
        strays = sweep(mark)
    said = output.read_text(errors="replace")[-2000:]
    code = process.returncode if in_time else None
    return Outcome(code, seconds, usage.ru_maxrss / 1024, said, strays if in_time else 0)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the files of one run."""
    folder = Path(tempfile.mkdtemp(prefix="d4pcwl-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """A Redis server on a loopback port of its own, which keeps nothing on disk."""

    def __init__(self, binary: Path) -> None:
        self._stack = contextlib.ExitStack()
        folder = self._stack.enter_context(scratch())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        command = [str(binary), "--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        self._stack.enter_context(started(command, {}, folder / "log"))
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError):
                self.call("PING")
                return
            if time.monotonic() > deadline:
                self.close()
                raise TimeoutError("the Redis server does not start")
            time.sleep(0.01)

    def call(self, command: str) -> str:
        """The answer to a command, where that is one line."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.makefile().readline().strip()

    def close(self) -> None:
        """End it."""
        self._stack.close()


def ended_by_signals() -> None:
    """Make SIGTERM end this process as Ctrl-C does, by way of all that is to be tidied up."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
