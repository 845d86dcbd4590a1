"""mpiexec as a child process of the command, so that Ctrl-C and SIGTERM end the run properly.

mpiexec passes signals on to ranks that are still starting, or already ending, and then returns the
exit code that results from that. So mpiexec gets no signals: it has a session of its own, and the
command tells rank 0, which ends the run with the others. If rank 0 has not started yet, or does not
end, all processes are stopped and killed, and their shared memory is removed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from d4pcwl.runtime.local.processes import end_with_parent
from d4pcwl.runtime.mpi import terminal
from d4pcwl.runtime.mpi.memory import segments, unlink

LAUNCHED = "D4PCWL_LAUNCHED"
"""An environment variable of ranks whose launcher reports signals itself."""

_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.05
_RANKS = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")


def launch(command: Sequence[str]) -> int:
    """Run mpiexec, and return its exit code.

    :raises BaseException: the error of a signal handler; by then, no process is left
    """
    caught: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        caught.append(signum)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        mpiexec = subprocess.Popen(
            command,
            env={**os.environ, LAUNCHED: "1", **terminal.told()},
            start_new_session=True,
            preexec_fn=end_with_parent(signal.SIGTERM),
        )
        while mpiexec.poll() is None and not caught:
            with contextlib.suppress(subprocess.TimeoutExpired):
                mpiexec.wait(_LOOK_SECONDS)
        if caught:
            _end(mpiexec, caught[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        os.kill(os.getpid(), caught[0])
        time.sleep(_LOOK_SECONDS)  # the handler comes now
    code = mpiexec.returncode
    return code if code >= 0 else 128 - code


def _end(mpiexec: subprocess.Popen[bytes], signum: int) -> None:
    """End all ranks: through rank 0, if it is ready for that."""
    started = set(_descendants(mpiexec.pid))
    first = next(filter(_is_first_rank, sorted(started)), None)
    if first is not None and _hears(first, signal.SIGTERM):  # it has come so far as to handle both
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            mpiexec.wait(_GRACE_SECONDS)
    _kill_all(mpiexec, started)


def _kill_all(mpiexec: subprocess.Popen[bytes], started: set[int]) -> None:
    """Kill mpiexec and the ranks that are left. They are stopped first, so that they start no
    others.

    :param started: the processes that it had started; the parents of some may have ended
    """
    stopped: set[int] = set()
    while found := {p for pid in {mpiexec.pid, *started} for p in _descendants(pid)} - stopped:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= found
    names = {name for pid in stopped for name in segments(pid)}
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    mpiexec.wait()
    unlink(names)


def _descendants(pid: int) -> Iterator[int]:
    """A process, and all processes that it and its children have started, if it has not ended."""
    with contextlib.suppress(OSError, IndexError):
        if _stat(pid)[0] == "Z":
            return
        yield pid
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _descendants(int(child))


def _stat(pid: int) -> list[str]:
    """The fields of a process's stat from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _is_first_rank(pid: int) -> bool:
    environment: Mapping[str, str] = {}
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/environ").read_text(errors="replace")
        environment = dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
    return any(environment.get(name) == "0" for name in _RANKS)


def _hears(pid: int, signum: int) -> bool:
    """Whether a process has a handler for a signal."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signum - 1) & 1)
    return False
