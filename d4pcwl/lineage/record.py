"""The file of a record: ``DIR/lineage.msgpack``.

It is a sequence of MessagePack values. The first is the head, a map that says which run it is; the
last is the tail, a map with the files, and how the run ended. Between them are arrays. The first
entry of an array is its kind:

===================  ==========================================================================
:data:`WORKER`       run, host, process, number: whose the records are, up to the next of these
:data:`INVOCATION`   PE, instance, input (or ``preprocess``, ``postprocess``), identity, identities
                     of the items that it used, beginning (seconds since 1970), duration (s),
                     writes, files, whether it had no item, whether it came to its end (nil: more of
                     it follows, with the same identity). A write is
                     [identity, output, digest or nil, text that shows the value, identities that it
                     derives from (nil: those that were used), extra]. Extra is a map with
                     ``metadata``, ``location``, ``format``, and ``files`` that were read earlier;
                     it may be absent. A file is [path, ``r`` or ``w``, identities and files (read
                     earlier) that a written one derives from]
:data:`GIVEN`        identity, PE, place, digest, text: an input of a root
:data:`HELD`         PE, instance, path, identities, files: a file that stayed open, what came to
                     the instance meanwhile, and what it read
:data:`COLLECTION`   identity, identities, files: many, which others derive from by one identity
:data:`RESULT`       PE, output, trace, numbers of stream files: the next item of each of these
                     files (they are in the head, ``streams``); without a number, the next result
===================  ==========================================================================

Identities are 16 bytes; several follow each other in one binary value. While the run lasts, the
head is in ``DIR/parts/head``, and each worker appends to a file of its own beside it. A record
without a tail is of a run that was killed.
"""

from __future__ import annotations

import fcntl
import math
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]

from d4pcwl.errors import D4pcwlError, LineageError, brief
from d4pcwl.lineage.identity import SIZE
from d4pcwl.lineage.opened import READ

WORKER, INVOCATION, GIVEN, HELD, RESULT, COLLECTION = range(6)

NAME, PARTS, HEAD = "lineage.msgpack", "parts", "head"
FORMAT, VERSION = "d4pcwl-lineage", 1
_READ_BYTES = 1 << 20
_BIG = 1 << 63


def plain(value: Any) -> Any:
    """A value of metadata, or a parameter, as all forms of a record have it: in JSON and UTF-8."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if hasattr(value, "tolist"):  # numpy's
        return plain(value.tolist())
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, int) and -_BIG <= value < _BIG:
        return int(value)
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(entry) for entry in value]
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, (date, datetime)) else plain(str(value))


def packed(record: Any) -> bytes:
    """A record as bytes."""
    data: bytes = msgpack.packb(record, unicode_errors="surrogatepass")
    return data


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """A block that reads a record, which may come from anywhere.

    :raises LineageError: it is damaged: anything may be missing, or be of any type
    """
    try:
        yield
    except (D4pcwlError, OSError):
        raise
    except Exception as error:
        told = f"{type(error).__name__}: {brief(str(error), 80)}"
        raise LineageError(f"{path} is damaged, or is not the record of a run ({told})") from error


def values_in(path: Path, *, may_be_torn: bool = False) -> Iterator[tuple[Any, bytes]]:
    """The values of a file, each with its bytes.

    :param may_be_torn: its process may have been killed while it wrote the last value
    :raises LineageError: it cannot be read, or is damaged
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            unpacker = msgpack.Unpacker(
                max_buffer_size=0,
                max_array_len=size,
                max_map_len=size,
                strict_map_key=False,
                unicode_errors="surrogatepass",
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
    except (TypeError, ValueError, msgpack.exceptions.UnpackException) as error:
        raise LineageError(f"{path} is damaged: {error}") from None


def files_behind(write: Sequence[Any], read: Collection[str]) -> Collection[str]:
    """The files that an item derives from, each once: those that were read in its invocation, or
    only the one in which it is, as its location says; and those that were read before.

    :param write: the item, as in an invocation
    :param read: those that were read in the invocation
    """
    extra = write[5] if len(write) > 5 else {}
    own = extra.get("location", "").rpartition(":")[0]
    return dict.fromkeys([*([own] if own in read else read), *extra.get("files", ())])


def merge(folder: Path, end: Callable[[Mapping[str, str]], Mapping[str, Any]] | None) -> int:
    """Make one file of the parts. An invocation that was done again is there once.

    :param end: makes the tail, from the files that PEs have opened, each ``read`` or ``written``;
        None: nobody knows how the run ended
    :returns: how many items, invocations and members of collections there are
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
                if value[0] in (INVOCATION, GIVEN, COLLECTION):
                    own = _own_of(value) if value[0] == INVOCATION else value[1]
                    if own in seen:
                        continue
                    seen.add(own)
                if value[0] == INVOCATION:
                    count += (value[11] is not None) + len(value[8])
                    for name, how, *_ in value[9]:
                        if roles.get(name) != "written":
                            roles[name] = "read" if how == READ else "written"
                elif value[0] == HELD:
                    roles[value[3]] = "written"
                elif value[0] == COLLECTION:
                    count += len(value[2]) // SIZE
                file.write(data)
        if end is not None:
            file.write(packed(dict(end(roles))))
    os.replace(place, folder / NAME)
    shutil.rmtree(parts)
    return count


def _own_of(invocation: Sequence[Any]) -> bytes:
    """What tells an invocation, or a part of it, from all others: done again, it is the same."""
    own, writes, ended = invocation[4], invocation[8], invocation[11]
    known: bytes = own if ended is not None else own + writes[0][0]
    return known


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
                raise LineageError(
                    f"{folder}: the run is still running; ask when it has ended"
                ) from None
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
