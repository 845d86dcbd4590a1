"""Types of root inputs that nobody declared, found by reading what roots do with their items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from d4pcwl.cwl.declare.declarations import CwlType, Declarations, RootInput
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.pe import takes_bare_items
from d4pcwl.workflow.reading.items import Opened, opened_inputs


@dataclass(frozen=True)
class FoundInput:
    """An input of a root whose items are opened, and nobody declared."""

    pe: Any
    opened: Opened


def found_inputs(graph: FlatGraph, declarations: Declarations) -> list[FoundInput]:
    """The inputs of roots that are opened as files or folders, where nothing is declared."""
    return [
        FoundInput(pe, opened)
        for pe in graph.roots
        if not declarations.by_pe[pe.id].inputs
        for opened in opened_inputs(pe, bare=takes_bare_items(pe))
    ]


def with_found_inputs(declarations: Declarations, found: list[FoundInput]) -> Declarations:
    """The declarations, and files and folders where roots certainly open their items.

    The other inputs of such a root are given as JSON, for each item has to have all of them.
    """
    by_pe = dict(declarations.by_pe)
    for pe in dict.fromkeys(each.pe for each in found if each.opened.use):
        inputs = dict(_inputs_of(pe, found))
        by_pe[pe.id] = replace(by_pe[pe.id], inputs=inputs)
    return replace(declarations, by_pe=by_pe)


def _inputs_of(pe: Any, found: list[FoundInput]) -> Iterator[tuple[str, RootInput]]:
    uses = {each.opened.port: each.opened.use for each in found if each.pe is pe}
    for port in pe.inputconnections:
        if uses.get(port):
            yield port, RootInput(port, CwlType(uses[port]))
        else:
            yield port, RootInput(port, CwlType("string"), as_json=True)
