"""Work in one thread, while another thread does what cannot wait until a slow PE returns."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from d4pcwl.runtime.transport.channel import PROMPT_SECONDS

_STUCK_SECONDS = 2.0
"""How long work may take to end when it is interrupted."""


class Interrupted(BaseException):
    """Ends the work. It is not an Exception, so that no PE catches it."""


class Attended:
    """Work of this thread, and regular work of another thread beside it.

    :ivar error: the error that ended the work, or will end it
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._worker = threading.get_ident()
        self._at_work = True  # the worker is at a place where it may be interrupted
        self._switch = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread()

    def run(
        self,
        work: Callable[[], None],
        tick: Callable[[], None],
        stuck: Callable[[BaseException], None] = lambda error: None,
        between: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> BaseException | None:
        """Do the work, and return the error that ended it, if there was one. Then the other thread
        may still be inside its last tick: see :meth:`stop`.

        :param tick: is called every few milliseconds. An error that it raises ends the work: with a
            signal of this process to itself (SIGTERM), if this thread is the main one
        :param between: a block in which the work may be interrupted, such as between two frames
        :param stuck: called with the error of ``tick``, in its thread, if the work does not end
        """
        self._thread = threading.Thread(
            target=self._attend, args=(tick, stuck, between), name="d4pcwl-ticker", daemon=True
        )
        error: BaseException | None = None
        with self._hear_own_signal():
            try:
                try:
                    self._thread.start()
                    work()
                except BaseException as caught:  # noqa: BLE001 - the caller reports it
                    error = caught
                with self._switch:
                    self._at_work = False
            except BaseException as caught:  # noqa: BLE001 - the signal came in between
                self._at_work = False
                error = caught
            self.error = self.error or error
            self._ended.set()
            if self.error is None:
                self.stop()  # that tick may raise, too
        return self.error

    def stop(self) -> None:
        """Wait for the end of the last tick."""
        if self._thread.is_alive():  # it may not even have been started
            self._thread.join()

    def _attend(
        self,
        tick: Callable[[], None],
        stuck: Callable[[BaseException], None],
        between: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        while not self._ended.wait(PROMPT_SECONDS):
            try:
                tick()
            except BaseException as error:  # noqa: BLE001 - the worker gets it
                with between(), self._switch:
                    self.error = self.error or error
                    if self._at_work and self._worker == threading.main_thread().ident:
                        signal.pthread_kill(self._worker, signal.SIGTERM)
                if not self._ended.wait(_STUCK_SECONDS):
                    stuck(error)
                return

    @contextlib.contextmanager
    def _hear_own_signal(self) -> Iterator[None]:
        """A SIGTERM from outside has its usual effect."""
        if self._worker != threading.main_thread().ident:
            yield
            return

        def handle(signum: int, frame: Any) -> None:
            if self.error is None:
                signal.signal(signal.SIGTERM, before)
                os.kill(os.getpid(), signal.SIGTERM)
            elif self._at_work:
                raise Interrupted

        before = signal.signal(signal.SIGTERM, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
