"""Shells complete the arguments of all commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cwl_kit as kit
import pytest

pytest.importorskip("argcomplete")


def completed(line: str, folder: Path) -> list[str]:
    """What a shell is offered after a line."""
    answer = folder / "answer"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    command = Path(sys.executable).parent / line.split()[0]
    subprocess.run([command], env=environment, cwd=folder, check=True, timeout=100)
    return [word.strip() for word in answer.read_text().split("\n")]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("dispel4py dyn_a", ["dyn_auto_multi", "dyn_auto_redis"]),
        ("dispel4py multi wor", ["words.py"]),
        ("dispel4py multi words.py --shared", ["--shared-memory"]),
        ("d4pcwl run multi words.py --shared", ["--shared-memory"]),
        ("d4pcwl gr", ["graph"]),
        ("d4pcwl graph --all", ["--all-edges"]),
        ("d4pcwl completion z", ["zsh"]),
        ("d4p2cwl words.py --sha", ["--shards"]),
        ("cwl2d4p --deb", ["--debug"]),
        ("d4pcwl-runner --cached", ["--cachedir"]),
        ("d4pcwl cwl --cached", ["--cachedir"]),
    ],
)
def test_what_may_come_next(line: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "words.py").touch()
    assert completed(line, tmp_path) == offered


WORKFLOW = """
from dispel4py.base import IterativePE
from dispel4py.workflow_graph import WorkflowGraph

print("loaded")

class Scale(IterativePE):
    def _process(self, data):
        return data

def build(radius: float = 2.0) -> WorkflowGraph:
    graph = WorkflowGraph()
    graph.add(Scale())
    return graph
"""


@pytest.mark.parametrize("begin", ["dispel4py multi flow.py", "dispel4py simple flow.py -n 3"])
def test_options_of_a_script(begin: str, tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(WORKFLOW)
    assert completed(f"{begin} --ra", tmp_path) == ["--radius"]
    assert completed(f"{begin} --Sc", tmp_path) == ["--Scale", "--Scale0"]
    assert completed("d4p2cwl flow.py --rad", tmp_path) == ["--radius"]
    (tmp_path / "flow.py").write_text("1 / 0")
    assert completed(f"{begin} --on-e", tmp_path) == ["--on-error"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_of_all_commands(shell: str) -> None:
    code = kit.command("d4pcwl", "completion", shell).stdout
    for command in ("dispel4py", "d4p2cwl", "cwl2d4p", "d4pcwl-runner", "d4pcwl"):
        assert command in code
    said = kit.command("d4pcwl", "completion", "csh", code=2).stderr
    assert "invalid choice: 'csh'" in said


def test_bash_completes(tmp_path: Path) -> None:
    script = 'eval "$(d4pcwl completion bash)"; complete -p dispel4py; type -t _python_argcomplete'
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert "_python_argcomplete" in done.stdout
    assert done.stdout.endswith("function\n")
