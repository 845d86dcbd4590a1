"""What the C library does with memory that arrays have left."""

from __future__ import annotations

import contextlib
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_BYTES = 32 << 20
"""What is kept at most; larger arrays have pages of their own, as before."""


def keep_freed_memory() -> None:
    """Have this process, and those that it forks, keep the memory of arrays for the next ones.

    The C library would give it back to the system, and get it page by page again: for a stream of
    arrays of a megabyte that takes ten times as long as to copy them. Nothing is done where there
    are no arrays, or another C library.
    """
    if "numpy" not in sys.modules or not sys.platform.startswith("linux"):
        return
    import ctypes

    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _BYTES)
        mallopt(_TRIM_THRESHOLD, _BYTES)
