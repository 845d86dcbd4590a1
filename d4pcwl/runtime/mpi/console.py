"""Standard output of ranks: rank 0 writes their lines, always whole, and before the results."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from d4pcwl.runtime.local.console import LineLock, LineWriter
from d4pcwl.runtime.static.loop import ResultChannel


@contextlib.contextmanager
def console(results: ResultChannel | None, *, alone: bool) -> Iterator[LineWriter]:
    """Take over standard output.

    :param results: the way to rank 0; None on rank 0, which writes what the others send
    :param alone: there are no other ranks: PEs write to standard output directly
    """
    before, lock = sys.stdout, LineLock()
    before.flush()
    if results is not None:
        way = results
        out = LineWriter(1, lock, put=lambda text: way.send("text", text))
    else:
        out = before if isinstance(before, LineWriter) else LineWriter(1, lock)
    if not alone:
        sys.stdout = out
    try:
        yield out
    finally:
        sys.stdout = before
        lock.close()
