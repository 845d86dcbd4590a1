"""Options of cwltool that people have in their scripts, with d4pcwl-runner."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import cwl_kit as kit
import pytest
from runner_kit import run, run_job, start, write

pytest.importorskip("cwltool")

SAY = """\
cwlVersion: v1.2
class: CommandLineTool
doc: Notes in a log that it runs, and says its text.
baseCommand: [sh, -c, 'echo "$0" >> "$1"; echo "$0"']
inputs:
  text: {type: string, inputBinding: {position: 1}}
  log: {type: string, inputBinding: {position: 2}}
outputs: {file: stdout}
stdout: said
"""

BOTH = """\
cwlVersion: v1.2
class: Workflow
requirements: {ScatterFeatureRequirement: {}}
inputs: {text: string, texts: 'string[]', log: string}
outputs:
  alone: {type: File, outputSource: one/file}
  several: {type: 'File[]', outputSource: each/file}
steps:
  one: {run: say.cwl, in: {text: text, log: log}, out: [file]}
  each: {run: say.cwl, scatter: text, in: {text: texts, log: log}, out: [file]}
"""


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return write(tmp_path, say_cwl=SAY, both_cwl=BOTH)


def inputs(flow: Path, *texts: str) -> dict[str, Any]:
    return {"text": "hello", "texts": list(texts), "log": str(flow / "log")}


def ran(flow: Path) -> list[str]:
    """What has been said, in alphabetical order."""
    return sorted((flow / "log").read_text().split())


def contents(made: dict[str, Any]) -> list[str]:
    return [Path(file["path"]).read_text().strip() for file in (made["alone"], *made["several"])]


def printed(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
    command = [*start("d4pcwl-runner"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


# --- what runs ------------------------------------------------------------------------------------


def test_what_is_cached_is_not_made_again(flow: Path) -> None:
    cached = ("--cachedir", str(flow / "cache"), "-n", "3")
    made, _ = run_job(flow, "both", *cached, **inputs(flow, "a", "a", "b"))
    assert contents(made) == ["hello", "a", "a", "b"]
    assert ran(flow) == ["a", "b", "hello"]  # equal ones are made once, though side by side
    made, _ = run_job(flow, "both", *cached, **inputs(flow, "b", "c"))
    assert contents(made) == ["hello", "b", "c"]
    assert ran(flow) == ["a", "b", "c", "hello"]


def test_only_what_a_target_depends_on_runs(flow: Path) -> None:
    made, _ = run_job(flow, "both", "--target", "several", texts=["x", "y"], log=str(flow / "log"))
    assert list(made) == ["several"]
    assert ran(flow) == ["x", "y"]
    _, told = run_job(flow, "both", "-t", "svreal", code=1, **inputs(flow))
    assert "--target svreal: the workflow has no such output, step or input" in told
    assert "did you mean several?" in told
    _, told = run_job(flow, "say", "-t", "file", code=2, text="x", log=str(flow / "log"))
    assert "--target is for workflows" in told


def test_temporary_folders_may_be_kept(flow: Path) -> None:
    where = ("--tmp-outdir-prefix", str(flow / "kept" / "run-"))
    run_job(flow, "both", *where, **inputs(flow, "x"))
    assert list((flow / "kept").iterdir()) == []
    _, told = run_job(flow, "both", "--leave-tmpdir", *where, **inputs(flow, "x"))
    (folder,) = (flow / "kept").iterdir()
    assert f"kept in {folder} and {folder / 'tmp'}" in told
    assert list((folder / "tmp").iterdir())


def test_messages_begin_with_the_time(flow: Path) -> None:
    _, told = run_job(flow, "both", "--timestamps", **inputs(flow))
    assert re.search(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] one: done in", told, re.M)
    _, told = run_job(flow, "nothing", "--timestamps", code=1)
    assert re.search(r"^\[\d{4}[-\d: ]+\] d4pcwl-runner: error: ", told, re.M)


def test_udocker_runs_containers(flow: Path) -> None:
    text = SAY.replace("stdout: said", "requirements: {DockerRequirement: {dockerPull: some}}")
    write(flow, boxed_cwl=text)
    (flow / "bin").mkdir()
    fake = flow / "bin" / "udocker"
    fake.write_text('#!/bin/sh\necho "$@" >> "$(dirname "$0")/asked"\n')
    fake.chmod(0o755)
    given = {"text": "x", "log": "y"}
    (flow / "job.json").write_text(json.dumps(given))
    arguments = (flow / "boxed.cwl", "--udocker", flow / "job.json")
    run(*arguments, outdir=flow / "out", env={"PATH": f"{fake.parent}:/usr/bin:/bin"})
    asked = (flow / "bin" / "asked").read_text()
    assert " run " in f" {asked}"
    assert "some sh -c" in asked


def test_what_says_nothing_here_is_accepted_with_a_word(flow: Path) -> None:
    made, told = run_job(flow, "both", "--parallel", "--rm-tmpdir", **inputs(flow, "x"))
    assert contents(made) == ["hello", "x"]
    assert "note: --parallel: tools run side by side anyway" in told
    assert "note: --rm-tmpdir: temporary folders are removed anyway" in told
    _, told = run_job(flow, "both", "--parallel", "--quiet", **inputs(flow, "x"))
    assert "--parallel" not in told


@pytest.mark.parametrize("cut", ["whole", "pe"])
def test_what_steps_have_printed_is_given_out_where_there_is_any(cut: str, tmp_path: Path) -> None:
    line = "        for number in range(20):\n"
    script = kit.WORDS.replace(line, f"        print('lines')\n{line}")
    for name, text in (("quiet", kit.WORDS), ("loud", script)):
        kit.write_script(tmp_path, text, f"{name}.py")
        kit.command(
            "d4p2cwl", "-q", tmp_path / f"{name}.py", "--cut", cut, "-o", f"{tmp_path}/{name}.cwl"
        )
    made, _ = run_job(tmp_path, "quiet")
    printed = {name for name in made if name.endswith("printed")}
    assert printed
    assert {made[name] for name in printed} == {None}
    assert not [path for path in (tmp_path / "out").iterdir() if not path.stat().st_size]
    made, _ = run_job(tmp_path, "quiet", "--empty-printed")
    assert all(made[name]["size"] == 0 for name in printed)
    made, _ = run_job(tmp_path, "loud")
    assert [name for name in printed if made[name]]


def test_formats_are_compared_by_their_ontology_unless_it_is_skipped(tmp_path: Path) -> None:
    write(
        tmp_path,
        formats_ttl="@prefix f: <http://example.org/#> .\n"
        "@prefix s: <http://www.w3.org/2000/01/rdf-schema#> .\nf:csv s:subClassOf f:text .\n",
        tool_cwl="cwlVersion: v1.2\nclass: CommandLineTool\nbaseCommand: 'true'\n"
        "$namespaces: {f: 'http://example.org/#'}\n$schemas: [formats.ttl]\n"
        "inputs: {table: {type: File, format: f:text}}\noutputs: []\n",
    )
    table = {"class": "File", "path": str(write(tmp_path, table_csv="1") / "table.csv")}
    table["format"] = "http://example.org/#csv"
    assert run_job(tmp_path, "tool", table=table)[0] == {}
    _, told = run_job(tmp_path, "tool", "--skip-schemas", code=1, table=table)
    assert "to have format" in told


# --- instead of a run -----------------------------------------------------------------------------


def test_validate(flow: Path) -> None:
    both = flow / "both.cwl"
    assert printed("--validate", both)[0] == f"{both} is valid CWL.\n"
    (flow / "job.json").write_text(json.dumps({"text": 3, "texts": [], "log": ""}))
    assert "text" in printed("--validate", both, flow / "job.json", code=1)[1]
    write(flow, wrong_cwl=BOTH.replace("one/file", "one/fiel"))
    assert "fiel" in printed("--validate", flow / "wrong.cwl", code=1)[1]
    write(flow, said_cwl=BOTH.replace("text: text,", "text: {source: text, valueFrom: x},"))
    assert "add StepInputExpression" in printed("--validate", flow / "said.cwl", code=1)[1]
    assert ran(flow) == []


def test_pack(flow: Path) -> None:
    text, _ = printed("--pack", flow / "both.cwl")
    classes = {process["id"]: process["class"] for process in json.loads(text)["$graph"]}
    assert classes == {"#main": "Workflow", "#say.cwl": "CommandLineTool"}
    (flow / "packed.cwl").write_text(text)
    made, _ = run_job(flow, "packed", **inputs(flow, "x"))
    assert contents(made) == ["hello", "x"]


def test_print_deps(flow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = json.loads(printed("--print-deps", flow / "both.cwl")[0])
    assert [file["location"] for file in found["secondaryFiles"]] == ["say.cwl"]
    (flow / "inner").mkdir()
    monkeypatch.chdir(flow / "inner")
    there = ("--relative-deps", "cwd", "--print-deps")
    assert json.loads(printed(*there, "../both.cwl")[0])["location"] == "../both.cwl"


# --- where it is ----------------------------------------------------------------------------------


def test_the_runner_is_among_the_commands_of_d4pcwl(flow: Path) -> None:
    done = kit.command("d4pcwl", "cwl", "--validate", flow / "say.cwl")
    assert done.stdout.endswith("is valid CWL.\n")
    done = kit.command("d4pcwl", "run", "multi", flow / "say.cwl", code=2)
    assert "is a CWL document, not a script; run it with d4pcwl-runner" in done.stderr
