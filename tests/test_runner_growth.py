"""What d4pcwl-runner does grows with files and steps as these do, and no faster."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from runner_kit import write

from d4pcwl.cwl.importing.cwltool.document import Document
from d4pcwl.cwl.importing.cwltool.settings import Settings, make_folder
from d4pcwl.cwl.importing.cwltool.tool_run import run_tool
from d4pcwl.cwl.importing.graph.cwl_graph import runner_graph
from d4pcwl.cwl.importing.graph.pes import ToolPE
from d4pcwl.errors import InputError
from d4pcwl.workflow.flat import flatten

pytest.importorskip("cwltool")

COPY = """
cwlVersion: v1.2
class: CommandLineTool
baseCommand: [sh, -c, 'mkdir o; cp -t o "$@"', sh]
inputs: {files: {type: 'File[]', inputBinding: {position: 1}}}
outputs: {made: {type: 'File[]', outputBinding: {glob: 'o/*'}}}
"""

ECHO = """
cwlVersion: v1.2
class: CommandLineTool
baseCommand: 'true'
inputs: {text: string}
outputs: {text: {type: string, outputBinding: {outputEval: $(inputs.text)}}}
"""


def steps(number: int, run: str) -> str:
    """A chain of steps; ``run`` may have the number of the step in it."""
    lines = ["class: Workflow", "id: main", "inputs: {text: string}"]
    lines += [f"outputs: {{text: {{type: string, outputSource: s{number - 1}/text}}}}", "steps:"]
    for n in range(number):
        source = f"s{n - 1}/text" if n else "text"
        lines.append(f"  s{n}: {{run: '{run.format(n)}', in: {{text: {source}}}, out: [text]}}")
    return "\n".join(lines) + "\n"


def packed(number: int) -> str:
    """As many steps, each with a tool of its own in the same file."""
    tool = ECHO.replace("cwlVersion: v1.2\n", "").strip().replace("\n", "\n  ")
    tools = "".join(f"- id: t{n}\n  {tool}\n" for n in range(number))
    flow = steps(number, "#t{}").strip().replace("\n", "\n  ")
    return f"cwlVersion: v1.2\n$graph:\n{tools}- {flow}\n"


def lines_run(files: int, folder: Path) -> int:
    """How many lines of Python one execution with so many files takes."""
    folder.mkdir()
    (folder / "scratch").mkdir()
    given = []
    for number in range(files):
        path = folder / f"file{number}"
        path.write_text(str(number))
        given.append({"class": "File", "location": path.as_uri()})
    write(folder, copy_cwl=COPY)
    work = make_folder(str(folder / "work"))
    settings = Settings(container=None, folder=work, scratch=str(folder / "scratch"))
    process = Document(str(folder / "copy.cwl"), settings).process
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        outcome = run_tool(process, {"files": given}, settings.running("/"))
    finally:
        sys.settrace(before)
    assert len(outcome.outputs["made"]) == files, outcome.description
    return count


def test_twice_the_files_take_twice_the_work(tmp_path: Path) -> None:
    lines_run(2, tmp_path / "warm")  # what is done once and for all
    few, more, most = (lines_run(files, tmp_path / str(files)) for files in (30, 60, 120))
    assert most - more < 2.2 * (more - few)


def test_an_array_that_is_given_out_again_is_an_array_of_its_own(tmp_path: Path) -> None:
    tool = ECHO.replace("text: string}", "text: 'string[]'}").replace("type: string", "type: Any")
    write(tmp_path, tool_cwl=tool)
    process = Document(str(tmp_path / "tool.cwl"), Settings()).process
    work = make_folder(str(tmp_path / "work"))
    context = Settings(container=None, folder=work, scratch=work).running("/")
    outcome = run_tool(process, {"text": ["a", "b"]}, context)
    assert outcome.outputs == {"text": ["a", "b"]}, outcome.description
    assert type(outcome.outputs["text"]) is list


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the documents that cwltool resolves, and the tools that it makes."""
    from cwltool import load_tool
    from cwltool.command_line_tool import CommandLineTool

    count: Counter[str] = Counter()
    resolve, make = load_tool.resolve_and_validate_document, CommandLineTool.__init__

    def resolve_counted(*arguments: Any, **named: Any) -> Any:
        count["resolved"] += 1
        return resolve(*arguments, **named)

    def make_counted(*arguments: Any) -> None:
        count["made"] += 1
        make(*arguments)

    monkeypatch.setattr(load_tool, "resolve_and_validate_document", resolve_counted)
    monkeypatch.setattr(CommandLineTool, "__init__", make_counted)
    return count


def count_tools(document: Document) -> int:
    return sum(isinstance(pe, ToolPE) for pe in flatten(runner_graph(document)).pes)


def load(path: Path) -> Document:
    document = Document(str(path), Settings(container=None))
    assert count_tools(document) == 20
    assert document.step(("s7",)).tool["run"].endswith(("echo.cwl", "#t7"))
    return document


def test_what_many_steps_run_is_loaded_once(tmp_path: Path, counted: Counter[str]) -> None:
    write(tmp_path, echo_cwl=ECHO, flow_cwl="cwlVersion: v1.2\n" + steps(20, "echo.cwl"))
    document = load(tmp_path / "flow.cwl")
    assert counted == {"resolved": 2, "made": 1}
    assert document.at(("s3",)) is document.at(("s4",))


def test_a_packed_document_is_resolved_once(tmp_path: Path, counted: Counter[str]) -> None:
    write(tmp_path, packed_cwl=packed(20))
    load(tmp_path / "packed.cwl")
    assert counted == {"resolved": 2, "made": 20}
    counted.clear()
    load(Path(f"{tmp_path}/packed.cwl#main"))
    assert counted == {"resolved": 2, "made": 20}


def test_steps_that_require_differently_have_tools_of_their_own(
    tmp_path: Path, counted: Counter[str]
) -> None:
    flow = steps(4, "echo.cwl")
    for number in (1, 3):
        value = "one" if number == 1 else "three"
        requirement = f"{{EnvVarRequirement: {{envDef: {{WHICH: {value}}}}}}}"
        flow = flow.replace(f"  s{number}: {{", f"  s{number}: {{requirements: {requirement}, ")
    write(tmp_path, echo_cwl=ECHO, flow_cwl="cwlVersion: v1.2\n" + flow)
    document = Document(str(tmp_path / "flow.cwl"), Settings(container=None))
    found = [document.at((f"s{n}",)).get_requirement("EnvVarRequirement")[0] for n in range(4)]
    assert [f and f["envDef"][0]["envValue"] for f in found] == [None, "one", None, "three"]
    assert counted["made"] == 3


def test_a_part_that_is_not_used_may_be_wrong(tmp_path: Path) -> None:
    text = packed(3).replace("baseCommand: 'true'", "baseCommand: {}", 1)
    flow = "".join(line for line in steps(2, "packed.cwl#t{}").splitlines(keepends=True))
    write(
        tmp_path,
        packed_cwl=text,
        flow_cwl="cwlVersion: v1.2\n" + flow.replace("#t1", "#t2").replace("#t0", "#t1"),
    )
    assert count_tools(Document(str(tmp_path / "flow.cwl"), Settings(container=None))) == 2


def test_a_workflow_that_runs_itself_is_refused(tmp_path: Path) -> None:
    nested = "cwlVersion: v1.2\nclass: Workflow\nrequirements: {SubworkflowFeatureRequirement: {}}"
    step = "inputs: []\noutputs: []\nsteps: {a: {run: RUN, in: [], out: []}}\n"
    write(
        tmp_path,
        self_cwl=f"{nested}\n{step}".replace("RUN", "self.cwl"),
        one_cwl=f"{nested}\n{step}".replace("RUN", "two.cwl"),
        two_cwl=f"{nested}\n{step}".replace("RUN", "one.cwl"),
    )
    for name in ("self", "one"):
        with pytest.raises(InputError, match="runs itself"):
            runner_graph(Document(str(tmp_path / f"{name}.cwl"), Settings()))
