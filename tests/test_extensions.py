"""cwltool's extensions and the development versions of CWL, with d4pcwl-runner."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from runner_kit import run, write

SPACE = "$namespaces: {cwltool: 'http://commonwl.org/cwltool#'}\n"


def tool(version: str, body: str) -> str:
    """A CommandLineTool that may use extensions."""
    return f"cwlVersion: {version}\nclass: CommandLineTool\n{SPACE}{body}"


def run_tool(
    folder: Path, text: str, *options: str | Path, status: int = 0, **inputs: Any
) -> tuple[Any, str]:
    """What a document gives, and standard error."""
    write(folder, tool_cwl=text)
    job = folder / "job.json"
    job.write_text(json.dumps(inputs), encoding="utf-8")
    given = ["--no-container", *options, job]
    return run(folder / "tool.cwl", *given, outdir=folder / "out", code=status)


def test_programs_of_mpi_are_started_as_the_file_says(tmp_path: Path) -> None:
    starter = tmp_path / "start"
    starter.write_text('#!/bin/sh\necho "$MARK $1 $2"\nshift 2\nexec "$@"\n')
    starter.chmod(starter.stat().st_mode | stat.S_IXUSR)
    config = tmp_path / "mpi.yml"
    config.write_text(f"runner: {starter}\nnproc_flag: --ranks\nenv_set: {{MARK: begin}}\n")
    text = tool(
        "v1.2",
        "requirements: {cwltool:MPIRequirement: {processes: $(inputs.n)}}\ninputs: {n: int}\n"
        "outputs: {said: stdout}\nbaseCommand: [echo, done]\nstdout: said\n",
    )
    options = ["--enable-ext", "--mpi-config-file", str(config)]
    made, _ = run_tool(tmp_path, text, *options, n=3)
    assert Path(made["said"]["path"]).read_text() == "begin --ranks 3\ndone\n"
    config.write_text("starter: x\n")
    _, told = run_tool(tmp_path, text, *options, n=3, status=2)
    assert f"--mpi-config-file {config}: Unknown key" in told


SECRET = """\
hints: {cwltool:Secrets: {secrets: [word]}}
requirements:
  InitialWorkDirRequirement: {listing: [{entryname: conf, entry: 'word=$(inputs.word)'}]}
inputs: {word: string, code: int}
outputs: {length: {type: File, outputBinding: {glob: length}}}
arguments: [sh, -c, 'wc -c < conf > length; echo $0 | wc -c >> length; exit $1', $(inputs.word), $(inputs.code)]
"""  # noqa: E501


def test_secrets_are_seen_by_tools_and_by_nobody_else(tmp_path: Path) -> None:
    made, told = run_tool(tmp_path, tool("v1.2", SECRET), word="hidden", code=0)
    assert Path(made["length"]["path"]).read_text().split() == ["11", "7"]
    assert "hidden" not in told


def test_messages_of_failures_hide_secrets(tmp_path: Path) -> None:
    write(tmp_path, tool_cwl=tool("v1.2", SECRET))
    job = tmp_path / "job.json"
    job.write_text('{"word": "hidden", "code": 3}', encoding="utf-8")
    _, told = run(tmp_path / "tool.cwl", "--no-container", job, outdir=tmp_path / "out", code=1)
    assert "command: sh -c" in told
    assert "(secret-" in told
    assert "hidden" not in told


def test_what_cannot_be_hidden_is_refused(tmp_path: Path) -> None:
    _, told = run_tool(tmp_path, tool("v1.2", SECRET), word=["hidden"], code=0, status=1)
    assert "cwltool:Secrets: 'word' is not a string, and cannot be hidden" in told


@pytest.mark.parametrize("enabled", [True, False])
def test_limits_of_time(enabled: bool, tmp_path: Path) -> None:
    text = tool(
        "v1.0",
        "requirements: {cwltool:TimeLimit: {timelimit: 1}}\ninputs: []\noutputs: []\n"
        "baseCommand: [sleep, '100']\n",
    )
    options = ["--enable-ext"] if enabled else []
    _, told = run_tool(tmp_path, text, *options, status=1 if enabled else 33)
    assert ("exceeded time limit of 1 seconds" in told) is enabled
    assert ("use --enable-ext" in told) is not enabled


def test_listings_of_older_documents(tmp_path: Path) -> None:
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "folder" / "file").touch()
    text = tool(
        "v1.0",
        "requirements: {cwltool:LoadListingRequirement: {loadListing: shallow_listing}}\n"
        "inputs: {d: Directory}\noutputs: {n: stdout}\n"
        "arguments: [echo, $(inputs.d.listing.length)]\nstdout: n\n",
    )
    folder = {"class": "Directory", "location": (tmp_path / "folder").as_uri()}
    made, _ = run_tool(tmp_path, text, "--enable-ext", d=folder)
    assert Path(made["n"]["path"]).read_text() == "2\n"


@pytest.mark.parametrize("version", ["v1.1.0-dev1", "v1.2.0-dev1", "v1.2.0-dev3", "v1.3.0-dev1"])
def test_development_versions(version: str, tmp_path: Path) -> None:
    text = tool(version, "inputs: []\noutputs: {n: stdout}\nbaseCommand: [echo, yes]\nstdout: n\n")
    made, _ = run_tool(tmp_path, text, "--enable-dev")
    assert Path(made["n"]["path"]).read_text() == "yes\n"
    _, told = run_tool(tmp_path, text, status=33)
    assert f"CWL {version} is a development version; use --enable-dev" in told


REFUSED = {
    "a process that makes processes": (
        "cwlVersion: v1.2\n" + SPACE + "class: cwltool:ProcessGenerator\ninputs: []\noutputs: []\n"
        "run: {class: CommandLineTool, baseCommand: 'true', inputs: [], outputs: []}\n",
        "tool.cwl:3",
        "ProcessGenerator",
    ),
    "secrets as a requirement": (
        tool(
            "v1.2",
            "requirements: {cwltool:Secrets: {secrets: []}}\nbaseCommand: 'true'\ninputs: []\n"
            "outputs: []\n",
        ),
        "tool.cwl:4",
        "give it under hints",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("options", [[], ["--enable-ext"]])
def test_what_is_refused_is_named_with_its_place(
    name: str, options: list[str], tmp_path: Path
) -> None:
    text, place, message = REFUSED[name]
    _, told = run_tool(tmp_path, text, *options, status=33)
    assert place in told
    assert message in told
