"""Files and runs: what a written file comes from, and how the records of several runs are joined by
the files that one has written and another one has read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import Mapping, Source, chain, named

import d4pcwl
from d4pcwl import IterativePE
from d4pcwl.errors import LineageError
from d4pcwl.library import Match, ReadCSV, ReadJSON, WriteCSV, WriteJSON
from d4pcwl.lineage.asking import Answer, ask
from d4pcwl.lineage.index import Index
from d4pcwl.lineage.record import Record
from d4pcwl.lineage.run_record import sha256_of
from d4pcwl.lineage.run_set import RunSet, Step, StepFile, of_records


def asked(folder: Path, what: str, **told: Any) -> Answer:
    """The answer from all records in a folder."""
    found = of_records(folder)
    assert found is not None
    with Index(found) as index:
        return ask(index, what, **told)


def files_of(answer: Answer) -> set[str]:
    """The names of the files that an answer has."""
    return {Path(node.shown).name for node in answer.nodes.values() if node.kind == "file"}


def shown(answer: Answer) -> set[str]:
    """The values of the items that it has."""
    return {node.shown for node in answer.nodes.values() if node.kind == "item"}


def record(graph: Any, folder: Path, inputs: Any = None, mapping: str = "simple") -> None:
    d4pcwl.run(graph, inputs, provenance=folder, mapping=mapping, processes=3)


class Copies(IterativePE):
    """Copies files into a folder, and writes nothing."""

    def __init__(self, folder: Path, title: str = "copies") -> None:
        super().__init__()
        self.folder, self.title = folder, title

    def _process(self, path: str) -> None:
        shutil.copy(path, self.folder)


class Pages(IterativePE):
    """Writes a page for each item by a template, which it reads first."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def _preprocess(self) -> None:
        self.template = (self.folder / "template.txt").read_text()

    def _process(self, data: str) -> None:
        (self.folder / f"{data}.txt").write_text(self.template.format(data))


@pytest.mark.processes(3)
def test_a_file_comes_from_the_files_that_it_was_made_of(mapping: Mapping, tmp_path: Path) -> None:
    (tmp_path / "template.txt").write_text("This is {}.")
    paths = [tmp_path / "in" / name for name in ("one.txt", "two.txt")]
    for path in (*paths, tmp_path / "out" / "x"):
        path.parent.mkdir(exist_ok=True)
    for path in paths:
        path.write_text(path.name)
    graph = chain(Source([str(path) for path in paths]), Copies(tmp_path / "out"))
    told = {"mapping": mapping.name, "processes": mapping.processes}
    d4pcwl.run(graph, provenance=tmp_path / "copied", **told)
    assert files_of(asked(tmp_path / "copied", str(tmp_path / "out" / "one.txt"))) == {"one.txt"}
    answer = asked(tmp_path / "copied", str(paths[1]), down=True)
    folders = {Path(node.shown).parent.name for node in answer.nodes.values()}
    assert folders == {"in", "out"}

    d4pcwl.run(chain(Source(["a", "b"]), Pages(tmp_path)), provenance=tmp_path / "pages", **told)
    answer = asked(tmp_path / "pages", str(tmp_path / "a.txt"))
    assert (files_of(answer), shown(answer)) == ({"a.txt", "template.txt"}, {'"a"'})


def test_runs_are_joined_by_their_files(tmp_path: Path) -> None:
    """The second run reads a copy, somewhere else and under another name."""
    first, second = tmp_path / "first", tmp_path / "second"
    rows = [{"station": name, "pga": value} for name, value in (("A", 1.5), ("B", 2.5), ("C", 3.5))]
    for folder in (first, second):
        folder.mkdir()
    for row in rows:
        (first / f"{row['station']}.txt").write_text(f"{row['station']} {row['pga']}")
    paths = [str(first / f"{row['station']}.txt") for row in rows]
    record(chain(Source(paths), Converts(first)), tmp_path / "records" / "one")
    for row in rows:
        shutil.copy(first / f"{row['station']}.json", second / f"copy-{row['station']}.json")
    copies = [str(second / f"copy-{row['station']}.json") for row in rows]
    graph = chain(Source(copies), ReadJSON(), WriteCSV(second / "all.csv"))
    record(graph, tmp_path / "records" / "two")
    answer = asked(tmp_path / "records", f"{second / 'all.csv'}#station=B")
    assert files_of(answer) == {"B.txt", "B.json"}
    assert shown(answer) == {
        '{"station":"B","pga":2.5}',
        f'"{paths[1]}"',
        f'"{copies[1]}"',
    }
    down = asked(tmp_path / "records", paths[0], down=True)
    assert files_of(down) == {"A.txt", "A.json", "all.csv"}


class Converts(IterativePE):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def _process(self, path: str) -> None:
        station, value = Path(path).read_text().split()
        text = f'{{"station": "{station}", "pga": {value}}}'
        (self.folder / f"{station}.json").write_text(text)


class Notes(IterativePE):
    """Writes the same text about each item, in a file of its own."""

    def __init__(self, folder: Path, what: str) -> None:
        super().__init__()
        self.folder, self.what = folder, what

    def _process(self, data: str) -> None:
        (self.folder / f"{data}.{self.what}").write_text("ok")


class Looks(IterativePE):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def _process(self, data: str) -> str:
        return f"{data} {(self.folder / f'{data}.ok').read_text()}"


def test_files_with_the_same_bytes_are_told_apart_by_their_names(tmp_path: Path) -> None:
    record(chain(Source(["a", "b"]), Notes(tmp_path, "ok")), tmp_path / "records" / "one")
    record(chain(Source(["a", "b"]), Looks(tmp_path)), tmp_path / "records" / "two")
    with Index(held(tmp_path / "records")) as index:
        (item,) = (node for node in index.nodes(range(100)).values() if node.shown == '"a ok"')
        answer = ask(index, item.own.hex())
    assert shown(answer) == {'"a ok"', '"a"'}
    assert files_of(answer) == {"a.ok"}


def held(folder: Path) -> RunSet:
    found = of_records(folder)
    assert found is not None
    return found


def test_a_step_without_a_record_is_a_black_box(tmp_path: Path) -> None:
    """What came out of it comes from all that went in, but not what has gone through."""
    for name in ("in.csv", "made.csv", "kept.txt"):
        (tmp_path / name).write_text(f"name\n{name}\n")
    graph = chain(Source([str(tmp_path / "made.csv")]), ReadCSV(), named(Later(), "later"))
    record(graph, tmp_path / "record")

    def file(name: str, called: str = "") -> StepFile:
        return StepFile(called or name, bytes.fromhex(sha256_of(tmp_path / name) or ""))

    box = Step(
        "sort", None, [file("in.csv"), file("kept.txt")], [file("made.csv"), file("kept.txt", "k")]
    )
    box = Step(box.name, None, box.used, box.made, {"reverse": True})
    steps = [box, Step("later", Record(tmp_path / "record"))]
    with Index(RunSet(tmp_path, [tmp_path / "in.csv"], lambda: (steps, {}))) as index:
        (item,) = (
            n
            for n in index.nodes(range(100)).values()
            if n.pe.startswith("later") and n.kind == "item"
        )
        answer = ask(index, item.own.hex())
        assert files_of(answer) == {"in.csv", "made.csv", "kept.txt"}
        assert '{"reverse": true}' in {node.shown for node in answer.nodes.values()}
        assert files_of(ask(index, str(tmp_path / "kept.txt"))) == {"kept.txt"}


class Later(IterativePE):
    def _process(self, data: Any) -> Any:
        return data


def rows_and_notes(path: Path) -> Any:
    rows = [{"station": name, "pga": value} for name, value in (("A", 1), ("B", 12), ("C", 1))]
    return chain(Source(rows), named(Wraps(), "wraps"), WriteJSON(path))


class Wraps(IterativePE):
    """Makes an entry that the file does not have as it is."""

    def _process(self, data: Any) -> Any:
        return {**data, "more": list(range(100))}


def test_an_entry_is_found_by_its_values(tmp_path: Path) -> None:
    path = tmp_path / "made.json"
    record(rows_and_notes(path), tmp_path / "record")
    text = path.read_text().replace('"more": [', '"edited": [')  # as a PE may write it
    path.write_text(text)
    assert shown(asked(tmp_path / "record", f"{path}#station=B", depth=0)) == {
        '{"station":"B","pga":12,…}'
    }
    # 1 is not 12, and two have it
    assert shown(asked(tmp_path / "record", f"{path}#pga=1", depth=0)) == {
        '{"station":"A","pga":1,…}',
        '{"station":"C","pga":1,…}',
    }
    assert shown(asked(tmp_path / "record", f"{path}:3", depth=0)) == {'{"station":"C","pga":1,…}'}
    with pytest.raises(LineageError, match="nothing there has station=D"):
        asked(tmp_path / "record", f"{path}#station=D")


def test_the_record_says_what_pes_were_made_with(tmp_path: Path) -> None:
    class Odd(Later):
        def __init__(self, *values: Any, limit: float = 0.5, **more: Any) -> None:
            super().__init__()

    match = Match(by="k", inputs=["a", "b"])
    match.name = "match"
    odd = named(Odd(1, [2.0, (3,)], limit=float("inf"), path=tmp_path, by=len, n=2**70), "odd")
    graph = chain(Source([{"k": 1}]), odd)
    graph.connect(odd, "output", match, "a")
    graph.connect(odd, "output", match, "b")
    record(graph, tmp_path / "record")
    made = {pe["name"]: pe["parameters"] for pe in Record(tmp_path / "record").head["pes"]}
    assert made["match"] == {
        "by": "k",
        "inputs": ["a", "b"],
        "alone": "error",
        "window": None,
        "time": "time",
        "most": 1_000_000,
    }
    assert made["odd"] == {
        "values": [1, [2.0, [3]]],
        "limit": "inf",
        "path": str(tmp_path),
        "by": "builtins.len",
        "n": str(2**70),
    }
