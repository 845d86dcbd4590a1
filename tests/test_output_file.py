"""Files that runs leave: each run's own while it lasts, whole at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cwl_kit import HEAD, command, with_commands, write_script
from mapping_kit import Mapping, wait_until

from d4pcwl.runtime.results import ErrorLines, JsonLinesFile, cut_torn_line
from d4pcwl.streams.output_file import OutputFile
from d4pcwl.streams.reader import StreamReader
from d4pcwl.streams.writer import StreamWriter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.jsonl"


def names(path: Path) -> set[str]:
    return set(os.listdir(path.parent))


def put(output: OutputFile, text: str) -> None:
    output.file.write(text.encode())


def test_a_file_is_beside_its_place_until_it_is_whole(path: Path) -> None:
    path.write_text("before")
    path.chmod(0o600)
    output = OutputFile(path)
    put(output, "whole")
    assert (path.read_text(), names(path)) == ("before", {"r.jsonl", "r.jsonl.partial"})
    output.finish()
    assert (path.read_text(), names(path)) == ("whole", {"r.jsonl"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert not output.overtook


def test_what_a_failed_run_left_goes_when_the_next_begins(path: Path) -> None:
    output = OutputFile(path)
    put(output, "so far")
    output.keep()
    assert (path.with_name("r.jsonl.partial").read_text(), path.exists()) == ("so far", False)
    output = OutputFile(path)
    put(output, "2")
    output.finish()
    assert (path.read_text(), names(path)) == ("2", {"r.jsonl"})


@pytest.mark.parametrize("first_fails", [False, True])
@pytest.mark.parametrize("second_fails", [False, True])
def test_two_that_write_the_same_file_never_mix(
    first_fails: bool, second_fails: bool, path: Path
) -> None:
    first = OutputFile(path)
    put(first, "first" * 10_000)
    second, third = OutputFile(path), OutputFile(path)
    assert (first.contended, second.contended, third.contended) == (False, True, True)
    assert len({first.place, second.place, third.place}) == 3
    put(second, "second")
    third.drop()
    first.keep() if first_fails else first.finish()
    second.keep() if second_fails else second.finish()
    assert second.overtook == (not first_fails and not second_fails)
    assert first.place.read_text() in ("first" * 10_000, "second")
    assert second.place.read_text() == "second"
    if not (first_fails or second_fails):
        assert (path.read_text(), names(path)) == ("second", {"r.jsonl"})
    if first_fails and second_fails:
        assert names(path) == {"r.jsonl.partial", "r.jsonl.2.partial"}


def test_many_at_a_time_each_have_a_file_of_their_own(path: Path) -> None:
    code = (
        "import sys; from d4pcwl.streams.output_file import OutputFile\n"
        "for _ in range(200):\n"
        "    output = OutputFile(sys.argv[1])\n"
        "    for _ in range(20):\n"
        "        output.file.write(sys.argv[2].encode() * 999); output.file.flush()\n"
        "    output.finish()\n"
        "    seen = open(sys.argv[1]).read()\n"
        "    assert len(seen) == 19980 and len(set(seen)) == 1, seen[:50]\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, path, letter], stderr=subprocess.PIPE)
        for letter in "abcd"
    ]
    errors = [writer.communicate()[1].decode() for writer in writers]
    assert errors == [""] * 4
    assert names(path) == {"r.jsonl"}


def test_what_a_killed_run_left_is_told_from_what_is_written(path: Path) -> None:
    code = (
        "import os, sys; from d4pcwl.streams.output_file import OutputFile\n"
        "output = OutputFile(sys.argv[1]); output.file.write(b'x'); output.file.flush()\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=False)
    assert path.with_name("r.jsonl.partial").read_text() == "x"
    output = OutputFile(path)
    assert not output.contended
    output.finish()
    assert names(path) == {"r.jsonl"}


def test_a_file_stays_where_it_was_begun(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outputs = [OutputFile("a"), OutputFile("b")]
    (tmp_path / "else").mkdir()
    monkeypatch.chdir("else")
    outputs[0].finish()
    outputs[1].keep()
    assert names(path) == {"a", "b.partial", "else"}
    assert not os.listdir()


def test_a_link_is_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    path.symlink_to("far/real")
    for text in ("one", "two"):  # the link leads nowhere at first
        output = OutputFile(path)
        put(output, text)
        output.finish()
        assert (path.is_symlink(), (tmp_path / "far/real").read_text()) == (True, text)


def test_what_others_put_in_the_way_is_left_alone(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    partial = path.with_name("r.jsonl.partial")
    partial.symlink_to(victim)
    for _ in range(2):
        output = OutputFile(path)
        put(output, "ours")
        output.finish()
        assert (victim.read_text(), path.read_text()) == ("theirs", "ours")
        partial.unlink()
        os.mkfifo(partial)
    partial.unlink()
    partial.mkdir()
    OutputFile(path).finish()
    assert path.read_text() == ""


def test_a_pipe_is_written_to_directly(path: Path) -> None:
    os.mkfifo(path)
    reader = subprocess.Popen(["cat", path], stdout=subprocess.PIPE, text=True)
    output = OutputFile(path)
    put(output, "through")
    output.finish()
    assert reader.communicate()[0] == "through"
    assert names(path) == {"r.jsonl"}


def test_where_there_are_no_locks_nothing_is_taken_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(fd: int, how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    first, second = OutputFile(path), OutputFile(path)
    put(first, "first")
    put(second, "second")
    first.keep()
    second.finish()
    assert path.with_name("r.jsonl.partial").read_text() == "first"
    assert path.read_text() == "second"


def test_a_line_that_a_full_disk_tore_is_cut_off(path: Path) -> None:
    for text, left in (('{"a": 1}\n{"a"', '{"a": 1}\n'), ('{"a"', ""), ("1\n", "1\n")):
        output = OutputFile(path)
        put(output, text)
        output.keep()
        cut_torn_line(output)
        assert output.place.read_text() == left


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_file_that_is_not_to_be_written_is_not_replaced(path: Path) -> None:
    path.write_text("mine")
    path.chmod(0o400)
    with pytest.raises(PermissionError):
        OutputFile(path)


# --- results, errors and streams ------------------------------------------------------------------


def test_each_kind_of_file_has_a_name_of_its_own_for_each_run(tmp_path: Path) -> None:
    lines = [JsonLinesFile(tmp_path / "r.jsonl") for _ in range(2)]
    for number, file in enumerate(lines):
        file.take("p", "o")(number)
    errors = [ErrorLines(tmp_path / "e.jsonl") for _ in range(2)]
    for number, told in enumerate(errors):
        told.tell({"number": number})
        assert json.loads(told.output.place.read_text()) == {"number": number}
    streams = [StreamWriter(tmp_path / "s.d4ps", [("p", "o")]) for _ in range(2)]
    for number, stream in enumerate(streams):
        stream.write(0, number)
    for last in (1, 0):
        lines[last].close(True)
        errors[last].close(True)
        streams[last].close()
        assert json.loads((tmp_path / "r.jsonl").read_text())["data"] == last
        assert json.loads((tmp_path / "e.jsonl").read_text()) == {"number": last}
        with StreamReader(tmp_path / "s.d4ps") as reader:
            assert [item for _, item in reader] == [last]
    assert set(os.listdir(tmp_path)) == {"r.jsonl", "e.jsonl", "s.d4ps"}


# --- runs -----------------------------------------------------------------------------------------

WAITS = """
import os, sys, time

class Source(ProducerPE):
    def _process(self, inputs):
        for number in range(3000):
            if number == 2000:
                open(os.environ["WHO"], "w").close()
                give_up = time.monotonic() + 60
                while not os.path.exists(os.environ["GO"]) and time.monotonic() < give_up:
                    time.sleep(0.01)
            self.write("output", os.environ["WHO"] * 40)

graph = WorkflowGraph()
graph.add(Source())
"""


@pytest.mark.parametrize("name", ["r.jsonl", "r.d4ps"])
def test_two_runs_with_one_results_file(name: str, tmp_path: Path) -> None:
    script = write_script(tmp_path, HEAD + WAITS)

    def begin(who: str, go: str, *how: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["dispel4py", how[0], script, *how[1:], "--results", name],
            env={**with_commands(), "WHO": who, "GO": go},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until((tmp_path / who).exists)
        return process

    def lines() -> list[str]:
        if name == "r.d4ps":
            text = command("d4pcwl", "stream", "cat", tmp_path / name).stdout
        else:
            text = (tmp_path / name).read_text()
        return [json.loads(line)["data"] for line in text.splitlines()]

    first = begin("a", "go_a", "simple")
    second = begin("b", "go_b", "multi", "-n", "2")
    (tmp_path / "go_a").touch()
    assert first.communicate()[1] == ""
    assert (first.returncode, lines()) == (0, ["a" * 40] * 3000)
    (tmp_path / "go_b").touch()
    told = second.communicate()[1]
    assert (second.returncode, lines()) == (0, ["b" * 40] * 3000)
    assert f"another run also writes to {name}" in told
    assert f"another run wrote {name} in the meantime" in told
    assert not list(tmp_path.glob("*.partial"))


# --- scripts and PEs that go to other folders -----------------------------------------------------

GOES = """
import os

{at_import}

class Source(ProducerPE):
    def _process(self, inputs):
        os.chdir("/")
        for number in range(4):
            self.write("output", number)

class Goes(IterativePE):
    on_error = "skip"
    def _preprocess(self):
        os.chdir("/")
    def _process(self, data):
        os.chdir("/proc")
        return 6 // data

graph = WorkflowGraph()
graph.connect(Source(), "output", Goes(), "input")
"""

AT_IMPORT = ["", "os.chdir('/')"]


@pytest.fixture(params=AT_IMPORT, ids=["", "at_import"])
def goes(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_script(tmp_path, HEAD + GOES.format(at_import=request.param))


@pytest.mark.processes(2)
@pytest.mark.parametrize("name", ["r.jsonl", "r.d4ps"])
def test_files_stay_where_a_pe_goes_elsewhere(mapping: Mapping, name: str, goes: Path) -> None:
    folder = goes.parent
    (folder / "in.json").write_text('{"Source": 1}')
    command(
        *("dispel4py", mapping.name, goes.name, "-n", mapping.processes, "-f", "in.json"),
        *("--results", name, "--errors", "e.jsonl"),
        cwd=folder,
    )
    text = command("d4pcwl", "stream", "cat", folder / name).stdout if name == "r.d4ps" else None
    text = text or (folder / name).read_text()
    assert sorted(json.loads(line)["data"] for line in text.splitlines()) == [2, 3, 6]
    assert json.loads((folder / "e.jsonl").read_text())["error"].startswith("ZeroDivisionError")
    found = {entry for entry in os.listdir(folder) if entry != "__pycache__"}
    assert found == {"flow.py", "in.json", name, "e.jsonl"}


def test_partial_files_stay_as_well(goes: Path) -> None:
    goes.write_text(goes.read_text().replace('on_error = "skip"', ""))
    for mapping in ("simple", "multi"):
        done = command(
            *("dispel4py", mapping, goes.name, "-n", 2, "--results", "r.jsonl"),
            cwd=goes.parent,
            code=1,
        )
        assert "ZeroDivisionError" in done.stderr
        assert "r.jsonl.partial" in done.stderr
        assert (goes.parent / "r.jsonl.partial").exists()


def test_streams_of_a_stage_stay(goes: Path) -> None:
    folder = goes.parent
    for mapping in ("simple", "multi"):
        stage = ("dispel4py", mapping, goes.name, "-n", 2, "--stage")
        command(*stage, "Source", "--to", "Source.output=s.d4ps", cwd=folder)
        command(*stage, "Goes", "--from", "s.d4ps", "--results", "r.jsonl", cwd=folder)
        assert len((folder / "r.jsonl").read_text().splitlines()) == 3
        (folder / "r.jsonl").unlink()
        split = ("Source.output", "Goes.input", "s1", "s2")
        command(*stage, "Source", "--split", *split, cwd=folder)
        assert (folder / "s1").exists()
        assert (folder / "s2").exists()


def test_documents_go_where_they_are_asked_for(goes: Path) -> None:
    folder = goes.parent
    command("d4pcwl", "graph", goes.name, "-o", "g.dot", cwd=folder)
    options = ("-q", "--cut", "pe", "--job", "job.yml", "--report", "report.json")
    command("d4p2cwl", goes.name, "-o", "flow.cwl", *options, cwd=folder)
    for name in ("g.dot", "job.yml", "report.json"):
        assert (folder / name).exists()
    assert "location: flow.py" in (folder / "flow.cwl").read_text()
