"""What the C library does with the freed memory of arrays."""

from __future__ import annotations

import contextlib
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_BYTES = 32 << 20
"""The most memory that is kept; larger arrays have pages of their own, as usual."""


def keep_freed_memory() -> None:
    """Keep the freed memory of arrays for the next arrays, in this process and those that it forks.

    By default, the C library returns it to the system, and gets it again page by page. For a stream
    of arrays of a megabyte, this takes ten times as long as copying them. Nothing is done if numpy
    is not used, or with another C library.
    """
    if "numpy" not in sys.modules or not sys.platform.startswith("linux"):
        return
    import ctypes

    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _BYTES)
        mallopt(_TRIM_THRESHOLD, _BYTES)
