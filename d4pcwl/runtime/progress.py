"""How far a run is, shown while it lasts: in a terminal, as plain lines, or in a notebook.

All of these take the records of the run (``trace/observer.py``), and show what they come to.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from d4pcwl.runtime.local.console import Lines, LineWriter
from d4pcwl.trace.format import Record
from d4pcwl.trace.totals import Totals, last_line, progress_line
from d4pcwl.workflow.cells import running_shell

_EVERY = 0.25
"""Seconds after which a picture is drawn again: programs may have written over it."""

_EVERY_RENDERED = 1.0
"""Seconds between two pictures of the table. Processes report no more often."""

_AT_FIRST = 1.0
"""Seconds before the first picture: a quick run shows none."""

PLAIN_SECONDS = 10.0
"""The default time between two plain lines, in seconds."""


def notebook() -> Any:
    """The shell of the notebook in which we run, or None."""
    shell = running_shell()
    return shell if hasattr(shell, "kernel") else None


class Progress(ABC):
    """Takes records, and shows now and then what they come to."""

    def __init__(self) -> None:
        self.totals = Totals()
        self._lock = threading.RLock()

    def take(self, record: Record) -> None:
        """Take a record."""
        with self._lock:
            self.totals.take(record)
        if self.totals.end is not None:
            self.finish()
        else:
            self.look()

    @abstractmethod
    def look(self) -> None:
        """Something is new."""

    @abstractmethod
    def finish(self) -> None:
        """The run is over."""


class PlainLines(Progress):
    """A line now and then.

    :param say: takes the lines
    :param every: seconds between two of them
    """

    def __init__(self, say: Callable[[str], None], every: float = PLAIN_SECONDS) -> None:
        super().__init__()
        self._say, self._every = say, every
        self._next = time.monotonic() + every

    def look(self) -> None:
        if self.totals.at and time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every
            self._say(progress_line(self.totals))

    def finish(self) -> None:
        self._say(last_line(self.totals))


class LiveTable(Progress):
    """A table below all that is printed to a terminal; it is there until :meth:`stop`.

    Standard error is a :class:`LineWriter` the while: what anybody writes there goes above it.

    :param say: takes the last line
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say
        self._before = sys.stderr
        sys.stderr.flush()
        sys.stderr = self._errors = LineWriter(2)
        self._lines: Lines = self._errors.lines
        self._lines.is_below = True
        if isinstance(sys.stdout, LineWriter) and sys.stdout.isatty():
            self._lines = sys.stdout.lines
            self._lines.is_below = True
        self._is_new = True
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="d4pcwl-progress", daemon=True)
        self._thread.start()

    def look(self) -> None:
        self._is_new = True

    def _show(self) -> None:
        picture, rendered, pause = b"", 0.0, _AT_FIRST
        while not self._over.wait(pause):
            pause = _EVERY
            if self._is_new and time.monotonic() - rendered > _EVERY_RENDERED:
                self._is_new = False
                picture, rendered = self._rendered(), time.monotonic()
            self._lines.draw(picture)

    def _rendered(self) -> bytes:
        from d4pcwl.trace.table import table

        size = os.get_terminal_size(2)
        columns, height = size.columns or 80, size.lines or 24
        with self._lock:
            rows = table(self.totals, max(20, columns), max(3, height - 1))
        lines = "".join(f"\r{row}\x1b[K\n" for row in rows)
        return f"{lines}\x1b[{len(rows)}A".encode("utf-8", "replace")

    def finish(self) -> None:
        if not self._over.is_set():
            self.stop()
            self._say(last_line(self.totals))

    def stop(self) -> None:
        """Take the table away."""
        if not self._over.is_set():
            self._over.set()
            self._thread.join()
            self._errors.finish()
            self._lines.draw(b"")
            self._lines.is_below = False
            sys.stderr = self._before


class NotebookBlock(Progress):
    """One block of text below the cell of a notebook."""

    def __init__(self) -> None:
        super().__init__()
        self._handle: Any = None
        self._next = 0.0

    def look(self) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY
            self.finish()

    def finish(self) -> None:
        from importlib import import_module

        lines = [
            f"{total.name}: worked on {total.taken:,} items"
            + (f", wrote {total.written:,}" if total.written else "")
            for total in self.totals.pes.values()
        ]
        shown = {"text/plain": "\n".join([*lines, progress_line(self.totals).partition(":")[0]])}
        if self._handle is None:
            display = import_module("IPython.display").display
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)
