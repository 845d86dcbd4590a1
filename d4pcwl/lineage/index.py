"""An index of a record, in SQLite: made when something is first asked, beside the record.

Nodes are items, inputs of roots, and files. An edge leads from a node to what derives from it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from d4pcwl.errors import LineageError
from d4pcwl.lineage.identity import SIZE, each, sources
from d4pcwl.lineage.opened import READ
from d4pcwl.lineage.record import GIVEN, HELD, INVOCATION, RESULT, Record, files_behind

NAME = "lineage.sqlite"
ITEM, INPUT, FILE = "item", "input", "file"
RESULTS, STREAM = "results", "stream"
"""The roles of files whose items are found by their place."""

_VERSION = 2
_AT_ONCE = 500
_ROWS = 10_000

_SCHEMA = """
CREATE TABLE nodes (id INTEGER PRIMARY KEY, kind TEXT, own BLOB, pe TEXT, port TEXT, shown TEXT,
                    digest BLOB, extra TEXT);
CREATE TABLE edges (target INTEGER, source INTEGER);
CREATE TABLE results (file TEXT, number INTEGER, node INTEGER, PRIMARY KEY (file, number));
"""
_INDICES = """
CREATE INDEX by_own ON nodes (own);
CREATE INDEX by_digest ON nodes (digest);
CREATE INDEX files ON nodes (shown) WHERE kind = 'file';
CREATE INDEX up ON edges (target, source);
CREATE INDEX down ON edges (source, target);
"""


@dataclass(frozen=True)
class Node:
    """Something that has a lineage.

    :param id: its number in the index
    :param kind: :data:`ITEM`, :data:`INPUT` or :data:`FILE`
    :param own: the identity of an item or input; empty for a file
    :param pe: the id of the PE that wrote it, or was given it
    :param port: the output
    :param shown: a text that shows the value; the path of a file
    :param digest: the SHA-256 of its plain form, or of the file
    :param extra: metadata, location, format; of a file its role and size
    """

    id: int
    kind: str
    own: bytes
    pe: str
    port: str
    shown: str
    digest: bytes | None
    extra: dict[str, Any]


class Index:
    """The index of a record, as a context.

    :ivar complete: whether the run came to its end
    :ivar failed: why not, if that is known
    :raises LineageError: the record cannot be read, or the index cannot be written
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.path = record.folder / NAME
        try:
            there = record.path.stat()
            self._key = f"{_VERSION}-{there.st_size}-{there.st_mtime_ns}"
            if not self._is_current():
                self._build()
            self._base = sqlite3.connect(self.path)
            about = self._base.execute("SELECT complete, failed FROM about").fetchone()
            self.complete, self.failed = bool(about[0]), about[1]
        except (OSError, sqlite3.Error) as error:
            raise LineageError(f"{self.path}: cannot be made: {error}") from None

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def _is_current(self) -> bool:
        if not self.path.exists():
            return False
        try:
            with closing(sqlite3.connect(self.path)) as base:
                found = base.execute("SELECT key FROM about").fetchone()
        except sqlite3.Error:
            return False
        return found is not None and found[0] == self._key

    def _build(self) -> None:
        place = self.path.with_name(f"{NAME}.partial")
        place.unlink(missing_ok=True)
        with closing(sqlite3.connect(place)) as base:
            base.execute("PRAGMA synchronous = OFF")
            base.execute("PRAGMA journal_mode = OFF")
            base.executescript(_SCHEMA)
            _Builder(base).take(self.record)
            base.executescript(_INDICES)
            tail = self.record.tail
            base.execute("CREATE TABLE about (key TEXT, complete INTEGER, failed TEXT)")
            about = (self._key, bool(tail.get("complete")), tail.get("failed"))
            base.execute("INSERT INTO about VALUES (?, ?, ?)", about)
            base.commit()
        os.replace(place, self.path)

    # --- finding --------------------------------------------------------------------------------

    def nodes(self, ids: Iterable[int]) -> dict[int, Node]:
        """Nodes by their numbers."""
        found: dict[int, Node] = {}
        for some in _portions(ids):
            for node in self._select(f"id IN ({_marks(some)})", some):
                found[node.id] = node
        return found

    def by_identity(self, start: str) -> list[Node]:
        """The items and inputs whose identity begins so, in hexadecimal digits."""
        low = bytes.fromhex(start.ljust(2 * SIZE, "0"))
        high = bytes.fromhex(start.ljust(2 * SIZE, "f"))
        return self._select("own BETWEEN ? AND ?", (low, high))

    def by_digest(self, digest: bytes) -> list[Node]:
        """The items and files with a digest."""
        return self._select("digest = ?", (digest,))

    def files(self) -> list[Node]:
        """All files."""
        return self._select("kind = 'file'", ())

    def result(self, number: int, stream: str = "") -> Node | None:
        """The result with a number, from 1; None if there is none, or it was not recorded.

        :param stream: the item with this number in a stream file that a stage has written
        """
        query = "id = (SELECT node FROM results WHERE file = ? AND number = ?)"
        found = self._select(query, (stream, number))
        return found[0] if found else None

    def count_results(self, stream: str = "") -> int:
        """How many results there are, or items in a stream file."""
        query = "SELECT count(*) FROM results WHERE file = ?"
        return int(self._base.execute(query, (stream,)).fetchone()[0])

    def count(self, kind: str) -> int:
        """How many nodes of a kind there are."""
        query = "SELECT count(*) FROM nodes WHERE kind = ?"
        return int(self._base.execute(query, (kind,)).fetchone()[0])

    def beside(self, ids: Sequence[int], *, down: bool) -> list[tuple[int, int]]:
        """The edges, each as what derives and its source, that lead up (or down) from nodes."""
        here = "source" if down else "target"
        found: list[tuple[int, int]] = []
        for some in _portions(ids):
            query = f"SELECT target, source FROM edges WHERE {here} IN ({_marks(some)})"
            found += self._base.execute(query, some)
        return found

    def _select(self, where: str, values: Sequence[Any]) -> list[Node]:
        names = "id, kind, own, pe, port, shown, digest, extra"
        rows = self._base.execute(f"SELECT {names} FROM nodes WHERE {where}", values)
        return [
            Node(number, kind, own, pe, port, shown, digest, json.loads(extra or "{}"))
            for number, kind, own, pe, port, shown, digest, extra in rows
        ]


class _Builder:
    """Puts a record into the tables."""

    def __init__(self, base: sqlite3.Connection) -> None:
        self._base = base
        self._numbers: dict[bytes | str, int] = {}
        self._nodes: list[tuple[Any, ...]] = []
        self._edges: list[tuple[int, int]] = []
        self._results: list[tuple[str, int, int | None]] = []
        self._known: set[int] = set()

    def take(self, record: Record) -> None:
        streams = ["", *map(_storable, record.head["streams"])]
        came = {name: bytearray() for name in streams}  # what the results derive from
        counts = dict.fromkeys(streams, 0)
        for value in record:
            kind = value[0]
            if kind == INVOCATION:
                self._invocation(value)
            elif kind == GIVEN:
                _, own, pe, _, digest, shown = value
                self._node(own, (INPUT, own, pe, "", shown, digest, None))
            elif kind == HELD:
                self._derive(self._number(value[3]), each(value[4]))
            elif kind == RESULT:
                trace, went_to = value[3], value[4]
                number = self._number(trace) if len(trace) == SIZE else None
                for name in [streams[at + 1] for at in went_to] or [""]:
                    counts[name] += 1
                    self._results.append((name, counts[name], number))
                    came[name] += sources(trace)
            if len(self._nodes) > _ROWS or len(self._edges) > _ROWS:
                self._flush()
        for path, told in record.tail.get("files", {}).items():  # the tail came last
            digest = told.get("sha256")
            extra = json.dumps({key: told[key] for key in ("role", "bytes") if key in told})
            known = None if digest is None else bytes.fromhex(digest)
            number = self._node(path, (FILE, b"", "", "", _storable(path), known, extra))
            if told["role"] in (RESULTS, STREAM):
                stream = _storable(path) if told["role"] == STREAM else ""
                self._derive(number, each(bytes(came[stream])))
        for name, number in self._numbers.items():
            if number not in self._known:  # whoever wrote it was killed before it could tell
                file = isinstance(name, str)
                shown, own = (_storable(name), b"") if isinstance(name, str) else ("", name)
                self._nodes.append((number, FILE if file else ITEM, own, "", "", shown, None, None))
        self._base.executemany("INSERT INTO results VALUES (?, ?, ?)", self._results)
        self._flush()

    def _invocation(self, value: list[Any]) -> None:
        pe, used, writes, files = value[1], value[5], value[8], value[9]
        for path, how, came in files:
            if how != READ:
                self._derive(self._number(path), each(came))
        for write in writes:
            own, output, digest, shown, derived, *more = write
            extra = more[0] if more else {}
            number = self._node(
                own, (ITEM, own, pe, output, shown, digest, json.dumps(extra) if extra else None)
            )
            self._derive(number, each(used if derived is None else derived))
            if files or extra:
                paths = files_behind(write, files)
                self._edges += ((number, self._number(path)) for path in paths)

    def _node(self, name: bytes | str, row: tuple[Any, ...]) -> int:
        number = self._number(name)
        self._known.add(number)
        self._nodes.append((number, *row))
        return number

    def _number(self, name: bytes | str) -> int:
        return self._numbers.setdefault(name, len(self._numbers) + 1)

    def _derive(self, target: int, owns: Iterable[bytes]) -> None:
        self._edges += ((target, self._number(own)) for own in owns)

    def _flush(self) -> None:
        self._base.executemany("INSERT INTO nodes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._nodes)
        self._base.executemany("INSERT INTO edges VALUES (?, ?)", self._edges)
        self._nodes.clear()
        self._edges.clear()


def _storable(path: str) -> str:
    """A path as text in UTF-8, whatever bytes it has."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _portions(ids: Iterable[int]) -> Iterator[tuple[int, ...]]:
    left = iter(ids)
    while some := tuple(islice(left, _AT_ONCE)):
        yield some


def _marks(some: Sequence[Any]) -> str:
    return ", ".join("?" * len(some))


def folder_of(what: str) -> Path:
    """The folder with the record that something is likely to be of.

    :raises LineageError: there is none
    """
    from d4pcwl.lineage.record import NAME as RECORD
    from d4pcwl.lineage.record import PARTS

    def is_record(folder: Path) -> bool:
        return (folder / RECORD).exists() or (folder / PARTS).is_dir()

    path = Path(what.partition("#")[0])
    near = dict.fromkeys((path, path.parent, Path()))
    for folder in near:
        if is_record(folder):
            return folder
    for folder in near:
        found = (
            [f for f in folder.iterdir() if f.is_dir() and is_record(f)] if folder.is_dir() else []
        )
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(sorted(map(str, found)))
            raise LineageError(f"there are several records: {names}; name one with --record DIR")
    raise LineageError(f"no record of a run was found for {what}; name it with --record DIR")
