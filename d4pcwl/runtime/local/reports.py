"""How a process reports why it ended, and the message about a process that ended without a
report."""

from __future__ import annotations

import signal
import traceback

from d4pcwl.errors import D4pcwlError, PEError
from d4pcwl.runtime.engine.instance import Halt


def explained(error: BaseException) -> D4pcwlError:
    """An error in the form in which it is sent to another process."""
    if isinstance(error, Halt):
        return error.error
    if isinstance(error, D4pcwlError):
        return error
    text = "".join(traceback.format_exception(error))
    return PEError(f"a worker process failed: {type(error).__name__}: {error}", text)


def cause_of_death(code: int | None) -> str:
    """How a process ended, from its exit code: ``was killed by signal 9 (SIGKILL)``."""
    if code is not None and code < 0:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    return f"exited with code {code}"
