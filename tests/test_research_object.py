"""CWLProv: what ``d4pcwl-runner --provenance`` writes, and the records of steps in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cwl_kit as kit
import engine_kit
import pytest
from prov.model import ProvDocument
from runner_kit import run, start, write

from d4pcwl.lineage.record import Record

pytest.importorskip("cwltool")

INNER = """
cwlVersion: v1.2
class: Workflow
requirements: {ScatterFeatureRequirement: {}}
inputs: {word: string, numbers: "int[]", folder: Directory}
outputs:
  files: {type: "File[]", outputSource: say/file}
  folder: {type: Directory, outputSource: keep/folder}
steps:
  say:
    run: say.cwl
    scatter: number
    in: {word: word, number: numbers}
    out: [file]
  keep:
    run: keep.cwl
    in: {folder: folder}
    out: [folder]
"""
SAY = """
cwlVersion: v1.2
class: CommandLineTool
baseCommand: echo
inputs: {word: {type: string, inputBinding: {}}, number: {type: int, inputBinding: {}}}
stdout: $(inputs.number).txt
outputs: {file: stdout}
"""
KEEP = """
cwlVersion: v1.2
class: CommandLineTool
baseCommand: [cp, -r]
arguments: [{position: 2, valueFrom: kept}]
inputs: {folder: {type: Directory, inputBinding: {position: 1}}}
outputs: {folder: {type: Directory, outputBinding: {glob: kept}}}
"""
JOIN = """
cwlVersion: v1.2
class: CommandLineTool
baseCommand: cat
inputs:
  files: {type: "File[]", inputBinding: {}}
  label: {type: string, default: without}
stdout: all.txt
outputs: {file: stdout}
"""
OUTER = """
cwlVersion: v1.2
class: Workflow
requirements: {SubworkflowFeatureRequirement: {}, ScatterFeatureRequirement: {}}
inputs: {words: "string[]", numbers: "int[]", folder: Directory}
outputs:
  all: {type: "File[]", outputSource: join/file}
  folders: {type: "Directory[]", outputSource: sub/folder}
steps:
  sub:
    run: inner.cwl
    scatter: word
    in: {word: words, numbers: numbers, folder: folder}
    out: [files, folder]
  join:
    run: join.cwl
    scatter: files
    in: {files: sub/files}
    out: [file]
"""
WF = "http://purl.org/wf4ever/wfprov#"


def validate(folder: Path) -> None:
    """Let the program of CWLProv check a folder."""
    program = Path(start("cwltool")[0]).with_name("cwlprov")
    done = subprocess.run(
        [program, "-d", folder, "validate"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Activities:
    """The activities of a PROV document, each with the files that it used and generated."""

    def __init__(self, path: Path) -> None:
        records = list(ProvDocument.deserialize(path, format="json").get_records())
        texts = [[str(value) for value in record.args] for record in records]
        kinds = [record.get_type().localpart for record in records]
        told = list(zip(kinds, texts, records, strict=True))
        self.main = next(
            str(record.identifier)
            for kind, _, record in told
            if kind == "Activity" and f"{WF}WorkflowRun" in types(record)
        )
        self.plans = {args[0]: args[2] for kind, args, _ in told if kind == "Association"}
        self.used: dict[str, set[str]] = {}
        self.made: dict[str, set[str]] = {}
        for kind, args, _ in told:
            if kind == "Usage":
                self.used.setdefault(args[0], set()).add(args[1])
            elif kind == "Generation":
                self.made.setdefault(args[1], set()).add(args[0])
        self.ended = {args[0] for kind, args, _ in told if kind == "End"}
        self.failed = {
            str(record.identifier)
            for kind, _, record in told
            if kind == "Activity" and ("d4p:status", "failed") in attributes(record)
        }

    def of(self, step: str) -> list[str]:
        return [activity for activity, plan in self.plans.items() if plan == f"wf:main/{step}"]


def attributes(record: Any) -> set[tuple[str, str]]:
    return {(str(name), str(value)) for name, value in record.attributes}


def types(record: Any) -> set[str]:
    return {value.uri for name, value in record.attributes if str(name) == "prov:type"}


def data_of(value: Any, folder: Path) -> Iterator[tuple[str, bytes]]:
    """The files in an object of a research object: their names, and what is in them."""
    if isinstance(value, list):
        for entry in value:
            yield from data_of(entry, folder)
    elif isinstance(value, dict):
        if value.get("class") == "File":
            yield value["basename"], (folder / "workflow" / value["location"]).read_bytes()
        elif value.get("class") == "Directory":
            for name, content in data_of(value["listing"], folder):
                yield f"{value['basename']}/{name}", content
        else:
            yield from data_of(list(value.values()), folder)


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nested")
    write(folder, outer_cwl=OUTER, inner_cwl=INNER, say_cwl=SAY, keep_cwl=KEEP, join_cwl=JOIN)
    (folder / "given" / "deep").mkdir(parents=True)
    (folder / "given" / "deep" / "file").write_text("deep\n")
    job = {
        "words": ["one", "two"],
        "numbers": [1, 2],
        "folder": {"class": "Directory", "location": "given"},
    }
    (folder / "job.json").write_text(json.dumps(job))
    return folder


@pytest.mark.parametrize("name", ["multi", "dyn_multi"])
def test_scatters_and_subworkflows(name: str, nested: Path, tmp_path: Path) -> None:
    record = tmp_path / "record"
    options = ["--mapping", name, "--provenance", record, "--orcid", "0000-0002-1825-0097"]
    outputs, _ = run(nested / "outer.cwl", *options, nested / "job.json", outdir=tmp_path / "out")
    validate(record)
    documents = record / "metadata" / "provenance"
    assert "orcid:0000-0002-1825-0097" in (documents / "primary.cwlprov.provn").read_text()
    outer = Activities(documents / "primary.cwlprov.json")
    subs, joins = outer.of("sub"), outer.of("join")
    assert (len(subs), len(joins)) == (2, 2)
    assert outer.ended == {outer.main, *subs, *joins}
    assert not outer.failed
    for join in joins:
        # Two files in an array, and a default.
        assert len(outer.used[join]) == 2
        assert outer.made[join]
    inner = [Activities(path) for path in documents.glob("sub.*.cwlprov.json")]
    assert sorted(each.main for each in inner) == sorted(subs)
    for each in inner:
        assert len(each.of("say")) == 2
        (keep,) = each.of("keep")
        assert each.made[keep] <= each.made[each.main]
    made = json.loads((record / "workflow" / "primary-output.json").read_text())
    assert made.keys() == outputs.keys()
    assert sorted(data_of(made, record)) == [
        ("all.txt", b"1 one\n2 one\n"),
        ("all.txt", b"1 two\n2 two\n"),
        ("kept/deep/file", b"deep\n"),
        ("kept/deep/file", b"deep\n"),
    ]
    given = json.loads((record / "workflow" / "primary-job.json").read_text())
    assert list(data_of(given, record)) == [("given/deep/file", b"deep\n")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "record"]


FAILS = """
cwlVersion: v1.2
class: Workflow
$namespaces: {cwltool: "http://commonwl.org/cwltool#"}
requirements: {ScatterFeatureRequirement: {}}
hints: {"cwltool:Secrets": {secrets: [password]}}
inputs: {password: string, codes: "int[]"}
outputs: {files: {type: "File[]", outputSource: leave/file}}
steps:
  leave:
    scatter: code
    in: {code: codes, password: password}
    out: [file]
    run:
      class: CommandLineTool
      hints: {"cwltool:Secrets": {secrets: [password]}}
      inputs: {code: int, password: string}
      baseCommand: [sh, -c]
      arguments: ['echo $1 > $1.txt; exit $1', "", $(inputs.code), $(inputs.password)]
      outputs: {file: {type: File, outputBinding: {glob: $(inputs.code).txt}}}
"""


def test_a_run_that_fails_is_written_and_secrets_are_not(tmp_path: Path) -> None:
    write(tmp_path, fails_cwl=FAILS)
    (tmp_path / "job.json").write_text(json.dumps({"password": "mellon", "codes": [0, 3]}))
    record = tmp_path / "record"
    options = ["--provenance", record, "--enable-ext", "--on-error", "continue"]
    run(tmp_path / "fails.cwl", *options, tmp_path / "job.json", outdir=tmp_path / "out", code=1)
    validate(record)
    told = Activities(record / "metadata" / "provenance" / "primary.cwlprov.json")
    (failed,) = told.failed
    assert failed in told.of("leave")
    assert len(told.of("leave")) == 2
    texts = [path.read_bytes() for path in record.rglob("*") if path.is_file()]
    assert b"0\n" in texts
    assert not [text for text in texts if b"mellon" in text]


WAITS = """
cwlVersion: v1.2
class: Workflow
inputs: {started: string}
outputs: {file: {type: File, outputSource: wait/file}}
steps:
  make:
    in: {word: {default: made}, number: {default: 1}}
    out: [file]
    run: say.cwl
  wait:
    in: {file: make/file, started: started}
    out: [file]
    run:
      class: CommandLineTool
      inputs: {file: File, started: string}
      baseCommand: [sh, -c]
      arguments: ['echo > "$1"; sleep 1000', "", $(inputs.started)]
      outputs: {file: {type: File, outputBinding: {glob: none}}}
"""


def test_a_run_that_is_ended_is_written(tmp_path: Path) -> None:
    write(tmp_path, waits_cwl=WAITS, say_cwl=SAY)
    started, record = tmp_path / "started", tmp_path / "record"
    os.mkfifo(started)
    command = [*start("d4pcwl-runner"), "--outdir", tmp_path / "out", "--provenance", record]
    with subprocess.Popen(
        [*command, tmp_path / "waits.cwl", "--started", started], stderr=subprocess.PIPE
    ) as process:
        started.read_text()
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 143
    validate(record)
    told = Activities(record / "metadata" / "provenance" / "primary.cwlprov.json")
    assert len(told.of("make")) == 1
    assert told.ended == {told.main, *told.of("make")}


def test_a_tool_alone(tmp_path: Path) -> None:
    write(tmp_path, join_cwl=JOIN, a_txt="a\n")
    files = [{"class": "File", "location": "a.txt"}, {"class": "File", "contents": "literal\n"}]
    job = {"files": files, "label": "\x01 is not in XML"}
    (tmp_path / "job.json").write_text(json.dumps(job))
    record = tmp_path / "new" / "record"
    run(
        tmp_path / "join.cwl",
        *("--provenance", record),
        tmp_path / "job.json",
        outdir=tmp_path / "out",
    )
    validate(record)
    given = json.loads((record / "workflow" / "primary-job.json").read_text())
    assert given["label"] == "\x01 is not in XML"
    made = json.loads((record / "workflow" / "primary-output.json").read_text())
    assert list(data_of(made, record)) == [("all.txt", b"a\nliteral\n")]
    told = Activities(record / "metadata" / "provenance" / "primary.cwlprov.json")
    assert told.plans.keys() == {told.main}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--provenance", "full"], "full: something is there; name a new folder"),
        (["--provenance", "new", "--orcid", "0000-0002-1825-0098"], "--orcid: Invalid ORCID"),
        (["--provenance", "new", "--jobs", "job.json"], "the record of one job"),
        (["--provenance", "out"], "the outputs go there, too"),
    ],
)
def test_what_cannot_be_written(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, say_cwl=SAY, job_json="{}")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    before = sorted(tmp_path.iterdir())
    _, said = run(Path("say.cwl"), *options, outdir=tmp_path / "out", code=2)
    assert message in said
    assert sorted(tmp_path.iterdir()) == before


def test_nothing_is_written_for_inputs_that_do_not_fit(tmp_path: Path) -> None:
    write(tmp_path, say_cwl=SAY, job_json="{}")
    options = ["--provenance", tmp_path / "record"]
    run(tmp_path / "inner.cwl", *options, outdir=tmp_path / "out", code=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.json", "say.cwl"]


# --- the records of steps -------------------------------------------------------------------------

COUNT = """
class Count(GenericPE):
    def __init__(self):
        super().__init__()
        self._add_input("input", grouping=[0])
        self._add_output("output")
        self.counts = {}

    def _process(self, inputs):
        word = inputs["input"]
        self.counts[word] = self.counts.get(word, 0) + 1

    def _postprocess(self):
        for pair in self.counts.items():
            self.write("output", pair)

class Words(ProducerPE):
    def _process(self, inputs):
        for word in "the wave and the ground".split():
            self.write("output", word)

class Upper(IterativePE):
    def _process(self, word):
        return word.upper()

words, upper, count = Words(), Upper(), Count()
words.name, upper.name, count.name = "words", "upper", "count"
graph = WorkflowGraph()
graph.connect(words, "output", upper, "input")
graph.connect(upper, "output", count, "input")
"""


@pytest.mark.parametrize("name", ["cwltool", "d4pcwl-runner"])
def test_each_step_gives_its_record(name: str, tmp_path: Path) -> None:
    engine = engine_kit.engine(name)
    script = kit.write_script(tmp_path, kit.HEAD + COUNT)
    config = {"d4p:record": ["words", "count"], "s-prov:description": 'a $(b) "c"'}
    document = tmp_path / "count.cwl"
    kit.command(
        *("d4p2cwl", str(script), "--shards", "2", "--provenance", "-o", str(document)),
        *("--provenance-config", json.dumps(config)),
    )
    if name == "d4pcwl-runner":
        engine = engine.with_options("--provenance", tmp_path / "record")
    outputs = engine.run(document, None, tmp_path / "out")
    folders = [value for key, value in outputs.items() if key.endswith("provenance")]
    flat = [each for entry in folders for each in (entry if isinstance(entry, list) else [entry])]
    records = [Record(folder["path"]) for folder in flat]
    assert len(records) == 5
    streams: dict[str, set[str]] = {"stream": set(), "read": set()}
    for record in records:
        _ = list(record)
        assert record.tail["complete"]
        assert record.head["about"] == {"s-prov:description": 'a $(b) "c"'}
        for file in record.tail["files"].values():
            if file["role"] in streams:
                streams[file["role"]].add(file["sha256"])
    assert streams["stream"] == streams["read"]
    if name == "d4pcwl-runner":
        validate(tmp_path / "record")
        made = json.loads((tmp_path / "record" / "workflow" / "primary-output.json").read_text())
        inside = [data for file, data in data_of(made, tmp_path / "record") if "msgpack" in file]
        assert sorted(inside) == sorted(record.path.read_bytes() for record in records)
