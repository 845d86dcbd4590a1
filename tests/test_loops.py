"""Loops: ``loop`` of CWL 1.3 and ``cwltool:Loop``, with d4pcwl-runner and in imported scripts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runner_kit import run, run_job, write

import d4pcwl
from d4pcwl import from_cwl

HEAD = """\
cwlVersion: v1.3.0-dev1
class: Workflow
requirements:
  InlineJavascriptRequirement: {}
  MultipleInputFeatureRequirement: {}
  ScatterFeatureRequirement: {}
  StepInputExpressionRequirement: {}
  SubworkflowFeatureRequirement: {}
"""

DOUBLE = """\
cwlVersion: v1.3.0-dev1
class: CommandLineTool
doc: Twice a number; notes it in a log, and fails on 48.
inputs: {n: int, log: {type: string, default: /dev/null}}
outputs:
  twice:
    type: int
    outputBinding: {glob: out, loadContents: true, outputEval: '$(parseInt(self[0].contents))'}
requirements: {InlineJavascriptRequirement: {}}
arguments: [sh, -c, 'echo $0 >> $1; [ $0 != 48 ] && expr $0 + $0', $(inputs.n), $(inputs.log)]
stdout: out
"""

STEP = """\
  grow:
    run: double.cwl
    in: {n: start, limit: limit}
    out: [twice]
    when: $(inputs.n < inputs.limit)
    loop: {n: twice}
"""

GROW = (
    HEAD
    + "inputs: {start: int, limit: {type: int, default: 40}}\n"
    + "outputs: {end: {type: Any?, outputSource: grow/twice}}\nsteps:\n"
    + STEP
)

ALL = GROW + "    outputMethod: all_iterations\n"

EACH = (
    HEAD
    + """
inputs: {starts: 'int[]', limit: {type: int, default: 40}}
outputs:
  ends: {type: Any, outputSource: each/end}
  more: {type: Any, outputSource: more/twice}
steps:
  each: {run: grow.cwl, scatter: start, in: {start: starts, limit: limit}, out: [end]}
  more:
    run: double.cwl
    scatter: n
    when: $(inputs.n !== null && inputs.n != 48)
    in: {n: each/end}
    out: [twice]
"""
)

NESTED = (
    HEAD
    + """
inputs: {start: int}
outputs: {rows: {type: Any, outputSource: outer/row}}
steps:
  outer:
    in: {start: start, limit: {default: 3}}
    out: [row]
    when: $(inputs.limit < 20)
    loop: {limit: {valueFrom: '$(inputs.limit * 2)'}}
    outputMethod: all_iterations
    run:
      class: Workflow
      inputs: {start: int, limit: int}
      outputs:
        row: {type: Any, outputSource: [inner/twice, side/twice], linkMerge: merge_flattened}
      steps:
        inner:
          run: double.cwl
          in: {n: start, limit: limit}
          out: [twice]
          when: $(inputs.n < inputs.limit)
          loop: {n: twice}
          outputMethod: all_iterations
        side: {run: double.cwl, scatter: n, in: {n: inner/twice}, out: [twice]}
"""
)

EXTENSION = """\
cwlVersion: v1.2
class: Workflow
$namespaces: {cwltool: 'http://commonwl.org/cwltool#'}
requirements: {InlineJavascriptRequirement: {}, StepInputExpressionRequirement: {}}
inputs: {start: int}
outputs: {ends: {type: 'int[]', outputSource: grow/next}}
steps:
  grow:
    in: {n: start}
    out: [next]
    run:
      class: ExpressionTool
      inputs: {n: int}
      outputs: {next: int}
      expression: '$({next: inputs.n + 1})'
    requirements:
      cwltool:Loop:
        loopWhen: $(inputs.n < 5)
        loop: {n: {loopSource: next, valueFrom: '$(self)'}}
        outputMethod: all
"""


@pytest.fixture
def loops(tmp_path: Path) -> Path:
    """A folder with documents that loop."""
    return write(
        tmp_path,
        double_cwl=DOUBLE,
        grow_cwl=GROW,
        all_cwl=ALL,
        each_cwl=EACH,
        nested_cwl=NESTED,
        extension_cwl=EXTENSION,
    )


def loop(folder: Path, name: str, *options: str, code: int = 0, **inputs: Any) -> tuple[Any, str]:
    """What a document gives, and standard error."""
    return run_job(folder, name, "--enable-dev", "--enable-ext", *options, code=code, **inputs)


KINDS = ["simple", "multi", "zmq_multi", "dyn_multi", "dyn_auto_multi", "dyn_redis"]


@pytest.mark.parametrize("kind", KINDS)
def test_elements_go_round_a_loop_of_their_own(kind: str, loops: Path) -> None:
    made, _ = loop(loops, "each", "--mapping", kind, "-n", "3", starts=[1, 3, 100, 5])
    assert made == {"ends": [64, 48, None, 40], "more": [128, None, None, 80]}


@pytest.mark.parametrize("kind", ["simple", "dyn_multi"])
def test_loops_in_loops(kind: str, loops: Path) -> None:
    made, _ = loop(loops, "nested", "--mapping", kind, start=1)
    rows = [[2, 4], [2, 4, 8], [2, 4, 8, 16]]
    assert made == {"rows": [[*row, *(2 * n for n in row)] for row in rows]}


def test_the_last_iteration_or_all_of_them(loops: Path) -> None:
    assert loop(loops, "grow", start=5)[0] == {"end": 40}
    assert loop(loops, "all", start=5)[0] == {"end": [10, 20, 40]}
    assert loop(loops, "grow", start=50)[0] == {"end": None}
    assert loop(loops, "all", start=50)[0] == {"end": []}


def test_an_iteration_that_fails_is_named(loops: Path) -> None:
    made, told = loop(loops, "each", "--on-error", "continue", code=1, starts=[3, 5], limit=100)
    assert "step each[0]/grow[4]: permanentFail" in told
    assert made == {"ends": [None, 160], "more": [None, 320]}


def test_a_condition_that_fails_is_told_with_its_iteration(loops: Path) -> None:
    text = GROW.replace("inputs.n < inputs.limit", "inputs.n < 4 || 'no'")
    (loops / "odd.cwl").write_text(text, encoding="utf-8")
    _, told = loop(loops, "odd", code=1, start=1)
    assert "step grow[1]: 'when' must evaluate to true or false, not 'no'" in told


def test_a_loop_may_have_no_outputs(loops: Path) -> None:
    flow = HEAD + (
        "inputs: {log: string}\noutputs: []\nsteps:\n  note:\n    run: double.cwl\n"
        "    in: {n: {default: 1}, log: log}\n    out: []\n    when: $(inputs.n < 4)\n"
        "    loop: {n: {valueFrom: '$(inputs.n + 1)'}}\n"
    )
    (loops / "silent.cwl").write_text(flow, encoding="utf-8")
    loop(loops, "silent", log=str(loops / "log"))
    assert sorted((loops / "log").read_text().split()) == ["1", "2", "3"]


def test_several_jobs(loops: Path) -> None:
    jobs = loops / "jobs.jsonl"
    jobs.write_text('{"start": 1}\n{"start": 5}\n{"start": 90}\n', encoding="utf-8")
    options = ["--enable-dev", "--no-container", "--jobs", str(jobs)]
    made, _ = run(loops / "grow.cwl", *options, outdir=loops / "out")
    assert [json.loads(line) for line in made.splitlines()] == [
        {"end": 64},
        {"end": 40},
        {"end": None},
    ]


def test_elements_are_worked_on_side_by_side(loops: Path) -> None:
    """Each waits for the other to begin, in both of its iterations."""
    wait = (
        "i=0; touch $1/$0-$2; until [ -e $1/a-$2 ] && [ -e $1/b-$2 ]; do sleep 0.02; "
        "i=`expr $i + 1`; [ $i -lt 1500 ] || exit 3; done"
    )
    tool = (
        "cwlVersion: v1.3.0-dev1\nclass: CommandLineTool\ninputs: {who: string, place: string, "
        "turn: int}\noutputs: {again: {type: string, outputBinding: {outputEval: $(inputs.who)}}}\n"
        f"arguments: [sh, -c, '{wait}', $(inputs.who), $(inputs.place), $(inputs.turn)]\n"
    )
    flow = (
        HEAD + "inputs: {who: string, place: string}\noutputs: {who: {type: 'string[]', "
        "outputSource: go/again}}\nsteps:\n  go:\n    run: wait.cwl\n"
        "    in: {who: who, place: place, turn: {default: 0}}\n    out: [again]\n"
        "    when: $(inputs.turn < 2)\n    loop: {turn: {valueFrom: '$(inputs.turn + 1)'}}\n"
        "    outputMethod: all_iterations\n"
    )
    outer = (
        HEAD + "inputs: {all: 'string[]', place: string}\noutputs: {who: {type: Any, "
        "outputSource: each/who}}\nsteps:\n  each: {run: flow.cwl, scatter: who, "
        "in: {who: all, place: place}, out: [who]}\n"
    )
    write(loops, wait_cwl=tool, flow_cwl=flow, outer_cwl=outer)
    made, _ = loop(loops, "outer", "-n", "2", all=["a", "b"], place=str(loops))
    assert made == {"who": [["a", "a"], ["b", "b"]]}


def test_the_extension(loops: Path) -> None:
    assert loop(loops, "extension", start=2)[0] == {"ends": [3, 4, 5]}


@pytest.mark.parametrize(
    ("name", "option"), [("grow", "--enable-dev"), ("extension", "--enable-ext")]
)
def test_what_is_not_enabled_is_refused_with_the_option(
    name: str, option: str, loops: Path
) -> None:
    _, told = run(loops / f"{name}.cwl", outdir=loops / "out", code=33)
    assert f"use {option}" in told


def test_what_is_wrong_with_a_loop_is_told_at_once(loops: Path) -> None:
    text = GROW.replace("  StepInputExpressionRequirement: {}\n", "")
    text = text.replace("loop: {n: twice}", "loop: {n: {valueFrom: '$(1)'}, limit: {}}")
    (loops / "wrong.cwl").write_text(text, encoding="utf-8")
    _, told = loop(loops, "wrong", code=1, start=1)
    assert "loop input 'n' has valueFrom; add StepInputExpressionRequirement" in told
    assert "loop input 'limit' gets no value" in told


@pytest.mark.parametrize("kind", KINDS)
def test_scripts_loop(kind: str, loops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(loops)
    graph = from_cwl("each.cwl", container=None, enable_dev=True)
    made = d4pcwl.run(graph, {"starts": [1, 100]}, mapping=kind, processes=3)
    assert made["outputs"]["result"] == [{"ends": [64, None], "more": [128, None]}]


def test_a_script_says_what_it_enables(loops: Path) -> None:
    text = subprocess.run(
        [sys.executable, "-m", "d4pcwl.cli.cwl2d4p", "--enable-dev", str(loops / "grow.cwl")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "enable_dev=True" in text
    assert "enable_ext" not in text
