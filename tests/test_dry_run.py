"""``--dry-run``: what it tells is what a run does, and nothing runs or is written."""

from __future__ import annotations

import subprocess
from pathlib import Path

import cwl_kit as kit
import pytest
from mapping_kit import Mapping

SCRIPT = (
    kit.HEAD
    + '''
from pathlib import Path


class Read(IterativePE):
    def _process(self, item):
        Path("ran").touch()
        with open("table.txt") as lines:
            for line in lines:
                self.write("output", [line.strip(), item])


class Draw(IterativePE):
    def _process(self, item):
        return [*item, self.rng.integers(9)]


class Count(GenericPE):
    """Counts by the first."""

    def __init__(self):
        super().__init__()
        self._add_input("input", grouping=[0])
        self._add_output("output")
        self.counts = {}

    def _process(self, inputs):
        with open("log.txt", "a") as log:
            log.write("x")
        key = inputs["input"][0]
        self.counts[key] = self.counts.get(key, 0) + 1

    def _postprocess(self):
        for item in self.counts.items():
            self.write("output", item)


def build(limit: int = 3, table: Path = Path("table.txt")) -> WorkflowGraph:
    graph = WorkflowGraph()
    read, draw, count = named(Read(), "read"), named(Draw(), "draw"), named(Count(), "count")
    graph.connect(read, "output", draw, "input")
    graph.connect(draw, "output", count, "input")
    return graph
'''
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    kit.write_script(tmp_path, SCRIPT, table__txt="a\nb\n")
    return tmp_path


def dry(folder: Path, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A dry run, after which all is as it was."""
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    done = kit.command("dispel4py", *options, "--dry-run", cwd=folder, code=code)
    after = [f for f in folder.rglob("*") if f.is_file() and f.suffix != ".pyc"]
    assert {file: file.read_bytes() for file in after} == before
    return done


@pytest.mark.processes(3)
def test_the_plan_is_that_of_the_run(folder: Path, mapping: Mapping) -> None:
    arguments = (mapping.name, "flow.py", "-n", str(mapping.processes), "--read", "1", "2")
    told = dry(folder, *arguments).stdout
    plan = told.partition("mapping: ")[2].partition("\ninputs:")[0]
    lines = [line.removeprefix("  ") for line in plan.splitlines()[1:]]
    said = kit.command("dispel4py", *arguments, "-v", cwd=folder).stderr.splitlines()
    assert len(lines) > 3
    assert said[said.index(lines[0]) :][: len(lines)] == lines
    assert "mapping: " + mapping.name in told


def test_what_is_told(folder: Path) -> None:
    told = dry(
        folder,
        *("simple", "flow.py", "--read", "1", "x", "--limit", "5", "--seed", "4"),
        *("--results", "out.jsonl", "--errors", "errors.jsonl", "--on-error", "skip"),
    ).stdout
    for line in (
        "script: flow.py, graph build",
        "  limit: 5\n  table: 'table.txt' (default)",
        "mapping: simple, 1 process",
        "  read: 2 items\n    {'input': 1}\n    {'input': 'x'}",
        "reads:\n  table.txt (flow.py:",
        "log.txt (flow.py:",
        "results: count.output → out.jsonl",
        "errors: items that are left out → errors.jsonl",
        "seed: 4",
    ):
        assert line in told


def test_with_the_partitions_of_multi(folder: Path) -> None:
    told = dry(folder, "multi", "flow.py", "-n", "4", "-s", "--read", "1").stdout
    assert "mapping: multi, 2 processes" in told


def test_no_ranks_are_started(folder: Path) -> None:
    pytest.importorskip("mpi4py")
    assert (
        "mapping: mpi, 3 processes"
        in dry(folder, "mpi", "flow.py", "-n", "3", "--read", "1").stdout
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--reed", "1"), "unrecognized arguments: --reed"),
        (("--limit", "x"), "limit: expected a whole number"),
        (("-d", '{"raed": 1}'), "did you mean read"),
        (("--results", "no/such/out.jsonl"), "cannot be written: No such file or directory"),
        (("--results", "out.txt"), "unknown suffix; use"),
        (("--errors", "."), "cannot be written: Is a directory"),
        (("--on-error", "ignore"), "ignore"),
        (("--stage", "read"), "--dry-run is for a whole graph"),
    ],
)
def test_what_is_refused(folder: Path, options: tuple[str, ...], message: str) -> None:
    given = () if options[0] in ("--reed", "-d") else ("--read", "1")
    done = dry(folder, "simple", "flow.py", *given, *options, code=2)
    assert message in done.stderr
    assert "seed:" not in done.stdout


# --- d4pcwl-runner --------------------------------------------------------------------------------

TOOL = """\
cwlVersion: v1.2
class: CommandLineTool
label: Copies
hints: {DockerRequirement: {dockerPull: "an/image:1"}}
inputs: {file: {type: File, inputBinding: {}}}
outputs: {copy: stdout}
stdout: copy.txt
baseCommand: [sh, -c, 'touch RAN && cat "$0"']
"""
WORKFLOW = """\
cwlVersion: v1.2
class: Workflow
requirements: {ScatterFeatureRequirement: {}, SubworkflowFeatureRequirement: {}}
inputs: {files: 'File[]'}
outputs: {copies: {type: 'File[]', outputSource: both/copies}}
steps:
  both:
    run:
      class: Workflow
      inputs: {files: 'File[]'}
      outputs: {copies: {type: 'File[]', outputSource: second/copy}}
      steps:
        first: {run: tool.cwl, scatter: file, in: {file: files}, out: [copy]}
        second:
          run: tool.cwl
          scatter: file
          when: $(inputs.file.size > 0)
          in: {file: first/copy}
          out: [copy]
    in: {files: files}
    out: [copies]
"""


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    pytest.importorskip("cwltool")
    (tmp_path / "tool.cwl").write_text(TOOL.replace("RAN", str(tmp_path / "ran")))
    (tmp_path / "wf.cwl").write_text(WORKFLOW)
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "job.yml").write_text("files: [{class: File, path: a.txt}]\n")
    return tmp_path


def preview(folder: Path, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    before = sorted(folder.rglob("*"))
    done = kit.command("d4pcwl-runner", "--dry-run", *options, cwd=folder, code=code)
    assert sorted(folder.rglob("*")) == before
    return done


def test_what_the_runner_would_do(documents: Path) -> None:
    options = ("-n", "3", "--outdir", "new/out", "--podman", "wf.cwl", "job.yml")
    told = preview(documents, *options).stdout
    for line in (
        "document: wf.cwl, a Workflow\nmapping: dyn_multi, at most 3 tools at a time\n",
        "step both: Workflow\n  files ← files\n  gives copies ← both/second/copy\n",
        "step both/first: CommandLineTool, 'Copies'\n  command: sh -c ",
        "  container: podman an/image:1\n  scatter: file\n  file ← both/files\n",
        "  when: $(inputs.file.size > 0)\n  scatter: file\n  file ← both/first/copy\n",
        "inputs:\n  files: ['a.txt']\n",
        "outputs: new/out\n  copies ← both/copies\n",
    ):
        assert line in told, told


def test_of_a_tool_and_many_jobs(documents: Path) -> None:
    told = preview(documents, "--no-container", "tool.cwl", "--file", "a.txt").stdout
    assert "tool, 'Copies'" in told
    assert "container: none" in told
    (documents / "jobs").write_text('{"file": {"class": "File", "path": "a.txt"}}\n' * 2)
    told = preview(documents, "--jobs", "jobs", "--outdir", "out", "tool.cwl").stdout
    assert "inputs of job 2:\n  file: 'a.txt'\n" in told
    assert "outputs: out/N\n" in told


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (("wf.cwl",), "Missing required input parameter 'files'", 1),
        (("tool.cwl",), "Missing required input parameter 'file'", 1),
        (("tool.cwl", "--file", "b.txt"), "there is no b.txt", 1),
        (("--outdir", "a.txt/out", "wf.cwl", "job.yml"), "cannot be written: Not a directory", 2),
        (("nothing.cwl",), "nothing.cwl", 1),
    ],
)
def test_what_the_runner_refuses(
    documents: Path, options: tuple[str, ...], message: str, code: int
) -> None:
    done = preview(documents, *options, code=code)
    assert message in done.stderr
    assert done.stdout == ""
