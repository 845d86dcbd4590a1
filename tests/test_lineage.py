"""Which items each item comes from: the same under every mapping, exact, and nothing more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import (
    CountKeys,
    DiesOnce,
    FaultyPE,
    Homed,
    Identity,
    Mapping,
    Plus,
    Ports,
    Source,
    Total,
    chain,
    join,
    named,
)
from prov.model import ProvDocument, ProvEntity

import d4pcwl
from d4pcwl import GenericPE, IterativePE
from d4pcwl.errors import PEError, UsageError
from d4pcwl.lineage.identity import each
from d4pcwl.lineage.record import GIVEN, INVOCATION, RESULT, Record
from d4pcwl.library import Match, Window


def recorded(mapping: Mapping, graph: Any, folder: Path, inputs: Any = None, **told: Any) -> Any:
    """Run a graph with a record; the results and the record."""
    results = d4pcwl.run(
        graph,
        inputs,
        mapping=mapping.name,
        processes=mapping.processes,
        provenance=folder,
        **told,
    )
    return results, Record(folder)


def items_of(record: Record) -> dict[str, tuple[str, str, frozenset[str]]]:
    """From the identity of each item to its PE, its value, and the items that it derives from.

    It fails where an item is there twice.
    """
    found = {}
    for value in record:
        if value[0] == GIVEN:
            found[value[1].hex()] = ("", value[4 + 1], frozenset())
        if value[0] != INVOCATION:
            continue
        for own, output, _, shown, derived, *_ in value[8]:
            assert own.hex() not in found
            sources = each(value[5] if derived is None else derived)
            found[own.hex()] = (f"{value[1]}.{output}", shown, frozenset(s.hex() for s in sources))
    return found


def roots_of(record: Record, shown: str) -> list[str]:
    """The values of all items that one with this value comes from, sorted."""
    items = items_of(record)
    (start,) = (own for own, (_, text, _) in items.items() if text == shown)
    waiting, seen = [start], set()
    while waiting:
        for source in items[waiting.pop()][2] - seen:
            seen.add(source)
            waiting.append(source)
    return sorted(items[own][1] for own in seen if not items[own][2])


class Pairs(Source):
    """Numbers with keys."""

    def __init__(self, count: int = 12, keys: int = 3) -> None:
        super().__init__([(k % keys, k) for k in range(count)])


class EachThird(IterativePE):
    """Adds up three items, and writes the sum."""

    stateful = True

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[int] = []

    def _process(self, data: int) -> int | None:
        self.kept.append(data)
        if len(self.kept) < 3:
            return None
        total, self.kept = sum(self.kept), []
        return total


class Split(GenericPE):
    """Writes each item to two outputs, twice to the first."""

    def __init__(self) -> None:
        super().__init__()
        self._add_input("input")
        self._add_output("twice")
        self._add_output("once")

    def _process(self, inputs: dict[str, Any]) -> None:
        self.write("twice", inputs["input"])
        self.write("twice", inputs["input"] + 100)
        self.write("once", inputs["input"])


def stateless() -> Any:
    return chain(Source(range(8)), Plus(), Identity())


def joined() -> Any:
    split, ports = Split(), Ports(2, 2)
    return join(
        (Source(range(5)), "output", split, "input"),
        (split, "twice", ports, "in0"),
        (split, "once", ports, "in1"),
    )


def keyed() -> Any:
    return chain(Pairs(), named(CountKeys(numprocesses=2), "count"))


def stateful() -> Any:
    return chain(Source(range(9)), Plus(), EachThird(), Total())


def windows() -> Any:
    return chain(Source([1, 2, 1, 2, 5]), Window(size=3), Identity())


def matched() -> Any:
    match = Match(by="k", alone="emit")
    return join(
        (Source([{"k": n % 2, "left": n} for n in range(4)]), "output", match, "left"),
        (Source([{"k": n % 2, "right": n} for n in range(4)]), "output", match, "right"),
    )


GRAPHS: dict[str, Callable[[], Any]] = {
    made.__name__: made for made in (stateless, joined, keyed, stateful, windows, matched)
}


@pytest.fixture(scope="module")
def under_simple(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("simple")
    simple = Mapping("simple", 1)
    return {
        name: items_of(recorded(simple, make(), folder / name)[1]) for name, make in GRAPHS.items()
    }


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.processes(3)
def test_every_mapping_records_the_same(
    mapping: Mapping, name: str, under_simple: dict[str, Any], tmp_path: Path
) -> None:
    results, record = recorded(mapping, GRAPHS[name](), tmp_path / "record")
    assert items_of(record) == under_simple[name]
    (items,) = (items for outputs in results.values() for items in list(outputs.values())[:1])
    assert sum(value[0] == RESULT for value in record) >= len(items)
    assert record.tail["complete"]
