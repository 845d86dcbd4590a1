"""``d4pcwl-runner --outdir``: several runs that are given the same folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mapping_kit import wait_until
from runner_kit import run, start

from d4pcwl.cwl.importing.graph.workplace import Workplace

WAITS = """\
cwlVersion: v1.2
class: CommandLineTool
inputs:
  who: {type: string, inputBinding: {position: 1}}
  go: {type: string, inputBinding: {position: 2}}
outputs: {files: {type: 'File[]', outputBinding: {glob: '*.txt'}}}
baseCommand:
  - sh
  - -c
  - |
    touch "$1.began"; until [ -e "$1" ]; do sleep 0.05; done
    for n in 0 1 2 3 4 5 6 7 8 9; do echo "$0" > $n.txt; done
"""


def order(folder: Path, who: str, go: Path) -> Path:
    path = folder / f"{who}.json"
    path.write_text(json.dumps({"who": who, "go": str(go)}))
    return path


def test_two_runs_with_one_output_folder(tmp_path: Path) -> None:
    document = tmp_path / "waits.cwl"
    document.write_text(WAITS)
    first_go, out = tmp_path / "first", tmp_path / "out"
    ours = start("d4pcwl-runner")
    first = subprocess.Popen(
        [*ours, "--outdir", out, document, order(tmp_path, "first", go=first_go)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until((tmp_path / "first.began").exists)
    _, told = run(document, order(tmp_path, "second", go=document), outdir=out)
    assert f"note: another run also puts its files into {out}" in told
    assert {path.read_text() for path in out.iterdir()} == {"second\n"}
    first_go.touch()
    _, errors = first.communicate(timeout=60)
    assert (first.returncode, "another run" in errors) == (0, False)
    assert {path.read_text() for path in out.iterdir()} == {"first\n"}
    assert len(os.listdir(out)) == 10


def test_files_are_placed_in_turn(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from d4pcwl.cwl.importing.cwltool.outdir import placing\n"
        "for _ in range(100):\n"
        "    with placing(sys.argv[1]):\n"
        "        for n in range(5): Path(sys.argv[1], str(n)).write_text(sys.argv[2])\n"
        "        found = {Path(sys.argv[1], str(n)).read_text() for n in range(5)}\n"
        "        assert found == {sys.argv[2]}, found\n"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, tmp_path / "out", who]) for who in "abc"]
    assert [each.wait(60) for each in runs] == [0, 0, 0]
    assert sorted(os.listdir(tmp_path / "out")) == list("01234")


def test_a_folder_that_cannot_be_written_is_told_of_before_anything_runs(tmp_path: Path) -> None:
    document = tmp_path / "waits.cwl"
    document.write_text(WAITS)
    (tmp_path / "file").touch()
    given = order(tmp_path, "x", go=tmp_path / "go")
    _, told = run(document, given, outdir=tmp_path / "file" / "out", code=2)
    assert f"--outdir {tmp_path}/file/out: cannot be written: Not a directory" in told
    assert not (tmp_path / "go.began").exists()


def test_a_folder_that_cannot_be_made_leaves_no_other(tmp_path: Path) -> None:
    place = Workplace(str(tmp_path / "outputs"), "/dev/null/scratch")
    with pytest.raises(OSError, match="/dev/null"):
        place.__enter__()
    assert list(tmp_path.iterdir()) == []
