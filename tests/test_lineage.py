"""Which items each item comes from: the same under every mapping, exact, and nothing more."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
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
from prov.model import ProvActivity, ProvDocument, ProvEntity

import d4pcwl
from d4pcwl import GenericPE, IterativePE
from d4pcwl.errors import LineageError, PEError, UsageError
from d4pcwl.library import Match, Window
from d4pcwl.lineage.identity import each
from d4pcwl.lineage.index import Index
from d4pcwl.lineage.prov import write_prov
from d4pcwl.lineage.record import COLLECTION, GIVEN, INVOCATION, RESULT, Record
from d4pcwl.lineage.run_set import of_records


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


class Noisy(CountKeys):
    """Draws numbers, so its items are numbered on their way to it."""

    def _process(self, data: Any) -> None:
        super()._process(data)
        self.drawn = self.rng.random()


class Later(IterativePE):
    def _process(self, data: Any) -> Any:
        return (data[0], data[1] + 1)


def numbered() -> Any:
    return chain(Pairs(), Later(), named(Noisy(), "noisy"))


def matched() -> Any:
    match = Match(by="k", alone="emit")
    return join(
        (Source([{"k": n % 2, "left": n} for n in range(4)]), "output", match, "left"),
        (Source([{"k": n % 2, "right": n} for n in range(4)]), "output", match, "right"),
    )


GRAPHS: dict[str, Callable[[], Any]] = {
    made.__name__: made for made in (stateless, joined, keyed, stateful, windows, matched, numbered)
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


class Collects(IterativePE):
    """Keeps everything, and has a grouping that not every item fits."""

    stateful = True

    def __init__(self) -> None:
        super().__init__()
        self._add_input("input", grouping=["key"])
        self.kept: list[Any] = []

    def _process(self, data: Any) -> None:
        self.kept.append(data)

    def _postprocess(self) -> None:
        self.write("output", self.kept)


def test_an_item_without_its_key_is_recorded_too(tmp_path: Path) -> None:
    items = [1, {"key": "a"}, {"key": ["b"]}, None, "text"]
    graph = chain(Source(items), Collects())
    results, record = recorded(Mapping("simple", 1), graph, tmp_path / "record")
    assert results["Collects"]["output"] == [items]
    (made,) = (made for pe, _, made in items_of(record).values() if pe.startswith("Collects"))
    assert len(made) == 5


def test_derivations_are_exact_and_nothing_more(under_simple: dict[str, Any]) -> None:
    made_by = under_simple["stateful"].values()
    sums = {shown: len(made) for pe, shown, made in made_by if pe.startswith(("Each", "Total"))}
    assert sums["6"] == 3  # 1 + 2 + 3
    assert sums["45"] == 3  # of the three sums, and of nothing before them
    twice = [made for pe, _, made in under_simple["joined"].values() if pe == "Split1.twice"]
    assert len(twice) == 10
    assert all(len(made) == 1 for made in twice)
    counts = [made for pe, _, made in under_simple["keyed"].values() if pe.startswith("count")]
    assert [len(made) for made in counts] == [4, 4, 4]
    assert len(frozenset.union(*counts)) == 12
    noisy = [made for pe, _, made in under_simple["numbered"].values() if pe.startswith("noisy")]
    assert [len(made) for made in noisy] == [4, 4, 4]
    assert len(under_simple["numbered"]) == 27
    windows = [made for pe, _, made in under_simple["windows"].values() if pe == "Window1.output"]
    assert [len(made) for made in windows] == [3, 3, 3]
    assert len(frozenset.union(*windows)) == 5
    pairs = [made for pe, _, made in under_simple["matched"].values() if pe.startswith("Match")]
    assert [len(made) for made in pairs] == [2] * 4


class Copies(IterativePE):
    """Each instance makes something of each item."""

    numprocesses = 2

    def __init__(self) -> None:
        super().__init__()
        self._add_input("input", grouping="all")

    def _process(self, data: Any) -> Any:
        return {"value": [self.rank], "from": data["from"]}


class Gathers(GenericPE):
    """Keeps items by key, of two inputs, until one comes without a key; or until the end."""

    stateful = True

    def __init__(self, size: int = 99) -> None:
        super().__init__()
        for name, grouping in {"one": ["key"], "other": ["key"], "flush": "all"}.items():
            self._add_input(name, grouping=grouping)
        self._add_output("output")
        self.size = size
        self.kept: dict[int, list[Any]] = {}

    def _process(self, inputs: dict[str, Any]) -> None:
        ((name, data),) = inputs.items()
        if name == "flush":
            self.flush(*self.kept)
            return
        self.kept.setdefault(data["key"], []).append(data)
        if len(self.kept[data["key"]]) == self.size:
            self.flush(data["key"])

    def flush(self, *keys: int) -> None:
        for key in keys:
            came = sorted({name for data in self.kept.pop(key) for name in data["from"]})
            self.write("output", {"key": key, "from": came})

    def _postprocess(self) -> None:
        self.flush(*self.kept)


class AtTheEnd(IterativePE):
    """Writes nothing before the end, and then all, in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    def _process(self, data: Any) -> None:
        self.kept.append(data)

    def _postprocess(self) -> None:
        came = sorted({name for data in self.kept for name in data["from"]})
        for _ in self.kept:
            self.write("output", {"from": came})


class Flush(AtTheEnd):
    def _postprocess(self) -> None:
        self.write("output", {"from": []}, derived_from=[])


def indexed(folder: Path) -> Index:
    found = of_records(folder)
    assert found is not None
    return Index(found)


@pytest.mark.processes(3)
def test_items_come_from_what_they_say(mapping: Mapping, tmp_path: Path) -> None:
    """Each item has in it the names of the items that it comes from."""
    source = Source([{"from": [f"n{n}"], "key": n % 2} for n in range(20)])
    both, flushed, flush = Gathers(3), Gathers(), Flush()
    graph = join(
        (source, "output", Copies(), "input"),
        (source, "output", AtTheEnd(), "input"),
        (source, "output", both, "one"),
        (source, "output", both, "other"),
        (source, "output", flushed, "one"),
        (source, "output", flush, "input"),
        (flush, "output", flushed, "flush"),
    )
    results, record = recorded(mapping, graph, tmp_path / "record")
    values = list(record)
    sources = {value[1]: value[2] for value in values if value[0] == COLLECTION}
    names = {}
    for value in values:
        for own, _, _, shown, derived, *_ in value[8] if value[0] == INVOCATION else ():
            assert own not in sources
            sources[own] = value[5] if derived is None else derived
            if value[1] == source.id:
                names[own] = json.loads(shown)["from"][0]

    def ancestors(own: bytes) -> set[bytes]:
        return {own}.union(*(ancestors(source) for source in each(sources[own])))

    traces: dict[str, list[bytes]] = {}
    for value in values:
        if value[0] == RESULT:
            traces.setdefault(value[1], []).append(value[3])
    for pe, made in traces.items():
        items = results[pe]["output"]
        assert len(items) == len(made) >= 14 or pe == flushed.id
        for item, own in zip(items, made, strict=True):
            assert sorted(names[o] for o in ancestors(own) & set(names)) == sorted(item["from"])
    assert len(values) < 250  # 20 items at the end derive from one collection
    with indexed(tmp_path / "record") as index:
        assert index.count("item") == len(set().union(*traces.values())) + 21


class FailsFirst(IterativePE):
    """Writes, and fails, on the first attempt at each odd number; then it writes again."""

    on_error = "retry:1"

    def __init__(self) -> None:
        super().__init__()
        self.tried: set[int] = set()

    def _process(self, data: int) -> None:
        self.write("output", data)
        if data % 2 and data not in self.tried:
            self.tried.add(data)
            raise ValueError("an odd number")
        self.write("output", -data)


class LeftOut(IterativePE):
    on_error = "skip"

    def _process(self, data: int) -> int:
        self.write("output", -data)
        if data == 3:
            raise ValueError("a three")
        return data


@pytest.mark.processes(3)
def test_what_is_tried_again_is_there_once(mapping: Mapping, tmp_path: Path) -> None:
    graph = chain(Source(range(5)), FailsFirst(), LeftOut(), Identity())
    results, record = recorded(mapping, graph, tmp_path / "record")
    items = items_of(record)
    assert len(results.errors) == 1
    values = [shown for pe, shown, _ in items.values() if pe == "LeftOut2.output"]
    assert sorted(map(int, values)) == sorted(
        [v for n in range(5) for s in (n, -n) if s != 3 for v in (s, -s)]
    )
    assert all(len(made) == 1 for pe, _, made in items.values() if not pe.startswith("Source"))


def test_work_of_a_dead_worker_is_there_once(mapping: Mapping, tmp_path: Path) -> None:
    if not mapping.pools:
        pytest.skip("a worker that dies ends the run")
    graph = chain(Homed(range(20)), DiesOnce(tmp_path / "mark"), Plus())
    _, record = recorded(mapping, graph, tmp_path / "record")
    items = items_of(record)  # which fails where one is there twice
    assert len(items) == 60
    assert sum(len(made) for _, _, made in items.values()) == 40


@pytest.mark.processes(3)
def test_a_failed_run_leaves_its_record(mapping: Mapping, tmp_path: Path) -> None:
    graph = chain(Source(range(50)), Plus(), FaultyPE("raise", at=4))
    folder = tmp_path / "record"
    with pytest.raises(PEError, match="a fault was asked for"):
        recorded(mapping, graph, folder)
    record = Record(folder)
    items = items_of(record)
    assert not record.tail["complete"]
    assert "a fault was asked for" in record.tail["failed"]
    assert {"Source0.output", "Plus1.output"} <= {pe for pe, _, _ in items.values()}
    activities = [r for r in document(folder).records if str(r.identifier) == "run:run"]
    assert activities[0].get_attribute("d4p:complete") == {False}


class Kept(IterativePE):
    """Keeps the last two items, and says what a sum comes from."""

    stateful = True

    def __init__(self) -> None:
        super().__init__()
        self.last: list[tuple[int, bytes | None]] = []

    def _process(self, data: int) -> None:
        self.last = [*self.last[-1:], (data, self.item_id())]
        total = sum(number for number, _ in self.last)
        known = [known for _, known in self.last]
        self.write("output", total, derived_from=known, metadata={"magnitude": total})


@pytest.mark.processes(3)
def test_a_pe_says_what_it_comes_from(mapping: Mapping, tmp_path: Path) -> None:
    _, record = recorded(mapping, chain(Source([1, 2, 4, 8]), Kept()), tmp_path / "record")
    items = items_of(record)
    made = {
        shown: sorted(items[own][1] for own in sources)
        for pe, shown, sources in items.values()
        if pe == "Kept1.output"
    }
    assert made == {"1": ["1"], "3": ["1", "2"], "6": ["2", "4"], "12": ["4", "8"]}


@pytest.mark.processes(3)
def test_what_is_not_recorded_is_passed_over(mapping: Mapping, tmp_path: Path) -> None:
    config = {
        "s-prov:sel-rules": {"Kept": {"rules": {"magnitude": {"$gt": 3, "$lt": 20}}}},
        "d4p:record": ["Source", "Kept", "Total"],
    }
    graph = chain(Source([1, 2, 4, 8]), Plus(), Kept(), Total())
    _, record = recorded(mapping, graph, tmp_path / "r", provenance_config=config)
    items = items_of(record)
    assert {pe for pe, _, _ in items.values()} == {
        "Source0.output",
        "Kept2.output",
        "Total3.output",
    }
    kept = {shown: made for pe, shown, made in items.values() if pe == "Kept2.output"}
    assert {s: sorted(items[o][1] for o in made) for s, made in kept.items()} == {
        "5": ["1", "2"],
        "8": ["2", "4"],
        "14": ["4", "8"],
    }
    assert roots_of(record, "29") == ["1", "2", "4", "8"]  # also what was left out leads on


@pytest.mark.processes(3)
def test_one_in_so_many(mapping: Mapping, tmp_path: Path) -> None:
    config = {"d4p:one-in": 4}
    graph = chain(Source(range(40)), Plus(), Identity())
    _, record = recorded(mapping, graph, tmp_path / "r", provenance_config=config)
    items = items_of(record)
    chosen = [shown for pe, shown, _ in items.values() if pe == "Source0.output"]
    assert 0 < len(chosen) < 40
    assert len(items) == 3 * len(chosen)
    for pe, _, made in items.values():
        if pe != "Source0.output":
            (source,) = made
            assert source in items


class Reads(IterativePE):
    def _process(self, path: str) -> Any:
        with open(path, encoding="utf-8") as file:
            yield from map(int, file)


class Writes(IterativePE):
    """A line for each item, in a file that stays open."""

    stateful = True

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def _preprocess(self) -> None:
        self.file = self.path.open("w", encoding="utf-8")

    def _process(self, data: int) -> None:
        self.file.write(f'{{"n": {data}}}\n')

    def _postprocess(self) -> None:
        self.file.close()


@pytest.mark.processes(3)
def test_files_belong_to_the_items_that_they_made(mapping: Mapping, tmp_path: Path) -> None:
    first, second, made = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "made.jsonl"
    first.write_text("1\n2\n")
    second.write_text("5\n")
    reads = Reads()
    graph = chain(reads, Plus(), Writes(made))
    inputs = {reads: [{"input": str(first)}, {"input": str(second)}]}
    recorded(mapping, graph, tmp_path / "record", inputs)
    answer = asked(tmp_path / "record", str(made))
    assert {"a.txt", "b.txt"} <= answer["files"]
    assert {"1", "2", "5", "3", "6"} <= answer["shown"]
    answer = asked(tmp_path / "record", str(second), "--down")
    assert answer["files"] == {"b.txt", "made.jsonl"}
    assert answer["shown"] == {"5", "6"}
    assert asked(tmp_path / "record", str(second))["shown"] == set()


class Converts(IterativePE):
    """Reads a file, and writes another; it knows how many there were."""

    count = 0

    def _process(self, path: str) -> str:
        self.count += 1
        Path(f"{path}.made").write_text(Path(path).read_text(encoding="utf-8"))
        with open(Path(path).with_name("log"), "a", encoding="utf-8") as log:
            log.write(f"{path}\n")
        return path


def test_a_file_made_of_a_file_derives_from_it(tmp_path: Path) -> None:
    paths = [tmp_path / f"file{n:02}" for n in range(40)]
    for path in paths:
        path.touch()
    graph = chain(Source(map(str, paths)), Converts())
    _, record = recorded(Mapping("simple", 1), graph, tmp_path / "record")
    # With state, all that was read before counts, too; but it is not told of each item again.
    extras = [w[5] for v in record if v[0] == INVOCATION for w in v[8] if w[5:]]
    assert max(len(extra["files"]) for extra in extras) == 16
    names = {path.name for path in paths}
    assert asked(tmp_path / "record", "file03.made")["files"] & names == {
        path.name for path in paths[:4]
    }
    assert names < asked(tmp_path / "record", f"{paths[39]}.made")["files"]
    assert names < asked(tmp_path / "record", str(tmp_path / "log"))["files"]
    assert len(asked(tmp_path / "record", str(paths[30]), "--down", "--depth", "1")["shown"]) == 10
    document(tmp_path / "record")


def asked(folder: Path, *arguments: str) -> Any:
    """What the command tells: the names of files, and the values of items."""
    command = [sys.executable, "-m", "d4pcwl", "lineage", str(folder), *arguments]
    done = subprocess.run(
        [*command, "--format", "json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    answer["files"] = {Path(n["path"]).name for n in answer["nodes"] if n["kind"] == "file"}
    answer["shown"] = {n["shown"] for n in answer["nodes"] if n["kind"] == "item"}
    return answer


def document(folder: Path) -> ProvDocument:
    """The PROV document of a record; both forms of it are the same."""
    read = ProvDocument.deserialize(folder / "prov.json")
    lines = (folder / "prov.provn").read_text(encoding="utf-8").splitlines()
    assert sorted(lines) == sorted(read.get_provn().splitlines())
    return read


def test_prov_has_all_that_was_recorded(tmp_path: Path) -> None:
    _, record = recorded(Mapping("multi", 2), keyed(), tmp_path / "r")
    items = items_of(record)
    read = document(tmp_path / "r")
    told: dict[str, set[tuple[str, str]]] = {}
    for relation in read.get_records():
        if relation.is_relation():
            ends = [str(value) for _, value in relation.formal_attributes[:2]]
            told.setdefault(relation.get_type().localpart, set()).add((ends[0], ends[1]))
    derived = {
        (f"run:item_{own}", f"run:item_{s}") for own, (*_, made) in items.items() for s in made
    }
    assert told["Derivation"] == derived
    assert {item for item, _ in told["Generation"]} == {f"run:item_{own}" for own in items}
    assert {item for item, _ in told["Attribution"]} == {f"run:item_{own}" for own in items}
    known = {str(entity.identifier) for entity in read.get_records(ProvEntity)}
    assert {f"run:item_{own}" for own in items} <= known
    for (agent, other), kinds in ((pair, "Delegation") for pair in told["Delegation"]):
        assert agent.startswith("run:instance_"), kinds
        assert other == "run:user"


def test_activities_are_summed_where_asked(tmp_path: Path) -> None:
    config = {"d4p:activities": "by PE", "provone:User": "Ada"}
    recorded(Mapping("simple", 1), stateless(), tmp_path / "r", provenance_config=config)
    read = document(tmp_path / "r")
    names = {str(r.identifier) for r in read.records if r.get_type().localpart == "Activity"}
    assert names == {"run:run", "run:work_Source0", "run:work_Plus1", "run:work_Identity2"}
    (user,) = (r for r in read.records if str(r.identifier) == "run:user")
    assert user.label == "Ada"


@pytest.mark.parametrize(
    ("config", "faults"),
    [
        ({"s-prov:save-mode": "service"}, ["kept in files"]),
        ({"s-prov:sel-rule": {}}, ["did you mean s-prov:sel-rules"]),
        ({"s-prov:transfer-rules": {"a": {}}}, ["items are not transferred"]),
        (
            {"s-prov:sel-rules": {"Plus": {"rules": {"m": {"$near": 3}}}}, "d4p:one-in": 0},
            ["no operator '$near'", "a whole number from 1, not 0"],
        ),
        (
            {"s-prov:componentsType": {"Plus": {"s-prov:type": ["SeismoPE"]}}},
            ["'SeismoPE' of Plus"],
        ),
        (
            {"s-prov:componentsType": {"Plus": {"wlength": 3, "s-prov:type": 5}}},
            ["wlength of Plus", "'5' of Plus"],
        ),
        ({"d4p:record": ["Puls"]}, ["no PE is called 'Puls'; did you mean Plus?"]),
        ("[1]", ["[1]"]),
    ],
)
def test_what_a_configuration_cannot_say_is_refused(
    config: Any, faults: list[str], tmp_path: Path
) -> None:
    with pytest.raises(d4pcwl.D4pcwlError) as told:
        recorded(Mapping("simple", 1), stateless(), tmp_path / "r", provenance_config=config)
    assert all(fault in str(told.value) for fault in faults)
    assert not (tmp_path / "r").exists()


def test_a_record_is_never_written_over(tmp_path: Path) -> None:
    recorded(Mapping("simple", 1), stateless(), tmp_path / "r")
    before = (tmp_path / "r" / "lineage.msgpack").read_bytes()
    with pytest.raises(UsageError, match="the record of another run is there"):
        recorded(Mapping("simple", 1), stateless(), tmp_path / "r")
    assert (tmp_path / "r" / "lineage.msgpack").read_bytes() == before


class Tells(IterativePE):
    """Tells things that JSON does not have, and looks for a file that is not there."""

    def _process(self, data: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            open("/no/such/file").close()
        told = {(1, 2): b"\xff", "size": np.float64(1.5), "most": float("inf"), "\udce9": 10**30}
        self.write("output", data, metadata={**told, "at": np.datetime64("2020-01-01")})


def test_metadata_may_be_anything(tmp_path: Path) -> None:
    config = {"s-prov:sel-rules": {"Tells": {"rules": {"at": {"$gt": "2019"}}}}}
    graph = chain(Source([1]), Tells())
    recorded(Mapping("simple", 1), graph, tmp_path / "r", provenance_config=config)
    start = next(own for own, (pe, *_) in items_of(Record(tmp_path / "r")).items() if "T" in pe)
    (item,) = (n for n in asked(tmp_path / "r", start)["nodes"] if n["id"] == start)
    told = {"(1, 2)": "ff", "size": 1.5, "most": "inf", "at": "2020-01-01"}
    assert item["metadata"].items() > told.items()
    assert asked(tmp_path / "r", start)["files"] == set()
    document(tmp_path / "r")
    wrong = Tells()
    wrong.extractItemMetadata = lambda *_: "text"
    with pytest.raises(PEError, match="metadata must be a dictionary, not 'text'"):
        recorded(Mapping("simple", 1), chain(Source([1]), wrong), tmp_path / "wrong")


def test_a_damaged_record_is_read_or_refused(tmp_path: Path) -> None:
    _, record = recorded(Mapping("simple", 1), keyed(), tmp_path / "r")
    good = record.path.read_bytes()
    draw = random.Random(1)
    for count in range(40):
        data = bytearray(good)
        for _ in range(count % 3):
            data[draw.randrange(len(data))] = draw.randrange(256)
        at = draw.randrange(len(data))
        long = draw.choice([b"", b"\xdd\x7f\xff\xff\xff", b"\x91" * 5000])  # an array of 2 ** 31
        record.path.write_bytes(data[:at] + long + data[at + 1 :])
        with contextlib.suppress(LineageError):
            write_prov(Record(tmp_path / "r"))
        with contextlib.suppress(LineageError), indexed(tmp_path / "r") as index:
            index.files()


SCRIPT = """
from d4pcwl import IterativePE, ProducerPE, WorkflowGraph

class Numbers(ProducerPE):
    def _process(self, inputs):
        for n in range(6):
            self.write("output", {"n": n})
        DIE

class Double(IterativePE):
    def _process(self, data):
        return {"twice": 2 * data["n"]}

graph = WorkflowGraph()
graph.connect(Numbers(), "output", Double(), "input")
"""


def command(
    folder: Path, *arguments: str, script: str = SCRIPT
) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(script.replace("DIE", ""))
    return subprocess.run(
        [sys.executable, "-m", "d4pcwl", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("mapping_arguments", [("multi", "-n", "2"), ("mpi", "-n", "2")])
def test_the_command_records_and_answers(mapping_arguments: Iterable[str], tmp_path: Path) -> None:
    name, *rest = mapping_arguments
    done = command(
        tmp_path, "run", name, "script.py", *rest, "--results", "r.jsonl", "--provenance", "P"
    )
    assert done.returncode == 0, done.stderr
    record = Record(tmp_path / "P")
    assert len(items_of(record)) == 12
    assert str(tmp_path / "script.py") in record.head["code"]
    assert record.tail["files"][str(tmp_path / "r.jsonl")]["role"] == "results"
    lines = (tmp_path / "r.jsonl").read_text().splitlines()
    line = 1 + next(n for n, text in enumerate(lines) if '"twice": 8' in text)
    for what in (f"r.jsonl:{line}", "r.jsonl#twice=8"):
        done = command(tmp_path, "lineage", what)
        assert done.returncode == 0, done.stderr
        told = done.stdout.splitlines()
        assert len(told) == 2
        assert told[0].endswith('{"twice":8}')
        assert told[1].endswith('{"n":4}')
    drawn = command(tmp_path, "lineage", f"r.jsonl:{line}", "--format", "dot").stdout
    assert drawn.index("Numbers.output") < drawn.index("Double.output")
    done = command(tmp_path, "lineage", "r.jsonl:7")
    assert (done.returncode, done.stdout) == (2, "")
    assert "has 6 results; there is none in line 7" in done.stderr


def test_a_killed_run_leaves_a_record(tmp_path: Path) -> None:
    dies = SCRIPT.replace("range(6)", "range(2500)")
    dies = dies.replace("DIE", f"import os; os.kill(os.getpid(), {signal.SIGKILL})")
    done = subprocess.run(
        [sys.executable, "-c", f"{dies}\nimport d4pcwl\nd4pcwl.run(graph, provenance='P')"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "P" / "parts").is_dir()
    done_text = command(tmp_path, "lineage", "P")
    assert done_text.returncode == 0, done_text.stderr
    assert "the run did not finish: it was killed" in done_text.stdout
    items = items_of(Record(tmp_path / "P"))  # also of the invocation that had not ended
    assert len([pe for pe, *_ in items.values() if pe.startswith("Numbers")]) >= 1000
    assert command(tmp_path, "lineage", "P", "--prov").returncode == 0
    activities = [
        r.identifier.localpart for r in document(tmp_path / "P").get_records(ProvActivity)
    ]
    assert len(activities) == len(set(activities)) > 1000
    assert os.listdir(tmp_path / "P") != ["parts"]
