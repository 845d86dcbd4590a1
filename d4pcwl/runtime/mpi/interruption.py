"""How a rank's main thread is made to leave a PE that it may be in: by a signal to itself."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any


class Interruption:
    """The one interruption of a rank, once another thread has found a reason for it.

    :ivar error: what is raised in the main thread, from then on
    :ivar since: when that began, of the monotonic clock
    :ivar possible: whether the main thread is where it may be raised
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.since = 0.0
        self.possible = True
        self._main = threading.get_ident()

    def cause(self, error: BaseException) -> None:
        """Interrupt the main thread, from another one."""
        self.since = time.monotonic()
        self.error = error
        if self._main == threading.main_thread().ident:
            signal.pthread_kill(self._main, signal.SIGTERM)

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """The block is interrupted by our own SIGTERM; one from outside does what it did before."""
        if self._main != threading.main_thread().ident:
            yield
            return

        def handle(signum: int, frame: Any) -> None:
            if self.error is None:
                signal.signal(signal.SIGTERM, before)
                os.kill(os.getpid(), signal.SIGTERM)
            elif self.possible:
                raise self.error

        before = signal.signal(signal.SIGTERM, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
