"""What scripts declare: every key, in every place, and where it arrives in the CWL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cwl_kit as kit
import pytest

from d4pcwl import to_cwl
from d4pcwl.cwl.declare.declarations import CwlType, parse_type
from d4pcwl.errors import DeclarationError


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    with kit.own_modules():
        yield


def declared(
    tmp_path: Path,
    *,
    numbers: Any = None,
    double: Any = None,
    whole: Any = None,
    sidecar: str | None = None,
    text: str = kit.CHAIN,
    **options: Any,
) -> Any:
    """Compile the graph ``numbers → double`` with declarations on its PEs."""
    for name, value in (("numbers", numbers), ("double", double)):
        if value is not None:
            text += f"\n{name}.cwl = {value!r}\n"
    if whole is not None:
        text += f"\ncwl = {whole!r}\n"
    script = kit.write_script(tmp_path, text)
    if sidecar is not None:
        script.with_suffix(".d4p.yml").write_text(sidecar, encoding="utf-8")
    return to_cwl(script, **options)


def requirements(document: Any) -> Any:
    return kit.by_class(document["requirements"])


def listing(document: Any) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = requirements(document)["InitialWorkDirRequirement"]["listing"]
    return entries[1:]  # the script is the first


def stages(result: Any) -> Any:
    return kit.by_id(result.document["$graph"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("File", CwlType("File")),
        ("string[]", CwlType("string", is_list=True)),
        ("Directory?", CwlType("Directory", optional=True)),
        ("Any[]?", CwlType("Any", is_list=True, optional=True)),
    ],
)
def test_types_are_read_and_said_alike(text: str, expected: CwlType) -> None:
    assert parse_type(text, "here") == expected
    assert str(expected) == text


@pytest.mark.parametrize("text", ["file", "File[][]", "int?[]", "", 3, None, "File []"])
def test_other_types_are_refused(text: Any) -> None:
    with pytest.raises(DeclarationError, match=r"here: .* is not a type"):
        parse_type(text, "here")


def test_reads_become_inputs_that_are_staged_at_their_paths(tmp_path: Path) -> None:
    reads = {
        "folder": "Directory",
        "mesh": {
            "type": "File",
            "path": "in/m.json",
            "doc": "the mesh",
            "format": "https://x.org/m",
        },
        "maybe": "File?",
        "many": "File[]",
    }
    document = declared(tmp_path, numbers={"reads": reads}).document
    inputs = kit.by_id(document["inputs"])
    assert inputs["mesh"] == {
        "id": "mesh", "type": "File", "doc": "the mesh", "format": "https://x.org/m"
    }  # fmt: skip
    assert [inputs[name]["type"] for name in reads] == ["Directory", "File", "File?", "File[]"]
    assert listing(document) == [
        {"entryname": "folder", "entry": "$(inputs.folder)"},
        {"entryname": "in/m.json", "entry": "$(inputs.mesh)"},
        {"entryname": "maybe", "entry": "$(inputs.maybe)"},
        {"entry": "$(inputs.many)"},
    ]


def test_a_default_is_seen_from_the_script(tmp_path: Path) -> None:
    (tmp_path / "usual data").mkdir()
    reads = {"folder": {"type": "Directory", "default": "usual data"}}
    document = declared(tmp_path, numbers={"reads": reads}, folder=tmp_path / "cwl").document
    assert kit.by_id(document["inputs"])["folder"]["default"] == {
        "class": "Directory", "location": "../usual%20data"
    }  # fmt: skip
    with pytest.raises(DeclarationError, match=r"no File is at .*/usual data"):
        declared(tmp_path, numbers={"reads": {"folder": {"type": "File", "default": "usual data"}}})


def test_writes_become_outputs(tmp_path: Path) -> None:
    writes = {
        "table": {
            "type": "File",
            "path": "out/t.csv",
            "doc": "a table",
            "format": "https://x.org/c",
        },
        "logs": {"type": "File[]", "path": "*.log"},
        "extra": "Directory?",
    }
    outputs = kit.by_id(declared(tmp_path, double={"writes": writes}).document["outputs"])
    assert outputs["table"] == {
        "id": "table", "type": "File", "doc": "a table", "format": "https://x.org/c",
        "outputBinding": {"glob": "out/t.csv"},
    }  # fmt: skip
    assert outputs["logs"]["outputBinding"] == {"glob": "*.log"}
    assert (outputs["extra"]["type"], outputs["extra"]["outputBinding"]) == (
        "Directory?", {"glob": "extra"}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("writes", "output"),
    [
        ({"data": "Directory"}, "data_out"),
        ({"result": {"type": "Directory", "path": "data"}}, "result"),
        ({"new": {"type": "File", "path": "data/new.txt"}}, "new"),
    ],
)
def test_a_folder_that_is_changed_in_place_is_a_writable_copy(
    tmp_path: Path, writes: dict[str, Any], output: str
) -> None:
    document = declared(
        tmp_path, numbers={"reads": {"data": "Directory"}}, double={"writes": writes}
    ).document
    assert listing(document) == [{"entryname": "data", "entry": "$(inputs.data)", "writable": True}]
    assert output in kit.by_id(document["outputs"])


def test_a_file_of_one_name_read_and_written_at_different_paths_is_not_copied(
    tmp_path: Path,
) -> None:
    document = declared(
        tmp_path,
        numbers={"reads": {"data": {"type": "File", "path": "in.txt"}}},
        double={"writes": {"data": {"type": "File", "path": "out.txt"}}},
    ).document
    assert listing(document) == [{"entryname": "in.txt", "entry": "$(inputs.data)"}]


def test_what_one_stage_writes_the_next_reads(tmp_path: Path) -> None:
    folder = {"data": "Directory"}
    result = declared(
        tmp_path,
        numbers={"reads": folder, "writes": folder},
        double={"reads": folder, "writes": folder},
        cut="Numbers.output",
    )
    main = stages(result)["main"]
    steps = {step["id"]: {i["id"]: i["source"] for i in step["in"]} for step in main["steps"]}
    assert steps["Numbers"]["data"] == "data"
    assert steps["Double"]["data"] == "Numbers/data_out"
    assert kit.by_id(main["outputs"])["data_out"]["outputSource"] == "Double/data_out"
    assert "data" in kit.by_id(main["inputs"])


def test_declarations_stay_with_their_stage(tmp_path: Path) -> None:
    result = declared(
        tmp_path,
        numbers={"reads": {"mesh": "File"}, "network": True, "resources": {"ram": 100}},
        double={"time_limit": 9, "env": {"MODE": "fast"}, "writes": {"out": "File"}},
        whole={"software": {"numpy": "2"}},
        cut="Numbers.output",
    )
    numbers, double = stages(result)["Numbers"], stages(result)["Double"]
    assert "mesh" in kit.by_id(numbers["inputs"])
    assert "mesh" not in kit.by_id(double["inputs"])
    assert "NetworkAccess" in requirements(numbers)
    assert "NetworkAccess" not in requirements(double)
    assert requirements(double)["ToolTimeLimit"]["timelimit"] == 9
    assert requirements(numbers)["ResourceRequirement"]["ramMin"] == 100
    assert "ramMin" not in requirements(double)["ResourceRequirement"]
    assert "MODE" in kit.by_id(double["inputs"])
    assert "MODE" not in kit.by_id(numbers["inputs"])
    assert "out" in kit.by_id(double["outputs"])
    for stage in (numbers, double):
        assert kit.by_class(stage["hints"])["SoftwareRequirement"]["packages"] == [
            {"package": "d4pcwl"},
            {"package": "numpy", "version": ["2"]},
        ]


def test_what_pes_need_together_adds_up(tmp_path: Path) -> None:
    result = declared(
        tmp_path,
        numbers={
            "resources": {"cores": 2, "ram": 50, "tmpdir": 1},
            "time_limit": 10,
            "network": True,
        },
        double={
            "resources": {"cores": 3, "ram": 60, "outdir": 5},
            "time_limit": 20,
            "network": False,
        },
    )
    need = requirements(result.document)
    assert need["ResourceRequirement"] == {
        "class": "ResourceRequirement", "coresMin": "$(inputs.processes)",
        "ramMin": 110, "tmpdirMin": 1, "outdirMin": 5,
    }  # fmt: skip
    assert kit.by_id(result.document["inputs"])["processes"]["default"] == 3
    assert need["ToolTimeLimit"]["timelimit"] == 20
    assert need["NetworkAccess"]["networkAccess"] is True


def test_fractions_of_a_core_make_whole_processes(tmp_path: Path) -> None:
    document = declared(tmp_path, numbers={"resources": {"cores": 1.5}}).document
    assert kit.by_id(document["inputs"])["processes"]["default"] == 2


def test_the_environment_is_declared_in_three_ways(tmp_path: Path) -> None:
    env = {"GIVEN": None, "MODE": "fast", "N": {"default": 3, "doc": "how many"}}
    document = declared(tmp_path, numbers={"env": env}).document
    inputs = kit.by_id(document["inputs"])
    assert "default" not in inputs["GIVEN"]
    assert inputs["MODE"]["default"] == "fast"
    assert (inputs["in_N"]["default"], inputs["in_N"]["doc"]) == ("3", "how many")
    definitions = requirements(document)["EnvVarRequirement"]["envDef"]
    assert {"envName": "N", "envValue": "$(inputs.in_N)"} in definitions
    listed = declared(tmp_path / "list", numbers={"env": ["GIVEN"]}).document
    assert "default" not in kit.by_id(listed["inputs"])["GIVEN"]


def test_a_declared_variable_goes_before_what_reading_finds(tmp_path: Path) -> None:
    text = kit.CHAIN + "\nimport os\nMODE = os.environ.get('MODE', 'slow')\n"
    result = declared(tmp_path, text=text, double={"env": {"MODE": "fast"}}, cut="Numbers.output")
    main = stages(result)["main"]
    assert kit.by_id(main["inputs"])["MODE"]["default"] == "fast"
    # Both stages load the script, so both are given the one parameter.
    assert [{i["id"]: i["source"] for i in step["in"]}["MODE"] for step in main["steps"]] == [
        "MODE",
        "MODE",
    ]
    assert not any("MODE" in note for note in result.notes)


def test_the_whole_graph_has_label_doc_image_software_and_gpu(tmp_path: Path) -> None:
    result = declared(
        tmp_path,
        whole={
            "label": "A label", "doc": "Two\nlines", "image": "x/y:2",
            "software": {"numpy": ["2.0", 2.1], "obspy": None, "scipy": "1"},
            "gpu": {"cuda": "12.0", "capability": "8.0", "count": 2},
        },
    )  # fmt: skip
    document = result.document
    assert (document["label"], document["doc"]) == ("A label", "Two\nlines")
    hints = kit.by_class(document["hints"])
    assert hints["DockerRequirement"]["dockerPull"] == "x/y:2"
    assert hints["SoftwareRequirement"]["packages"] == [
        {"package": "d4pcwl"},
        {"package": "numpy", "version": ["2.0", "2.1"]},
        {"package": "obspy"},
        {"package": "scipy", "version": ["1"]},
    ]
    assert hints["cwltool:CUDARequirement"]["cudaDeviceCountMin"] == 2
    assert "cwltool" in document["$namespaces"]


def test_what_talks_to_others_is_not_reused_unless_declared(tmp_path: Path) -> None:
    def reuse(**declarations: Any) -> Any:
        document = declared(tmp_path, **declarations).document
        return kit.by_class(document["hints"]).get("WorkReuse", {}).get("enableReuse", True)

    assert reuse() is True
    assert reuse(numbers={"network": True}) is False
    assert reuse(numbers={"network": True, "reuse": True}) is True
    assert reuse(numbers={"reuse": True}, double={"reuse": False}) is False


def test_metadata_are_terms_of_schema_org(tmp_path: Path) -> None:
    author = {"class": "Person", "name": "A. B.", "affiliation": [{"name": "X"}, "Y"]}
    metadata = {"author": author, "license": "https://spdx.org/licenses/MIT"}
    for cut in ("whole", "pe"):
        result = declared(tmp_path, whole={"metadata": metadata}, cut=cut)
        document = result.document
        main = kit.by_id(document["$graph"])["main"] if "$graph" in document else document
        assert main["s:license"] == "https://spdx.org/licenses/MIT"
        assert main["s:author"] == {
            "s:additionalType": "https://schema.org/Person",
            "s:name": "A. B.",
            "s:affiliation": [{"s:name": "X"}, "Y"],
        }
        assert document["$namespaces"]["s"] == "https://schema.org/"
        path = tmp_path / f"{cut}.cwl"
        path.write_text(str(result))
        kit.validate(path)


def test_names_of_files_tell_their_formats(tmp_path: Path) -> None:
    writes = {
        "table": {"type": "File", "path": "t.csv"},
        "own": {"type": "File", "path": "o.csv", "format": "https://edam/1"},
        "packed": {"type": "File", "path": "t.csv.gz"},
        "odd": {"type": "File", "path": "t.qqq"},
        "folder": {"type": "Directory", "path": "t.json"},
    }
    outputs = kit.by_id(declared(tmp_path, numbers={"writes": writes}).document["outputs"])
    formats = {name: outputs[name].get("format") for name in writes}
    assert formats == {
        "table": "https://www.iana.org/assignments/media-types/text/csv",
        "own": "https://edam/1", "packed": None, "odd": None, "folder": None,
    }  # fmt: skip


def test_a_file_of_the_whole_graph_is_left_by_the_stage_that_writes_it(tmp_path: Path) -> None:
    text = kit.CHAIN.replace("return 2 *", 'open("log", "a").write("x"); return 2 *')
    result = declared(tmp_path, text=text, whole={"writes": {"log": "File"}}, cut="pe")
    path = tmp_path / "cut.cwl"
    path.write_text(str(result))
    outputs, _ = kit.cwltool(path, None, tmp_path / "out")
    assert (tmp_path / "out" / outputs["log"]["basename"]).read_text() == "xxxxx"


def test_an_image_on_the_command_line_goes_first(tmp_path: Path) -> None:
    document = declared(tmp_path, whole={"image": "x/y:2"}, docker="z:3").document
    assert kit.by_class(document["hints"])["DockerRequirement"]["dockerPull"] == "z:3"


def test_a_sidecar_says_the_same_and_goes_before_the_script(tmp_path: Path) -> None:
    document = declared(
        tmp_path,
        numbers={"reads": {"mesh": "File"}, "env": {"MODE": "fast"}, "network": True},
        whole={"label": "from the script"},
        sidecar="""
label: from the sidecar
pes:
  Numbers:
    env: {MODE: slow}
    network: false
  Double1:
    writes: {out: File}
""",
    ).document
    assert document["label"] == "from the sidecar"
    inputs = kit.by_id(document["inputs"])
    assert inputs["MODE"]["default"] == "slow"
    assert "mesh" in inputs
    assert "out" in kit.by_id(document["outputs"])
    assert "NetworkAccess" not in requirements(document)


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        ("pes:\n  Numbrs: {}\n", "no PE is called 'Numbrs'; did you mean Numbers"),
        ("- a\n", "expected a mapping"),
        ("a: [\n", "not YAML: expected"),
        ("lable: x\n", "lable: not known; did you mean label"),
        ("pes: [Numbers]\n", "pes: expected a dictionary"),
    ],
)
def test_a_wrong_sidecar_is_told(tmp_path: Path, sidecar: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=message) as caught:
        declared(tmp_path, sidecar=sidecar)
    assert "flow.d4p.yml" in str(caught.value)


def test_inputs_that_a_class_declares_are_for_roots(tmp_path: Path) -> None:
    text = kit.CHAIN + "\nDouble.cwl = {'inputs': {'input': {'type': 'File'}}}\n"
    (main, *_) = declared(tmp_path, text=text, cut="pe").document["$graph"]
    assert "File" not in [entry["type"] for entry in main["inputs"] if entry["id"] != "script"]


def test_an_empty_sidecar_says_nothing(tmp_path: Path) -> None:
    assert declared(tmp_path, sidecar="# later\n").document["label"] == "flow"


def test_declarations_mean_nothing_to_a_plain_run(tmp_path: Path) -> None:
    import d4pcwl

    text = kit.CHAIN + "\nnumbers.cwl = {'not': 'valid', 'reads': {'gone': 'File'}}\n"
    script = kit.write_script(tmp_path, text)
    assert d4pcwl.run(d4pcwl.load(script))["Double"]["output"] == [0, 2, 4, 6, 8]


def test_all_faults_are_told_at_once_with_the_nearest_names(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError) as caught:
        declared(
            tmp_path,
            numbers={"raeds": {}, "label": "x", "time_limit": "9", "network": 1},
            double={"reads": {"a": "Flie", "b": "int"}, "inputs": {"input": "int"}},
            whole={"resources": {"cors": 1}, "inputs": {}, "env": 3},
            sidecar="pes:\n  Dubble: {}\n",
        )
    said = str(caught.value).splitlines()
    for part in (
        "Numbers.cwl: raeds: not known; did you mean reads or reuse?",
        "Numbers.cwl: label: not known (it is for the whole graph)",
        "Numbers.cwl: time_limit: expected seconds as an integer, not '9'",
        "Numbers.cwl: network: expected true or false, not 1",
        "Double.cwl: reads: a: 'Flie' is not a type",
        "inputs are declared for Double, but a stream feeds it",
        "cwl: resources: cors: not known; did you mean cores?",
        "cwl: inputs: not known",
        "cwl: env: expected a dictionary",
        "no PE is called 'Dubble'; did you mean Double?",
    ):
        assert any(part in line for line in said), (part, said)


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ({"reads": {"a": {"type": "File", "path": "/etc/x"}}}, "leaves the working folder"),
        ({"writes": {"a": {"type": "File", "path": "../x"}}}, "leaves the working folder"),
        ({"reads": {"a": {"type": "File[]", "path": "in"}}}, "leave the path out"),
        ({"reads": {"a": {"type": "File", "defualt": "x"}}}, "did you mean default"),
        ({"reads": {"a": {"type": "File", "default": 3}}}, "expected a path"),
        ({"reads": ["a"]}, "expected a dictionary"),
        ({"reads": {"a": "int"}}, "expected File or Directory"),
        ({"inputs": {"inptu": "int"}}, "Scale has no input 'inptu'; did you mean input"),
        ({"inputs": {"input": "int?"}}, "leave the . out"),
        ({"inputs": {"input": "Any"}}, r"give Any\[\]"),
        ({"resources": {"ram": -1}}, "positive number"),
        ({"resources": {"ram": True}}, "positive number"),
        ({"env": [["A"]]}, "expected a dictionary"),
        ({"gpu": {"cuda": 12}}, "as a string"),
        (["reads"], "expected a dictionary, not list"),
    ],
)
def test_a_wrong_declaration_is_told(tmp_path: Path, declaration: Any, message: str) -> None:
    text = (
        kit.ROOTS.replace('named(Scale(2), "left")', "Scale(2)") + f"\nleft.cwl = {declaration!r}\n"
    )
    with pytest.raises(DeclarationError, match=message):
        declared(tmp_path, text=text)


def test_pes_that_mean_different_files_by_a_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DeclarationError, match="reads: data: Numbers0 declares File at 'data', Double1 Directory"
    ):
        declared(
            tmp_path, numbers={"reads": {"data": "File"}}, double={"reads": {"data": "Directory"}}
        )


def test_typed_roots_have_a_parameter_each_and_undeclared_ones_one_too(tmp_path: Path) -> None:
    text = kit.ROOTS + "\nleft.cwl = {'inputs': {'input': {'type': 'float', 'doc': 'a number'}}}\n"
    result = declared(tmp_path, text=text)
    inputs = kit.by_id(result.document["inputs"])
    assert (inputs["left"]["type"], inputs["left"]["doc"]) == ("float", "a number")
    assert inputs["right"]["type"] == "Any"
    assert "input_data" not in inputs
    (data,) = (a["valueFrom"] for a in result.document["arguments"] if a.get("prefix") == "-d")
    assert data == '{"left": [{"input": $(inputs.left)}], "right": $(inputs.right)}'


def test_whole_and_cut_graphs_take_the_same_job_order(tmp_path: Path) -> None:
    text = kit.ROOTS + "\nleft.cwl = {'inputs': {'input': 'string'}}\n"
    whole = declared(tmp_path, text=text)
    cut = declared(tmp_path, text=text, cut="left.output,right.output")
    assert whole.job == cut.job
    assert whole.missing == cut.missing


def test_pes_of_one_name_are_told_apart_by_id(tmp_path: Path) -> None:
    text = kit.ROOTS.replace('"left")', '"same")').replace('"right")', '"same")') + (
        "\nfor pe in (left, right):\n    pe.cwl = {'inputs': {'input': 'int'}}\n"
    )
    document = declared(tmp_path, text=text).document
    assert {"same_1", "same_2"} <= set(kit.by_id(document["inputs"]))
