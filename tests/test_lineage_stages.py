"""Which items each item comes from, where a graph is cut: the records of the stages, joined by
their stream files, say the same as the record of the whole graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import CountKeys, Identity, Source, chain, join, named
from shard_kit import run_stages

import d4pcwl
from d4pcwl import IterativePE
from d4pcwl.errors import UsageError
from d4pcwl.lineage.asking import ask, follow
from d4pcwl.lineage.index import Index
from d4pcwl.lineage.record import Record
from d4pcwl.lineage.run_record import RunRecord
from d4pcwl.lineage.run_set import of_records
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.shards import Sharding, shard, staged


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


def indexed(folder: Path) -> Index:
    """The index of all records in a folder."""
    found = of_records(folder)
    assert found is not None
    return Index(found)


def told(folder: Path) -> list[tuple[str, list[str]]]:
    """Each item that nothing was made of, and what it comes from at last."""
    with indexed(folder) as index:
        ends = index.nodes(range(1, 10_000)).values()
        items = [node for node in ends if node.kind == "item"]
        last = [node for node in items if not index.beside([node.id], down=True)]
        found = []
        for node in last:
            answer = follow(index, [node])
            made = {target for target, _ in answer.edges}
            roots = [each.shown for number, each in answer.nodes.items() if number not in made]
            found.append((node.shown, sorted(roots)))
        return sorted(found)


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
    whole = told(tmp_path / "whole")
    assert len(whole) > 2
    assert any(len(roots) < 5 for _, roots in whole)
    found: Sharding = cut(flatten(graph()))
    stages = tmp_path / "stages"
    stages.mkdir()
    for _ in run_stages(found, stages, name, processes, recorded=True):
        pass
    assert len(sorted(stages.glob("*.*/lineage.msgpack"))) > 2
    assert told(stages) == whole


def test_an_item_of_a_stream_file_is_found_by_its_place(tmp_path: Path) -> None:
    found = shard(flatten(counted()), 2)
    for _ in run_stages(found, tmp_path, recorded=True):
        pass
    record = Record(tmp_path / "0.0")
    with indexed(tmp_path / "0.0") as index:
        for path in record.head["streams"]:
            (item,) = ask(index, f"{path}:2").starts
            assert item.shown in {'{"$tuple":[1,1]}', '{"$tuple":[2,2]}', '{"$tuple":[0,3]}'}
            answer = ask(index, path, depth=1)
            assert item.id in answer.nodes
    with indexed(tmp_path / "1.0") as index:
        read = [node for node in index.files() if node.extra["role"] == "read"]
        below = ask(index, read[0].shown, down=True, depth=1)
        places = [node.extra["location"] for node in below.nodes.values() if node.kind == "item"]
        assert places == [f"{read[0].shown}:{number}" for number in range(1, len(places) + 1)]


def test_one_item_in_n_is_for_a_whole_graph(tmp_path: Path) -> None:
    with (
        RunRecord(tmp_path / "record", {"d4p:one-in": 2}) as record,
        pytest.raises(UsageError, match="does not know which items were chosen"),
    ):
        record.begin({"plus": "plus", "reader": "reader"}, (), (), {}, readers=["reader"])
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
    with pytest.raises(UsageError, match="--provenance-config needs --provenance"):
        d4pcwl.to_cwl(SCRIPT, provenance_config=config)
