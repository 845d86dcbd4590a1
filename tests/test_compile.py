"""What ``to_cwl`` makes of a script, looked at as data."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cwl_kit as kit
import pytest

from d4pcwl import load, to_cwl
from d4pcwl.cwl.emit.references import wrong_references
from d4pcwl.errors import DeclarationError, GraphError, ScriptError, TranslationError, UsageError


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    with kit.own_modules():
        yield


def compiled(
    tmp_path: Path, text: str, others: dict[str, str] | None = None, **options: Any
) -> Any:
    script = kit.write_script(tmp_path, text, **(others or {}))
    return to_cwl(script, **options)


def tool(tmp_path: Path, text: str, **options: Any) -> dict[str, Any]:
    document: dict[str, Any] = compiled(tmp_path, text, **options).document
    return document


def flags(document: dict[str, Any]) -> dict[str, str]:
    return {a["prefix"]: a["valueFrom"] for a in document["arguments"] if "prefix" in a}


def test_a_whole_graph_is_one_tool_with_upstreams_options(tmp_path: Path) -> None:
    document = tool(tmp_path, kit.WORDS)
    assert (document["cwlVersion"], document["class"]) == ("v1.2", "CommandLineTool")
    assert document["label"] == "Count words"
    assert document["doc"] == "Of lines, keyed by word."
    assert document["baseCommand"] == ["dispel4py"]
    assert flags(document) == {"-n": "$(runtime.cores)", "--results": "results.jsonl"}
    inputs = kit.by_id(document["inputs"])
    assert inputs["mapping"]["inputBinding"] == {"position": 1}
    assert inputs["mapping"]["default"] == "simple"
    bound = {
        name: entry["inputBinding"].get("prefix")
        for name, entry in inputs.items()
        if "inputBinding" in entry
    }
    assert bound == {"input_file": "-f", "input_data": "-d", "iterations": "-i", "mapping": None}
    assert (
        kit.by_class(document["requirements"])["ResourceRequirement"]["coresMin"]
        == "$(inputs.processes)"
    )
    assert [o["id"] for o in document["outputs"]] == ["results", "printed"]


def test_nothing_in_a_document_needs_javascript(tmp_path: Path) -> None:
    for cut in ("whole", "composite"):
        text = str(compiled(tmp_path, kit.COMPOSITES, cut=cut))
        assert "${" not in text
        assert "InlineJavascriptRequirement" not in text
        assert "ExpressionTool" not in text


@pytest.mark.parametrize(
    ("chosen", "processes", "expected"), [("simple", None, 1), ("multi", None, 2), ("multi", 5, 5)]
)
def test_mapping_and_processes_are_defaults(
    tmp_path: Path, chosen: str, processes: int | None, expected: int
) -> None:
    document = tool(tmp_path, kit.CHAIN, mapping=chosen, processes=processes)
    inputs = kit.by_id(document["inputs"])
    assert inputs["mapping"]["default"] == chosen
    assert inputs["processes"]["default"] == expected


def test_a_cut_graph_is_a_workflow_of_stages_joined_by_streams(tmp_path: Path) -> None:
    result = compiled(tmp_path, kit.DIAMOND, cut="Source.output,Plus.output,Minus.output")
    main, *tools = result.document["$graph"]
    steps = kit.by_id(main["steps"])
    assert list(steps) == ["Source", "Plus", "Minus", "Join"]
    sources = {
        name: {i["id"]: i["source"] for i in step["in"] if "/" in i["source"]}
        for name, step in steps.items()
    }
    assert sources == {
        "Source": {},
        "Plus": {"Source_output": "Source/Source_output"},
        "Minus": {"Source_output": "Source/Source_output"},
        "Join": {"Plus_output": "Plus/Plus_output", "Minus_output": "Minus/Minus_output"},
    }
    join = kit.by_id(tools)["Join"]
    taken = kit.by_id(join["inputs"])["Plus_output"]
    assert (taken["type"], taken["streamable"], taken["format"]) == (
        "File",
        True,
        "https://w3id.org/d4pcwl#stream-file",
    )
    assert flags(join)["--stage"] == "Join"
    assert flags(join)["--expect"] == join["d4p:digest"]
    assert taken["inputBinding"] == {"position": 6, "prefix": "--from"}
    # The streams inside are nobody's result.
    assert [o["id"] for o in main["outputs"] if not o["id"].endswith("printed")] == ["results"]


def test_an_output_that_two_stages_take_is_written_once(tmp_path: Path) -> None:
    result = compiled(tmp_path, kit.DIAMOND, cut="Source.output")
    source = kit.by_id(result.document["$graph"])["Source"]
    assert [a["valueFrom"] for a in source["arguments"] if a.get("prefix") == "--to"] == [
        "Source.output=Source_output.d4ps"
    ]


def test_stages_of_a_composite_cut_have_the_composites_names_and_docs(tmp_path: Path) -> None:
    main, *tools = compiled(tmp_path, kit.COMPOSITES, cut="composite").document["$graph"]
    assert [step["id"] for step in main["steps"]] == ["Source", "outer", "other"]
    assert kit.by_id(tools)["outer"]["label"] == "Adds eleven, and then a thousand"
    assert flags(kit.by_id(tools)["outer"])["--stage"] == "one_1,ten_1,thousand"


def test_the_unpacked_form_has_a_file_for_each_tool(tmp_path: Path) -> None:
    result = compiled(tmp_path, kit.CHAIN, cut="Numbers.output")
    assert list(result.files) == ["flow.cwl", "Numbers.cwl", "Double.cwl"]
    assert [step["run"] for step in result.files["flow.cwl"]["steps"]] == [
        "Numbers.cwl",
        "Double.cwl",
    ]
    packed = kit.by_id(result.document["$graph"])
    for name in ("Numbers", "Double"):
        alone = dict(result.files[f"{name}.cwl"])
        assert (alone.pop("cwlVersion"), alone.pop("$namespaces")) == (
            "v1.2", result.document["$namespaces"]
        )  # fmt: skip
        assert alone == {key: value for key, value in packed[name].items() if key != "id"}


def test_a_stage_called_like_the_script_does_not_take_its_file(tmp_path: Path) -> None:
    text = kit.CHAIN.replace(
        "numbers, double = Numbers(), Double()",
        "numbers, double = named(Numbers(), 'flow'), Double()",
    )
    files = compiled(tmp_path, text, cut="flow.output").files
    assert list(files) == ["flow.cwl", "flow_stage.cwl", "Double.cwl"]
    assert files["flow.cwl"]["class"] == "Workflow"


def test_locations_are_absolute_or_seen_from_the_documents_folder(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path / "a b", kit.CHAIN)

    def location(result: Any) -> str:
        return str(kit.by_id(result.document["inputs"])["script"]["default"]["location"])

    assert location(to_cwl(script)) == script.as_uri()
    assert location(to_cwl(script, folder=tmp_path / "cwl")) == "../a%20b/flow.py"


def test_equal_scripts_give_equal_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    script = kit.write_script(
        tmp_path, kit.VALUES + "\nimport os\nos.getenv('B'), os.getenv('A')\n"
    )
    texts = {
        kit.command(
            "d4p2cwl", "-q", script, "--cut", "Source.output", env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(texts) == 1


def test_the_job_order_has_every_parameter_and_marks_samples(tmp_path: Path) -> None:
    text = kit.CHAIN.replace(
        "class Numbers(ProducerPE):",
        "class Numbers(ProducerPE):\n    cwl = {'env': ['KEY'], "
        "'reads': {'many': 'File[]', 'null': 'File', 'maybe': 'File?'}}\n",
    )
    result = compiled(tmp_path, text)
    assert set(result.missing) == {"many", "null", "KEY"}
    assert result.job["many"] == [{"class": "File", "location": "many"}]
    assert result.job["iterations"] == 1
    assert "maybe" not in result.job
    lines = result.job_text().splitlines()
    for name in result.missing:
        (place,) = (
            n for n, line in enumerate(lines) if line.startswith((f"{name}:", f"'{name}':"))
        )
        assert lines[place - 1] == "# a sample: give the value for your run"
    assert result.job_text().count("# a sample") == 3


def test_modules_beside_the_script_are_staged_where_they_were(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "pkg" / "deep_one.py").write_text("import leaf_one\n")
    document = tool(
        tmp_path,
        kit.CHAIN + "\nfrom pkg import deep_one\n",
        others={"leaf_one__py": "X = 1\n", "unused__py": ""},
    )
    modules = kit.by_id(document["inputs"])["modules"]
    assert [Path(m["location"]).name for m in modules["default"]] == [
        "leaf_one.py",
        "__init__.py",
        "deep_one.py",
    ]
    listing = kit.by_class(document["requirements"])["InitialWorkDirRequirement"]["listing"]
    assert [entry["entryname"] for entry in listing] == [
        "flow.py", "leaf_one.py", "pkg/__init__.py", "pkg/deep_one.py"
    ]  # fmt: skip


def test_all_missing_modules_are_told_with_line_and_caret_before_the_script_runs(
    tmp_path: Path,
) -> None:
    text = "import gone_one\nfrom gone_two.x import y\n" + kit.CHAIN + "\nopen('ran', 'w')\n"
    with pytest.raises(TranslationError) as caught:
        compiled(tmp_path, text)
    said = str(caught.value)
    assert "flow.py:1:1: module 'gone_one'" in said
    assert "flow.py:2:1: module 'gone_two.x'" in said
    assert said.count("    ^") == 2
    assert "    import gone_one\n    ^" in said


def test_what_a_module_lacks_is_told_at_the_module(tmp_path: Path) -> None:
    with pytest.raises(TranslationError, match=r"middle\.py:3:1: module 'gone_three'"):
        compiled(
            tmp_path, kit.CHAIN + "\nimport middle\n", {"middle__py": "\n\nimport gone_three\n"}
        )


VARIABLES = """
import os
LITERAL = os.environ.get("LITERAL", "five")
ABSENT = os.environ.get("ABSENT")
os.getenv("HOME")

def later():
    return os.environ["REQUIRED"]
"""


def test_variables_that_the_script_reads_become_parameters(tmp_path: Path) -> None:
    result = compiled(tmp_path, kit.CHAIN + VARIABLES)
    inputs = kit.by_id(result.document["inputs"])
    assert inputs["LITERAL"]["default"] == "five"
    assert inputs["ABSENT"]["default"] == ""
    assert "default" not in inputs["REQUIRED"]
    assert "HOME" not in inputs
    env = kit.by_class(result.document["requirements"])["EnvVarRequirement"]["envDef"]
    assert {e["envName"]: e["envValue"] for e in env} == {
        "ABSENT": "$(inputs.ABSENT)",
        "LITERAL": "$(inputs.LITERAL)",
        "REQUIRED": "$(inputs.REQUIRED)",
        "D4PCWL_UNSET": "ABSENT",
    }
    assert sum("environment variable" in note for note in result.notes) == 3


def test_written_files_become_outputs_of_the_stage_that_writes_them(tmp_path: Path) -> None:
    text = kit.CHAIN.replace(
        "        return 2 * data", "        open('seen.txt', 'a').close()\n        return 2 * data"
    )
    whole = tool(tmp_path, text)
    found = kit.by_id(whole["outputs"])["seen_txt"]
    assert (found["type"], found["outputBinding"]) == ("File?", {"glob": "seen.txt"})
    main, numbers, double = compiled(tmp_path, text, cut="Numbers.output").document["$graph"]
    assert "seen_txt" in kit.by_id(double["outputs"])
    assert "seen_txt" not in kit.by_id(numbers["outputs"])
    assert kit.by_id(main["outputs"])["seen_txt"]["outputSource"] == "Double/seen_txt"


def test_files_whose_names_only_the_run_knows_come_as_the_folder(tmp_path: Path) -> None:
    text = kit.CHAIN.replace(
        "        return 2 * data",
        "        open(f'{data}', 'w').close()\n        return 2 * data",
    )
    result = compiled(tmp_path, text)
    assert kit.by_id(result.document["outputs"])["written"]["outputBinding"] == {"glob": "."}
    assert any("whose name is only known when it runs" in note for note in result.notes)


SEVERAL = kit.CHAIN.replace(
    "graph = WorkflowGraph()",
    "graph = WorkflowGraph()\nother = WorkflowGraph()\nother.add(Numbers())",
)


def test_one_of_several_graphs_is_named_on_the_command_line(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, SEVERAL)
    with pytest.raises(ScriptError, match=r"graph, other; choose one with -a"):
        to_cwl(script)
    assert flags(to_cwl(script, attr="other").document)["-a"] == "other"
    assert flags(to_cwl(f"{script}:graph").document)["-a"] == "graph"
    assert flags(to_cwl(load(script, "other")).document)["-a"] == "other"
    assert "-a" not in flags(tool(tmp_path / "one", kit.CHAIN))


def test_a_graph_that_a_module_holds_can_be_given_itself(tmp_path: Path) -> None:
    script = load(kit.write_script(tmp_path, kit.CHAIN, "held.py"))
    document = to_cwl(script.graph).document
    assert document["arguments"][0]["valueFrom"] == "held.py"
    from d4pcwl import WorkflowGraph

    with pytest.raises(UsageError, match="no loaded module holds this graph"):
        to_cwl(WorkflowGraph())
    with pytest.raises(UsageError, match="expected a script or its graph, not int"):
        to_cwl(3)


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        (kit.CHAIN, {"cut": "Numbers.outptu"}, GraphError, "did you mean Numbers.output"),
        (kit.CHAIN, {"cut": "Nubers.output"}, GraphError, "did you mean Numbers.output"),
        (kit.CHAIN, {"cut": "composite"}, GraphError, "no composites"),
        (kit.CHAIN, {"cut": "partition"}, GraphError, "no partitions"),
        (kit.CHAIN, {"cut": " , "}, GraphError, "names no PE.port"),
        (kit.DIAMOND, {"cut": "Source.output"}, None, ""),
        (kit.DIAMOND + "\ngraph.partitions = [[source, join], [plus]]\n", {"cut": "partition"},
         GraphError, "cycle of the stages"),
        (kit.CHAIN, {"mapping": "mutli"}, UsageError, "did you mean multi"),
        (kit.CHAIN, {"processes": 0}, UsageError, "at least one process"),
        (kit.CHAIN, {"docker": ""}, UsageError, "empty"),
        ("graph = 3\n", {}, ScriptError, "holds no workflow graph"),
        ("raise RuntimeError('at load')\n", {}, ScriptError, "at load"),
    ],
)  # fmt: skip
def test_what_cannot_be_compiled_is_refused(
    tmp_path: Path, text: str, options: dict[str, Any], error: type[Exception] | None, message: str
) -> None:
    if error is None:
        assert compiled(tmp_path, text, **options).document["$graph"]
        return
    with pytest.raises(error, match=message):
        compiled(tmp_path, text, **options)


def test_an_image_is_a_hint_and_none_is_named_otherwise(tmp_path: Path) -> None:
    hints = kit.by_class(tool(tmp_path, kit.CHAIN, docker="x/y:1")["hints"])
    assert hints["DockerRequirement"]["dockerPull"] == "x/y:1"
    assert "DockerRequirement" not in kit.by_class(tool(tmp_path, kit.CHAIN)["hints"])


def test_packages_that_the_script_imports_are_required(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    hints = kit.by_class(tool(tmp_path, kit.ARRAYS)["hints"])
    packages = [{"package": "d4pcwl"}, {"package": "numpy"}]
    assert hints["SoftwareRequirement"]["packages"] == packages


def test_redis_kinds_may_be_given_a_server(tmp_path: Path) -> None:
    document = tool(tmp_path, kit.CHAIN, mapping="dyn_redis")
    url = kit.by_id(document["inputs"])["redis_url"]
    assert (url["type"], url["inputBinding"]["prefix"]) == ("string?", "--redis-url")
    assert kit.by_class(document["requirements"])["NetworkAccess"]["networkAccess"] is True
    assert "redis_url" not in kit.by_id(tool(tmp_path, kit.CHAIN)["inputs"])


def test_an_engine_may_start_the_ranks(tmp_path: Path) -> None:
    document = tool(tmp_path, kit.CHAIN, mapping="mpi", mpi_requirement=True)
    hint = kit.by_class(document["hints"])["cwltool:MPIRequirement"]
    assert hint["processes"] == "$(inputs.processes)"
    assert kit.by_id(document["inputs"])["mapping"]["type"]["symbols"] == ["mpi"]
    assert document["$namespaces"]["cwltool"] == "http://commonwl.org/cwltool#"
    with pytest.raises(UsageError, match="is only for the mapping mpi"):
        tool(tmp_path, kit.CHAIN, mpi_requirement=True)
    ordinary = kit.by_class(tool(tmp_path, kit.CHAIN, mapping="mpi")["hints"])
    assert "cwltool:MPIRequirement" not in ordinary


def test_the_report_says_what_is_kept_how(tmp_path: Path) -> None:
    text = kit.WORDS.replace("class Count", "import os\nMODE = os.environ['MODE']\n\n\nclass Count")
    text += "\nsplit.numprocesses = 3\nsplit.on_error = 'skip'\ngraph.partitions = [[lines]]\n"
    script = kit.write_script(tmp_path, text)
    report = tmp_path / "report.json"
    command = ["d4p2cwl", script, "--shards", "2", "-o", tmp_path / "flow.cwl", "--report", report]
    said = kit.command(*command, env={"MODE": "fast"}).stderr
    entries = json.loads(report.read_text())["entries"]
    by_code: dict[str, list[Any]] = {}
    for entry in entries:
        by_code.setdefault(entry["code"], []).append(entry)
        assert Path(entry["file"]).name == "flow.py"
    assert set(by_code) == {
        "variable", "partitions", "instances", "policy", "state", "stream", "order", "starts"
    }  # fmt: skip
    (starts,) = by_code["starts"]
    assert starts["message"].startswith("5 commands run")
    lines = text.splitlines()
    assert "os.environ" in lines[by_code["variable"][0]["line"] - 1]
    assert lines[by_code["instances"][0]["line"] - 1] == "class Split(IterativePE):"
    assert by_code["instances"][0]["message"] == "Split asks for 3 processes"
    assert "self.counts" in by_code["state"][0]["message"]
    assert [entry["message"] for entry in by_code["stream"]] == [
        "Lines.output → Split.input (shuffle)", "Split.output → Count.input (group-by [0])"
    ]  # fmt: skip
    assert "2 shards" in by_code["stream"][1]["kept"]
    assert said.count("note: ") == len(by_code["variable"])  # the rest is in the report only


def test_the_report_of_composites_and_untyped_inputs(tmp_path: Path) -> None:
    entries = compiled(tmp_path, kit.COMPOSITES, cut="pe").report
    kept = {entry.message: entry.kept for entry in entries if entry.code == "composite"}
    names = ("outer", "Inner", "other")
    assert kept == {
        f"composite {n}": "its PEs are in several steps of a subworkflow" for n in names
    }
    assert {e.kept for e in compiled(tmp_path, kit.COMPOSITES).report if e.code == "composite"} == {
        "inside one step"
    }
    untyped = [e for e in compiled(tmp_path, kit.ROOTS).report if e.code == "untyped-input"]
    assert [entry.message for entry in untyped] == [
        "the type of the items of left.input is not declared",
        "the type of the items of right.input is not declared",
    ]


def test_composites_that_are_cut_are_subworkflows(tmp_path: Path) -> None:
    result = compiled(tmp_path, kit.COMPOSITES, cut="pe")
    processes = kit.by_id(result.document["$graph"])
    steps = {
        name: [step["id"] for step in process["steps"]]
        for name, process in processes.items()
        if process["class"] == "Workflow"
    }
    assert steps["main"] == ["Source", "outer", "other"]
    assert steps["outer"] == ["Inner", "thousand"]
    assert steps["Inner"] == ["one_1", "ten_1"]
    assert steps["other"] == ["one_2", "ten_2"]
    assert processes["outer"]["label"] == "Adds eleven, and then a thousand"
    assert set(result.files) == {
        "flow.cwl", "Source.cwl", "outer.cwl", "Inner.cwl", "one_1.cwl", "ten_1.cwl",
        "thousand.cwl", "other.cwl", "one_2.cwl", "ten_2.cwl",
    }  # fmt: skip


def test_a_composite_with_a_step_between_its_own_stays_open(tmp_path: Path) -> None:
    text = (
        kit.COMPOSITES[: kit.COMPOSITES.index("graph = ")]
        + """
class Ends(CompositePE):
    def __init__(self):
        CompositePE.__init__(self)
        first, last = named(Add(1), "first"), named(Add(2), "last")
        self._map_input("input", first, "input")
        self._map_output("middle", first, "output")
        self._map_input("back", last, "input")
        self._map_output("output", last, "output")


graph = WorkflowGraph()
source, ends, between = Source(), Ends(), named(Add(5), "between")
graph.connect(source, "output", ends, "input")
graph.connect(ends, "middle", between, "input")
graph.connect(between, "output", ends, "back")
"""
    )
    main = kit.by_id(compiled(tmp_path, text, cut="pe").document["$graph"])["main"]
    assert [step["id"] for step in main["steps"]] == ["Source", "first", "between", "last"]


def test_ids_are_what_a_parameter_reference_can_name(tmp_path: Path) -> None:
    text = kit.ROOTS.replace('"left")', '"x")').replace('"right")', '"µ y/é")') + (
        "\nfor pe in (left, right):\n    pe.cwl = {'inputs': {'input': 'int'}}\n"
    )
    document = tool(tmp_path, text)
    names = [i["id"] for i in document["inputs"]]
    assert "in_x" in names
    assert all(re.fullmatch("[A-Za-z0-9_]{2,}", name) for name in names)
    assert len(names) == len(set(names))


def test_a_data_file_with_a_hyphen_is_a_parameter_without(tmp_path: Path) -> None:
    for name in ("data/2018-10-02.txt", "data/2018_10-02.txt", "a-b.txt", "mapping"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    text = (
        kit.CHAIN
        + """
import os
def never():
    for name in ['data/2018-10-02.txt', 'data/2018_10-02.txt', 'a-b.txt']:
        open(name)
    open('mapping')
    os.environ.get('A-B', os.environ.get('processes', ''))
"""
    )
    document = tool(tmp_path, text)
    names = [i["id"] for i in document["inputs"]]
    assert len(names) == len(set(names))
    assert {"in_2018_10_02_txt", "in_2018_10_02_txt_2", "a_b_txt", "A_B", "mapping_2"} <= {*names}
    assert not list(wrong_references(document))
    assert document == tool(tmp_path, text)


ODD = ["P", "a-b", "a b", "a_b", 'say "$(inputs.x)"', "é,ü", "back\\slash", "-n", "mapping", "main"]


@pytest.mark.parametrize("cut", [None, "pe"])
def test_steps_have_the_names_of_their_pes_and_odd_names_run(
    tmp_path: Path, cut: str | None
) -> None:
    text = (
        kit.ROOTS.split("graph =")[0]
        + f"""
graph = WorkflowGraph()
merge = Merge()
for name in {ODD!r}:
    pe = named(Scale(2), name)
    pe.cwl = {{"inputs": {{"input": "int"}}}}
    graph.connect(pe, "output", merge, "input")
"""
    )
    result = compiled(tmp_path, text, cut=cut)
    document = result.document if cut is None else result.document["$graph"][0]
    ids = [entry["id"] for entry in (*document["inputs"], *document.get("steps", ()))]
    assert len(ids) == len(set(ids))
    if cut is not None:
        steps = [step["id"] for step in document["steps"]]
        assert {"P", "a_b_stage", "main_stage", "Merge"} <= {*steps}
    (tmp_path / "odd.cwl").write_text(str(result))
    job = {**result.job, **dict.fromkeys(result.missing, 1)}
    outputs, _ = kit.cwltool(tmp_path / "odd.cwl", job, tmp_path / "out")
    lines = kit.lines_of([Path(outputs["results"]["path"])])
    assert [json.loads(line)["data"] for line in lines] == [[2]] * len(ODD)


def test_an_abstract_workflow_keeps_ports_of_like_names_apart(tmp_path: Path) -> None:
    text = (
        kit.HEAD
        + """
class Odd(GenericPE):
    def __init__(self):
        super().__init__()
        for port in ("a-b", "a_b"):
            self._add_input(port)
            self._add_output(port)


graph = WorkflowGraph()
first, last = Odd(), Odd()
graph.connect(first, "a-b", last, "a_b")
"""
    )
    document = compiled(tmp_path, text, abstract=True).document
    (step, _) = document["steps"]
    assert [i["id"] for i in step["in"]] == ["a_b", "a_b_2"]
    assert step["out"] == ["a_b_3", "a_b_4"]
    names = [entry["id"] for key in ("inputs", "outputs", "steps") for entry in document[key]]
    assert len(names) == len(set(names))


def test_an_abstract_workflow_shows_no_cycle(tmp_path: Path) -> None:
    text = kit.CHAIN + "\ngraph.connect(graph.nodes[1], 'output', graph.nodes[1], 'input')\n"
    with pytest.raises(TranslationError, match="cannot show a cycle"):
        compiled(tmp_path, text, abstract=True)


def test_the_abstract_workflow_shows_every_pe_and_edge(tmp_path: Path) -> None:
    result = compiled(tmp_path, kit.TWO_EDGES, abstract=True)
    document = result.document
    steps = kit.by_id(document["steps"])
    assert {step["run"]["class"] for step in steps.values()} == {"Operation"}
    assert {i["id"]: i["source"] for i in steps["Sink"]["in"]} == {
        "first": "Source/output",
        "second": ["Source/other", "Source/output"],
    }
    assert [o["outputSource"] for o in document["outputs"]] == ["Sink/seen"]
    assert result.job == {}
    assert json.dumps(document)  # plain data


def test_compiling_does_not_print_what_the_script_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled(tmp_path, "print('loading')\n" + kit.CHAIN)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "loading" in captured.err


def test_a_declaration_that_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="did you mean reads"):
        compiled(tmp_path, kit.CHAIN + "\nNumbers.cwl = {'raeds': {}}\n")


def test_a_module_name_compiles_as_its_file_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.write_script(tmp_path, kit.CHAIN, "as_a_module.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert to_cwl("as_a_module").document == to_cwl("as_a_module.py").document


def test_steps_inputs_and_outputs_share_no_name(tmp_path: Path) -> None:
    text = kit.ROOTS.replace('"right")', '"main")').replace(
        ", Merge()", ', named(Merge(), "table")'
    ) + (
        "\nleft.cwl = {'inputs': {'input': 'string'}}\n"
        "merge.cwl = {'writes': {'table': 'File', 'left': {'type': 'File', 'path': 'l'}}}\n"
    )
    main, *tools = compiled(tmp_path, text, cut="left.output,main.output").document["$graph"]
    names = [entry["id"] for key in ("inputs", "outputs", "steps") for entry in main[key]]
    assert len(names) == len(set(names))
    assert [step["id"] for step in main["steps"]] == ["left_stage", "main_stage", "table"]
    assert {"left", "main"} <= set(kit.by_id(main["inputs"]))
    assert "main" not in kit.by_id(tools)
