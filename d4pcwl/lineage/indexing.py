"""Making the index of records: their items, inputs and files become nodes, and runs are joined.

Runs are joined by files. A file that a run has read is the one with the same bytes that another run
has made; if several have, it is the one whose path ends most alike. Files that were only read are
the same if their names are, too. An item that was read from a place in a stream file derives from
the item that was put there, and not from the whole file.

A step whose items nobody has recorded is a black box: what came out of it derives from all that
went in, unless it has gone through unchanged.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from d4pcwl.lineage.identity import SIZE, each, sources
from d4pcwl.lineage.opened import READ
from d4pcwl.lineage.record import (
    COLLECTION,
    GIVEN,
    HELD,
    INVOCATION,
    RESULT,
    Record,
    files_behind,
    reading,
)
from d4pcwl.lineage.run_set import RunSet, Step

ITEM, INPUT, FILE, MANY = "item", "input", "file", "collection"
RESULTS, STREAM, WRITTEN = "results", "stream", "written"
"""Roles of files. The items of the first two are found by their place."""

MADE = (RESULTS, STREAM, WRITTEN)
"""The roles of files that a run has made."""

_ROWS = 10_000

_SCHEMA = """
CREATE TABLE runs (number INTEGER PRIMARY KEY, told TEXT);
CREATE TABLE nodes (id INTEGER PRIMARY KEY, run INTEGER, kind TEXT, own BLOB, pe TEXT, port TEXT,
                    shown TEXT, digest BLOB, extra TEXT);
CREATE TABLE edges (target INTEGER, source INTEGER);
CREATE TABLE results (file INTEGER, number INTEGER, node INTEGER, itself INTEGER);
CREATE TABLE places (digest BLOB PRIMARY KEY, path TEXT);
CREATE TEMP TABLE located (node INTEGER, file INTEGER, number INTEGER);
CREATE TEMP TABLE same (old INTEGER PRIMARY KEY, new INTEGER);
"""

# Of the columns with files in them, the files that are joined become one.
_MERGE = """
UPDATE edges SET source = (SELECT new FROM same WHERE old = source)
    WHERE source IN (SELECT old FROM same);
UPDATE edges SET target = (SELECT new FROM same WHERE old = target)
    WHERE target IN (SELECT old FROM same);
UPDATE located SET file = (SELECT new FROM same WHERE old = file)
    WHERE file IN (SELECT old FROM same);
DELETE FROM nodes WHERE id IN (SELECT old FROM same);
"""
_INDICES = """
CREATE INDEX by_own ON nodes (own);
CREATE INDEX by_digest ON nodes (digest);
CREATE INDEX many ON nodes (kind) WHERE kind = 'collection';
CREATE INDEX files ON nodes (shown) WHERE kind = 'file';
CREATE INDEX up ON edges (target, source);
CREATE INDEX down ON edges (source, target);
CREATE INDEX by_place ON results (file, number);
"""
_LOCATE = """
CREATE TEMP TABLE exact AS
    SELECT located.node AS node, located.file AS file, results.node AS source
    FROM located JOIN results USING (file, number)
    UNION
    SELECT located.node, located.file, results.node
    FROM located JOIN edges ON edges.target = located.file
    JOIN results ON results.file = edges.source AND results.number = located.number;
DELETE FROM edges WHERE rowid IN (
    SELECT edges.rowid FROM exact JOIN edges ON target = exact.node AND edges.source = exact.file);
INSERT INTO edges SELECT node, source FROM exact;
"""


def build(base: sqlite3.Connection, run_set: RunSet) -> None:
    """Fill an empty database.

    :raises LineageError: a record cannot be read
    """
    base.executescript(_SCHEMA)
    _Builder(base).take(*run_set.read())
    base.executescript(_MERGE + _INDICES + _LOCATE)


@dataclass(frozen=True)
class _File:
    """A file as one run knows it.

    :param path: its parts, the last one first
    :param made: whether the run has made it
    """

    node: int
    run: int
    path: Sequence[str]
    digest: bytes
    made: bool

    def likeness(self, other: _File) -> int:
        """How many parts at the ends of two paths are equal."""
        pairs = zip(self.path, other.path, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


class _Builder:
    """Puts records into the tables."""

    def __init__(self, base: sqlite3.Connection) -> None:
        self._base = base
        self._count = 0
        self._run = 0
        self._nodes: list[tuple[Any, ...]] = []
        self._edges: list[tuple[int, int]] = []
        self._located: list[tuple[int, int, int]] = []
        self._names: list[tuple[str, int]] = []
        self._files: list[_File] = []
        # Of the record that is being taken:
        self._numbers: dict[bytes | str, int] = {}
        self._known: set[int] = set()

    def take(self, steps: Sequence[Step], places: Mapping[bytes, Path]) -> None:
        """Take all runs, and join them."""
        for step in steps:
            self._begin()
            told = {"name": step.name, "complete": True}
            if step.record is not None:
                with reading(step.record.path):
                    told = self._record(step.record, step.name)
            self._step(step)
            self._base.execute("INSERT INTO runs VALUES (?, ?)", (self._run, json.dumps(told)))
        self._join()
        rows = ((digest, str(path)) for digest, path in places.items())
        self._base.executemany("INSERT INTO places VALUES (?, ?)", rows)
        self._flush()
        self._base.executemany("UPDATE nodes SET shown = ? WHERE id = ?", self._names)

    def _begin(self) -> None:
        """A run, or a step."""
        self._run += 1
        self._numbers.clear()
        self._known.clear()

    # --- records --------------------------------------------------------------------------------

    def _record(self, record: Record, name: str) -> dict[str, Any]:
        """Take a record; return a description of it."""
        streams = ["", *record.head["streams"]]
        came = [bytearray() for _ in streams]  # what the results derive from
        counts = [0] * len(streams)
        results: list[tuple[int, int, int, bool]] = []
        for value in record:
            kind = value[0]
            if kind == INVOCATION:
                self._invocation(value)
            elif kind == GIVEN:
                _, own, pe, _, digest, shown = value
                self._node(own, (INPUT, own, pe, "", shown, digest, None))
            elif kind == HELD:
                self._derive(self._number(value[3]), each(value[4]), value[5])
            elif kind == COLLECTION:
                _, own, members, paths = value
                shown = "files read before" if paths else f"{len(members) // SIZE} items together"
                many = self._node(own, (MANY, own, "", "", shown, None, None))
                self._derive(many, each(members), paths)
            elif kind == RESULT:
                trace, went_to = value[3], value[4]
                for at in [number + 1 for number in went_to] or [0]:
                    counts[at] += 1
                    came[at] += sources(trace)
                    results += (
                        (at, counts[at], self._number(own), len(trace) == SIZE)
                        for own in each(sources(trace))
                    )
            if len(self._nodes) > _ROWS or len(self._edges) > _ROWS:
                self._flush()
        into = [0] * len(streams)
        for path, told in record.tail.get("files", {}).items():  # the tail came last
            number = self._file(path, told)
            if told["role"] in (RESULTS, STREAM):
                at = streams.index(path) if told["role"] == STREAM else 0
                self._derive(number, each(bytes(came[at])))
                into[at] = number
        for own, number in self._numbers.items():
            if number not in self._known:  # whoever wrote it was killed before it could tell
                if isinstance(own, str):
                    self._node(own, (FILE, b"", "", "", storable(own), None, None))
                else:
                    self._node(own, (ITEM, own, "", "", "", None, None))
        rows = ((into[at], *rest) for at, *rest in results if into[at])
        self._base.executemany("INSERT INTO results VALUES (?, ?, ?, ?)", rows)
        return _told(record, name, counts[0])

    def _invocation(self, value: list[Any]) -> None:
        pe, used, writes, files = value[1], value[5], value[8], value[9]
        read = [path for path, how, *_ in files if how == READ]
        for path, how, *came in files:
            if how != READ:
                self._derive(self._number(path), each(came[0]), (*read, *came[1]))
        for write in writes:
            own, output, digest, shown, derived, *more = write
            extra = more[0] if more else {}
            told = json.dumps(extra) if extra else None
            number = self._node(own, (ITEM, own, pe, output, shown, digest, told))
            behind = files_behind(write, read)
            self._derive(number, each(used if derived is None else derived), behind)
            path, _, place = extra.get("location", "").rpartition(":")
            if path in behind and place.isdecimal():
                self._located.append((number, self._number(path), int(place)))

    def _file(self, path: str, told: Mapping[str, Any]) -> int:
        digest = None if told.get("sha256") is None else bytes.fromhex(told["sha256"])
        extra = json.dumps({key: told[key] for key in ("role", "bytes") if key in told})
        number = self._node(path, (FILE, b"", "", "", storable(path), digest, extra))
        self._see(number, path, digest, told["role"] in MADE)
        return number

    def _see(self, node: int, path: str, digest: bytes | None, made: bool) -> None:
        if digest is not None:
            self._files.append(_File(node, self._run, Path(path).parts[::-1], digest, made))

    def _node(self, name: bytes | str, row: tuple[Any, ...]) -> int:
        number = self._number(name)
        self._known.add(number)
        self._nodes.append((number, self._run, *row))
        return number

    def _number(self, name: bytes | str) -> int:
        number = self._numbers.get(name)
        if number is None:
            self._count += 1
            number = self._numbers[name] = self._count
        return number

    def _derive(self, target: int, owns: Iterable[bytes], paths: Iterable[str] = ()) -> None:
        self._edges += ((target, self._number(own)) for own in owns)
        self._edges += ((target, self._number(path)) for path in dict.fromkeys(paths))

    def _flush(self) -> None:
        # What was done again by chance in other parts may be there twice.
        nodes = "INSERT OR IGNORE INTO nodes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        self._base.executemany(nodes, self._nodes)
        self._base.executemany("INSERT INTO edges VALUES (?, ?)", self._edges)
        self._base.executemany("INSERT INTO located VALUES (?, ?, ?)", self._located)
        for rows in (self._nodes, self._edges, self._located):
            rows.clear()

    # --- steps ----------------------------------------------------------------------------------

    def _step(self, step: Step) -> None:
        """Take the files of a step, so far as its record does not know them."""
        known = sorted((file for file in self._files if file.run == self._run), key=_is_made)
        used = {file.digest: file.node for file in reversed(known)}
        inside = set() if step.record is None else self._below(step.record.head["folder"])
        for file in step.used:
            if file.digest not in used:
                told = {"role": "read", "sha256": file.digest.hex()}
                used[file.digest] = self._file(file.name, told)
            elif used[file.digest] not in inside:  # the engine had put it somewhere for the run
                self._names.append((storable(file.name), used[file.digest]))
        went_in = {used[file.digest] for file in step.used}
        made = {file.digest: file.name for file in step.made if file.digest not in used}
        for name, value in step.values.items() if made else ():
            shown = json.dumps({name: value}, ensure_ascii=False)
            went_in.add(self._node(f"\0{name}", (INPUT, b"", "", name, shown, None, None)))
        for digest, name in made.items():
            number = self._file(name, {"role": WRITTEN, "sha256": digest.hex()})
            self._edges += ((number, source) for source in went_in)

    def _below(self, folder: str) -> set[int]:
        """The files of this run that are in a folder."""
        end = Path(folder).parts[::-1]
        mine = (file for file in self._files if file.run == self._run)
        return {file.node for file in mine if tuple(file.path[-len(end) :]) == end}

    # --- joining --------------------------------------------------------------------------------

    def _join(self) -> None:
        """Find the files of several runs that are the same."""
        same: dict[int, int] = {}

        def end(node: int) -> int:
            while node in same:
                node = same[node]
            return node

        def merge(node: int, other: int) -> None:
            if end(node) != end(other):
                same[end(node)] = end(other)

        alike: dict[bytes, list[_File]] = defaultdict(list)
        for file in self._files:
            alike[file.digest].append(file)
        for files in alike.values():
            if len({file.run for file in files}) == 1:
                continue
            for file in files:
                others = [] if file.made else _most_alike(file, files)
                if len(others) > 1:
                    self._edges += ((file.node, other.node) for other in others)
                for other in others if len(others) == 1 else ():
                    merge(file.node, other.node)
        rows = ((node, end(node)) for node in same)
        self._base.executemany("INSERT INTO same VALUES (?, ?)", rows)


def _most_alike(file: _File, files: Sequence[_File]) -> list[_File]:
    """What a file that was read is in other runs.

    :param files: all with the same bytes
    """
    others = [other for other in files if other.run != file.run]
    runs = {other.run for other in others if other.made}
    if runs:
        # A run that has made a copy knows the original, too.
        others = [other for other in others if other.run in runs]
        most = max(map(file.likeness, others))
        found = [other for other in others if file.likeness(other) == most]
        return [other for other in found if other.made] or found[:1]
    earlier = (o for o in others if o.node < file.node and o.path[0] == file.path[0])
    return list(islice(earlier, 1))


def _told(record: Record, name: str, results: int) -> dict[str, Any]:
    """What the index knows about a run."""
    head, tail = record.head, record.tail
    script = head["script"]
    return {
        "name": name or (Path(script).stem if script else "graph"),
        **{key: head[key] for key in ("run", "script", "mapping", "parameters", "folder")},
        "results": results,
        "pes": {
            pe["pe"]: {"name": pe["name"] or pe["pe"], "parameters": pe["parameters"]}
            for pe in head["pes"]
        },
        "complete": bool(tail.get("complete")),
        "failed": tail.get("failed"),
    }


def _is_made(file: _File) -> bool:
    return file.made


def storable(path: str) -> str:
    """A path as text in UTF-8, whatever bytes it has."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")
