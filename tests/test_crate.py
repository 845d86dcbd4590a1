"""Crates are valid, and have what a run was made of, on both levels."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import crate_kit
import cwl_kit as kit
import pytest

from d4pcwl.crate.making import PREVIEW, make_crate
from d4pcwl.crate.page import METADATA
from d4pcwl.errors import LineageError, UsageError
from d4pcwl.lineage.record import Record

pytest.importorskip("cwltool")

SCRIPT = '''\
"""Count words

Every word of a text is counted.
"""

from collections import Counter
from pathlib import Path

from dispel4py.base import GenericPE, IterativePE
from dispel4py.workflow_graph import WorkflowGraph

cwl = {
    "metadata": {
        "license": "https://spdx.org/licenses/CC-BY-4.0",
        "author": {
            "class": "Person",
            "name": "Ada Lovelace",
            "identifier": "https://orcid.org/0000-0002-1825-0097",
        },
    }
}


class Read(IterativePE):
    """Reads a text, word by word."""

    cwl = {"inputs": {"input": "File"}}

    def _process(self, path):
        for word in open(path).read().split():
            self.write("output", (word, 1))


class Count(GenericPE):
    """Counts equal words."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("input", grouping=[0])
        self._add_output("output")
        self.counts = Counter()

    def _process(self, inputs):
        self.counts[inputs["input"][0]] += 1

    def _postprocess(self):
        for word in sorted(self.counts):
            self.write("output", (word, self.counts[word]))


read, count = Read(), Count()
read.name, count.name = "read", "count"
graph = WorkflowGraph()
graph.connect(read, "output", count, "input")
'''
TEXT = "the wave comes\nand the wave goes\n"
RUNS = ("alone", "cwltool", "runner")

WRITER = """\
from pathlib import Path

from d4pcwl import ProducerPE, WorkflowGraph


class Write(ProducerPE):
    def _process(self, inputs):
        Path("key.pem").read_text()
        Path("made").mkdir(exist_ok=True)
        Path("made/a b.txt").write_text("1")
        Path("made/dot.png").write_bytes(b"\\x89PNG")
        self.write("output", 1)


graph = WorkflowGraph()
graph.add(Write())
"""
READER = """\
from pathlib import Path

from d4pcwl import ProducerPE, WorkflowGraph


class Read(ProducerPE):
    def _process(self, inputs):
        self.write("output", Path("made/a b.txt").read_text())


graph = WorkflowGraph()
graph.add(Read())
"""


def entities(crate: Path) -> dict[str, dict[str, Any]]:
    """The entities of a crate, by their ids."""
    graph = json.loads((crate / METADATA).read_text())["@graph"]
    found = {entity["@id"]: entity for entity in graph}
    assert len(found) == len(graph)
    return found


def ids(entity: Mapping[str, Any], name: str) -> list[str]:
    """What a property refers to."""
    value = entity.get(name, [])
    return [each["@id"] for each in (value if isinstance(value, list) else [value])]


def actions(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """By tool, the ids of what went into its runs, and of what came out."""
    told: dict[str, dict[str, list[str]]] = {}
    for entity in found.values():
        if entity["@type"] == "CreateAction":
            tool = told.setdefault(entity["instrument"]["@id"], {"object": [], "result": []})
            for side, values in tool.items():
                values += ids(entity, side)
    return told


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three runs of one script: ``alone``, by ``cwltool`` and by ``runner``."""
    folder = tmp_path_factory.mktemp("runs")
    kit.write_script(folder, SCRIPT, "words.py", text__txt=TEXT)
    options = ["--read", "text.txt", "--results", "counts.jsonl", "--provenance", "alone"]
    kit.command("dispel4py", "simple", "words.py", *options, cwd=folder)
    compiled = ["words.py", "--shards", 2, "--provenance", "-q", "-o", "words.cwl"]
    kit.command("d4p2cwl", *compiled, cwd=folder)
    person = ["--orcid", "0000-0002-1825-0097", "--full-name", "Ada"]
    for engine, folder_option in (("cwltool", ["--quiet"]), ("d4pcwl-runner", ["--quiet"])):
        name = engine.rpartition("-")[2]
        places = ["--provenance", name, "--outdir", f"out_{name}"]
        kit.command(
            engine, *folder_option, *person, *places, "words.cwl", "--read", "text.txt", cwd=folder
        )
    return folder


@pytest.fixture(scope="module")
def crates(runs: Path) -> Path:
    """The crates of these runs."""
    for name in ("alone", "cwltool", "runner"):
        make_crate([runs / name], runs / "crates" / name)
    return runs / "crates"


def test_crates_are_valid(crates: Path, tmp_path: Path) -> None:
    """The validator finds nothing; but it does where a PE has no run."""
    bad = shutil.copytree(crates / "alone", tmp_path / "bad")
    found = entities(bad)
    left = [e for e in found.values() if not e["@id"].endswith("-read0")]
    assert len(left) == len(found) - 1
    whole = json.loads((bad / METADATA).read_text())
    (bad / METADATA).write_text(json.dumps({**whole, "@graph": left}))
    told = crate_kit.issues(tmp_path, *(crates / name for name in RUNS), bad)
    assert any("must be referred to from an action" in each for each in told.pop("bad"))
    assert told == {name: [] for name in RUNS}


@pytest.mark.parametrize("name", RUNS)
def test_files_are_those_of_the_run(crates: Path, name: str) -> None:
    """All files are described, with their digests, and no other; what can be opened is linked."""
    crate = crates / name
    found = entities(crate)
    files = {
        unquote(entity["@id"]): entity for entity in found.values() if "File" in entity["@type"]
    }
    there = {str(path.relative_to(crate)) for path in crate.rglob("*") if path.is_file()}
    assert there == {*files, METADATA, PREVIEW}
    for place, entity in files.items():
        content = (crate / place).read_bytes()
        assert entity.get("sha256", sha256(content).hexdigest()) == sha256(content).hexdigest()
    for home in {path.parent for path in (crate / "records").rglob("lineage.msgpack")}:
        assert Record(home).head["format"] == "d4pcwl-lineage"
    text = (crate / "inputs" / "text.txt").read_text()
    assert text == TEXT


@pytest.mark.parametrize("name", ["cwltool", "runner"])
def test_levels_are_joined_by_files(crates: Path, name: str) -> None:
    """What a step takes and gives is what its PEs read and write."""
    found = entities(crates / name)
    done = actions(found)
    document = "workflow/packed.cwl"
    for step in ("read_stage", "count"):
        tool = found[f"{document}#{step}"]
        assert "ComputationalWorkflow" in tool["@type"]
        assert "image" in tool
        pes = set(ids(tool, "hasPart"))
        assert {found[i]["workExample"]["@id"] for i in ids(tool, "step")} == pes
        read = {file for pe in pes for file in done[pe]["object"] if "/" in file and file[0] != "#"}
        assert read
        assert read <= set(done[tool["@id"]]["object"])
    counts = {i for i in done[f"{document}#count"]["result"] if i.endswith("results.jsonl")}
    assert counts <= set(done[document]["result"])
    assert len(counts) == 2
    streams = {i for i in done[f"{document}#count"]["object"] if i.endswith(".d4ps")}
    assert streams <= set(done[f"{document}#read_stage"]["result"])
    connections = {
        (found[i]["sourceParameter"]["@id"], found[i]["targetParameter"]["@id"])
        for i in ids(found[f"{document}#count"], "connection")
    }
    assert (f"{document}#count/count1/output/output", f"{document}#count/output/results") in (
        connections
    )


def test_the_job_order_is_that_of_the_run(crates: Path) -> None:
    """With it, the document runs on the files of the crate."""
    workflow = crates / "runner" / "workflow"
    job = json.loads((workflow / "job.json").read_text())
    files = {name: job.pop(name)["location"] for name in ("script", "read")}
    assert (workflow / files["script"]).read_text() == SCRIPT
    assert (workflow / files["read"]).read_text() == TEXT
    assert job == {"mapping": "simple", "processes": 1, "shards": [0, 1]}


def test_authors_and_licence(crates: Path, runs: Path, tmp_path: Path) -> None:
    """As declared in the script, or in the document that was made of it; or as asked for."""
    for name in RUNS:
        root = entities(crates / name)["./"]
        assert root["license"]["@id"] == "https://spdx.org/licenses/CC-BY-4.0"
        assert root["author"]["@id"] == "https://orcid.org/0000-0002-1825-0097"
    make_crate([runs / "alone"], tmp_path / "asked", authors=["B", "C"], license_="MIT")
    found = entities(tmp_path / "asked")
    assert [found[i]["name"] for i in ids(found["./"], "author")] == ["B", "C"]
    assert found["./"]["license"]["@id"] == "https://spdx.org/licenses/MIT"
    with pytest.raises(UsageError, match="0000-0002-1825-0098 is not a valid ORCID iD"):
        make_crate([runs / "alone"], tmp_path / "no", authors=["B 0000-0002-1825-0098"])
    assert not (tmp_path / "no").exists()


def test_runs_are_joined_by_files(tmp_path: Path) -> None:
    """What one run wrote is what another read, in one crate; its files are as they were."""
    kit.write_script(tmp_path, WRITER, "writer.py", key__pem="private")
    kit.write_script(tmp_path, READER, "reader.py")
    for script in ("writer", "reader"):
        options = ["-i", 1, "--provenance", f"{script}.prov", "-q"]
        kit.command("dispel4py", "simple", f"{script}.py", *options, cwd=tmp_path)
    folders = [tmp_path / "writer.prov", tmp_path / "reader.prov"]
    said: list[str] = []
    make_crate(folders, tmp_path / "crate", say=said.append)
    done = actions(entities(tmp_path / "crate"))
    (shared,) = (i for i in done["workflow-2/reader.py"]["object"] if i.endswith("a%20b.txt"))
    assert shared == "outputs/made/a%20b.txt"
    assert shared in done["workflow/writer.py"]["result"]
    assert (tmp_path / "crate" / unquote(shared)).read_text() == "1"
    page = (tmp_path / "crate" / PREVIEW).read_text()
    assert "data:image/png;base64," in page

    # What may be private is described, but is not there unless it is asked for.
    assert any("key.pem is described, but not in the crate" in text for text in said)
    assert any("no licence is declared" in text for text in said)
    assert not (tmp_path / "crate" / "inputs" / "key.pem").exists()
    make_crate(folders, tmp_path / "more", take=["key.pem"])
    assert (tmp_path / "more" / "inputs" / "key.pem").read_text() == "private"

    # So is a file that has changed; but a script that has changed tells something wrong.
    (tmp_path / "made" / "a b.txt").write_text("2")
    said.clear()
    make_crate(folders, tmp_path / "changed", say=said.append)
    assert any("made/a b.txt is described, but not in the crate" in text for text in said)
    lost = actions(entities(tmp_path / "changed"))["workflow-2/reader.py"]["object"]
    assert any(i.startswith("#file-") for i in lost)
    (tmp_path / "reader.py").write_text("# something else\n")
    with pytest.raises(UsageError, match=r"reader.py: it has changed since the run"):
        make_crate(folders, tmp_path / "never")


def test_a_zip_file_has_the_same(crates: Path, runs: Path, tmp_path: Path) -> None:
    options = ["--zip", "-o", tmp_path / "crate.zip", "-q"]
    kit.command("d4pcwl", "crate", runs / "alone", *options)
    with zipfile.ZipFile(tmp_path / "crate.zip") as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    folder = crates / "alone"
    assert names == {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", RUNS)
def test_pages_need_no_network(crates: Path, name: str) -> None:
    """What a page shows is in it; what it links to is in the crate, or is for people to follow."""
    text = (crates / name / PREVIEW).read_text()
    assert "<svg" in text
    assert not re.search(r"<(link|script|iframe)|@import|url\(", text)
    assert all(source.startswith("data:") for source in re.findall(r' src="([^"]*)"', text))
    for target in re.findall(r' href="([^"]*)"', text):
        assert target.startswith("https://") or (crates / name / unquote(target)).exists(), target
    for shown in ("Count words", "Every word of a text is counted.", "Ada Lovelace", "CC-BY-4.0"):
        assert shown in text
    for doc in ("Reads a text, word by word.", "Counts equal words."):
        assert doc in text


def test_what_is_no_run(tmp_path: Path, runs: Path, crates: Path) -> None:
    with pytest.raises(LineageError, match="is not the folder of a run"):
        make_crate([tmp_path], tmp_path / "crate")
    with pytest.raises(UsageError, match="something is there"):
        make_crate([runs / "alone"], crates / "alone")
