"""What a crate describes is run again from its own files, and compared with what it has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from d4pcwl.crate.crates import opened
from d4pcwl.crate.rerun import rerun
from d4pcwl.crate.run_set import run_set_of
from d4pcwl.errors import LineageError
from d4pcwl.lineage.comparing import DIFFERENT, EQUAL, SAME_VALUES, Verdict, compare
from d4pcwl.lineage.index import Index
from d4pcwl.streams.writer import StreamWriter

pytest.importorskip("rocrate")

SCRIPT = '''
from pathlib import Path

from d4pcwl import IterativePE, ProducerPE, WorkflowGraph


class Rows(ProducerPE):
    """The rows of a table."""

    def _process(self, inputs):
        for line in Path("data/table.txt").read_text().split():
            self.write("output", {"name": line})


class Long(IterativePE):
    """How long a name is, in a file, too."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def _process(self, row):
        size = len(row["name"]) * self.factor
        Path("out").mkdir(exist_ok=True)
        Path("out", row["name"] + ".json").write_text(f'{{"size": {size}}}')
        return {**row, "size": size}


def build(factor: int = 2) -> WorkflowGraph:
    """Names and their sizes

    :param factor: of the sizes
    """
    graph = WorkflowGraph()
    graph.connect(Rows(), "output", Long(factor), "input")
    return graph
'''


def d4pcwl(*arguments: object, folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command of ours, and insist on its exit code."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "d4pcwl", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a crate of a stream, from which the run has gone."""
    folder = tmp_path_factory.mktemp("made")
    work = folder / "work"
    (work / "data").mkdir(parents=True)
    (work / "data" / "table.txt").write_text("one three\n")
    (work / "names.py").write_text(SCRIPT)
    run = ("run", "multi", "names.py", "-n", "3", "--factor", "3", "--results", work / "all.jsonl")
    d4pcwl(*run, "--provenance", "record", folder=work)
    d4pcwl("crate", "record", "-o", "../crate", "-q", folder=work)
    shutil.rmtree(work)
    return folder


def copied(made: Path, folder: Path) -> Path:
    return Path(shutil.copytree(made / "crate", folder / "crate"))


def test_a_stream_is_run_again(made: Path) -> None:
    done = d4pcwl("rerun", "crate", folder=made)
    assert sorted(done.stdout.splitlines()) == [
        "equal  all.jsonl",
        "equal  out/one.json",
        "equal  out/three.json",
    ]
    again = made / "crate-again"
    assert (again / "run" / "out" / "three.json").read_text() == '{"size": 15}'
    told = d4pcwl("lineage", again, "all.jsonl#name=three", folder=made).stdout
    assert '{"name":"three","size":15}' in told
    assert "table.txt" in told
    done = d4pcwl("rerun", "crate", folder=made, code=2)
    assert "crate-again: something is there" in done.stderr


def test_a_crate_answers_out_of_its_zip_file(made: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "crate"), "zip", made / "crate")
    told = d4pcwl("lineage", "crate.zip", "out/one.json", folder=tmp_path).stdout
    assert "Long.output" not in told  # it is not what the file comes from
    assert ("table.txt" in told, "three" in told) == (True, False)


def test_what_differs_is_told(made: Path, tmp_path: Path) -> None:
    """A package that the run needs is another one now."""
    crate = copied(made, tmp_path)
    script = crate / "workflow" / "names.py"
    metadata = crate / "ro-crate-metadata.json"
    before = script.read_bytes()
    script.write_bytes(before.replace(b"len(row", b"1 + len(row"))
    done = d4pcwl("rerun", "crate", folder=tmp_path, code=2)
    assert (
        "files have changed" in done.stderr
        or "needs files that are not in the crate" in done.stderr
    )
    script.write_bytes(before)
    record = next((crate / "records").rglob("lineage.msgpack"))
    record.write_bytes(record.read_bytes().replace(b"--factor\xa13", b"--factor\xa14"))
    text = metadata.read_text()
    told = json.loads(text)
    for entity in told["@graph"]:
        if entity["@id"].endswith("lineage.msgpack"):
            entity.pop("sha256", None)
    metadata.write_text(json.dumps(told))
    done = d4pcwl("rerun", "crate", "--verify", folder=tmp_path, code=1)
    assert sorted(done.stdout.splitlines()) == [
        "differs  all.jsonl: line 1.data.size: 9 before, 12 now; 2 values differ, by at most "
        "0.3 of their size",
        "differs  out/one.json: size: 9 before, 12 now; by at most 0.3 of their size",
        "differs  out/three.json: size: 15 before, 20 now; by at most 0.3 of their size",
    ]


def test_names_that_leave_the_crate_are_refused(made: Path, tmp_path: Path) -> None:
    crate = copied(made, tmp_path)
    (tmp_path / "secret.txt").write_text("secret")
    (crate / "inputs" / "link").symlink_to(tmp_path / "secret.txt")
    metadata = crate / "ro-crate-metadata.json"
    told = json.loads(metadata.read_text())
    for name in ("../secret.txt", "/etc/hostname", "inputs/link"):
        named = [*told["@graph"], {"@id": name, "@type": "File", "sha256": "00"}]
        metadata.write_text(json.dumps({**told, "@graph": named}))
        with pytest.raises(LineageError, match=f"{name} is outside of the crate"):
            rerun(crate, tmp_path / "again", print)
        held = run_set_of(crate)
        assert held is not None
        with pytest.raises(LineageError, match=f"{name} is outside of the crate"):
            Index(held)
    with zipfile.ZipFile(tmp_path / "crate.zip", "w") as archive:
        archive.writestr("../secret.txt", "another")
    with pytest.raises(LineageError, match="outside of the crate"), opened(tmp_path / "crate.zip"):
        pass
    assert (tmp_path / "secret.txt").read_text() == "secret"


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        (b"names.py\xa2-n", b"../../up\xa2-n", "the command names ../../up"),
        (b"/work/data/table.txt", b"/work/../../../e.txt", "its record has an invalid path"),
    ],
)
def test_a_record_cannot_lead_out_of_the_new_folder(
    made: Path, tmp_path: Path, was: bytes, now: bytes, told: str
) -> None:
    crate = copied(made, tmp_path)
    record = next((crate / "records").rglob("lineage.msgpack"))
    before = record.read_bytes()
    assert was in before
    record.write_bytes(before.replace(was, now))
    metadata = crate / "ro-crate-metadata.json"
    metadata.write_text(metadata.read_text().replace('"sha256"', '"sha-256"'))
    with pytest.raises(LineageError, match=told):
        rerun(crate, tmp_path / "again", print)
    assert sorted(os.listdir(tmp_path)) in (["crate"], ["again", "crate"])


def test_code_that_reads_what_the_crate_does_not_have_is_told(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "table.txt").write_text("one two")
    script = SCRIPT.replace("data/table.txt", str(work / "table.txt"))
    (work / "names.py").write_text(script)
    d4pcwl("run", "simple", "names.py", "--provenance", "record", folder=work)
    d4pcwl("crate", "record", "-o", "../crate", "-q", folder=work)
    again = d4pcwl("rerun", "crate", "--verify", folder=tmp_path)
    assert "equal as values  results of Long.output" in again.stdout
    (work / "table.txt").write_text("others")
    done = d4pcwl("rerun", "crate", "--verify", folder=tmp_path, code=2)
    assert f"its code has read {work / 'table.txt'}, which is not in the crate" in done.stderr


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A crate of a CWL workflow of two streams, from which the run has gone."""
    pytest.importorskip("cwltool")
    folder = tmp_path_factory.mktemp("compiled")
    work = folder / "work"
    work.mkdir()
    (work / "text.txt").write_text("so many words so many\n")
    script = Path(__file__).resolve().parents[1] / "examples" / "word_count" / "word_count.py"
    shutil.copy(script, work)
    d4pcwl(
        *("compile", "-q", "word_count.py", "--cut", "pe", "--provenance", "-o", "count.cwl"),
        folder=work,
    )
    runner = ("cwl", "--quiet", "--outdir", "out", "--provenance", "research", "count.cwl")
    d4pcwl(*runner, "--read", "text.txt", folder=work)
    d4pcwl("crate", "research", "-o", "../crate", "-q", folder=work)
    shutil.rmtree(work)
    return folder


def test_the_items_of_a_crate_lead_from_step_to_step(compiled: Path) -> None:
    results = next((compiled / "crate" / "outputs").glob("*.jsonl"))
    told = d4pcwl("lineage", "crate", f"{results}#0=words", folder=compiled).stdout.splitlines()
    assert [line.split()[0] for line in told if ".output" in line] == [
        "count/count.output",
        "count/split.output.output",
        "split/split.output",
        "split/read.output.output",
        "read_stage/read.output",
    ]
    assert told[-1].strip().startswith("file inputs/text.txt ")
    assert len(told) == 7


def test_a_workflow_is_run_again(compiled: Path) -> None:
    done = d4pcwl("rerun", "crate", "--verify", folder=compiled)
    lines = done.stdout.splitlines()
    assert lines
    assert all(line.startswith("equal  ") for line in lines), lines
    assert any("jsonl" in line for line in lines)


def test_documents_that_leave_the_crate_are_refused(compiled: Path, tmp_path: Path) -> None:
    crate = copied(compiled, tmp_path)
    (tmp_path / "secret.txt").write_text("secret")
    metadata, job = crate / "ro-crate-metadata.json", crate / "workflow" / "job.json"
    told = json.loads(metadata.read_text())
    for entity in told["@graph"]:
        entity.pop("sha256", None)
    metadata.write_text(json.dumps(told))
    order = json.loads(job.read_text())
    for place in ("../../secret.txt", "http://localhost/secret.txt", "file:///etc/hostname"):
        order["more"] = {"class": "File", "location": place}
        job.write_text(json.dumps(order))
        with pytest.raises(LineageError, match=f"outside of the crate: {place}"):
            rerun(crate, tmp_path / "again", print)


# --- comparing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "before", "after", "kind", "told"),
    [
        ("a.json", '{"a": [1, 2.0]}', '{"a":[1.0,2]}', SAME_VALUES, ""),
        ("a.json", '{"a": NaN}', '{"a":  NaN}', SAME_VALUES, ""),
        ("a.json", '{"a": true}', '{"a": 1}', DIFFERENT, "a: true before, 1 now"),
        ("a.geojson", '{"a": [1]}', '{"a": [1, 2]}', DIFFERENT, "a[1]: nothing before, 2 now"),
        ("a.csv", "x,y\n1,2\n", "x,y\n1.0,2\n", SAME_VALUES, ""),
        ("a.csv", "x,y\n1,2\n", "x,y\n1,3\n", DIFFERENT, "line 2.y: 2 before, 3 now; by at m"),
        ("a.txt", "1", "1.0", DIFFERENT, "1 bytes before, 3 now"),
        ("a.png", "abc", "abd", DIFFERENT, "at byte 2"),
        ("a.json", "{", "[]", DIFFERENT, "it cannot be compared as values"),
        (
            "a.jsonl",
            '{"pe":"a","port":"o","data":1}\n{"pe":"b","port":"o","data":1}\n',
            '{"pe":"b","port":"o","data":1}\n{"pe":"a","port":"o","data":1.0}\n',
            SAME_VALUES,
            "",
        ),
        (
            "a.jsonl",
            '{"pe":"a","port":"o","data":1}\n{"pe":"a","port":"o","data":2}\n',
            '{"pe":"a","port":"o","data":2}\n{"pe":"a","port":"o","data":1}\n',
            DIFFERENT,
            "line 1.data: 1 before, 2 now; 2 values differ, by at most 1 of their size",
        ),
    ],
)
def test_files_are_compared_as_values(
    tmp_path: Path, name: str, before: str, after: str, kind: str, told: str
) -> None:
    one, other = tmp_path / name, tmp_path / "other" / name
    other.parent.mkdir()
    one.write_text(before)
    other.write_text(after)
    assert compare(one, one) == Verdict(EQUAL)
    verdict = compare(one, other)
    assert verdict.kind == kind
    assert verdict.told.startswith(told)
    if "pe" in before and kind == DIFFERENT:
        assert compare(one, other, unordered={"a.o"}).kind == SAME_VALUES


def test_arrays_and_stream_files_are_compared_as_values(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    values = np.array([[1.0, np.nan], [2.0, 4.0]])
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", values.astype("f4"))
    assert compare(tmp_path / "a.npy", tmp_path / "b.npy").kind == SAME_VALUES
    changed = values.copy()
    changed[1, 1] = 5
    np.save(tmp_path / "b.npy", changed)
    verdict = compare(tmp_path / "a.npy", tmp_path / "b.npy")
    assert verdict.told == "[1, 1]: 4.0 before, 5.0 now; by at most 0.2 of their size"
    for name, array in (("a.d4ps", values), ("b.d4ps", changed)):
        with StreamWriter(tmp_path / name, [("pe", "out")]) as writer:
            writer.write(0, {"k": 1, "array": array})
            writer.write(0, [name])
    verdict = compare(tmp_path / "a.d4ps", tmp_path / "b.d4ps")
    assert verdict.kind == DIFFERENT
    assert verdict.told.startswith("item 1.array[1, 1]: 4.0 before, 5.0 now; 2 values differ")
