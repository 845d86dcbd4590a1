"""How far a run is, shown while it lasts: in a terminal, as plain lines, or in a notebook.

All of these take the records of the run (``trace/observer.py``), and show anew what they come to
when the last look is a while ago.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from d4pcwl.runtime.local.console import ERASE, Lines, LineWriter
from d4pcwl.trace.format import Record
from d4pcwl.trace.totals import Totals, last_line, progress_line
from d4pcwl.workflow.cells import running_shell

_EVERY = 0.25
"""Seconds between two looks."""

_AT_FIRST = 1.0
"""Seconds before the first look: a quick run shows nothing."""

PLAIN_SECONDS = 10.0
"""Seconds between two plain lines, if nobody says another number."""


def notebook() -> Any:
    """The shell of the notebook that runs us; None elsewhere."""
    shell = running_shell()
    return shell if hasattr(shell, "kernel") else None


class Progress:
    """Takes records, and shows now and then what they come to.

    :param every: seconds between two looks
    :param first: seconds before the first
    """

    def __init__(self, every: float, first: float) -> None:
        self.totals = Totals()
        self._every, self._next = every, time.monotonic() + first

    def take(self, record: Record) -> None:
        """Take a record."""
        self.totals.take(record)
        if self.totals.end is not None:
            self.finish()
        elif time.monotonic() >= self._next:
            self.show()
            self._next = time.monotonic() + self._every

    def show(self) -> None:
        """Show how far the run is."""
        raise NotImplementedError

    def finish(self) -> None:
        """The run is over."""
        raise NotImplementedError


class PlainLines(Progress):
    """A line now and then.

    :param say: takes the lines
    """

    def __init__(self, say: Callable[[str], None], every: float = PLAIN_SECONDS) -> None:
        super().__init__(every, every)
        self._say = say

    def show(self) -> None:
        self._say(progress_line(self.totals))

    def finish(self) -> None:
        self._say(last_line(self.totals))


class LiveTable(Progress):
    """A table below all that is printed to a terminal; it is there from the first look on.

    Standard error is a :class:`LineWriter` the while: what anybody writes there goes above it.

    :param say: takes the last line
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(_EVERY, _AT_FIRST)
        self._say = say
        self._before = sys.stderr
        sys.stderr.flush()
        errors = LineWriter(2)
        errors.lines.erase = ERASE
        self._lines: Lines = errors.lines
        if isinstance(sys.stdout, LineWriter) and sys.stdout.isatty():
            self._lines = sys.stdout.lines
            self._lines.erase = ERASE
        sys.stderr = self._errors = errors
        self._on = True

    def show(self) -> None:
        from d4pcwl.trace.table import table

        if not self._on:
            return
        size = os.get_terminal_size(2)
        rows = table(self.totals, max(20, size.columns), max(3, size.lines - 1))
        up = f"\x1b[{len(rows)}A" if rows else ""
        picture = "".join(f"\r{row}\x1b[K\n" for row in rows)
        self._lines.draw((picture + up).encode("utf-8", "replace"))

    def finish(self) -> None:
        if self._on:
            self.stop()
            self._say(last_line(self.totals))

    def stop(self) -> None:
        """Take the table away."""
        if self._on:
            self._on = False
            self._errors.finish()
            self._lines.draw(b"")
            self._lines.erase = b""
            sys.stderr = self._before


class NotebookBlock(Progress):
    """One block of text below the cell of a notebook."""

    def __init__(self) -> None:
        super().__init__(_EVERY, 0.0)
        self._handle: Any = None

    def show(self) -> None:
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

    def finish(self) -> None:
        self.show()
