"""Questions to a record: what something comes from, and what it went into."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d4pcwl.errors import LineageError, nearest
from d4pcwl.lineage.identity import digest_of
from d4pcwl.lineage.index import FILE, INPUT, MANY, Index, Node
from d4pcwl.workflow.nodes import Arrow
from d4pcwl.workflow.nodes import Node as Drawn

_LEAST_DIGITS = 6
_HEX = re.compile(rf"[0-9a-f]{{{_LEAST_DIGITS},32}}")
_LETTERS = 60


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
    starts = find(index, what)
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


# --- finding --------------------------------------------------------------------------------------


def find(index: Index, what: str) -> list[Node]:
    """What a text names.

    :raises LineageError: nothing, or several things that it may be
    """
    if _HEX.fullmatch(what):
        found = index.by_identity(what)
        if len(found) == 1:
            return found
        if found:
            raise LineageError(f"{what}: {len(found)} items begin so; give more digits")
    name, mark, rest = what.partition("#")
    if mark and "=" in rest:
        key, _, value = rest.partition("=")
        return _with_value(index, name, key, value)
    name, _, line = what.rpartition(":")
    if name and line.isdigit():
        return [_at_line(index, name, int(line))]
    return [_file(index, what)]


def _file(index: Index, name: str) -> Node:
    """A file of the record: by its path, or else by its bytes, or its name if one has it."""
    files = index.files()
    path = os.path.abspath(name)
    same = [node for node in files if os.path.realpath(node.shown) == os.path.realpath(path)]
    if not same and os.path.isfile(path):
        from d4pcwl.lineage.run_record import sha256_of

        digest = sha256_of(path)
        same = [n for n in files if n.digest is not None and n.digest.hex() == digest]
    if not same:
        same = [node for node in files if os.path.basename(node.shown) == name]
    if len(same) == 1:
        return same[0]
    if same:
        names = ", ".join(node.shown for node in same)
        raise LineageError(f"{name}: several files are meant: {names}; give the whole path")
    known = [os.path.basename(node.shown) for node in files]
    raise LineageError(
        f"{name}: the run has neither read nor written such a file{nearest(name, known)} (ask for "
        f"a file, FILE:LINE, FILE#KEY=VALUE, or at least {_LEAST_DIGITS} digits of the identity of "
        "an item)"
    )


def _at_line(index: Index, name: str, line: int) -> Node:
    file = _file(index, name)
    if file.extra.get("role") == "results":
        return _result(index, file, line)
    entries = [entry for at, entry in _entries(file) if at == line]
    if not entries:
        raise LineageError(f"{name}: there is no item in line {line}")
    return _of_entry(index, file, entries[0], f"line {line}")


def _result(index: Index, file: Node, number: int) -> Node:
    node = index.result(number)
    if node is not None:
        return node
    count = index.count_results()
    if not 0 < number <= count:
        raise LineageError(f"{file.shown} has {count} results; there is none in line {number}")
    raise LineageError(f"result {number} of {file.shown} was not among the items to be recorded")


def _with_value(index: Index, name: str, key: str, value: str) -> list[Node]:
    file = _file(index, name)
    found: list[Node] = []
    for line, entry in _entries(file):
        if not any(_has(part, key, value) for part in _parts(entry)):
            continue
        if file.extra.get("role") == "results":
            found.append(_result(index, file, line))
        else:
            found.append(_of_entry(index, file, entry, f"{key}={value}", key, value))
    if not found:
        raise LineageError(f"{name}: nothing there has {key}={value}")
    return list({node.id: node for node in found}.values())


def _of_entry(
    index: Index, file: Node, entry: Any, where: str, key: str = "", value: str = ""
) -> Node:
    """The item that became an entry of a file: by its digest, or else by a value that it has."""
    into = {source for _, source in index.beside([file.id], down=False)}
    for part in _parts(entry):
        digest = digest_of(part)
        for node in index.by_digest(digest) if digest is not None else ():
            if node.id in into:
                return node
    same = [node for node in index.nodes(into).values() if key and _shows(node, key, value)]
    if len(same) == 1:
        return same[0]
    raise LineageError(
        f"{file.shown}, {where}: {'several items' if same else 'no item'} of the record can have "
        f"become this; ask for the whole file ({file.shown})"
    )


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


def _shows(node: Node, key: str, value: str) -> bool:
    metadata = node.extra.get("metadata", {})
    if key in metadata:
        return _equal(metadata[key], value)
    texts = {json.dumps(value, ensure_ascii=False), value}
    return any(f"{json.dumps(key)}:{text}" in node.shown for text in texts)


def _entries(file: Node) -> Iterator[tuple[int, Any]]:
    """The entries of a file, each with its line or number: of JSON lines, a stream file, a table,
    a list in JSON, or the features in GeoJSON.

    :raises LineageError: it cannot be read
    """
    path = Path(file.shown)
    try:
        if path.suffix in (".jsonl", ".ndjson"):
            with path.open(encoding="utf-8") as lines:
                yield from (
                    (at, json.loads(line)) for at, line in enumerate(lines, 1) if line.strip()
                )
        elif path.suffix == ".csv":
            from d4pcwl.library.files import number_or_text

            with path.open(encoding="utf-8-sig", newline="") as lines:
                for at, row in enumerate(csv.DictReader(lines), 2):
                    yield at, {key: number_or_text(text) for key, text in row.items()}
        elif path.suffix in (".d4ps", ".stream"):
            from d4pcwl.streams.reader import StreamReader

            with StreamReader(path) as stream:
                yield from ((at, item) for at, (_, item) in enumerate(stream, 1))
        else:
            whole = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(whole, dict) and isinstance(whole.get("features"), list):
                whole = whole["features"]
            yield from enumerate(whole if isinstance(whole, list) else [whole], 1)
    except (OSError, ValueError) as error:
        raise LineageError(f"{path}: its entries cannot be read: {error}") from None


# --- telling --------------------------------------------------------------------------------------


def title(node: Node, names: dict[str, str]) -> str:
    """A node in one line.

    :param names: of PEs, by id
    """
    if node.kind == FILE:
        digest = f"  sha256 {node.digest.hex()[:12]}…" if node.digest else ""
        name = node.shown.replace("\n", "\\n")
        return f"file {name}{digest}"
    name = names.get(node.pe, node.pe)
    if node.kind == MANY:
        return node.shown
    if node.kind == INPUT:
        return f"input of {name}: {node.shown}"
    if not name:
        return f"item {node.own.hex()[:12]}, whose record is lost"
    metadata = node.extra.get("metadata")
    more = "  " + json.dumps(metadata, ensure_ascii=False) if metadata else ""
    return f"{name}.{node.port} {node.own.hex()[:12]}: {node.shown}{more}"


def text_of(answer: Answer, names: dict[str, str]) -> str:
    """An answer as text: below each thing, and further in, is what it comes from, or went into."""
    beside: dict[int, list[int]] = {}
    for target, source in answer.edges:
        here, there = (source, target) if answer.down else (target, source)
        beside.setdefault(here, []).append(there)
    lines: list[str] = []
    told: set[int] = set()
    waiting = [(node.id, 0) for node in reversed(answer.starts)]
    while waiting:
        number, depth = waiting.pop()
        again = number in told and number in beside
        lines.append(
            "  " * depth + title(answer.nodes[number], names) + (" (above)" if again else "")
        )
        if number not in told:
            told.add(number)
            for there in reversed(beside.get(number, ())):
                further = answer.nodes[number].kind != MANY or answer.nodes[there].kind != MANY
                waiting.append((there, depth + further))
    return "\n".join(lines) + "\n"


def json_of(answer: Answer, names: dict[str, str]) -> str:
    """An answer as JSON: ``asked``, ``nodes``, and ``edges`` from each node to its source."""

    def key(node: Node) -> str:
        return node.own.hex() or node.shown

    nodes = []
    for node in answer.nodes.values():
        told = {
            "id": key(node),
            "kind": node.kind,
            "pe": names.get(node.pe, node.pe) or None,
            "output": node.port or None,
            "shown" if node.kind != FILE else "path": node.shown,
            "sha256": node.digest.hex() if node.digest else None,
            **node.extra,
        }
        nodes.append({name: value for name, value in told.items() if value is not None})
    edges = [
        {"item": key(answer.nodes[target]), "from": key(answer.nodes[source])}
        for target, source in answer.edges
    ]
    asked = [key(node) for node in answer.starts]
    return (
        json.dumps({"asked": asked, "nodes": nodes, "edges": edges}, ensure_ascii=False, indent=1)
        + "\n"
    )


def dot_of(answer: Answer, names: dict[str, str]) -> str:
    """An answer as a picture in Graphviz' language."""
    from d4pcwl.workflow.dot import dot_text

    drawn = []
    # What was found first is the nearest; a picture begins with what comes first in the run.
    found = [answer.nodes[number] for number in answer.order]
    for node in found if answer.down else reversed(found):
        text = title(node, names)
        text = text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"
        drawn.append(Drawn(f"n{node.id}", text))
    arrows = [Arrow(f"n{source}", "", f"n{target}", "") for target, source in answer.edges]
    return dot_text(drawn, arrows)
