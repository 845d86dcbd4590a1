"""Compiled documents under a real cwltool: ``run(cwl(graph)) == run(graph)``; what is staged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cwl_kit as kit
import pytest


@dataclass(frozen=True)
class Case:
    text: str
    cut: str
    stages: int
    inputs: dict[str, Any] | None = None


CASES = {
    "words": Case(kit.WORDS, "Split.output", 2),
    "diamond": Case(kit.DIAMOND, "Source.output,Plus.output,Minus.output", 4),
    "two_edges": Case(kit.TWO_EDGES, "Source.output,Source.other", 2),
    "composites": Case(kit.COMPOSITES, "composite", 3),
    "partition": Case(kit.COMPOSITES, "partition", 2),
    "roots": Case(kit.ROOTS, "left.output,right.output", 3, kit.ROOT_INPUTS),
    "writers": Case(kit.WRITERS, "Total.output", 2),
    "arrays": Case(kit.ARRAYS, "Source.output", 2),
    "values": Case(kit.VALUES, "Source.output", 2),
}


@pytest.mark.parametrize("name", CASES)
def test_a_compiled_graph_gives_the_results_of_the_graph(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    if name == "arrays":
        pytest.importorskip("numpy")
    script = kit.write_script(tmp_path / "here", case.text)
    given = json.dumps(case.inputs) if case.inputs else None
    options = ["-d", given] if given else []
    kit.command("dispel4py", "simple", script, *options, "--results", tmp_path / "plain.jsonl")
    expected = kit.lines_of([tmp_path / "plain.jsonl"])
    assert expected

    kit.command("d4p2cwl", "-q", script, "-o", tmp_path / "whole.cwl")
    arguments = ["-q", script, "--mapping", "multi", "-n", 3, "--cut", case.cut]
    kit.command("d4p2cwl", *arguments, "-o", tmp_path / "cut.cwl")
    job = {"input_data": given} if given else None
    whole, _ = kit.cwltool(tmp_path / "whole.cwl", job, tmp_path / "out")
    parts, said = kit.cwltool(tmp_path / "cut.cwl", job, tmp_path / "parts")

    assert kit.lines_of([Path(whole["results"]["path"])]) == expected
    results = [Path(value["path"]) for key, value in parts.items() if key.endswith("results")]
    assert kit.lines_of(results) == expected
    assert said.count("completed success") == case.stages + (case.stages + 1)


def test_items_across_a_cut_keep_their_types(tmp_path: Path) -> None:
    # The comparison above would pass if both ways had the same lines of nothing.
    script = kit.write_script(tmp_path, kit.VALUES)
    stream = tmp_path / "items.d4ps"
    kit.command(
        "dispel4py", "simple", script, "--stage", "Source", "--to", f"Source.output={stream}"
    )
    done = kit.command(
        "dispel4py", "simple", script, "--stage", "Sink", "--from", f"Source.output={stream}"
    )
    shown = [json.loads(line)["data"] for line in done.stdout.splitlines()]
    assert shown[:5] == [
        "(1, (2, 'three'))",
        "{4, 5}",
        "frozenset({'six'})",
        r"b'\x00\xff'",
        "bytearray(b'7')",
    ]
    assert "{'a': (None,), 3: b'x'}" in shown
    assert str(2**70) in shown


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path]:
    """The results of a graph whose roots have declared types, under cwltool."""
    folder = tmp_path_factory.mktemp("typed")
    types = {
        "text": "string", "number": "int", "real": "double", "big": "long", "flag": "boolean",
        "file": "File", "folder": "Directory", "files": "File[]", "texts": "string[]",
        "anys": "Any[]", "x": "float",
    }  # fmt: skip
    script = kit.write_script(
        folder,
        kit.HEAD
        + f"""
import os

class Echo(IterativePE):
    def _process(self, data):
        if isinstance(data, str) and os.path.isfile(data):
            return ["read", open(data, encoding="utf-8").read()]
        if isinstance(data, str) and os.path.isdir(data):
            return ["listed", sorted(os.listdir(data))]
        return [type(data).__name__, data]

class Ticks(ProducerPE):
    def _process(self, inputs):
        return "tick"

class Two(GenericPE):
    cwl = {{"inputs": {{"left": "int[]", "right": {{"type": "string", "doc": "the right one"}}}}}}

    def __init__(self):
        super().__init__()
        self._add_input("left")
        self._add_input("right")
        self._add_output("output")

    def process(self, inputs):
        return {{"output": inputs}}

graph = WorkflowGraph()
for name, kind in {types!r}.items():
    echo = named(Echo(), name)
    echo.cwl = {{"inputs": {{"input": kind}}}}
    graph.add(echo)
graph.add(Two())
graph.add(named(Echo(), "undeclared"))
graph.add(named(Ticks(), "producer"))
""",
    )
    data = folder / "data"
    data.mkdir()
    # One file given twice, by itself and in its folder, is more than cwltool can stage.
    for place in (data, folder):
        (place / "a.txt").write_text("one")
        (place / "ü.txt").write_text("two")
    job = {
        "text": 'a "quoted" C:\\new\ttext\n$(inputs.number) of Zürich ',
        "number": -3, "real": 1.5e-7, "big": 12345678901, "flag": False,
        "file": {"class": "File", "location": str(folder / "a.txt")},
        "folder": {"class": "Directory", "location": str(data)},
        "files": [{"class": "File", "location": str(folder / name)} for name in ("a.txt", "ü.txt")],
        "texts": ['"', "\\", "", "two  spaces"],
        "anys": [1, "one", {"deep": [None, True]}],
        "in_x": 2.5,
        "Two_left": [7, 8],
        "Two_right": '\\d"',
        "undeclared": [{"input": 5}, {"input": 'q"q'}],
        "iterations": 2,
    }  # fmt: skip
    document = folder / "typed.cwl"
    kit.command("d4p2cwl", "-q", script, "-o", document)
    outputs, _ = kit.cwltool(document, job, folder / "out")
    lines = Path(outputs["results"]["path"]).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines], document


@pytest.mark.parametrize(
    ("name", "items"),
    {
        "text": [["str", 'a "quoted" C:\\new\ttext\n$(inputs.number) of Zürich ']],
        "number": [["int", -3]],
        "real": [["float", 1.5e-7]],
        "big": [["int", 12345678901]],
        "flag": [["bool", False]],
        "file": [["read", "one"]],
        "folder": [["listed", ["a.txt", "ü.txt"]]],
        "files": [["read", "one"], ["read", "two"]],
        "texts": [["str", '"'], ["str", "\\"], ["str", ""], ["str", "two  spaces"]],
        "anys": [["int", 1], ["str", "one"], ["dict", {"deep": [None, True]}]],
        "x": [["float", 2.5]],
        "Two": [{"left": 7}, {"left": 8}, {"right": '\\d"'}],
        "undeclared": [["int", 5], ["str", 'q"q']],
        "producer": ["tick", "tick"],
    }.items(),
)
def test_typed_inputs_arrive_as_they_are(
    typed: tuple[list[dict[str, Any]], Path], name: str, items: list[Any]
) -> None:
    assert [result["data"] for result in typed[0] if result["pe"] == name] == items


FILES = (
    '"""Files\n\nRead and written.\n"""\n'
    + kit.HEAD
    + '''
import os
from pathlib import Path

import helper
from tools.deep import tool

HERE = Path(__file__).parent


class Source(ProducerPE):
    """Reads"""

    cwl = {
        "reads": {
            "mesh": {"type": "File", "path": "in/m.json"},
            "maybe": "File?",
            "many": "File[]",
            "state": "Directory",
            "usual": {"type": "File", "default": "conf/usual.txt"},
        },
        "env": {"NEEDED": None, "MODE": {"default": "fast", "doc": "how"}},
        "resources": {"cores": 1, "ram": 64},
        "time_limit": 60,
        "network": True,
    }

    def _process(self, inputs):
        self.write("output", ["mesh", open("in/m.json").read()])
        self.write("output", ["maybe", os.path.exists("maybe")])
        self.write("output", ["many", os.path.exists("a1") and os.path.exists("b1")])
        self.write("output", ["usual", open("usual").read()])
        self.write("output", ["found", (HERE / "conf" / "found.txt").read_text()])
        self.write("output", ["modules", helper.VALUE + tool.value()])
        self.write("output", ["env", os.environ["NEEDED"], os.environ["MODE"]])
        self.write("output", ["absent", os.environ.get("ABSENT"), os.environ.get("USUAL", "so")])


class Sink(IterativePE):
    cwl = {
        "reads": {"state": "Directory"},
        "writes": {"state": "Directory", "logs": {"type": "File[]", "path": "*.log"}},
    }

    def _process(self, data):
        with open("state/new.txt", "a") as file:
            file.write(data[0] + "\\n")
        with open("a.log", "w") as file:
            file.write("log")
        with open("seen.csv", "a") as file:
            file.write("row\\n")
        return data


graph = WorkflowGraph()
graph.connect(Source(), "output", Sink(), "input")
'''
)

SEEN = [
    ["absent", None, "so"], ["env", "given", "fast"], ["found", "found"], ["many", True],
    ["maybe", False], ["mesh", "mesh"], ["modules", "ht"], ["usual", "usual"],
]  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    kit.write_script(home, FILES, helper__py="from tools import deep\nVALUE = 'h'\n")
    for path, text in {
        "tools/__init__.py": "",
        "tools/deep/__init__.py": "",
        "tools/deep/tool.py": "def value():\n    return 't'\n",
        "conf/usual.txt": "usual",
        "conf/found.txt": "found",
        "conf/not_named.txt": "not named",
    }.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(text)
    data = tmp_path / "data"
    (data / "state").mkdir(parents=True)
    for name, text in {"mm": "mesh", "a1": "a", "b1": "b", "state/old.txt": "old"}.items():
        (data / name).write_text(text)
    return home


def files_job(data: Path) -> dict[str, Any]:
    def file(name: str, kind: str = "File") -> dict[str, str]:
        return {"class": kind, "location": str(data / name)}

    return {
        "mesh": file("mm"),
        "many": [file("a1"), file("b1")],
        "state": file("state", "Directory"),
        "NEEDED": "given",
    }


@pytest.mark.parametrize("cut", ["whole", "Source.output"])
def test_declared_and_found_files_are_staged_and_collected(
    cut: str, files: Path, tmp_path: Path
) -> None:
    # Compiled to a folder with relative locations, and then moved as a whole.
    kit.command("d4p2cwl", "-q", files / "flow.py", "--cut", cut, "-o", f"{files / 'cwl'}/")
    moved = tmp_path / "else where"
    shutil.move(files, moved)
    data = tmp_path / "data"
    outputs, _ = kit.cwltool(moved / "cwl" / "flow.cwl", files_job(data), tmp_path / "out")

    lines = Path(outputs["results"]["path"]).read_text("utf-8").splitlines()
    results = [json.loads(line) for line in lines]
    assert sorted(result["data"] for result in results) == SEEN
    state = {entry["basename"] for entry in outputs["state_out"]["listing"]}
    assert state == {"old.txt", "new.txt"}
    assert [entry["basename"] for entry in outputs["logs"]] == ["a.log"]
    assert outputs["seen_csv"]["basename"] == "seen.csv"
    assert "a_log" not in outputs
    assert sorted(path.name for path in (data / "state").iterdir()) == ["old.txt"]


def test_the_job_order_runs_as_it_is(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path / "scripts", kit.CHAIN)
    folder = tmp_path / "cwl"
    kit.command(
        "d4p2cwl",
        script,
        "--cut",
        "Numbers.output",
        "-o",
        f"{folder}/",
        "--job",
        folder / "job.yml",
    )
    done = kit.command("cwltool", "--quiet", "flow.cwl", "job.yml", cwd=folder)
    outputs = json.loads(done.stdout)
    assert Path(outputs["results"]["path"]).read_text().count("\n") == 5
    assert Path(outputs["Numbers_printed"]["path"]).read_text() == "counting\n"


def test_where_the_document_goes_decides_how_files_are_located(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path / "a b", kit.CHAIN)
    piped = kit.command("d4p2cwl", script).stdout
    assert f"location: {script.as_uri()}" in piped
    with (tmp_path / "wf.cwl").open("w") as out:
        subprocess.run(
            [sys.executable, "-m", "d4pcwl.cli.d4p2cwl", str(script)], stdout=out, check=True
        )
    assert "location: a%20b/flow.py" in (tmp_path / "wf.cwl").read_text()
    outputs, _ = kit.cwltool(tmp_path / "wf.cwl", None, tmp_path / "out")
    assert "results" in outputs


def changed(script: Path, old: str, new: str) -> None:
    text = script.read_text()
    assert old in text
    script.write_text(text.replace(old, new))


def test_a_step_knows_the_graph_that_it_was_compiled_for(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, kit.CHAIN)
    document = tmp_path / "cut.cwl"
    kit.command("d4p2cwl", "-q", script, "--cut", "Numbers.output", "-o", document)
    changed(script, "return 2 * data", "return 3 * data")
    outputs, _ = kit.cwltool(document, None, tmp_path / "body")
    assert '"data": 12}' in Path(outputs["results"]["path"]).read_text()

    changed(script, "class Double(IterativePE)", "class Triple(IterativePE)")
    changed(script, "Double()", "Triple()")
    _, said = kit.cwltool(document, None, tmp_path / "renamed", code=1)
    assert "the graph has no PE 'Double'" in said or "has changed since this CWL was made" in said

    script.write_text(
        kit.CHAIN.replace(
            'double, "input")',
            'double, "input")\ngraph.connect(numbers, "output", Double(), "input")',
        )
    )
    _, said = kit.cwltool(document, None, tmp_path / "edge", code=1)
    assert "the script has changed since this CWL was made" in said
    assert "Numbers" in said


def test_an_item_that_cannot_cross_a_cut_names_its_port(tmp_path: Path) -> None:
    script = kit.write_script(
        tmp_path,
        kit.CHAIN.replace('self.write("output", number)', 'self.write("output", lambda: 1)'),
    )
    kit.command("d4p2cwl", "-q", script, "--cut", "Numbers.output", "-o", tmp_path / "cut.cwl")
    _, said = kit.cwltool(tmp_path / "cut.cwl", None, tmp_path / "out", code=1)
    assert "Numbers.output" in said
    assert "function" in said
    assert "send plain data" in said
    assert "pickle" not in said  # which nobody can say to a step


@pytest.mark.parametrize("at", ["load", "run"])
def test_a_variable_that_reading_cannot_find_is_named_when_it_is_missing(
    at: str, tmp_path: Path
) -> None:
    hidden = '__import__("os").environ["".join(["HID", "DEN"])]'
    script = kit.CHAIN.replace("return 2 * data", f"return {hidden}") if at == "run" else None
    text = script or kit.CHAIN + f"\nMODE = {hidden}\n"
    path = kit.write_script(tmp_path, text)
    kit.command("d4p2cwl", "-q", path, "-o", tmp_path / "wf.cwl", env={"HIDDEN": "1"})
    _, said = kit.cwltool(tmp_path / "wf.cwl", None, tmp_path / "out", code=1)
    own = said.split("dispel4py: error: ")[1]
    assert "HIDDEN" in own
    assert "flow.py:" in own
    assert "Traceback" not in said


def test_every_form_is_valid_without_a_warning(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path / "s", kit.COMPOSITES)
    kit.command("d4p2cwl", "-q", script, "-o", tmp_path / "whole.cwl")
    kit.command("d4p2cwl", "-q", script, "--cut", "composite", "-o", tmp_path / "packed.cwl")
    kit.command("d4p2cwl", "-q", script, "--cut", "composite", "-o", f"{tmp_path / 'dir'}/")
    kit.command(
        "d4p2cwl", "-q", script, "--abstract", "--cut", "composite", "-o", tmp_path / "abstract.cwl"
    )
    text = kit.ROOTS + "\nleft.cwl = {'inputs': {'input': 'string'}}\n"
    roots = kit.write_script(tmp_path / "r", text)
    kit.command("d4p2cwl", "-q", roots, "--cut", "left.output", "-o", tmp_path / "roots.cwl")
    documents = [*tmp_path.glob("*.cwl"), *(tmp_path / "dir").glob("*.cwl")]
    assert len(documents) == 8
    for document in documents:
        kit.validate(document)
        assert document.stat().st_mode & 0o111
        assert document.read_text().startswith("#!/usr/bin/env cwl-runner\n")


def test_declared_documents_are_valid_without_a_warning(files: Path, tmp_path: Path) -> None:
    options = ["--docker", "example.org/image:1", "--mapping", "multi"]
    kit.command("d4p2cwl", "-q", files / "flow.py", *options, "-o", tmp_path / "whole.cwl")
    kit.command(
        "d4p2cwl",
        "-q",
        files / "flow.py",
        *options,
        "--cut",
        "Source.output",
        "-o",
        tmp_path / "cut.cwl",
    )
    kit.validate(tmp_path / "whole.cwl")
    kit.validate(tmp_path / "cut.cwl")
