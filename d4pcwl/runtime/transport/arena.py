"""Arenas: bounded memory in which one process leaves large buffers for another.

An arena is anonymous memory that two processes share because it was mapped before they were forked,
or because one has opened the other's descriptor of it; it has no name, and is gone with them. The
sender copies a buffer into a free run of pages and tells the receiver, by the usual way, where it
lies; the receiver's array *is* that memory, until nobody there holds it any more, and then the run
is free again. So an array is copied once, and nobody ever waits for memory: where there is no room,
:meth:`Arena.put` says so, and the buffer travels another way. A receiver that keeps its arrays for
ever only makes that the rule.

A page has one byte that says whether a buffer begins there: the sender sets it, the receiver clears
it. Nothing else is written by both. A page that was never used costs no memory, and the lowest free
run is taken first, so that a stream lives in few pages that stay in the caches.
"""

from __future__ import annotations

import mmap
import os
import weakref
from typing import Any

PAGE = 1 << 16

ARENA_BYTES = 32 << 20
"""The most memory of one arena."""

TOTAL_BYTES = 512 << 20
"""The most memory of all arenas of a run."""


def arena_bytes(arenas: int, total: int = TOTAL_BYTES) -> int:
    """How large each of so many arenas is to be."""
    return min(ARENA_BYTES, total // max(1, arenas)) // PAGE * PAGE


class Arena:
    """See the module.

    :param size: in bytes
    :param fd: a descriptor of the memory; memory of its own where it is left out
    """

    def __init__(self, size: int, fd: int = -1) -> None:
        self._pages = size // PAGE
        flags = -(-self._pages // PAGE) * PAGE  # the flags have pages of their own, in front
        self._start = flags
        self._memory: mmap.mmap | None = None
        if self._pages:
            if fd >= 0 and os.fstat(fd).st_size == 0:
                os.ftruncate(fd, flags + self._pages * PAGE)
            self._memory = mmap.mmap(fd, flags + self._pages * PAGE)
        self._taken: list[tuple[int, int]] = []  # runs in use, as first page and the page after
        self._held: dict[int, weakref.ref[Any]] = {}

    def put(self, buffer: memoryview) -> int:
        """Copy a buffer into the arena; its place, from 1, or 0 where there is no room."""
        place = self._reserve(buffer.nbytes)
        if place and self._memory is not None:
            start = self._start + (place - 1) * PAGE
            self._memory[start : start + buffer.nbytes] = buffer
        return place

    def _reserve(self, size: int) -> int:
        """A place that is taken from now on, or 0 where there is no room."""
        memory = self._memory
        if memory is None:
            return 0
        needed = -(-size // PAGE)
        taken, end, place = [], 0, -1
        for run in self._taken:
            if not memory[run[0]]:
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
            memory[place] = 1
        return place + 1

    def get(self, place: int, size: int) -> Any:
        """The buffer at a place; once nobody holds it any more, the place is free.

        The arena has to outlive it: a place of an arena that is gone stays taken.
        """
        import ctypes

        assert self._memory is not None
        first, owner = place - 1, os.getpid()
        memory, held = self._memory, self._held
        # Of the objects that lend out memory, this is one that a weak reference can refer to, and
        # that every view of the memory keeps alive.
        buffer = (ctypes.c_char * size).from_buffer(memory, self._start + first * PAGE)

        def free(reference: Any) -> None:
            held.pop(first, None)
            if os.getpid() == owner:  # and not in a process that a PE has forked
                memory[first] = 0

        held[first] = weakref.ref(buffer, free)
        return buffer
