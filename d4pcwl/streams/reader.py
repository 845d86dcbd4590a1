"""Reading stream files: check sums first, then items; see docs/stream-files.md for the format."""

from __future__ import annotations

import hashlib
import os
import stat
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from d4pcwl.errors import ItemError, StreamFileError
from d4pcwl.streams import batch, codec
from d4pcwl.streams.format import (
    BATCH,
    BUFFER,
    CHECK,
    CODECS,
    END,
    FIELDS,
    FOREIGN,
    FORMAT,
    HEAD_SIZE,
    MAGIC,
    MARKS,
    OLDER,
    SMALL,
    Port,
    canonical,
    reason,
)
from d4pcwl.streams.live import is_awaited
from d4pcwl.streams.output_file import PARTIAL
from d4pcwl.streams.raising import loads

_CHUNK = 1 << 24  # the size that is read without a check if the file's size is not known
_PIECE = 1 << 20  # the size that is read at a time if the data are not kept
_LONGEST_HEADER = 1 << 26
_LOOK_SECONDS = 0.01
"""How often to check a file that is being written."""


class Record(NamedTuple):
    """One record of a stream file, its check sum verified, its items not decoded."""

    number: int  # from 0
    offset: int  # of its first byte
    port_index: int
    tag: bytes
    size: int  # of the payload
    payload: bytes | None  # None if it is longer than asked for
    items: int  # how many it holds


def is_marked(item: Any) -> bool:
    """Whether a record holds a mark and an item."""
    return (
        type(item) is list
        and len(item) == 2
        and type(item[0]) is list
        and bool(item[0])
        and all(type(place) is int for place in item[0])
    )


class StreamReader:
    """Read a stream file from front to back: iterating gives ``(port_index, item)``.

    The check sum of every item is verified before the item is returned; the number and the digest
    of all items are verified after the last one. A second iteration goes on where the first
    stopped, like that of a file. If a file is still being written (see
    :mod:`~d4pcwl.streams.live`), the reader waits for more. ``marked`` says whether the items have
    marks.

    :param path: the file, or a pipe that delivers one
    :param allow_pickle: decode items that are pickles, which runs code in the file
    :param partial: accept a file that has no end or is damaged, and return the items up to there,
        without waiting; ``broken`` then has the reason
    :raises StreamFileError: the file cannot be read, is not a stream file, or has a newer format
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        allow_pickle: bool = False,
        partial: bool = False,
    ) -> None:
        self.path = Path(path)
        self.allow_pickle = allow_pickle
        self.partial = partial
        self.sealed = False  # True after the end record has been read and verified
        self.broken: str | None = None
        self.items_per_port: list[int] = []
        try:
            self._file: IO[bytes] = open(self.path, "rb", buffering=BUFFER)  # noqa: SIM115
        except OSError as error:
            raise self._missing(error) from error
        try:
            status = os.fstat(self._file.fileno())
            self._regular = stat.S_ISREG(status.st_mode)
            self._all_there = partial or not self._regular
            head = self._read_header()
        except BaseException:
            self._file.close()
            raise
        self.ports = [Port(port["pe"], port["port"]) for port in self.header["ports"]]
        metadata = self.header.get("metadata")
        self.marked = isinstance(metadata, dict) and metadata.get(MARKS) is True
        self.items_per_port = [0] * len(self.ports)
        self._number = 0
        self._items: Iterator[tuple[int, Any]] = iter(())  # of the last record, not returned yet
        self._offset = len(head)
        self._crc = zlib.crc32(head)
        self._hash = hashlib.sha256(head)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Decode and return the items, without marks.

        :raises StreamFileError: the file is damaged, or has a pickle that is not allowed
        :raises ItemError: an item cannot be decoded here, because its type is not registered
        """
        if not self.marked:
            yield from self._decoded()
            return
        for port_index, (_, item) in self._decoded():
            yield port_index, item

    def marked_items(self) -> Iterator[tuple[list[int], Any]]:
        """Decode and return the items of a file with marks, with their marks.

        :raises StreamFileError: they have no marks; and as for an iteration
        :raises ItemError: as for an iteration
        """
        if not self.marked:
            raise StreamFileError(
                f"{self.path}: its items have no marks, but those of the other files have"
            )
        for _, (mark, item) in self._decoded():
            yield mark, item

    def _decoded(self) -> Iterator[tuple[int, Any]]:
        yield from self._items
        for record in self.records():
            assert record.payload is not None
            if record.tag == codec.PICKLE and not self.allow_pickle:
                raise StreamFileError(
                    f"{self._place(record.number, record.offset)} is a pickle, and reading a "
                    "pickle runs code that the file contains; if you trust its source, pass "
                    "allow_pickle=True (--allow-pickle)"
                )
            items = self.items_of(record)
            if self.marked and not all(map(is_marked, items)):
                place = self._place(record.number, record.offset)
                raise StreamFileError(
                    f"{place} has no mark, but every item of this file must have one"
                )
            self._items = zip(repeat(record.port_index), items)
            yield from self._items

    def items_of(self, record: Record, *, convert: bool = True) -> list[Any]:
        """Decode the items of a record, one or those of a batch.

        :param convert: as for :func:`codec.decode`
        :raises ItemError: they cannot be decoded here
        """
        assert record.payload is not None
        try:
            if record.tag == BATCH:
                return batch.decode(record.payload)
            allow_pickle = self.allow_pickle
            item = codec.decode(
                record.tag, record.payload, allow_pickle=allow_pickle, convert=convert
            )
            return [item]
        except ItemError as error:
            port = ".".join(self.ports[record.port_index])
            place = self._place(record.number, record.offset)
            raise ItemError(f"{place} from {port}: {error}") from error

    def records(self, longest: int | None = None) -> Iterator[Record]:
        """Return the records without decoding them; their check sums are verified.

        :param longest: verify payloads of more bytes than this, and than a batch may have, without
            keeping them; None: keep all
        :raises StreamFileError: the file is damaged or has no end
        """
        try:
            while not self.sealed and self.broken is None:
                record = self._read_record(self._number, longest)
                if record.tag == END:
                    self._verify_end(record)
                else:
                    self._number += 1
                    yield record
        except StreamFileError as error:
            if not self.partial:
                raise
            self.broken = str(error)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_header(self) -> bytes:
        magic = self._file.read(len(MAGIC))
        while len(magic) < len(MAGIC) and self._wait_for_more():
            magic += self._file.read(len(MAGIC) - len(magic))
        if magic != MAGIC and magic not in OLDER:
            raise StreamFileError(f"{self.path}: {self._foreign(magic)}")
        line = self._file.readline(_LONGEST_HEADER)
        while not line.endswith(b"\n") and self._wait_for_more():
            line += self._file.readline(_LONGEST_HEADER)
        if not line.endswith(b"\n"):
            raise StreamFileError(
                f"{self.path}: truncated at byte {len(MAGIC + line)}, in the header"
            )
        self.header: dict[str, Any] = {}
        try:
            text = line.decode("ascii")
            self.header = loads(text, line)
            ports = self.header["ports"]
            sound = all(type(p["pe"]) is type(p["port"]) is str for p in ports)
            sound = sound and self.header["format"] == OLDER.get(magic, FORMAT)
            sound = sound and self.header["digest"] == "sha256"
            sound = sound and len(ports) <= 0x10000
        except (ItemError, ValueError, KeyError, TypeError, RecursionError):
            sound = False
        if not sound:
            raise StreamFileError(f"{self.path}: damaged in the header, at byte {len(MAGIC)}")
        return magic + line

    def _foreign(self, start: bytes) -> str:
        if not start:
            return "empty: not even the header of a stream file was written"
        if MAGIC.startswith(start):
            return f"truncated at byte {len(start)}, in the header"
        word, _, version = start.rstrip(b"\n").partition(b" ")
        if word == MAGIC.split()[0] and version.isdigit():
            newer = f"{version.decode()}, newer than" if int(version) > FORMAT else "unknown to"
            return f"a stream file of format {newer} this d4pcwl, which reads {FORMAT}; upgrade it"
        longer = start + self._file.read(1)
        for beginning, hint in FOREIGN:
            if longer.startswith(beginning):
                return f"not a stream file: {hint}"
        return f"not a stream file: it begins with {start!r}, not with {MAGIC!r}"

    def _read_record(self, number: int, longest: int | None) -> Record:
        offset = self._offset
        head = self._read(HEAD_SIZE, number)
        tag, port_index, length = FIELDS.unpack_from(head)
        crc = zlib.crc32(head[: FIELDS.size], self._crc)
        payload: bytes | None = None
        items = 0
        if tag == END or longest is None or length <= max(longest, batch.LONGEST):
            payload = self._read(length, number)
            crc = zlib.crc32(payload, crc)
        else:
            self._hash.update(head)
            for piece in self._pieces(length, number):
                crc = zlib.crc32(piece, crc)
                self._hash.update(piece)
        if crc != CHECK.unpack_from(head, FIELDS.size)[0]:
            where = " or in the header" if number == 0 else ""
            raise StreamFileError(
                f"{self._place(number, offset)} does not match its check sum: the file is "
                f"damaged there{where}"
            )
        self._crc = crc
        if tag != END:
            if tag not in CODECS or port_index >= len(self.ports):
                raise StreamFileError(
                    f"{self._place(number, offset)} has codec {tag!r} and port {port_index}, which"
                    f" this file or version of d4pcwl does not know"
                )
            items = 1 if tag != BATCH else self._items_in(payload, number, offset)
            self.items_per_port[port_index] += items
            if payload is not None and length <= SMALL:
                self._hash.update(head + payload)
            elif payload is not None:
                self._hash.update(head)
                self._hash.update(payload)
        return Record(number, offset, port_index, tag, length, payload, items)

    def _items_in(self, payload: bytes | None, number: int, offset: int) -> int:
        if payload is None or len(payload) > batch.LONGEST:
            raise StreamFileError(f"{self._place(number, offset)} is longer than a batch may be")
        try:
            return batch.count(payload)
        except ItemError as error:
            raise StreamFileError(
                f"{self._place(number, offset)} is not a valid batch: {error}"
            ) from error

    def _pieces(self, length: int, number: int) -> Iterator[bytes]:
        """Read exactly ``length`` bytes, a piece at a time."""
        left = length
        while left:
            piece = self._read(min(left, _PIECE), number, length)
            left -= len(piece)
            yield piece

    def _read(self, length: int, number: int, announced: int = 0) -> bytes:
        """Read exactly ``length`` bytes; do not allocate memory for a length that the file does not
        have."""
        start = self._offset
        try:
            if length <= _CHUNK:
                data = self._file.read(length)
                while len(data) < length and self._wait_for_more():
                    data += self._file.read(length - len(data))
            elif self._regular:
                while not (there := self._has(start + length)) and self._wait_for_more():
                    pass
                data = self._file.read(length) if there else b""
            else:
                pieces = []
                left = length
                while left and (piece := self._file.read(min(left, _CHUNK))):
                    pieces.append(piece)
                    left -= len(piece)
                data = b"".join(pieces)
        except OSError as error:
            raise StreamFileError(f"{self.path}: cannot be read: {reason(error)}") from error
        except MemoryError:
            raise StreamFileError(
                f"{self._place(number, start)} has {length} bytes, and there is not enough "
                "memory for them"
            ) from None
        self._offset += len(data)
        if len(data) < length:
            place = self._place(number, start)
            raise StreamFileError(
                f"{place} is cut off: {announced or length} bytes should follow; the file has no "
                "end record, so its producer did not finish, or it was not copied whole"
            )
        return data

    def _has(self, size: int) -> bool:
        """Whether the file has at least this size."""
        return os.fstat(self._file.fileno()).st_size >= size

    def _wait_for_more(self) -> bool:
        """At the end of the file: wait, and return whether to read on; False: this was the end."""
        if self._all_there:
            return False
        if is_awaited(self._file.fileno()):
            time.sleep(_LOOK_SECONDS)
        else:
            self._all_there = True  # but the last data may not have been read yet
        return True

    def _verify_end(self, record: Record) -> None:
        expected = {
            "digest": self._hash.hexdigest(),
            "items": sum(self.items_per_port),
            "items_per_port": self.items_per_port,
        }
        if record.payload != canonical(expected):
            raise StreamFileError(
                f"{self.path}: the end record, at byte {record.offset}, does not match the "
                f"{sum(self.items_per_port)} items before it: the file is damaged"
            )
        if self._file.read(1):
            raise StreamFileError(
                f"{self.path}: more bytes follow the end record, from byte {self._offset} on:"
                " something was appended to a sealed file"
            )
        self.sealed = True

    def _place(self, number: int, offset: int) -> str:
        return f"{self.path}: record {number}, at byte {offset},"

    def _missing(self, error: OSError) -> StreamFileError:
        text = f"{self.path}: cannot be read: {reason(error)}"
        partial = self.path.with_name(self.path.name + PARTIAL)
        if isinstance(error, FileNotFoundError) and partial.exists():
            text += f"; there is {partial}: its producer did not finish"
        return StreamFileError(text)


@dataclass
class Summary:
    """The result of :func:`scan` for a stream file.

    :param broken: why the file is not sealed; None if it is sealed
    :param items: the number of items; ``items_per_port`` and ``bytes_per_port`` are in the order of
        ``ports``, the bytes being those of the payloads
    :param codecs: items per codec, by the codec's letter
    """

    path: str
    header: dict[str, Any]
    ports: list[Port]
    sealed: bool
    broken: str | None
    items: int
    items_per_port: list[int]
    bytes_per_port: list[int]
    codecs: dict[str, int] = field(default_factory=dict)


def scan(path: str | os.PathLike[str]) -> Summary:
    """Read and verify a stream file without decoding its items; unsealed ones are no error.

    :raises StreamFileError: the file cannot be read, or its header is not that of a stream file
    """
    with StreamReader(path, partial=True) as reader:
        sizes = [0] * len(reader.ports)
        codecs: dict[str, int] = {}
        for record in reader.records(longest=0):
            sizes[record.port_index] += record.size
            letter = record.tag.decode("ascii")
            codecs[letter] = codecs.get(letter, 0) + record.items
        return Summary(
            path=str(path),
            header=reader.header,
            ports=reader.ports,
            sealed=reader.sealed,
            broken=reader.broken,
            items=sum(reader.items_per_port),
            items_per_port=reader.items_per_port,
            bytes_per_port=sizes,
            codecs=dict(sorted(codecs.items())),
        )
