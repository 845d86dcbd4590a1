"""Commands, in threads, that all end when the main thread is told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_SECONDS_TO_CLEAN_UP = 10
_SECONDS_BETWEEN_LOOKS = 0.05


def tools() -> str:
    """The folder with the commands of the running environment."""
    return str(Path(sys.executable).parent)


def run(
    command: Sequence[object],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a command of the running environment, in a session of its own.

    :param env: environment variables that are added
    :param timeout: in seconds; then it and its group are ended
    :raises subprocess.TimeoutExpired: it took longer
    """
    with subprocess.Popen(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, "PATH": f"{tools()}{os.pathsep}{os.environ['PATH']}", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            said = process.communicate(timeout=timeout)
        except BaseException:
            end_below(process.pid)
            process.wait()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, *said)


def end_children() -> None:
    """End every process that this one has started, and all theirs."""
    for pid in _children(os.getpid()):
        end_below(pid)


def end_below(pid: int) -> None:
    """Ask a process and its group to end, as Ctrl-C does; later, make it and all below it."""
    below = _descendants(pid)
    _send(pid, signal.SIGINT, group=True)
    deadline = time.monotonic() + _SECONDS_TO_CLEAN_UP
    while _is_alive(pid) and time.monotonic() < deadline:
        below |= _descendants(pid)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    for each in (pid, *below):
        _send(each, signal.SIGKILL)


def _send(pid: int, number: int, *, group: bool = False) -> None:
    try:
        if group and os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has ended


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _children(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found.update(map(int, task.read_text().split()))
        except OSError:
            continue  # the thread has ended
    return found


def _descendants(pid: int) -> set[int]:
    found: set[int] = set()
    todo = [pid]
    while todo:
        below = _children(todo.pop()) - found
        found |= below
        todo += below
    return found
