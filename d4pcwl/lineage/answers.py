"""Answers as text, as JSON, and as a picture."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from d4pcwl.lineage.asking import Answer
from d4pcwl.lineage.index import Node, Run
from d4pcwl.lineage.indexing import FILE, INPUT, MANY
from d4pcwl.workflow.nodes import Arrow
from d4pcwl.workflow.nodes import Node as Drawn

_LETTERS = 60
_INDENT = "  "


def title(node: Node, runs: Mapping[int, Run]) -> str:
    """A node in one line. Where there are several runs, their names come before those of PEs."""
    run = runs[node.run]
    before = f"{run.name}/" if len(runs) > 1 else ""
    if node.kind == FILE:
        digest = f"  sha256 {node.digest.hex()[:12]}…" if node.digest else ""
        name = _path(node, run).replace("\n", "\\n")
        return f"file {name}{digest}"
    if node.kind == MANY:
        return node.shown
    name = run.pes[node.pe].name if node.pe in run.pes else node.pe
    if node.kind == INPUT:
        return f"input of {before}{name or run.name}: {node.shown}"
    if not name:
        return f"item {node.own.hex()[:12]}, whose record is lost"
    metadata = node.extra.get("metadata")
    more = "  " + json.dumps(metadata, ensure_ascii=False) if metadata else ""
    return f"{before}{name}.{node.port} {node.own.hex()[:12]}: {node.shown}{more}"


def _path(file: Node, run: Run) -> str:
    """The path of a file; in the folder of a run that is gone, as in a step, only from there."""
    folder = run.about.get("folder")
    if folder and file.shown.startswith(f"{folder}/") and not os.path.isdir(folder):
        return os.path.relpath(file.shown, folder)
    return file.shown


def text_of(answer: Answer, runs: Mapping[int, Run]) -> str:
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
            "  " * depth + title(answer.nodes[number], runs) + (" (above)" if again else "")
        )
        if number not in told:
            told.add(number)
            for there in reversed(beside.get(number, ())):
                further = answer.nodes[number].kind != MANY or answer.nodes[there].kind != MANY
                waiting.append((there, depth + further))
    return "\n".join([*lines, *_made_with(answer, runs)]) + "\n"


def _made_with(answer: Answer, runs: Mapping[int, Run]) -> Iterator[str]:
    """What the PEs of an answer were made with, and the parameters of their workflows."""
    for name, parameters in _parameters(answer, runs).items():
        told = (
            f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in parameters.items()
        )
        yield f"{name} with {', '.join(told)}"


def _parameters(answer: Answer, runs: Mapping[int, Run]) -> dict[str, dict[str, Any]]:
    """By name, the parameters of workflows and PEs that have some."""
    found: dict[str, dict[str, Any]] = {}
    for number in sorted({node.run for node in answer.nodes.values()}):
        run = runs[number]
        if run.about.get("parameters"):
            found[run.name] = run.about["parameters"]
        before = f"{run.name}/" if len(runs) > 1 else ""
        there = {node.pe for node in answer.nodes.values() if node.run == number}
        for pe, told in run.pes.items():
            if pe in there and told.parameters:
                found[f"{before}{told.name}"] = told.parameters
    return found


def json_of(answer: Answer, runs: Mapping[int, Run]) -> str:
    """An answer as JSON: ``asked``, ``nodes``, ``edges`` from each node to its source, and
    ``parameters`` of workflows and PEs by their names."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for node in answer.nodes.values():
        name = node.own.hex() or node.shown
        while name in taken:  # in another run
            name += "'"
        taken.add(name)
        names[node.id] = name
    nodes = []
    for node in answer.nodes.values():
        run = runs[node.run]
        told = {
            "id": names[node.id],
            "kind": node.kind,
            "run": run.name if len(runs) > 1 else None,
            "pe": (run.pes[node.pe].name if node.pe in run.pes else node.pe) or None,
            "output": node.port or None,
            "shown" if node.kind != FILE else "path": node.shown,
            "sha256": node.digest.hex() if node.digest else None,
            **node.extra,
        }
        nodes.append({name: value for name, value in told.items() if value is not None})
    whole = {
        "asked": [names[node.id] for node in answer.starts],
        "nodes": nodes,
        "edges": [
            {"item": names[target], "from": names[source]} for target, source in answer.edges
        ],
        "parameters": _parameters(answer, runs),
    }
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def dot_of(answer: Answer, runs: Mapping[int, Run]) -> str:
    """An answer as a picture in Graphviz' language."""
    from d4pcwl.workflow.dot import dot_text

    drawn = []
    # What was found first is the nearest; a picture begins with what comes first in the run.
    found = [answer.nodes[number] for number in answer.order]
    for node in found if answer.down else reversed(found):
        text = title(node, runs)
        text = text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"
        drawn.append(Drawn(f"n{node.id}", text))
    arrows = [Arrow(f"n{source}", "", f"n{target}", "") for target, source in answer.edges]
    return dot_text(drawn, arrows)
