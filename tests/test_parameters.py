"""Workflows with parameters: functions that return a graph, from Python, the commands, and CWL."""

from __future__ import annotations

import enum
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import cwl_kit as kit
import pytest
from mapping_kit import Mapping, Source, chain
from mpi_kit import MPIEXEC, needs_mpi

import d4pcwl
from d4pcwl import Directory, IterativePE, WorkflowGraph
from d4pcwl.errors import InputError, ScriptError, UsageError
from d4pcwl.workflow.docstring import described
from d4pcwl.workflow.parameters import read_builder

SCRIPT = '''
import enum
from pathlib import Path
from typing import Literal

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Lines(ProducerPE):
    def __init__(self, path, values):
        super().__init__()
        self.path, self.values = path, values

    def _process(self, inputs):
        with open(self.path) as file:
            for line in file:
                self.write("output", [line.strip(), *map(repr, self.values)])


class Pass(IterativePE):
    def _process(self, data):
        return data


def build(
    stations: Path,
    radius: float = 2.0,
    norm: Literal["mean", "max"] = "mean",
    colour: Colour = Colour.RED,
    names: list[str] = ["a b"],
    fast: bool = True,
    limit: int | None = None,
    data: str = "it's \\\\ \\"x\\" $(y)",
    copies: int = 1,
) -> WorkflowGraph:
    """Stations around a place.

    All of them.

    :param stations: where the stations
        are
    :param radius: in degrees
    """
    graph = WorkflowGraph()
    last = Lines(stations, [radius, norm, colour, names, fast, limit, data])
    for _ in range(copies):
        one = Pass()
        graph.connect(last, "output", one, "input")
        last = one
    return graph
'''
DEFAULTS = ["2.0", "'mean'", "<Colour.RED: 'r'>", "['a b']", "True", "None"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    kit.write_script(tmp_path, SCRIPT, stations__txt="one\ntwo\n")
    return tmp_path


def data(text: str) -> list[Any]:
    return [json.loads(line)["data"] for line in text.splitlines()]


def simple(folder: Path, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return kit.command("dispel4py", "simple", "flow.py", *options, cwd=folder, code=code)


# --- the command ----------------------------------------------------------------------------------


def test_parameters_are_options(folder: Path) -> None:
    done = simple(folder, "--stations", "stations.txt")
    assert data(done.stdout) == [
        [line, *DEFAULTS, "'it\\'s \\\\ \"x\" $(y)'"] for line in ("one", "two")
    ]
    given = "--radius -3 --norm max --colour BLUE --names x y --no-fast --limit 4 --copies 2"
    done = simple(folder, *given.split(), "--params", "data=z", "--stations=stations.txt")
    values = ["-3.0", "'max'", "<Colour.BLUE: 'b'>", "['x', 'y']", "False", "4", "'z'"]
    assert data(done.stdout) == [["one", *values], ["two", *values]]
    assert '"pe": "Pass_2"' in done.stdout


def test_all_faults_are_told_at_once(folder: Path) -> None:
    done = simple(folder, *["--radius", "x", "--norm", "foo", "--fast=2", "--limit", "1.5"], code=2)
    for told in (
        "build(): radius: expected a number, not 'x'",
        "build(): norm: expected one of mean, max, not 'foo'",
        "build(): fast: expected true or false, not '2'",
        "build(): limit: expected a whole number, not '1.5'",
        "build(): stations is missing; it is a file or folder: where the stations are",
    ):
        assert told in done.stderr
    assert "Traceback" not in done.stderr
    done = simple(folder, "--stations", "stations.text", code=2)
    assert "stations: there is no file or folder stations.text" in done.stderr


def test_an_unknown_option(folder: Path) -> None:
    done = simple(folder, "--stations", "stations.txt", "--raduis", "3", code=2)
    assert "unrecognized arguments: --raduis 3; did you mean --radius" in done.stderr


def test_help_of_a_script(folder: Path) -> None:
    text = " ".join(simple(folder, "--help").stdout.split())
    assert "Stations around a place. All of them." in text
    assert "--stations PATH where the stations are (required)" in text
    assert "--radius NUMBER in degrees (default: 2.0)" in text
    assert "--norm {mean|max}" in text
    assert "--params data= TEXT" in text  # --data is the command's own
    assert "--Lines" in text


def test_files_of_parameters(folder: Path) -> None:
    order = "stations: {class: File, path: stations.txt}\nradius: 4\nnames: []\n"
    (folder / "params.yml").write_text(order)
    expected = [["one", "4.0"], ["two", "4.0"]]
    found = data(simple(folder, "--params", "params.yml").stdout)
    assert [item[:2] for item in found] == expected
    assert found[0][4] == "[]"
    over = simple(folder, "--params", "params.yml", "--params", '{"radius": 5}', "--norm", "max")
    assert [item[:3] for item in data(over.stdout)] == [[n, "5.0", "'max'"] for n in ("one", "two")]
    (folder / "params.yml").write_text("radius: [1]\nraduis: 2\n")
    done = simple(folder, "--params", "params.yml", code=2)
    assert "radius: expected a number, not [1]" in done.stderr
    assert "build() has no parameter 'raduis'; did you mean radius?" in done.stderr


def test_paths_are_meant_from_where_the_command_was_given(folder: Path) -> None:
    (folder / "flow.py").write_text("import os\nos.chdir('/')\n" + SCRIPT)
    (folder / "params.yml").write_text("radius: 4\n")
    (folder / "config.json").write_text('{"s-prov:workflowName": "around"}')
    recorded = ["--provenance", "record", "--provenance-config", "config.json"]
    done = simple(folder, "--stations", "stations.txt", "--params", "params.yml", *recorded)
    assert [item[:2] for item in data(done.stdout)] == [["one", "4.0"], ["two", "4.0"]]
    told = kit.command("d4pcwl", "lineage", "record", cwd=folder).stdout
    assert "params.yml  sha256" in told


def test_an_option_of_the_command_is_no_parameter(folder: Path) -> None:
    done = simple(folder, "--stations", "stations.txt", "--data", '{"Lines": 1}')
    assert "note: --data is an option of the command; to set the parameter data" in done.stderr
    assert "of build(), use --params data=VALUE" in done.stderr
    done = simple(folder, "--stations", "stations.txt", "-d", '{"Lines": 1}', "--params", "data=x")
    assert done.stderr == ""
    assert data(done.stdout)[0][-1] == "'x'"


def test_several_workflows_in_a_script(folder: Path) -> None:
    other = "\ndef other(size: int = 1) -> WorkflowGraph:\n    return build('stations.txt')\n"
    (folder / "flow.py").write_text(SCRIPT + other)
    done = simple(folder, code=2)
    assert "flow.py holds several workflows: build, other; choose one with -a NAME" in done.stderr
    assert len(data(simple(folder, "--workflow", "other", "--size", "3").stdout)) == 2
    kit.command("d4p2cwl", "flow.py", "-a", "other", "-o", "flow.cwl", cwd=folder)
    assert "valueFrom: other" in (folder / "flow.cwl").read_text()


def test_every_mapping_builds_the_same_graph(mapping: Mapping, folder: Path) -> None:
    done = kit.command(
        "dispel4py", mapping.name, "flow.py", "-n", mapping.processes, "--copies", 2, "--radius",
        "1", "--stations", "stations.txt", cwd=folder,
    )  # fmt: skip
    assert [item[:2] for item in data(done.stdout)] == [["one", "1.0"], ["two", "1.0"]]


@needs_mpi
def test_ranks_build_the_same_graph(folder: Path) -> None:
    command = [MPIEXEC, "-n", "3", sys.executable, "-m", "d4pcwl.cli.dispel4py", "mpi", "flow.py"]
    done = subprocess.run(
        [*map(str, command), "--copies", "2", "--stations", "stations.txt"],
        capture_output=True, text=True, timeout=60, check=True, cwd=folder,
    )  # fmt: skip
    assert [item[0] for item in data(done.stdout)] == ["one", "two"]


# --- scripts that are no such workflows -----------------------------------------------------------


def test_a_graph_goes_before_a_function(folder: Path) -> None:
    (folder / "flow.py").write_text(SCRIPT + "\ngraph = build('stations.txt', 9)\n")
    assert data(simple(folder).stdout)[0][:2] == ["one", "9"]
    done = simple(folder, "--radius", "3", code=2)
    assert "unrecognized arguments: --radius 3" in done.stderr
    done = simple(folder, "-a", "build", "--radius", "3", "--stations", "stations.txt")
    assert data(done.stdout)[0][:2] == ["one", "3.0"]


OWN_ARGUMENTS = (
    kit.HEAD
    + """
import argparse, os, sys

parser = argparse.ArgumentParser()
parser.add_argument("--count", type=int, default=int(os.environ.get("COUNT", 2)))
arguments, _ = parser.parse_known_args()


class Count(ProducerPE):
    def _process(self, inputs):
        return [arguments.count, sys.argv[1:3]]


def make(count):
    graph = WorkflowGraph()
    graph.add(Count())
    return graph


graph = make(arguments.count)
"""
)


def test_scripts_with_arguments_of_their_own_are_as_they_were(tmp_path: Path) -> None:
    kit.write_script(tmp_path, OWN_ARGUMENTS)
    done = simple(tmp_path)
    assert data(done.stdout) == [[2, ["simple", "flow.py"]]]
    done = kit.command("dispel4py", "simple", "flow.py", cwd=tmp_path, env={"COUNT": "5"})
    assert data(done.stdout)[0][0] == 5
    assert "unrecognized arguments: --count 3" in simple(tmp_path, "--count", "3", code=2).stderr
    done = simple(tmp_path, "--params", "count=3", code=2)
    assert "no parameters" in done.stderr


def test_a_function_without_annotation(folder: Path) -> None:
    text = SCRIPT.replace(") -> WorkflowGraph:", "):")
    (folder / "flow.py").write_text(text)
    line = next(n for n, t in enumerate(text.splitlines(), 1) if t.startswith("def build"))
    told = f"write def build(…) -> WorkflowGraph: on line {line}"
    assert told in simple(folder, code=2).stderr
    assert told in simple(folder, "-a", "build", code=2).stderr


def test_a_graph_under_main(tmp_path: Path) -> None:
    text = kit.HEAD + "\nif __name__ == '__main__':\n    graph = WorkflowGraph()\n"
    kit.write_script(tmp_path, text)
    line = len(text.splitlines()) - 1
    told = simple(tmp_path, code=2).stderr
    assert f"on line {line}" in told
    assert "-> WorkflowGraph" in told


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("    return None", "build() must return a WorkflowGraph, not None"),
        ("    return 1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_function_that_makes_no_graph(tmp_path: Path, body: str, told: str) -> None:
    kit.write_script(tmp_path, kit.HEAD + f"\ndef build() -> WorkflowGraph:\n{body}\n")
    done = simple(tmp_path, code=2)
    assert told in done.stderr
    assert f"flow.py:{len(kit.HEAD.splitlines()) + 2 + (told[0] == 'Z')}" in done.stderr


# --- Python ---------------------------------------------------------------------------------------


class Add(IterativePE):
    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount

    def _process(self, data: Any) -> Any:
        return data + self.amount


def adding(amount: float, times: int = 1, how: Literal["up", "down"] = "up") -> WorkflowGraph:
    sign = 1 if how == "up" else -1
    return chain(Source([1, 2]), *(Add(sign * amount) for _ in range(times)))


def items(results: Any) -> list[Any]:
    ((_, outputs),) = results.items()
    return list(outputs["output"])


def test_run_takes_parameters(mapping: Mapping) -> None:
    found = d4pcwl.run(
        adding, mapping=mapping.name, processes=mapping.processes, amount=2, times=2, how="down"
    )
    assert items(found) == [-3, -2]


def test_stream_and_scripts_take_parameters(folder: Path) -> None:
    assert [result.item for result in d4pcwl.stream(adding, amount=1)] == [2, 3]
    found = d4pcwl.run(folder / "flow.py", stations=folder / "stations.txt", radius=3)
    assert [item[:2] for item in items(found)] == [["one", "3.0"], ["two", "3.0"]]
    script = d4pcwl.load(folder / "flow.py", parameters={"stations": folder / "stations.txt"})
    assert len(items(d4pcwl.run(script))) == 2


def test_an_annotation_that_is_no_type() -> None:
    def made(sizes: [int]) -> WorkflowGraph:  # type: ignore[valid-type]
        return WorkflowGraph()

    with pytest.raises(ScriptError, match=r"sizes: .* its annotation may be int"):
        read_builder(made)  # type: ignore[arg-type]


def test_faults_in_python() -> None:
    with pytest.raises(InputError, match="amount: expected a number, not 1000"):
        d4pcwl.run(adding, amount=10**400)
    with pytest.raises(InputError) as caught:
        d4pcwl.run(adding, times=1.5, how="left", tmes=3)
    assert str(caught.value).splitlines() == [
        "adding(): times: expected a whole number, not 1.5",
        "adding(): how: expected one of up, down, not 'left'",
        "adding() has no parameter 'tmes'; did you mean times?",
        "adding(): amount is missing; it is a number",
    ]
    with pytest.raises(UsageError, match="no argument 'proceses'; did you mean processes"):
        d4pcwl.run(adding(1), proceses=3)


class Kind(enum.Enum):
    ONE = 1
    TWO = "two"


def everything(
    place: Directory,
    here: Path = Path("."),
    other: Annotated[Path, "Directory"] | None = None,
    kinds: Sequence[Kind] = (),
    sizes: tuple[int, ...] = (1,),
    level: Literal[1, 2] = 1,
    plain=3,  # type: ignore[no-untyped-def]
    text: str = None,  # type: ignore[assignment]  # noqa: RUF013
) -> WorkflowGraph:
    return WorkflowGraph()


def test_annotations() -> None:
    kinds = {name: p.kind for name, p in read_builder(everything).parameters.items()}
    assert [kind.base for kind in kinds.values()] == [
        *("Directory", "Path", "Directory", "enum", "int", "enum", "int", "str"),
    ]
    assert [name for name, kind in kinds.items() if kind.optional] == ["other", "text"]
    assert kinds["kinds"].of(["ONE", Kind.TWO]) == [Kind.ONE, Kind.TWO]
    assert kinds["sizes"].of([1, 2]) == (1, 2)
    assert kinds["level"].of_texts(["2"]) == 2
    assert kinds["level"].plain(2) == "2"


@pytest.mark.parametrize(
    "annotation", ["dict", "list", "int | str", "list[list[int]]", "complex", "tuple[int, str]"]
)
def test_annotations_that_are_refused(tmp_path: Path, annotation: str) -> None:
    text = kit.HEAD + f"\ndef build(x: {annotation}, y, *z) -> WorkflowGraph:\n    return 1\n"
    script = kit.write_script(tmp_path, text)
    with pytest.raises(ScriptError) as caught:
        d4pcwl.load(script)
    first, second, third = str(caught.value).splitlines()
    line = len(text.splitlines()) - 1
    assert f"flow.py:{line}: build(): x" in first
    assert "Literal[…]" in first
    assert "y: annotate it with its type" in second
    assert "*z" in third


@pytest.mark.parametrize(
    "doc",
    [
        "T.\n\nMore.\n\n:param a: the a,\n    and more\n:param int b: the b\n:returns: x",
        "T.\n\nMore.\n\nArgs:\n    a: the a,\n        and more\n    b (int): the b\n\n"
        "Returns:\n    x: y",
        "T.\n\nMore.\n\nParameters\n----------\na\n    the a,\n    and more\nb : int, optional\n"
        "    the b\n\nReturns\n-------\nx\n    y",
    ],
    ids=["fields", "google", "numpy"],
)
def test_docstrings(doc: str) -> None:
    assert described(doc) == ("T.", "More.", {"a": "the a, and more", "b": "the b"})


# --- CWL ------------------------------------------------------------------------------------------


def compiled(folder: Path, *options: str) -> dict[str, Any]:
    kit.command("d4p2cwl", "flow.py", "-o", "flow.cwl", *options, cwd=folder)
    document = d4pcwl.to_cwl(folder / "flow.py", folder=folder).document
    return {entry["id"]: entry for entry in document["inputs"]}


def test_inputs_are_typed(folder: Path) -> None:
    inputs = compiled(folder)
    assert {name: inputs[name]["type"] for name in ("stations", "radius", "names", "limit")} == {
        "stations": "File",
        "radius": "double",
        "names": "string[]",
        "limit": "long?",
    }
    assert inputs["norm"]["type"] == {"type": "enum", "symbols": ["mean", "max"]}
    assert inputs["colour"]["type"]["symbols"] == ["RED", "BLUE"]
    defaults = {name: entry["default"] for name, entry in inputs.items() if "default" in entry}
    assert defaults["radius"] == 2.0
    assert defaults["fast"] is True
    assert defaults["colour"] == "RED"
    assert "stations" not in defaults
    assert inputs["stations"]["doc"] == "where the stations are"
    kit.validate(folder / "flow.cwl")


@pytest.mark.parametrize("options", [(), ("--cut", "pe"), ("--shards", "2")], ids=" ".join)
def test_compiled_steps_take_parameters(folder: Path, options: tuple[str, ...]) -> None:
    compiled(folder, *options)
    order = {
        "stations": {"class": "File", "path": str(folder / "stations.txt")},
        "radius": 3.5, "norm": "max", "names": [], "fast": False, "data": 'a "b" \\',
    }  # fmt: skip
    outputs, _ = kit.cwltool(folder / "flow.cwl", order, folder / "out")
    files = outputs["results"] if isinstance(outputs["results"], list) else [outputs["results"]]
    found = [item for file in files for item in data(Path(file["path"]).read_text())]
    values = ["3.5", "'max'", "<Colour.RED: 'r'>", "[]", "False", "None", repr('a "b" \\')]
    assert sorted(found) == [["one", *values], ["two", *values]]


def test_what_is_given_to_the_compiler_are_defaults(folder: Path) -> None:
    kit.command(
        "d4p2cwl", "flow.py", "--copies", "2", "--stations", "stations.txt", "--cut", "pe", "-o",
        "flow.cwl", cwd=folder,
    )  # fmt: skip
    outputs, _ = kit.cwltool(folder / "flow.cwl", None, folder / "out")
    assert len(data(Path(outputs["results"]["path"]).read_text())) == 2
    _, said = kit.cwltool(folder / "flow.cwl", {"copies": 3}, folder / "other", code=1)
    assert "values of its parameters" in said


def test_samples_stand_for_what_is_not_given(folder: Path) -> None:
    reading = SCRIPT.replace(
        "    graph = WorkflowGraph()\n", "    graph, _ = WorkflowGraph(), open(stations)\n"
    )
    (folder / "flow.py").write_text(reading)
    done = kit.command("d4p2cwl", "flow.py", cwd=folder, code=2)
    assert "stations=PosixPath('stations'): give their values" in done.stderr
    kit.command("d4p2cwl", "flow.py", "--stations", "stations.txt", cwd=folder)


def test_a_document_of_parameters_comes_back_as_steps(folder: Path) -> None:
    compiled(folder)
    (folder / "job.yml").write_text("stations: {class: File, path: stations.txt}\nradius: 7\n")
    done = kit.command("d4pcwl-runner", "--outdir", "out", "flow.cwl", "job.yml", cwd=folder)
    found = data(Path(json.loads(done.stdout)["results"]["path"]).read_text())
    assert [item[:2] for item in found] == [["one", "7.0"], ["two", "7.0"]]


FILES = (
    kit.HEAD
    + """
from pathlib import Path


class List(ProducerPE):
    def __init__(self, table, folder, out):
        super().__init__()
        self.table, self.folder, self.out = table, folder, out

    def _process(self, inputs):
        with open(self.table) as table, open(self.out, "w") as out:
            out.write(table.read())
        return sorted(path.name for path in Path(self.folder).iterdir())


def build(
    table: Path = Path("table.txt"), folder: Path = Path("many"), out: str = "out.txt"
) -> WorkflowGraph:
    graph = WorkflowGraph()
    graph.add(List(table, folder, out))
    return graph
"""
)


def test_defaults_that_are_files_and_folders(tmp_path: Path) -> None:
    kit.write_script(tmp_path, FILES, table__txt="x")
    kit.write_script(tmp_path / "many", "", name="a")
    inputs = compiled(tmp_path)
    files = {
        name: entry["default"] for name, entry in inputs.items() if name in ("table", "folder")
    }
    assert files == {
        "table": {"class": "File", "location": "table.txt"},
        "folder": {"class": "Directory", "location": "many"},
    }
    assert inputs["folder"]["type"] == "Directory"
    assert not {"table_txt", "many"} & inputs.keys()
    outputs, _ = kit.cwltool(tmp_path / "flow.cwl", {"out": "other.txt"}, tmp_path / "out")
    assert data(Path(outputs["results"]["path"]).read_text()) == [["a"]]
    assert "other.txt" in [entry["basename"] for entry in outputs["written"]["listing"]]


def test_a_picture_shows_the_graph_of_the_defaults(folder: Path) -> None:
    assert '"Pass"' in kit.command("d4pcwl", "graph", "flow.py", cwd=folder).stdout


def test_a_function_is_compiled_in_python(folder: Path) -> None:
    script = d4pcwl.load(folder / "flow.py", parameters={"stations": folder / "stations.txt"})
    assert script.builder is not None
    compiled = d4pcwl.to_cwl(script.builder.function, parameters={"radius": 9})
    assert compiled.job["radius"] == 9.0
    assert compiled.missing == ("stations",)


# --- inputs of roots by their names ---------------------------------------------------------------

ROOTS = kit.ROOTS.replace("return data * self.factor", "return [self.name, data]")


def test_inputs_of_roots_are_options(tmp_path: Path) -> None:
    kit.write_script(tmp_path, ROOTS)
    done = simple(tmp_path, "--left", "1", "x", "--right=[2]", "-q")
    assert sorted(map(str, data(done.stdout))) == [
        "[['left', 'x']]",
        "[['left', 1]]",
        "[['right', [2]]]",
    ]
    assert len(data(simple(tmp_path, "--left0", "1", "-q").stdout)) == 1
    done = simple(tmp_path, "--left", "1", "-d", "{}", code=2)
    assert "inputs of roots are given twice" in done.stderr
    assert "--left ITEM" in simple(tmp_path, "--help").stdout


def test_inputs_of_roots_have_their_types(tmp_path: Path) -> None:
    declared = "\nScale.cwl = {'inputs': {'input': 'int[]'}}\n"
    declared += "left.cwl = {'inputs': {'input': 'string[]'}}\n"
    kit.write_script(tmp_path, ROOTS + declared)
    found = data(simple(tmp_path, "--left", "1", "--right", "2").stdout)
    assert sorted(map(str, found)) == ["[['left', '1']]", "[['right', 2]]"]
    done = simple(tmp_path, "--right", "2", "x", code=2)
    assert "--right: expected int, not 'x'" in done.stderr


def test_iterations_of_a_root_are_an_option(tmp_path: Path) -> None:
    kit.write_script(tmp_path, kit.CHAIN)
    lines = simple(tmp_path, "--Numbers", "2").stdout.splitlines()
    assert len([line for line in lines if line.startswith("{")]) == 10
    assert "give a number of iterations" in simple(tmp_path, "--Numbers", "x", code=2).stderr
