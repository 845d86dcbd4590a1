"""Stream files that are read while they are written.

A program that runs a producer and a reader of its file side by side makes the file, empty, and
locks it as long as the producer runs (:func:`awaited`). The lock (``flock``) tells the producer to
write into the file at once, and not into a partial file. It tells the reader that a missing end may
still come. The lock ends with the process that holds it, in any case.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def awaited(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let a stream file be read while it is written: for as long as the block runs.

    :param path: the file; it must not exist yet
    :raises OSError: it exists, or cannot be made
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def is_awaited(file: int) -> bool:
    """Whether a file, given by its descriptor, is being read while it is written."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return False
