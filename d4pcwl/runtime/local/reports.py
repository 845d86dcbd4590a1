"""How one process tells another why it ended, and how people are told of one that told nothing."""

from __future__ import annotations

import signal
import traceback

from d4pcwl.errors import D4pcwlError, PEError
from d4pcwl.runtime.engine.instance import Halt


def explained(error: BaseException) -> D4pcwlError:
    """An error as it is told to another process."""
    if isinstance(error, Halt):
        return error.error
    if isinstance(error, D4pcwlError):
        return error
    text = "".join(traceback.format_exception(error))
    return PEError(f"a worker process failed: {type(error).__name__}: {error}", text)


def cause_of_death(code: int | None) -> str:
    """What became of a process, from its exit code: ``was killed by signal 9 (SIGKILL)``."""
    if code is not None and code < 0:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    return f"exited with code {code}"
