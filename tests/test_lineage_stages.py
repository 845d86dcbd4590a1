"""Which items each item comes from, where a graph is cut: the records of the stages, joined by
their stream files, say the same as the record of the whole graph."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import CountKeys, Identity, Source, chain, join, named
from shard_kit import run_stages

import d4pcwl
from d4pcwl import IterativePE
from d4pcwl.errors import UsageError
from d4pcwl.lineage.asking import ask
from d4pcwl.lineage.identity import each
from d4pcwl.lineage.index import Index
from d4pcwl.lineage.record import GIVEN, INVOCATION, RESULT, Record
from d4pcwl.lineage.run_record import RunRecord
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.shards import Sharding, shard, staged

Item = tuple[str, bytes]
"""A run, and the identity of an item in it."""


class Previous(IterativePE):
    """Each number with the one before it: it depends on their order."""

    stateful = True

    def __init__(self) -> None:
        super().__init__()
        self.last: Any = None

    def _process(self, item: Any) -> Any:
        before, self.last = self.last, item
        return (item[0], before, item)


def counted() -> Any:
    """A keyed stage after shards."""
    source = Source([(number % 3, number) for number in range(10)])
    return chain(source, Identity(), CountKeys())


def ordered() -> Any:
    """One that depends on the order of items from two ways, after shards: these pass marks on."""
    source = named(Source([(number % 3, number) for number in range(7)]), "source")
    one, other, last = named(Identity(), "one"), named(Identity(), "other"), Previous()
    return join(
        (source, "output", one, "input"),
        (one, "output", other, "input"),
        (other, "output", last, "input"),
    )


class Joined:
    """The records of several runs; streams lead from one to the next."""

    def __init__(self, folders: list[Path]) -> None:
        self.items: dict[Item, tuple[str, list[Item]]] = {}
        self.results: list[Item] = []
        self._streams: dict[tuple[str, int], Item] = {}
        self._read: dict[Item, tuple[str, int]] = {}
        for folder in folders:
            self._take(Record(folder))

    def _take(self, record: Record) -> None:
        run = record.head["run"]
        streams: list[list[Item]] = [[] for _ in record.head["streams"]]
        places: dict[Item, str] = {}
        for value in record:
            if value[0] == GIVEN:
                self.items[run, value[1]] = (value[5], [])
            elif value[0] == RESULT:
                for stream in value[4]:
                    streams[stream].append((run, value[3]))
                if not value[4]:
                    self.results.append((run, value[3]))
            elif value[0] == INVOCATION:
                for own, _, _, shown, derived, *more in value[8]:
                    sources = each(value[5] if derived is None else derived)
                    self.items[run, own] = (shown, [(run, source) for source in sources])
                    if more and more[0] and "location" in more[0]:
                        places[run, own] = more[0]["location"]
        files = {path: told["sha256"] for path, told in record.tail["files"].items()}
        for path, items in zip(record.head["streams"], streams, strict=True):
            for number, item in enumerate(items, 1):
                self._streams[files[path], number] = item
        for item, place in places.items():
            path, _, number = place.rpartition(":")
            self._read[item] = (files[path], int(number))

    def roots(self, item: Item) -> Iterator[str]:
        """What an item comes from at last, as text."""
        if item in self._read:
            yield from self.roots(self._streams[self._read[item]])
            return
        shown, sources = self.items[item]
        if not sources:
            yield shown
        for source in sources:
            yield from self.roots(source)

    def told(self) -> list[tuple[str, list[str]]]:
        """Each result, and what it comes from."""
        return sorted((self.items[item][0], sorted(self.roots(item))) for item in self.results)


@pytest.mark.parametrize(("name", "processes"), [("simple", None), ("multi", 3), ("dyn_multi", 3)])
@pytest.mark.parametrize(
    ("graph", "cut"),
    [
        (counted, lambda flat: staged(flat, "pe")),
        (counted, lambda flat: shard(flat, 2)),
        (ordered, lambda flat: shard(flat, 3, "pe")),
    ],
    ids=["cut", "sharded by key", "marked"],
)
def test_joined_records_say_the_same_as_one(
    tmp_path: Path, graph: Any, cut: Any, name: str, processes: int | None
) -> None:
    d4pcwl.run(graph(), provenance=tmp_path / "whole")
    whole = Joined([tmp_path / "whole"]).told()
    assert len(whole) > 2
    assert any(len(roots) < 5 for _, roots in whole)
    found: Sharding = cut(flatten(graph()))
    for _ in run_stages(found, tmp_path, name, processes, recorded=True):
        pass
    records = sorted(tmp_path.glob("*.*/lineage.msgpack"))
    assert len(records) > 2
    assert Joined([path.parent for path in records]).told() == whole


def test_an_item_of_a_stream_file_is_found_by_its_place(tmp_path: Path) -> None:
    found = shard(flatten(counted()), 2)
    for _ in run_stages(found, tmp_path, recorded=True):
        pass
    record = Record(tmp_path / "0.0")
    with Index(record) as index:
        for path in record.head["streams"]:
            (item,) = ask(index, f"{path}:2").starts
            assert item.shown in {'{"$tuple":[1,1]}', '{"$tuple":[2,2]}', '{"$tuple":[0,3]}'}
            answer = ask(index, path, depth=1)
            assert item.id in answer.nodes
    with Index(Record(tmp_path / "1.0")) as index:
        read = [node for node in index.files() if node.extra["role"] == "read"]
        below = ask(index, read[0].shown, down=True, depth=1)
        places = [node.extra["location"] for node in below.nodes.values() if node.kind == "item"]
        assert places == [f"{read[0].shown}:{number}" for number in range(1, len(places) + 1)]


def test_one_item_in_n_is_for_a_whole_graph(tmp_path: Path) -> None:
    with (
        RunRecord(tmp_path / "record", {"d4p:one-in": 2}) as record,
        pytest.raises(UsageError, match="does not know which items were chosen"),
    ):
        record.begin({"plus": "plus", "reader": "reader"}, (), {}, readers=["reader"])
    assert not (tmp_path / "record").exists()


SCRIPT = Path(__file__).parent.parent / "examples" / "word_count" / "word_count.py"


@pytest.mark.parametrize(
    ("shards", "config", "message"),
    [
        (None, {"d4p:record": ["cout"]}, "no PE is called 'cout'; did you mean count"),
        (None, '{"d4p:recor": []}', "there is no term 'd4p:recor'"),
        (None, {"s-prov:run-id": "mine"}, "each run of a step has its own id"),
        (2, {"d4p:one-in": 2}, "does not know which items were chosen"),
    ],
)
def test_a_configuration_is_checked_when_it_is_compiled(
    shards: int | None, config: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        d4pcwl.to_cwl(SCRIPT, shards=shards, provenance=True, provenance_config=config)


def test_a_configuration_is_a_part_of_the_document() -> None:
    config = {"d4p:one-in": 2, "s-prov:sel-rules": {"split": {"rules": {"n": {"$gt": 1}}}}}
    tool = d4pcwl.to_cwl(SCRIPT, provenance=True, provenance_config=config).document
    options = {entry.get("prefix"): entry["valueFrom"] for entry in tool["arguments"]}
    assert options["--provenance"] == "provenance"
    assert json.loads(options["--provenance-config"]) == config
    (output,) = [entry for entry in tool["outputs"] if entry["id"] == "provenance"]
    assert output["type"] == "Directory"
    assert {"package": "prov"} in tool["hints"][-1]["packages"]
    with pytest.raises(UsageError, match="add that"):
        d4pcwl.to_cwl(SCRIPT, provenance_config=config)
