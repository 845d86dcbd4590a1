"""The public names, their types, and scripts that are commands of their own."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import get_args

import cwl_kit as kit
import pytest

import d4pcwl
from d4pcwl.runtime.mappings.registry import BUILT_IN, BuiltIn

ROOT = Path(__file__).parent.parent

DOUBLE = """
from d4pcwl import SimpleFunctionPE, WorkflowGraph, main

def twice(number):
    return 2 * number

double, graph = SimpleFunctionPE(twice), WorkflowGraph()
double.name = "double"
graph.add(double)
"""


def python(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", script.name, *arguments]
    return subprocess.run(
        command, cwd=script.parent, capture_output=True, text=True, timeout=100, check=False
    )


def test_the_public_names_are_all_there_is_to_complete() -> None:
    assert dir(d4pcwl) == sorted(d4pcwl.__all__)
    for name in d4pcwl.__all__:
        assert getattr(d4pcwl, name) is not None
    tree = ast.parse(Path(d4pcwl.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("d4pcwl.")
        for alias in node.names
    }
    assert set(d4pcwl.__all__) <= typed  # type checkers know them, too


def test_a_script_that_is_a_command(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, DOUBLE + "main(graph)\n", "twice.py")
    for given in (["--double", "4"], ["multi", "-n", "2", "-d", '{"double": [{"input": 4}]}']):
        done = python(script, *given)
        assert (done.stdout, done.stderr, done.returncode) == (
            '{"pe": "double", "port": "output", "data": 8}\n',
            "",
            0,
        )
    wrong = python(script, "multi", "-n", "none")
    assert wrong.returncode == 2
    assert "argument -n" in wrong.stderr
    helped = python(script, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "--double" in kit.command("dispel4py", "simple", script, "--help").stdout
    kit.command("d4p2cwl", "-q", script, "-o", tmp_path / "twice.cwl")


def test_a_workflow_with_parameters_is_a_command(tmp_path: Path) -> None:
    text = DOUBLE.replace("double, graph", "double, _").replace("graph.add(double)", "")
    text += (
        "def build(times: int = 2) -> WorkflowGraph:\n    graph = WorkflowGraph()\n"
        "    double = SimpleFunctionPE(lambda number: times * number)\n"
        "    double.name = 'double'\n    graph.add(double)\n    return graph\n\nmain(build)\n"
    )
    done = python(kit.write_script(tmp_path, text), "simple", "--times", "5", "--double", "3")
    assert done.stdout == '{"pe": "double", "port": "output", "data": 15}\n', done.stderr


def test_a_graph_that_is_not_run_is_told(tmp_path: Path) -> None:
    done = python(kit.write_script(tmp_path, DOUBLE, "twice.py"))
    assert done.stderr == (
        "twice.py builds a workflow and does not run it; type: dispel4py simple twice.py\n"
    )
    for use in (
        "from d4pcwl import run; run(graph, {double: [{'input': 1}]})",
        "import d4pcwl; d4pcwl.to_cwl('other.py')",
        "del graph",
        "graph.inputmappings = {'input': (double, 'input')}",
    ):
        kit.write_script(tmp_path, DOUBLE, "other.py")
        done = python(kit.write_script(tmp_path, f"{DOUBLE}\n{use}\n"))
        assert (done.stderr, done.returncode) == ("", 0)
    text = DOUBLE.partition("double, graph")[0] + "def build() -> WorkflowGraph: ...\n"
    done = python(kit.write_script(tmp_path, text, "made.py"))
    assert done.stderr.endswith("type: dispel4py simple made.py\n")
    failed = python(kit.write_script(tmp_path, f"{DOUBLE}\n1 / 0\n"))
    assert "does not run it" not in failed.stderr


def test_main_wants_a_graph_of_the_script(tmp_path: Path) -> None:
    done = python(kit.write_script(tmp_path, DOUBLE + "main(WorkflowGraph())\n"))
    assert "takes a graph that is a global variable of a script" in done.stderr


def test_mappings_are_literals() -> None:
    assert get_args(BuiltIn) == BUILT_IN


WRONG = """
import d4pcwl
from dispel4py.base import IterativePE, create_iterative_chain
from dispel4py.workflow_graph import WorkflowGraph


class Read(IterativePE):
    def _process(self, data: str) -> str:
        return data


graph, read = WorkflowGraph(), Read()
graph.connect(read, "output", create_iterative_chain([len]), "input")
d4pcwl.run(graph, mapping="multi")
d4pcwl.run(graph, mapping="of_another_package")
graph.connect(read, "output", Read, "input")  # a class
graph.connect(read, 1, Read(), "input")
d4pcwl.run(graph, mapping=3)
"""


def test_type_checkers_find_the_import_names_and_a_wrong_port(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    kit.write_script(tmp_path, WRONG, "wrong.py")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-incremental", "wrong.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = WRONG.splitlines()
    wrong = [lines.index(line) + 1 for line in lines[-3:]]
    found = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [int(line.split(":")[1]) for line in found] == wrong, done.stdout
