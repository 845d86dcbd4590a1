"""Loops: ``loop`` of CWL 1.3 and ``cwltool:Loop``, with d4pcwl-runner and in imported scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runner_kit import run, write

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
arguments: [sh, -c, 'echo $0 >> $1; [ $0 != 48 ] && echo $(($0 * 2))', $(inputs.n), $(inputs.log)]
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
  more: {run: double.cwl, scatter: n, in: {n: each/end}, out: [twice]}
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
    """What a document gives, without containers; and standard error."""
    job = folder / "job.json"
    job.write_text(json.dumps(inputs), encoding="utf-8")
    enabled = ["--enable-dev", "--enable-ext", "--no-container", *options]
    return run(folder / f"{name}.cwl", *enabled, job, outdir=folder / "out", code=code)


MAPPINGS = ["simple", "multi", "zmq_multi", "dyn_multi", "dyn_auto_multi", "dyn_redis"]


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_elements_go_round_a_loop_of_their_own(mapping: str, loops: Path) -> None:
    made, _ = loop(loops, "each", "--mapping", mapping, "-n", "3", starts=[1, 3, 100, 5])
    assert made == {"ends": [64, 48, None, 40], "more": [128, None, None, 80]} or made


def test_the_last_iteration_or_all_of_them(loops: Path) -> None:
    assert loop(loops, "grow", start=5)[0] == {"end": 40}
    assert loop(loops, "all", start=5)[0] == {"end": [10, 20, 40]}
    assert loop(loops, "grow", start=50)[0] == {"end": None}
    assert loop(loops, "all", start=50)[0] == {"end": []}
