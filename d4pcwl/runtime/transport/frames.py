"""Frames between processes: how a batch of items becomes bytes and items again.

A frame is a pickle (protocol 5) and, apart from it, the large buffers that its objects hold, such
as the memory of arrays, so that they are never copied into the pickle::

    u32  length of the pickle
    u32  number of buffers
    for each buffer
        u64  length
        u64  place: 0 where it follows here, else a number that the transport knows it by
    the pickle, the buffers that follow here

Frames are only sent between processes that one run has started. Files have another format
(``streams/writer.py``).
"""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from d4pcwl.errors import ItemError
from d4pcwl.streams.pickles import dumps as dumps

Part = bytes | memoryview
Fetch = Callable[[int, int], Any]
"""From the place and the length of a buffer that is elsewhere to the buffer."""

LARGE = 1 << 16
"""From this size on, it is faster to send a buffer separately."""

_HEAD = struct.Struct("<II")
_ENTRY = struct.Struct("<QQ")
_MOST_PARTS = 512  # below the smallest IOV_MAX there is


def pickled(message: Any) -> tuple[bytes, list[memoryview]]:
    """The pickle of a message and its buffers.

    :raises ItemError: something in it cannot be pickled
    """
    buffers: list[memoryview] = []

    def keep_apart(buffer: pickle.PickleBuffer) -> bool:
        try:
            buffers.append(buffer.raw())
        except BufferError:  # not contiguous
            return True
        return False

    try:
        return dumps(message, keep_apart), buffers
    except Exception as error:
        raise ItemError(f"{type(error).__name__}: {error}") from error


def frame(data: bytes, buffers: Sequence[memoryview], places: Sequence[int] = ()) -> list[Part]:
    """The parts of a frame: everything but the buffers, then the buffers that follow here.

    :param places: of each buffer (default: all follow here)
    """
    head = _HEAD.pack(len(data), len(buffers))
    if not buffers:
        return [head + data]
    places = places or [0] * len(buffers)
    table = [_ENTRY.pack(b.nbytes, place) for b, place in zip(buffers, places, strict=True)]
    follow = [b for b, place in zip(buffers, places, strict=True) if not place]
    return [b"".join([head, *table, data]), *follow]


def encode(message: Any) -> list[Part]:
    """The parts of a frame that holds all buffers itself.

    :raises ItemError: something in it cannot be pickled
    """
    return frame(*pickled(message))


def apart(data: bytes) -> bytes | pickle.PickleBuffer:
    """``data`` as a part of a message; where it is large, beside the pickle rather than in it."""
    return pickle.PickleBuffer(data) if len(data) >= LARGE else data


def loads(data: bytes) -> Any:
    """The object of a pickle that this run has made."""
    return pickle.loads(data)


def decode(
    first: Part | bytearray, following: Iterable[Any] | None = None, fetch: Fetch | None = None
) -> Any:
    """The message of a frame.

    :param first: its first part, or all of it in one piece
    :param following: the buffers that follow it, in order; they must be the receiver's own
    :param fetch: finds the buffers that are elsewhere
    """
    view = memoryview(first)
    length, count = _HEAD.unpack_from(view)
    if not count:
        return pickle.loads(view[_HEAD.size :])
    start = _HEAD.size + count * _ENTRY.size
    table = list(_ENTRY.iter_unpack(view[_HEAD.size : start]))
    if following is None:
        following = _cut(view[start + length :], [size for size, place in table if not place])
    rest = iter(following)
    buffers = [_fetched(fetch, place, size) if place else next(rest) for size, place in table]
    return pickle.loads(view[start : start + length], buffers=buffers)


def _cut(view: memoryview, sizes: Iterable[int]) -> Iterator[bytearray]:
    for size in sizes:
        yield bytearray(view[:size])  # a copy is aligned for the processor
        view = view[size:]


def _fetched(fetch: Fetch | None, place: int, size: int) -> Any:
    if fetch is None:
        raise ConnectionError("a buffer was sent through a channel that does not exist")
    return fetch(place, size)


def write_frame(fd: int, parts: Sequence[Part]) -> None:
    """Write a frame to a pipe, waiting while the pipe is full.

    :raises BrokenPipeError: nobody reads it any more
    """
    views = [memoryview(part) for part in parts]
    while views:
        written = os.writev(fd, views[:_MOST_PARTS])
        while views and written >= views[0].nbytes:
            written -= views.pop(0).nbytes
        if views and written:
            views[0] = views[0][written:]


def read_frame(fd: int, fetch: Fetch | None = None) -> Any:
    """Read one frame from a pipe, waiting for it.

    :param fetch: finds the buffers that are elsewhere
    :raises EOFError: the pipe was closed between two frames
    :raises ConnectionError: the pipe was closed within a frame
    """
    head = _read(fd, _HEAD.size, at_border=True)
    length, count = _HEAD.unpack(head)
    if not count:
        return pickle.loads(_read(fd, length))
    table = list(_ENTRY.iter_unpack(_read(fd, count * _ENTRY.size)))
    data = _read(fd, length)
    buffers = [_fetched(fetch, place, size) if place else _read(fd, size) for size, place in table]
    return pickle.loads(data, buffers=buffers)


def _read(fd: int, size: int, at_border: bool = False) -> bytearray:
    data = bytearray(size)
    view, read = memoryview(data), 0
    while read < size:
        count = os.readv(fd, [view[read:]])
        if count == 0:
            if at_border and read == 0:
                raise EOFError
            raise ConnectionError("a pipe was closed within a frame")
        read += count
    return data
