"""How a parent has the sources in its workers wait: by a cell of memory that they share."""

from __future__ import annotations

import mmap
from collections.abc import Callable


class Request:
    """Whether sources have to wait: a number that the parent and its workers share. Each pause has
    an odd number.

    :ivar asked: whether they have to wait; it is asked after each item
    """

    def __init__(self) -> None:
        self._cell = cell = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")
        self.asked: Callable[[], bool] = lambda: cell[0] % 2 == 1

    @property
    def number(self) -> int:
        """That of the pause, or of the time after it."""
        return self._cell[0]

    def next(self) -> None:
        """A pause begins, or ends."""
        self._cell[0] += 1
