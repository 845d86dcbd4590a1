"""Constants for the writer and the reader of stream files; see docs/stream-files.md."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from d4pcwl.streams import codec

FORMAT = 2
MAGIC = b"D4PSTREAM 2\n"
OLDER = {b"D4PSTREAM 1\n": 1}
"""Formats that can be read as well: 1 has no batches."""
END, BATCH = b"E", b"B"
MARKS = "marks"
"""The entry of the metadata: true if each item is written as a pair of its mark and the item."""

FIELDS = struct.Struct("<cHQ")  # codec, port, length of the payload
CHECK = struct.Struct("<I")  # crc32 of the file up to here, the check sums left out
HEAD_SIZE = FIELDS.size + CHECK.size
BUFFER = 1 << 18
SMALL = 1 << 16  # payloads up to here are joined to their head, to be written in one go
CODECS = (codec.JSON, codec.ARRAY, codec.MIXED, codec.PICKLE, BATCH)

# how files of other kinds begin
FOREIGN = (
    (b"\x1f\x8b", "it is compressed with gzip; decompress it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd; decompress it first"),
    (b"BZh", "it is compressed with bzip2; decompress it first"),
    (b"PK\x03\x04", "it is a zip archive; unpack it first"),
    (b"\x93NUMPY", "it is a .npy file"),
    (b"\x80\x04", "it looks like a pickle"),
    (b"\x80\x05", "it looks like a pickle"),
    (b"{", "it looks like JSON"),
    (b"[", "it looks like JSON"),
    *(
        (magic[:-1] + b"\r\n", "its line ends were converted; copy it as binary")
        for magic in (MAGIC, *OLDER)
    ),
)


class Port(NamedTuple):
    """An output port of a PE, by their names."""

    pe: str
    port: str


def canonical(fields: Mapping[str, Any]) -> bytes:
    """JSON in one fixed form: sorted keys, no spaces, ASCII."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def reason(error: Exception) -> str:
    """What the error says, without the file name that the message has already."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
