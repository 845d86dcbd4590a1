"""Writing stream files, which are read from front to back and sealed at the end.

docs/stream-files.md specifies the format. This module also promises: a producer writes to
``PATH.partial``, and the file gets its name when it is sealed. So after a failure there is never a
short stream that looks complete. Equal streams give equal bytes. Memory does not grow with the
length of the file. Small items are written in batches (:mod:`~d4pcwl.streams.batch`). Only a file
that is read while it is written (:mod:`~d4pcwl.streams.live`) is written directly, item by item,
because its reader may wait for each item.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from d4pcwl.errors import ItemError, StreamFileError, UsageError
from d4pcwl.streams import codec
from d4pcwl.streams.batch import Batch
from d4pcwl.streams.format import (
    BATCH,
    BUFFER,
    CHECK,
    CODECS,
    END,
    FIELDS,
    FORMAT,
    MAGIC,
    SMALL,
    Port,
    canonical,
    reason,
)
from d4pcwl.streams.output_file import OutputFile
from d4pcwl.streams.tagged import Buffer


class StreamWriter:
    """Write a stream file.

    ``close`` seals the file. As a context manager, it is sealed at the end of the block. If the
    block raises an error, the output so far stays in ``PATH.partial``, or in ``output.place`` if
    another run writes ``PATH.partial``.

    :param path: the file; a pipe or device, or a file with a waiting reader, is written to directly
    :param ports: the (pe, port) pairs whose items the file holds; items name them by index
    :param allow_pickle: store items that have no open format as pickle; None: see codec.encode
    :param metadata: plain JSON for the header, the same from run to run (no times, no host names)
    :raises StreamFileError: the file cannot be written
    :raises UsageError: the metadata are not plain JSON, or there are more than 65535 ports
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        ports: Sequence[tuple[str, str]],
        *,
        allow_pickle: bool | None = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.ports = [Port(*port) for port in ports]
        self.allow_pickle = allow_pickle
        self.items_per_port = [0] * len(self.ports)
        if len(self.ports) > 0xFFFF:
            raise UsageError(f"a stream file holds at most 65535 ports, not {len(self.ports)}")
        header = _header_line(self.ports, bool(allow_pickle), metadata)
        self._hash = hashlib.sha256(MAGIC + header)
        self._crc = zlib.crc32(MAGIC + header)
        try:
            self.output = OutputFile(self.path, BUFFER, may_be_awaited=True)
        except OSError as error:
            raise _failed(self.path, error) from error
        self._file = self.output.file
        self._batch = Batch()
        self._batch_port = None if self.output.awaited else 0
        try:
            self._file.write(MAGIC + header)
            self._file.flush()  # a killed producer leaves a readable partial file
        except OSError as error:
            with suppress(OSError):
                self.output.keep()
            raise self._failed(error) from error

    def write(self, port_index: int, item: Any) -> None:
        """Append an item of the port with this index.

        :raises ItemError: the item cannot be encoded; the file is as before
        :raises StreamFileError: the file cannot be written, or is closed
        """
        if port_index != self._batch_port:
            self._begin_batch(port_index)  # with the next: ports may take turns
        elif self._batch.take(item):
            self.items_per_port[port_index] += 1
            if self._batch.is_full:
                self._write_batch()
            return
        try:
            tag, parts = codec.encode(item, allow_pickle=self.allow_pickle)
        except ItemError as error:
            raise ItemError(f"{self._place(port_index)}: {error}") from error
        self.write_encoded(port_index, tag, parts)

    def write_marked(self, port_index: int, mark: Sequence[int], item: Any) -> None:
        """Append an item with its mark, in a file whose metadata say that items have marks.

        :param mark: its place in the order of all files of this output; see docs/stream-files.md
        :raises ItemError: the item cannot be encoded; the file is as before
        :raises StreamFileError: the file cannot be written, or is closed
        """
        try:
            self.write(port_index, [list(mark), item])
        except ItemError as error:
            try:  # the message must describe the item, and not the pair
                codec.encode(item, allow_pickle=self.allow_pickle)
            except ItemError as own:
                raise ItemError(f"{self._place(port_index)}: {own}") from error
            raise

    def write_encoded(self, port_index: int, tag: bytes, parts: Sequence[Buffer]) -> None:
        """Append an item that :func:`codec.encode` has encoded already.

        :raises ItemError: it is a pickle, and the file must not contain pickles
        :raises StreamFileError: the file cannot be written, or is closed
        :raises UsageError: there is no such port or codec
        """
        if tag == codec.PICKLE and not self.allow_pickle:
            raise ItemError(
                f"{self._place(port_index)}: a pickle, which this file must not contain"
            )
        if tag not in CODECS:
            raise UsageError(f"{self.path}: no codec {tag!r}")
        self._begin_batch(port_index)
        self._record(tag, port_index, parts)
        self.items_per_port[port_index] += 1

    def close(self) -> None:
        """Seal the file and give it its name; do nothing if it is closed.

        :raises StreamFileError: the file cannot be written
        """
        if self._file.closed:
            return
        self._begin_batch(None)
        end = {
            "digest": self._hash.hexdigest(),
            "items": sum(self.items_per_port),
            "items_per_port": self.items_per_port,
        }
        self._record(END, 0, (canonical(end),))
        try:
            self.output.finish()
        except OSError as error:
            raise self._failed(error) from error

    def abort(self) -> None:
        """Close the file unsealed: what was written stays in ``output.place``."""
        self._begin_batch(None)
        try:
            self.output.keep()
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            with suppress(StreamFileError):  # the error of the block itself is more useful
                self.abort()

    def _begin_batch(self, port_index: int | None) -> None:
        """Gather small items of this port from now on, if no reader waits for each item."""
        if port_index is not None and not 0 <= port_index < len(self.ports):
            raise UsageError(f"{self.path}: no port number {port_index}")
        self._write_batch()
        self._batch_port = None if self.output.awaited or self._file.closed else port_index

    def _write_batch(self) -> None:
        """Write the small items that have come since the last record."""
        if not len(self._batch):
            return
        assert self._batch_port is not None
        payload = self._batch.payload()
        records = (
            [codec.encode(item) for item in self._batch.items()]
            if payload is None
            else [(BATCH, (payload,))]
        )
        self._batch.clear()
        for tag, parts in records:
            self._record(tag, self._batch_port, parts)

    def _record(self, tag: bytes, port_index: int, parts: Sequence[Buffer]) -> None:
        length = sum(map(len, parts))
        fields = FIELDS.pack(tag, port_index, length)
        crc = zlib.crc32(fields, self._crc)
        for part in parts:
            crc = zlib.crc32(part, crc)
        self._crc = crc
        pieces: Sequence[Buffer] = (fields + CHECK.pack(crc), *parts)
        if length <= SMALL:
            pieces = (b"".join(pieces),)
        try:
            for piece in pieces:
                self._file.write(piece)
                self._hash.update(piece)
            if self.output.awaited:
                self._file.flush()
        except (OSError, ValueError) as error:
            with suppress(OSError):
                self.output.keep()  # an incomplete record must never be followed by an end record
            raise self._failed(error) from error

    def _place(self, port_index: int) -> str:
        name = ".".join(self.ports[port_index]) if port_index < len(self.ports) else port_index
        return f"{self.path}: {name}"

    def _failed(self, error: Exception) -> StreamFileError:
        return _failed(self.output.place, error)


def _failed(place: Path, error: Exception) -> StreamFileError:
    return StreamFileError(f"{place}: cannot be written: {reason(error)}")


def _header_line(
    ports: Sequence[Port], allow_pickle: bool, metadata: Mapping[str, Any] | None
) -> bytes:
    header = {
        "allow_pickle": allow_pickle,
        "digest": "sha256",
        "format": FORMAT,
        "metadata": dict(metadata or {}),
        "ports": [{"pe": port.pe, "port": port.port} for port in ports],
    }
    try:
        return canonical(header) + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"a stream file's metadata must be plain JSON: {error}") from error
