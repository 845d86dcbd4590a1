"""In-place update: files that steps change where they are, and who sees them when."""

from __future__ import annotations

from pathlib import Path

import pytest
from runner_kit import run_job, write

import d4pcwl
from d4pcwl import from_cwl

HEAD = """\
cwlVersion: v1.2
class: Workflow
requirements: {ScatterFeatureRequirement: {}, SubworkflowFeatureRequirement: {}}
"""

MAKE = """\
cwlVersion: v1.2
class: CommandLineTool
inputs: {text: string}
outputs: {file: {type: File, outputBinding: {glob: file}}}
baseCommand: [printf, '%s\\n']
arguments: [$(inputs.text)]
stdout: file
"""

ADD = """\
cwlVersion: v1.2
class: CommandLineTool
doc: Adds a line to a file, where the file is.
requirements:
  InplaceUpdateRequirement: {inplaceUpdate: true}
  InitialWorkDirRequirement: {listing: [{entry: $(inputs.file), writable: true}]}
inputs: {file: File, line: string}
outputs: {file: {type: File, outputBinding: {glob: file}}}
baseCommand: [sh, -c, 'echo $0 >> file']
arguments: [$(inputs.line)]
"""

READ = """\
cwlVersion: v1.2
class: CommandLineTool
doc: Says what a file holds, and takes its time.
inputs: {file: File, ready: Any?}
outputs:
  text:
    type: string
    outputBinding: {glob: out, loadContents: true, outputEval: '$(self[0].contents)'}
arguments: [sh, -c, 'sleep 0.3; cat $0', $(inputs.file)]
stdout: out
"""

FLOW = (
    HEAD
    + """
inputs: {text: string}
outputs:
  before: {type: string, outputSource: before/text}
  after: {type: string, outputSource: after/text}
  last: {type: string, outputSource: last/text}
steps:
  second: {run: add.cwl, in: {file: first/file, line: {default: two}}, out: [file]}
  first: {run: add.cwl, in: {file: make/file, line: {default: one}}, out: [file]}
  last: {run: read.cwl, in: {file: second/file}, out: [text]}
  after: {run: read.cwl, in: {file: first/file}, out: [text]}
  before: {run: inner.cwl, in: {file: make/file}, out: [text]}
  make: {run: make.cwl, in: {text: text}, out: [file]}
"""
)

INNER = (
    HEAD
    + """
inputs: {file: File}
outputs: {text: {type: string, outputSource: read/text}}
steps: {read: {run: read.cwl, in: {file: file}, out: [text]}}
"""
)

EACH = (
    HEAD
    + """
inputs: {texts: 'string[]'}
outputs:
  before: {type: 'string[]', outputSource: each/before}
  last: {type: 'string[]', outputSource: each/last}
steps: {each: {run: flow.cwl, scatter: text, in: {text: texts}, out: [before, last]}}
"""
)

STALE = (
    HEAD
    + """
inputs: {text: string}
outputs: {late: {type: string, outputSource: late/text}}
steps:
  make: {run: make.cwl, in: {text: text}, out: [file]}
  first: {run: add.cwl, in: {file: make/file, line: {default: one}}, out: [file]}
  late: {run: read.cwl, in: {file: make/file, ready: first/file}, out: [text]}
"""
)

TWO = (
    HEAD
    + """
inputs: {text: string}
outputs: {one: {type: File, outputSource: one/file}, two: {type: File, outputSource: two/file}}
steps:
  make: {run: make.cwl, in: {text: text}, out: [file]}
  one: {run: add.cwl, in: {file: make/file, line: {default: one}}, out: [file]}
  two: {run: add.cwl, in: {file: make/file, line: {default: two}}, out: [file]}
"""
)

SEEN = {"before": "start\n", "after": "start\none\n", "last": "start\none\ntwo\n"}
KINDS = ["simple", "multi", "dyn_multi", "dyn_redis"]


@pytest.fixture
def updates(tmp_path: Path) -> Path:
    """A folder with documents whose steps update files."""
    return write(
        tmp_path,
        make_cwl=MAKE,
        add_cwl=ADD,
        read_cwl=READ,
        flow_cwl=FLOW,
        inner_cwl=INNER,
        each_cwl=EACH,
        stale_cwl=STALE,
        two_cwl=TWO,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_who_reads_comes_before_who_updates(kind: str, updates: Path) -> None:
    assert run_job(updates, "flow", "--mapping", kind, "-n", "3", text="start")[0] == SEEN


def test_elements_of_a_scatter_have_files_of_their_own(updates: Path) -> None:
    made, _ = run_job(updates, "each", "-n", "3", texts=["a", "b"])
    assert made == {"before": ["a\n", "b\n"], "last": ["a\none\ntwo\n", "b\none\ntwo\n"]}


@pytest.mark.parametrize("kind", KINDS)
def test_scripts_have_the_same_order(
    kind: str, updates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(updates)
    graph = from_cwl("flow.cwl", container=None)
    made = d4pcwl.run(graph, {"text": "start"}, mapping=kind, processes=3)
    assert made["outputs"]["result"] == [SEEN]


def test_what_has_been_updated_is_not_read_as_it_was(updates: Path) -> None:
    _, told = run_job(updates, "stale", code=1, text="start")
    assert "step late: permanentFail" in told
    assert "first has updated it in place: use the output of that step instead" in told


@pytest.mark.parametrize("kind", ["simple", "dyn_multi"])
def test_only_one_updates_what_it_is_given(kind: str, updates: Path) -> None:
    made, told = run_job(
        updates, "two", "--mapping", kind, "--on-error", "continue", code=1, text="start"
    )
    assert [made["one"], made["two"]].count(None) == 1
    assert "has updated it in place" in told


def test_a_tool_updates_the_file_that_it_is_given(updates: Path) -> None:
    """As cwltool has it: the job order's own file is what is changed."""
    (updates / "file").write_text("mine\n")
    given = {"class": "File", "location": (updates / "file").as_uri()}
    made, _ = run_job(updates, "add", file=given, line="more")
    assert (updates / "file").read_text() == "mine\nmore\n"
    assert Path(made["file"]["path"]).read_text() == "mine\nmore\n"
    text = ADD.replace("inplaceUpdate: true", "inplaceUpdate: false")
    (updates / "add.cwl").write_text(text)
    made, _ = run_job(updates, "add", file=given, line="again")
    assert (updates / "file").read_text() == "mine\nmore\n"
    assert Path(made["file"]["path"]).read_text() == "mine\nmore\nagain\n"
