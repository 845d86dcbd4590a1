"""Questions to a record: what something comes from, and what it went into."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from d4pcwl.errors import LineageError, closest
from d4pcwl.lineage.entries import entries
from d4pcwl.lineage.identity import digest_of
from d4pcwl.lineage.index import Index, Node
from d4pcwl.lineage.indexing import RESULTS, STREAM, storable
from d4pcwl.lineage.run_record import sha256_of

_LEAST_DIGITS = 6
_HEX = re.compile(rf"[0-9a-f]{{{_LEAST_DIGITS},32}}")
_MOST_NAMES = 5


@dataclass(frozen=True)
class Answer:
    """What was found.

    :param starts: what was asked for
    :param nodes: all that it comes from, or went into, and itself, by number
    :param edges: between them, each as what derives and its source
    :param down: whether it was asked what it went into
    :param order: the numbers of the nodes, the nearest first
    """

    starts: Sequence[Node]
    nodes: dict[int, Node]
    edges: list[tuple[int, int]]
    down: bool
    order: Sequence[int]


def ask(index: Index, what: str, *, down: bool = False, depth: int | None = None) -> Answer:
    """Follow the lineage of something.

    :param what: the identity of an item, or its beginning; a file; ``FILE:LINE``;
        ``FILE#KEY=VALUE``
    :param down: what it went into, instead of what it comes from
    :param depth: how many steps; None: all. To a collection is no step
    :raises LineageError: it is not in the record
    """
    return follow(index, find(index, what), down=down, depth=depth)


def follow(
    index: Index, starts: Sequence[Node], *, down: bool = False, depth: int | None = None
) -> Answer:
    """Follow the lineage of nodes; see :func:`ask`."""
    seen = dict.fromkeys(node.id for node in starts)
    edges: list[tuple[int, int]] = []

    border, step = list(seen), 0
    while border and (depth is None or step < depth):
        waiting, border, step = border, [], step + 1
        while waiting:  # on to what is in collections
            found = index.beside(waiting, down=down)
            edges += found
            beside = (target if down else source for target, source in found)
            new = [node for node in dict.fromkeys(beside) if node not in seen]
            seen.update(dict.fromkeys(new))
            waiting = index.collections(new)
            border += set(new).difference(waiting)
    return Answer(starts, index.nodes(seen), edges, down, list(seen))


def find(index: Index, what: str) -> list[Node]:
    """What a text names.

    :raises LineageError: nothing, or several things that it may be
    """
    if _HEX.fullmatch(what):
        found = index.by_identity(what)
        count = len({node.own for node in found})
        if count == 1:
            return found
        if count:
            raise LineageError(f"{what}: {count} items begin with these digits; give more digits")
    if os.path.exists(what):
        return _files(index, what)
    name, mark, rest = what.partition("#")
    if mark and "=" in rest:
        key, _, value = rest.partition("=")
        return _of_each(_files(index, name), partial(_with_value, index, key=key, value=value))
    name, _, line = what.rpartition(":")
    if name and line.isdigit():
        return _of_each(_files(index, name), partial(_at_line, index, line=int(line)))
    return _files(index, what)


def _of_each(files: Sequence[Node], find_in: Callable[[Node], list[Node]]) -> list[Node]:
    """What is found in the files that may be meant, which all have the same bytes.

    :raises LineageError: nothing is found in any of them
    """
    found: dict[int, Node] = {}
    refused: LineageError | None = None
    for file in files:
        try:
            found |= {node.id: node for node in find_in(file)}
        except LineageError as error:
            refused = refused or error
    if not found and refused is not None:
        raise refused
    return list(found.values())


def _files(index: Index, name: str) -> list[Node]:
    """A file, by its path, or else by its bytes, or its name if one has it. Runs that are not
    joined may know several with the same bytes.

    :raises LineageError: there is none, or several may be meant
    """
    files = index.files()
    path = os.path.abspath(name)
    real = storable(os.path.realpath(path))
    same = [node for node in files if os.path.realpath(node.shown) == real]
    if not same:
        place = next((p for p in (path, index.path.parent / name) if os.path.isfile(p)), None)
        digest = sha256_of(place) if place is not None else None
        same = [n for n in files if n.digest is not None and n.digest.hex() == digest]
    if not same:
        parts = Path(name).parts
        same = [node for node in files if Path(node.shown).parts[-len(parts) :] == parts]
    if same and len({node.digest or node.shown for node in same}) == 1:
        return same
    if same:
        names = ", ".join(node.shown for node in same[:_MOST_NAMES])
        names += ", …" if len(same) > _MOST_NAMES else ""
        raise LineageError(f"{name}: there are several such files: {names}; give the whole path")
    known = [os.path.basename(node.shown) for node in files]
    raise LineageError(
        f"{name}: the run has neither read nor written such a file{closest(name, known)} (ask for "
        f"a file, FILE:LINE, FILE#KEY=VALUE, or at least {_LEAST_DIGITS} digits of the identity of "
        "an item)"
    )


def _at_line(index: Index, file: Node, line: int) -> list[Node]:
    if file.extra.get("role") in (RESULTS, STREAM):
        return [_result(index, file, line)]
    place = index.place(file)
    found = [(at, entry) for at, entry in entries(place) if at == line]
    if not found:
        raise LineageError(f"{place}: there is no item in line {line}")
    return _Became(index, file).items_of(*found[0], f"line {line}")


def _result(index: Index, file: Node, number: int) -> Node:
    node = index.result(file, number)
    if node is not None:
        return node
    count = index.count_results(file)
    if not 0 < number <= count:
        raise LineageError(f"{file.shown} has {count} results; there is none in line {number}")
    raise LineageError(
        f"result {number} of {file.shown} was not recorded: --provenance-config has chosen others"
    )


def _with_value(index: Index, file: Node, key: str, value: str) -> list[Node]:
    became = _Became(index, file)
    found: list[Node] = []
    there = changed = False
    for at, entry in entries(became.place):
        if not any(_has(part, key, value) for part in _parts(entry)):
            continue
        there = True
        if file.extra.get("role") in (RESULTS, STREAM):
            found.append(_result(index, file, at))
        else:
            equal = became.equal(entry)
            found += equal
            changed = changed or not equal
    if not there:
        raise LineageError(f"{became.place}: nothing there has {key}={value}")
    if changed:
        found += became.with_value(key, partial(_equal, value=value))
    if not found:
        raise became.unknown(f"{key}={value}")
    return found


class _Became:
    """The items that became the entries of a file.

    :ivar place: where it is
    """

    def __init__(self, index: Index, file: Node) -> None:
        self._index = index
        self._into = index.gathering(file.id)
        self.place = index.place(file)

    def equal(self, entry: Any) -> list[Node]:
        """The first item that is equal to an entry, or to a part of it."""
        for part in _parts(entry):
            digest = digest_of(part)
            for node in self._index.by_digest(digest) if digest is not None else ():
                if self._index.leads(node.id, self._into):
                    return [node]
        return []

    def with_value(self, key: str, fits: Callable[[Any], bool]) -> list[Node]:
        """The items that have a value under a key."""
        near = self._index.sources(self._into, f"{json.dumps(key, ensure_ascii=False)}:")
        return [node for node in near if any(map(fits, _values(node, key)))]

    def items_of(self, at: int, entry: Any, where: str) -> list[Node]:
        """The items that became an entry: the one that is equal to it, or else those that have a
        text in common with it which no other entry has.

        :raises LineageError: no item is known
        """
        found = self.equal(entry)
        if found:
            return found
        for key, text in _texts(entry):
            others = (
                other
                for number, other in entries(self.place)
                if number != at and any(_has(part, key, text) for part in _parts(other))
            )
            if next(others, None) is None:
                found = self.with_value(key, partial(_equal, value=text))
                if found:
                    return found
        raise self.unknown(where)

    def unknown(self, where: str) -> LineageError:
        """No item is known to have become an entry."""
        name = self.place
        return LineageError(
            f"{name}, {where}: no recorded item can be found for this; ask for the whole file "
            f"({name})"
        )


def _texts(entry: Any) -> Iterator[tuple[str, str]]:
    """The texts in an entry, with their keys."""
    for part in _parts(entry):
        if isinstance(part, dict):
            yield from ((key, value) for key, value in part.items() if isinstance(value, str))


def _parts(entry: Any) -> Iterator[Any]:
    """An entry of a file, and what is the item in it: the properties of a GeoJSON feature, the data
    of a result."""
    yield entry
    if isinstance(entry, dict):
        for key in ("data", "properties"):
            if isinstance(entry.get(key), (dict, list)):
                yield entry[key]


def _has(entry: Any, key: str, value: str) -> bool:
    if isinstance(entry, list):
        return key.isdigit() and int(key) < len(entry) and _equal(entry[int(key)], value)
    return isinstance(entry, dict) and key in entry and _equal(entry[key], value)


def _equal(found: Any, value: str) -> bool:
    if isinstance(found, str):
        return found == value
    try:
        return bool(found == json.loads(value))
    except ValueError:
        return False


def _values(node: Node, key: str) -> Iterator[Any]:
    """The values that an item has under a key, so far as the record shows them."""
    metadata = node.extra.get("metadata", {})
    if key in metadata:
        yield metadata[key]
        return
    mark = f"{json.dumps(key, ensure_ascii=False)}:"
    at = node.shown.find(mark)
    while at >= 0:
        with suppress(ValueError):  # it is cut off there
            yield json.JSONDecoder().raw_decode(node.shown, at + len(mark))[0]
        at = node.shown.find(mark, at + 1)
