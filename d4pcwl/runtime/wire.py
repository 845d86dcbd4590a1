"""Frames between processes: how a batch of items becomes bytes and items again.

A frame is a pickle (protocol 5) whose large buffers, such as the memory of arrays, follow it as
they are, so that they are never copied into the pickle::

    u32  length of the pickle
    u32  number of buffers
    u64  length of each buffer …
    the pickle, the buffers

Frames travel between processes that one run has started, and nowhere else; what rests in a file
has a form of its own (``runtime/stream_file.py``).
"""

from __future__ import annotations

import os
import pickle
import struct
from typing import Any

from d4pcwl.errors import ItemError

_HEAD = struct.Struct("<II")
_MOST_PARTS = 512  # below the smallest IOV_MAX there is


def encode(message: Any) -> list[bytes | memoryview]:
    """The parts of a frame.

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
        data = pickle.dumps(message, protocol=5, buffer_callback=keep_apart)
    except Exception as error:
        raise ItemError(f"{type(error).__name__}: {error}") from error
    head = _HEAD.pack(len(data), len(buffers))
    if not buffers:
        return [head + data]
    lengths = struct.pack(f"<{len(buffers)}Q", *(buffer.nbytes for buffer in buffers))
    return [head + lengths + data, *buffers]


def loads(data: bytes) -> Any:
    """What a pickle that this run has made stands for."""
    return pickle.loads(data)


def write_frame(fd: int, parts: list[bytes | memoryview]) -> None:
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


def read_frame(fd: int) -> Any:
    """Read one frame from a pipe, waiting for it.

    :raises EOFError: the pipe was closed between two frames
    :raises ConnectionError: the pipe was closed within a frame
    """
    head = _read(fd, _HEAD.size, at_border=True)
    pickled, count = _HEAD.unpack(head)
    lengths = struct.unpack(f"<{count}Q", _read(fd, 8 * count)) if count else ()
    data = _read(fd, pickled)
    return pickle.loads(data, buffers=[_read(fd, length) for length in lengths])


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
