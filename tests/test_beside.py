"""Modules beside a script that have the names of Python's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cwl_kit import HEAD, command, write_script
from mapping_kit import Mapping
from runner_kit import run

NAMES = [
    *("glob", "queue", "select", "token", "random", "tempfile", "json", "statistics", "signal"),
    *("socket", "secrets", "heapq", "copy", "inspect", "argparse", "traceback", "struct", "pickle"),
    *("resource", "datetime", "contextlib", "typing", "logging", "subprocess", "multiprocessing"),
    *("email", "http", "calendar", "numpy", "redis", "zmq", "networkx", "psutil", "cwltool"),
]

OWN = """
if not __name__.startswith("_d4pcwl_script_"):
    raise RuntimeError("somebody else imports " + __name__)

def whose():
    return "ours"

class Item:
    def __init__(self, number):
        self.number = number
"""

FLOW = (
    HEAD
    + """
import glob, random as dice
from queue import whose
import json.inner
import package

class Numbers(ProducerPE):
    def _process(self, inputs):
        import select
        for number in range(3):
            self.write("output", select.Item(number))

class Use(IterativePE):
    def _process(self, item):
        import select, token
        assert isinstance(item, select.Item)
        told = [glob.whose(), dice.whose(), whose(), json.inner.NAME, token.whose(), package.NAME]
        return [item.number, *told]

graph = WorkflowGraph()
graph.connect(Numbers(), "output", Use(), "input")
"""
)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / "json.py").unlink()
    write_script(tmp_path / "json", "NAME = 'inner'", "inner.py")
    write_script(tmp_path / "json", OWN, "__init__.py")
    text = "import random\nfrom queue import whose\nNAME = random.whose() + whose()"
    write_script(tmp_path / "package", text, "__init__.py")
    return write_script(tmp_path, FLOW)


def check(text: str) -> None:
    found = [json.loads(line)["data"] for line in text.splitlines()]
    told = ["ours", "ours", "ours", "inner", "ours", "oursours"]
    assert sorted(found) == [[number, *told] for number in range(3)]


@pytest.mark.processes(2)
def test_the_script_has_its_own_and_we_have_pythons(mapping: Mapping, script: Path) -> None:
    how = (mapping.name, script.name, "-n", mapping.processes)
    check(command("dispel4py", *how, cwd=script.parent).stdout)


def test_ranks_have_theirs(script: Path) -> None:
    pytest.importorskip("mpi4py")
    check(command("dispel4py", "mpi", script.name, "-n", 2, cwd=script.parent).stdout)


def test_as_a_module_of_the_current_folder(script: Path) -> None:
    check(command("dispel4py", "multi", "flow", "-n", 2, cwd=script.parent).stdout)
    for name in ("contextlib", "typing", "inspect"):  # which Python itself imports for -m
        (script.parent / f"{name}.py").unlink()
    run_us = ("python", "-m", "d4pcwl", "run")
    check(command(*run_us, "simple", script.name, cwd=script.parent).stdout)


def test_in_a_tool_the_engine_stages_each_file_by_itself(script: Path) -> None:
    command("d4p2cwl", "-q", script, "-o", script.parent / "flow.cwl")
    outputs, _ = run(script.parent / "flow.cwl", outdir=script.parent / "out")
    check(Path(outputs["results"]["path"]).read_text())


def test_a_script_may_have_such_a_name_itself(tmp_path: Path) -> None:
    text = HEAD + "import queue\n\nclass One(ProducerPE):\n    def _process(self, inputs):\n"
    text += "        import queue\n        return queue.Queue(3).maxsize\n"
    text += "\n\ngraph = WorkflowGraph()\ngraph.add(One())\n"
    for name in ("queue.py", "zmq.py"):
        script = write_script(tmp_path, text, name)
        for mapping in ("simple", "zmq_multi"):
            done = command("dispel4py", mapping, script, "-n", 2, "-q")
            assert json.loads(done.stdout)["data"] == 3
        script.unlink()


@pytest.mark.parametrize("text", ["import time\ntime.mine()", "import sys\nfrom time import mine"])
def test_a_module_that_python_never_imports_is_told_of(text: str, tmp_path: Path) -> None:
    write_script(tmp_path, "", "time.py")
    told = command("dispel4py", "simple", write_script(tmp_path, text), code=2).stderr
    assert "flow.py:2: " in told
    assert (
        f"{tmp_path}/time.py is never imported, because Python has a module 'time' itself" in told
    )
