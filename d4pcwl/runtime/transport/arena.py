"""Arenas: bounded memory through which one process sends large buffers to another.

An arena is anonymous memory that two processes share, because it was mapped before they were
forked, or because one has opened the other's descriptor of it. It has no name, and disappears with
these processes. The sender copies a buffer into free pages, and sends their place to the receiver
in a normal message. The receiver's array *is* that memory. When no object there uses it any more,
the pages are free again. So an array is copied once, and no process waits for memory: if there is
no room, :meth:`Arena.put` returns 0, and the buffer is sent in another way. This also holds if a
receiver keeps its arrays for ever.

Each page has a cell with the number of pages of the buffer that begins there. The sender sets it,
and the receiver clears it. Nothing else is written by both. Unused pages cost no memory. The lowest
free pages are used first, so a stream needs few pages, which stay in the caches.

The workers of a pool have an arena each, in one :class:`Memory`. The receiver of a task copies its
buffers out, because another worker may have to do the task again. The buffers stay until the task
is done. If a worker dies, its replacement frees the buffers that were not yet sent. Buffers that it
was just freeing stay in use until the run is over.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterable
from typing import Any

PAGE = 1 << 16

ARENA_BYTES = 32 << 20
"""The most memory of one arena."""

TOTAL_BYTES = 512 << 20
"""The most memory of all arenas of a run."""


_HANDED_OVER = 1 << 31
"""In a cell: other processes know the buffer."""

_CELL = 4
"""Bytes; a cell is written in one piece."""


def arena_bytes(arenas: int, total: int = TOTAL_BYTES) -> int:
    """The size of each of a number of arenas."""
    return min(ARENA_BYTES, total // max(1, arenas)) // PAGE * PAGE


class Arena:
    """See the module.

    :param size: in bytes
    :param fd: a descriptor of the memory (default: new memory)
    """

    def __init__(self, size: int, fd: int = -1) -> None:
        self._pages = size // PAGE
        self._start = -(-_CELL * self._pages // PAGE) * PAGE  # cells have pages of their own
        self._memory: memoryview = memoryview(b"")
        if self._pages:
            length = self._start + self._pages * PAGE
            if fd >= 0 and os.fstat(fd).st_size == 0:
                os.ftruncate(fd, length)
            self._memory = memoryview(mmap.mmap(fd, length))
        self._cells = self._memory[: _CELL * self._pages].cast("I")
        self._taken: list[tuple[int, int]] = []  # runs in use, as first page and the page after
        self._held: dict[int, weakref.ref[Any]] = {}

    def put(self, buffer: memoryview) -> int:
        """Copy a buffer into the arena; its place, from 1, or 0 where there is no room."""
        place = self._reserve(buffer.nbytes)
        if place:
            self._bytes_at(place, buffer.nbytes)[:] = buffer.cast("B")
        return place

    def _bytes_at(self, place: int, size: int) -> memoryview:
        start = self._start + (place - 1) * PAGE
        return self._memory[start : start + size]

    def _reserve(self, size: int) -> int:
        """A place that is taken from now on, or 0 where there is no room."""
        needed = -(-size // PAGE)
        taken, end, place = [], 0, -1
        for run in self._taken:
            if not self._cells[run[0]]:
                continue
            if place < 0 and run[0] - end >= needed:
                place = end
                taken.append((place, place + needed))
            end = run[1]
            taken.append(run)
        if place < 0 and self._pages - end >= needed:
            place = end
            taken.append((place, place + needed))
        self._taken = taken
        if place >= 0:
            self._cells[place] = needed
        return place + 1

    def get(self, place: int, size: int) -> Any:
        """The buffer at a place; once nobody holds it any more, the place is free.

        The arena must exist longer than the buffer: otherwise the place stays in use.
        """
        import ctypes

        first, owner = place - 1, os.getpid()
        cells, held = self._cells, self._held
        # Of the objects that lend out memory, this is one that a weak reference can refer to, and
        # that every view of the memory keeps alive.
        buffer = (ctypes.c_char * size).from_buffer(self._bytes_at(place, size))

        def free(reference: Any) -> None:
            held.pop(first, None)
            if os.getpid() == owner:  # and not in a process that a PE has forked
                cells[first] = 0

        held[first] = weakref.ref(buffer, free)
        return buffer

    def copy(self, place: int, size: int) -> bytearray:
        """A copy of the buffer at a place."""
        return bytearray(self._bytes_at(place, size))

    def free(self, place: int) -> None:
        """Free the buffer at a place."""
        self._cells[place - 1] = 0

    def hand_over(self, place: int) -> None:
        """Note that other processes get to know a place: it stays in use if this process dies."""
        self._cells[place - 1] |= _HANDED_OVER

    def adopt(self) -> None:
        """Become the sender in place of a process that has died."""
        self._taken, page = [], 0
        while page < self._pages:
            cell = self._cells[page]
            if cell and not cell & _HANDED_OVER:
                self._cells[page] = cell = 0
            after = page + (cell & ~_HANDED_OVER)
            if cell:
                self._taken.append((page, after))
            page = max(after, page + 1)


_ARENA_OF = 1 << 32
"""Places in a memory: the number of the arena times this, and the place there."""


def lowest_free(numbers: Iterable[int]) -> int:
    """The lowest number, from 0, that is not among them."""
    taken = set(numbers)
    return next(number for number in range(len(taken) + 1) if number not in taken)


class Memory:
    """The arenas of the workers of a pool, made before these are forked.

    :param workers: how many there may be at a time
    """

    def __init__(self, workers: int) -> None:
        self._arenas = [Arena(arena_bytes(workers)) for _ in range(workers)]
        self._own: int | None = None

    def enter(self, number: int) -> None:
        """In the only worker with this number: use its arena for large buffers."""
        if number < len(self._arenas):
            self._own = number
            self._arenas[number].adopt()

    def put(self, buffer: memoryview) -> int:
        """Copy a buffer there; its place, or 0 where there is no room."""
        if self._own is None:
            return 0
        place = self._arenas[self._own].put(buffer)
        return place and self._own * _ARENA_OF + place

    def hand_over(self, places: Iterable[tuple[int, int]]) -> None:
        """Note that other processes get to know places: the buffers stay if this process dies.

        :param places: and sizes
        """
        for place, _ in places:
            arena, rest = divmod(place, _ARENA_OF)
            self._arenas[arena].hand_over(rest)

    def copy(self, place: int, size: int) -> bytearray:
        """A copy of a buffer, for a worker that may die during the task."""
        arena, rest = divmod(place, _ARENA_OF)
        return self._arenas[arena].copy(rest, size)

    def take(self, place: int, size: int) -> bytearray:
        """A copy of a buffer that no other process needs."""
        data = self.copy(place, size)
        self.free([(place, size)])
        return data

    def free(self, places: Iterable[tuple[int, int]]) -> None:
        """Free these buffers.

        :param places: and sizes
        """
        for place, _ in places:
            arena, rest = divmod(place, _ARENA_OF)
            self._arenas[arena].free(rest)
