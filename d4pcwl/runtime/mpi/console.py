"""Standard output of ranks: their lines go out by way of rank 0, whole, and before the results."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from d4pcwl.runtime.local.console import LineLock, LineWriter
from d4pcwl.runtime.static.loop import ResultChannel


class RankConsole(LineWriter):
    """Standard output: this rank's own, or by way of rank 0."""

    def __init__(self, lock: LineLock) -> None:
        super().__init__(1, lock)
        self._results: ResultChannel | None = None

    def to(self, results: ResultChannel) -> None:
        """Send lines to rank 0 from now on."""
        self._results = results

    def _put(self, text: str) -> None:
        if self._results is None:
            super()._put(text)
        else:
            self._results.send("text", text)


@contextlib.contextmanager
def console(*, alone: bool) -> Iterator[tuple[RankConsole, LineWriter]]:
    """Take over standard output: what PEs write to, and where rank 0 writes what others sent.

    :param alone: there are no other ranks: PEs write to standard output itself
    """
    before, lock = sys.stdout, LineLock()
    before.flush()
    out = RankConsole(lock)
    if not alone:
        sys.stdout = out
    try:
        yield out, LineWriter(1, lock)
    finally:
        sys.stdout = before
        lock.close()
