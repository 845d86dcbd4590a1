"""A worker process that a mapping has forked, from its start to its end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from d4pcwl.errors import D4pcwlError, OutputError
from d4pcwl.runtime.local.attended import Attended, Interrupted
from d4pcwl.runtime.local.console import LineLock, LineWriter
from d4pcwl.runtime.local.processes import hear_signals, is_orphan
from d4pcwl.runtime.local.reports import explained
from d4pcwl.runtime.transport.channel import Disconnected


class Duty:
    """What a worker process does, by its mapping's own means."""

    gone: tuple[type[BaseException], ...] = (Disconnected,)
    """What its methods raise where those that it works with have gone."""

    def work(self, idle: Callable[[], None]) -> None:
        """Work until the run is over.

        :param idle: called before waiting
        """
        raise NotImplementedError

    def tick(self) -> None:
        """Send on what has waited, every few milliseconds and in another thread than the work."""

    def done(self) -> None:
        """Report the end, and what was counted."""

    def failed(self, error: D4pcwlError) -> None:
        """Report an error, after the results of before."""

    def lost(self) -> None:
        """Report that one of those it works with has gone, who is to blame rather than we."""

    def between_frames(self) -> AbstractContextManager[Any]:
        """Wait until no other thread is sending; none begins to within the block."""
        raise NotImplementedError

    def close(self, *, interrupted: bool) -> None:
        """What was reported will arrive.

        :param interrupted: the parent ended the work; it waits for results only
        """


def live(enter: Callable[[], Duty], lock: LineLock) -> NoReturn:
    """A worker process, from its fork to its end; standard output is written in whole lines.

    :param enter: makes its duty
    :param lock: shared by all that write to standard output
    """
    code = 1
    try:
        hear_signals(_interrupt)
        sys.stdout = out = LineWriter(1, lock)
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
    except BaseException:  # noqa: BLE001 - nothing may escape into the parent's code
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        if code < 0:  # we die as we were told to
            signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        os._exit(code)  # what the parent has registered to be done at its exit is not ours to do


def _interrupt(signum: int, frame: Any) -> None:
    """The parent told this process to end."""
    raise Interrupted


def _report(duty: Duty, error: BaseException | None) -> int:
    """Tell how it ended, if anybody listens; the exit code, or the signal's number, negative."""
    try:
        if error is None:
            duty.done()
        elif isinstance(error, Interrupted):
            return -signal.SIGTERM
        elif isinstance(error, duty.gone):
            duty.lost()
            return 1
        else:
            duty.failed(explained(error))
    except duty.gone:
        return 1
    return 0
