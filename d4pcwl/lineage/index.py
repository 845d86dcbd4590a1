"""The index of what a folder has, in SQLite: made when something is first asked, in that folder.

Nodes are items, inputs of roots and of steps, and files. An edge leads from a node to what derives
from it. ``indexing.py`` fills it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from d4pcwl.errors import LineageError
from d4pcwl.lineage.identity import SIZE
from d4pcwl.lineage.run_set import RunSet

NAME = "lineage.sqlite"
_VERSION = 3
_AT_ONCE = 500


@dataclass(frozen=True)
class Node:
    """Something that has a lineage.

    :param id: its number in the index
    :param run: the number of the run that it is of
    :param kind: ``item``, ``input`` or ``file``
    :param own: the identity of an item or an input of a root; empty for others
    :param pe: the id of the PE that wrote it, or was given it
    :param port: the output; of a step, the input
    :param shown: a text that shows the value; the path of a file
    :param digest: the SHA-256 of its plain form, or of the file
    :param extra: metadata, location, format; of a file its role and size
    """

    id: int
    run: int
    kind: str
    own: bytes
    pe: str
    port: str
    shown: str
    digest: bytes | None
    extra: dict[str, Any]


@dataclass(frozen=True)
class PE:
    """A PE of a run: its name, and what it was made with."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run of a graph, or of a step that has no record.

    :param name: of the step, or of the script
    :param pes: by id; none of a step without a record
    :param complete: whether it finished
    :param failed: why not, if that is known
    :param about: its id, script, mapping, parameters, working folder and number of results
    """

    name: str
    pes: dict[str, PE]
    complete: bool
    failed: str | None
    about: dict[str, Any]


class Index:
    """The index of a folder, as a context.

    :ivar runs: by number
    :raises LineageError: a record cannot be read, or the index cannot be written
    """

    def __init__(self, run_set: RunSet) -> None:
        self.path = run_set.folder / NAME
        try:
            self._key = f"{_VERSION} {run_set.key}"
            if not self._is_current():
                self._build(run_set)
            self._base = sqlite3.connect(self.path)
            rows = self._base.execute("SELECT number, told FROM runs ORDER BY number")
            self.runs = _runs({number: json.loads(told) for number, told in rows})
        except (OSError, sqlite3.Error) as error:
            raise LineageError(f"{self.path}: cannot be made: {error}") from None

    def __enter__(self) -> Index:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._base.close()
        if isinstance(error, sqlite3.Error):
            raise LineageError(f"{self.path} is damaged ({error}); delete it") from error

    def _is_current(self) -> bool:
        if not self.path.exists():
            return False
        try:
            with closing(sqlite3.connect(self.path)) as base:
                found = base.execute("SELECT key FROM about").fetchone()
        except sqlite3.Error:
            return False
        return found is not None and found[0] == self._key

    def _build(self, run_set: RunSet) -> None:
        from d4pcwl.lineage.indexing import build

        place = self.path.with_name(f"{NAME}.partial")
        place.unlink(missing_ok=True)
        with closing(sqlite3.connect(place)) as base:
            base.execute("PRAGMA synchronous = OFF")
            base.execute("PRAGMA journal_mode = OFF")
            build(base, run_set)
            base.execute("CREATE TABLE about (key TEXT)")
            base.execute("INSERT INTO about VALUES (?)", (self._key,))
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

    def place(self, file: Node) -> Path:
        """Where a file is now: it may have been moved since the run."""
        query = "SELECT path FROM places WHERE digest = ?"
        found = self._base.execute(query, (file.digest,)).fetchone()
        return Path(found[0] if found is not None else file.shown)

    def result(self, file: Node, number: int) -> Node | None:
        """The item with a number, from 1, in a file with results or a stream file; None if there is
        none, or it was not recorded."""
        query = "id = (SELECT node FROM results WHERE file = ? AND number = ? AND itself)"
        found = self._select(query, (file.id, number))
        return found[0] if found else None

    def count_results(self, file: Node) -> int:
        """How many items a file with results or a stream file has."""
        query = "SELECT count(DISTINCT number) FROM results WHERE file = ?"
        return int(self._base.execute(query, (file.id,)).fetchone()[0])

    def count(self, kind: str) -> int:
        """How many nodes of a kind there are."""
        query = "SELECT count(*) FROM nodes WHERE kind = ?"
        return int(self._base.execute(query, (kind,)).fetchone()[0])

    def collections(self, ids: Iterable[int]) -> list[int]:
        """Those of some nodes that are collections."""
        found: list[int] = []
        for some in _portions(ids):
            query = f"SELECT id FROM nodes WHERE kind = 'collection' AND id IN ({_marks(some)})"
            found += (number for (number,) in self._base.execute(query, some))
        return found

    def beside(self, ids: Sequence[int], *, down: bool) -> list[tuple[int, int]]:
        """The edges, each as what derives and its source, that lead up (or down) from nodes."""
        here = "source" if down else "target"
        found: list[tuple[int, int]] = []
        for some in _portions(ids):
            query = f"SELECT DISTINCT target, source FROM edges WHERE {here} IN ({_marks(some)})"
            found += self._base.execute(query, some)
        return found

    def gathering(self, node: int) -> list[int]:
        """A node and the collections that it derives from: what is in these, it derives from."""
        found = [node]
        new = [node]
        while new:
            query = (
                "SELECT DISTINCT nodes.id FROM nodes CROSS JOIN edges ON source = nodes.id "
                f"WHERE kind = 'collection' AND target IN ({_marks(new)})"
            )
            rows = self._base.execute(query, new)
            new = [number for (number,) in rows if number not in found]
            found += new
        return found

    def leads(self, source: int, targets: Sequence[int]) -> bool:
        """Whether one of some nodes derives from another, in one step."""
        query = f"SELECT 1 FROM edges WHERE source = ? AND target IN ({_marks(targets)})"
        return self._base.execute(query, (source, *targets)).fetchone() is not None

    def sources(self, targets: Sequence[int], text: str) -> list[Node]:
        """What nodes derive from, if a text is in what shows it, or if it has metadata."""
        where = f"id IN (SELECT source FROM edges WHERE target IN ({_marks(targets)})) AND "
        where += "(instr(shown, ?) OR instr(extra, '\"metadata\"'))"
        return self._select(where, (*targets, text))

    def _select(self, where: str, values: Sequence[Any]) -> list[Node]:
        names = "id, run, kind, own, pe, port, shown, digest, extra"
        rows = self._base.execute(f"SELECT {names} FROM nodes WHERE {where}", values)
        return [
            Node(number, run, kind, own, pe, port, shown, digest, json.loads(extra or "{}"))
            for number, run, kind, own, pe, port, shown, digest, extra in rows
        ]


def _runs(told: dict[int, dict[str, Any]]) -> dict[int, Run]:
    found: dict[int, Run] = {}
    counts: dict[str, int] = {}
    for number, about in told.items():
        pes = {pe: PE(**entry) for pe, entry in about.pop("pes", {}).items()}
        name, complete, failed = (about.pop(key, None) for key in ("name", "complete", "failed"))
        counts[name] = counts.get(name, 0) + 1
        if counts[name] > 1:  # of an array, say
            name = f"{name}_{counts[name]}"
        found[number] = Run(name, pes, bool(complete), failed, about)
    return found


def _portions(ids: Iterable[int]) -> Iterator[tuple[int, ...]]:
    left = iter(ids)
    while some := tuple(islice(left, _AT_ONCE)):
        yield some


def _marks(some: Sequence[Any]) -> str:
    return ", ".join("?" * len(some))
