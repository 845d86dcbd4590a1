"""A worker process that a mapping has forked, from its start to its end."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NoReturn

from d4pcwl.errors import D4pcwlError, OutputError
from d4pcwl.runtime.local.attended import Attended, Interrupted
from d4pcwl.runtime.local.console import LineLock, LineWriter
from d4pcwl.runtime.local.processes import hear_signals, is_orphan
from d4pcwl.runtime.local.reports import explained
from d4pcwl.runtime.transport.channel import Disconnected


class Duty:
    """The work of a worker process; each mapping has its own. Its methods raise
    :class:`~d4pcwl.runtime.transport.channel.Disconnected` if another process that it needs has
    ended."""

    def work(self, idle: Callable[[], None]) -> None:
        """Work until the run is over.

        :param idle: called before waiting
        """
        raise NotImplementedError

    def tick(self) -> None:
        """Send what has waited; called every few milliseconds, in another thread than the work."""

    def done(self) -> None:
        """Report the end, and the numbers of items."""

    def failed(self, error: D4pcwlError) -> None:
        """Report an error, after all earlier results."""

    def lost(self) -> None:
        """Report that another process has ended: that is the cause, not this process."""

    def between_frames(self) -> AbstractContextManager[Any]:
        """A block in which no other thread sends; it waits for one that is sending."""
        raise NotImplementedError

    def close(self, *, interrupted: bool) -> None:
        """Make sure that the report arrives.

        :param interrupted: the parent ended the work; it waits for results only
        """


def live(enter: Callable[[], Duty], lock: LineLock) -> NoReturn:
    """A worker process, from its fork to its end; standard output is written in whole lines.

    :param enter: makes the object that does its work
    :param lock: shared by all that write to standard output
    """
    code = 1
    gc.freeze()  # what the parent has is not copied page by page when this process collects garbage
    try:
        hear_signals(_interrupt)
        _show_no_interrupts()
        sys.stdout = out = LineWriter(1, lock)
        if lock.is_below:
            sys.stderr = LineWriter(2, lock)
        duty = enter()

        def work() -> None:
            duty.work(out.flush)
            out.finish()

        def tick() -> None:
            if is_orphan():
                os._exit(1)
            duty.tick()

        def stuck(error: BaseException) -> None:
            with duty.between_frames():
                _report(duty, error)
                duty.close(interrupted=False)
                os._exit(1)

        error = Attended().run(work, tick, stuck, duty.between_frames)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with contextlib.suppress(OutputError):
            out.finish()
        code = _report(duty, error)
        duty.close(interrupted=code < 0)
    except (Disconnected, Interrupted):
        pass
    except BaseException:  # noqa: BLE001 - no error may reach the code of the parent
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        if code < 0:  # end by the signal that was sent
            signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        os._exit(code)  # functions that the parent registered for its exit must not run here


def _interrupt(signum: int, frame: Any) -> None:
    """The parent asked this process to end."""
    raise Interrupted


def _show_no_interrupts() -> None:
    """Show nothing of an interrupt that comes where it ends nothing, such as in a ``__del__``. Such
    errors go to two hooks. Who interrupts this process sees that it goes on, and ends it."""
    unraisable, excepthook = sys.unraisablehook, sys.excepthook

    def show_unraisable(found: sys.UnraisableHookArgs) -> None:
        if not isinstance(found.exc_value, Interrupted):
            unraisable(found)

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, Interrupted):
            excepthook(kind, error, trace)

    sys.unraisablehook, sys.excepthook = show_unraisable, show


def _report(duty: Duty, error: BaseException | None) -> int:
    """Report how it ended, if possible. Returns the exit code, or the negative number of the
    signal."""
    try:
        if error is None:
            duty.done()
        elif isinstance(error, Interrupted):
            return -signal.SIGTERM
        elif isinstance(error, Disconnected):
            duty.lost()
            return 1
        else:
            duty.failed(explained(error))
    except Disconnected:
        return 1
    return 0
