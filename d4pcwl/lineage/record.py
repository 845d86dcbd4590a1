"""The file of a record: ``DIR/lineage.msgpack``.

It is a sequence of MessagePack values. The first is the head, a map that says which run it is; the
last is the tail, a map with the files, and how the run ended. Between them are arrays. The first
entry of an array is its kind:

===================  ==========================================================================
:data:`WORKER`       run, host, process, number: whose the records are, up to the next of these
:data:`INVOCATION`   PE, instance, input (or ``preprocess``, ``postprocess``), identity, identities
                     of the items that it used, beginning (seconds since 1970), duration (s),
                     writes, files, whether it had no item, whether it came to its end. A write is
                     [identity, output, digest or nil, text that shows the value, identities that it
                     derives from (nil: those that were used), extra]. Extra is a map with
                     ``metadata``, ``location``, ``format``, and ``files`` that were read earlier;
                     it may be absent. A file is [path, ``r`` or ``w``, identities that a written
                     one derives from]
:data:`GIVEN`        identity, PE, place, digest, text: an input of a root
:data:`HELD`         PE, instance, path, identities: a file that stayed open, and what came to the
                     instance meanwhile
:data:`BEHIND`       PE, instance, path, paths: a written file, and files that were read before it,
                     or while it stayed open, and that it derives from, too
:data:`RESULT`       PE, output, trace, numbers of stream files: the next item of each of these
                     files (they are in the head, ``streams``); without a number, the next result
===================  ==========================================================================

Identities are 16 bytes; several follow each other in one binary value. While the run lasts, the
head is in ``DIR/parts/head``, and each worker appends to a file of its own beside it. A record
without a tail is of a run that was killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]

from d4pcwl.errors import LineageError
from d4pcwl.lineage.opened import READ

WORKER, INVOCATION, GIVEN, HELD, RESULT, BEHIND = range(6)

NAME, PARTS, HEAD = "lineage.msgpack", "parts", "head"
FORMAT, VERSION = "d4pcwl-lineage", 1
_READ_BYTES = 1 << 20


def _plain(value: Any) -> Any:
    """What a value of metadata becomes that MessagePack does not have."""
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def packed(record: Any) -> bytes:
    """A record as bytes."""
    data: bytes = msgpack.packb(record, default=_plain, unicode_errors="surrogatepass")
    return data


def values_in(path: Path, *, may_be_torn: bool = False) -> Iterator[tuple[Any, bytes]]:
    """The values of a file, each with its bytes.

    :param may_be_torn: its process may have been killed while it wrote the last value
    :raises LineageError: it cannot be read, or is damaged
    """
    try:
        with path.open("rb") as file:
            unpacker = msgpack.Unpacker(
                max_buffer_size=0, strict_map_key=False, unicode_errors="surrogatepass"
            )
            block, first, start = b"", 0, 0  # where the block begins, and the next value
            while more := file.read(_READ_BYTES):
                unpacker.feed(more)
                block, first = block[start - first :] + more, start
                for value in unpacker:
                    end = unpacker.tell()
                    yield value, block[start - first : end - first]
                    start = end
            if first + len(block) > start and not may_be_torn:
                raise LineageError(f"{path} is cut off: it ends inside a value")
    except OSError as error:
        raise LineageError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise LineageError(f"{path} is damaged: {error}") from None


def files_behind(write: Sequence[Any], files: Iterable[Sequence[Any]]) -> Iterable[str]:
    """The files that an item derives from, each once: those that were read in its invocation, or
    only the one in which it is, as its location says; and those that were read before.

    :param write: the item, as in an invocation
    :param files: those of the invocation
    """
    extra = write[5] if len(write) > 5 else {}
    read = [path for path, how, _ in files if how == READ]
    own = extra.get("location", "").rpartition(":")[0]
    return dict.fromkeys([*([own] if own in read else read), *extra.get("files", ())])


def merge(folder: Path, end: Callable[[Mapping[str, str]], Mapping[str, Any]] | None) -> int:
    """Make one file of the parts. An invocation that was done again is there once.

    :param end: makes the tail, from the files that PEs have opened, each ``read`` or ``written``;
        None: nobody knows how the run ended
    :returns: how many items and invocations there are
    :raises LineageError: the parts are damaged
    :raises OSError: the file cannot be written
    """
    parts = folder / PARTS
    others = [path for path in parts.iterdir() if path.name != HEAD]
    # What was done again was done later; so the first to be taken is the one that counts.
    others.sort(key=lambda path: (-path.stat().st_mtime_ns, path.name))
    seen: set[bytes] = set()
    roles: dict[str, str] = {}
    count = 0
    place = folder / f"{NAME}.partial"
    with place.open("wb") as file:
        file.write((parts / HEAD).read_bytes())
        for path in others:
            for value, data in values_in(path, may_be_torn=True):
                if value[0] in (INVOCATION, GIVEN):
                    own = value[4] if value[0] == INVOCATION else value[1]
                    if own in seen:
                        continue
                    seen.add(own)
                if value[0] == INVOCATION:
                    count += 1 + len(value[8])
                    for name, how, _ in value[9]:
                        if roles.get(name) != "written":
                            roles[name] = "read" if how == READ else "written"
                elif value[0] == HELD:
                    roles[value[3]] = "written"
                file.write(data)
        if end is not None:
            file.write(packed(dict(end(roles))))
    os.replace(place, folder / NAME)
    shutil.rmtree(parts)
    return count


class Record:
    """A record that was merged.

    :param place: its folder, or the file itself under any name
    :raises LineageError: there is no record in the folder, or it is not of this format

    :ivar head: which run it is
    :ivar tail: how it ended; empty if it was killed
    """

    def __init__(self, place: str | os.PathLike[str]) -> None:
        self.path = Path(place) if os.path.isfile(place) else Path(place, NAME)
        self.folder = folder = self.path.parent
        if not self.path.exists() and (self.folder / PARTS / HEAD).exists():
            try:
                with (self.folder / PARTS / HEAD).open("rb") as head:
                    fcntl.flock(head, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    merge(self.folder, None)
            except BlockingIOError:
                raise LineageError(f"{folder}: the run that it is of still lasts") from None
            except OSError as error:
                raise LineageError(f"{self.path}: cannot be written: {error.strerror}") from None
        if not self.path.exists():
            raise LineageError(f"{folder}: there is no record of a run here (no {NAME})")
        self.head: dict[str, Any] = {}
        self.tail: dict[str, Any] = {}
        first, _ = next(values_in(self.path), (None, b""))
        if not isinstance(first, dict) or first.get("format") != FORMAT:
            raise LineageError(f"{self.path} is not the record of a run")
        if first.get("version") != VERSION:
            raise LineageError(
                f"{self.path} has version {first.get('version')} of the format; this d4pcwl reads "
                f"version {VERSION}"
            )
        self.head = first

    def __iter__(self) -> Iterator[list[Any]]:
        """The records between head and tail; after them, :attr:`tail` is known."""
        values = values_in(self.path)
        next(values)
        for value, _ in values:
            if isinstance(value, dict):
                self.tail = value
            else:
                yield value
