"""What conformance/engines.py makes of engines that fail, lie or hang."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import cwl_kit as kit
import engine_kit
import pytest

from conformance.engines import EngineFailure, checked_outputs, declared_outputs

pytest.importorskip("cwltool")
ENGINES = ("cwltool", "streamflow", "toil")

TOOL = """\
cwlVersion: v1.2
class: CommandLineTool
requirements: {InlineJavascriptRequirement: {}}
inputs: []
baseCommand: COMMAND
outputs:
  made: {type: File, outputBinding: {glob: a b.txt}}
  more: {type: 'File?', outputBinding: {glob: none.txt}}
"""


def tool(folder: Path, command: str) -> Path:
    path = folder / "tool.cwl"
    path.write_text(TOOL.replace("COMMAND", json.dumps(["sh", "-c", command])))
    return path


@pytest.mark.parametrize("name", ENGINES)
def test_files_have_paths(name: str, tmp_path: Path) -> None:
    engine, document = engine_kit.engine(name), tool(tmp_path, "echo hello > 'a b.txt'")
    outputs = engine.run(document, None, tmp_path / "out", timeout=60)
    assert Path(outputs["made"]["path"]).read_text() == "hello\n"
    assert outputs["more"] is None
    assert engine.version[0].isdigit()


@pytest.mark.parametrize("name", ENGINES)
def test_a_failure_carries_what_was_said(name: str, tmp_path: Path) -> None:
    document = tool(tmp_path, "echo this is why >&2; exit 3")
    with pytest.raises(EngineFailure, match=f"^{name}: exit code") as caught:
        engine_kit.engine(name).run(document, None, tmp_path / "out", timeout=100)
    assert "exit 3" in str(caught.value)


@pytest.mark.parametrize("name", ENGINES)
def test_a_run_that_is_interrupted_is_ended_with_all_its_processes(
    name: str, tmp_path: Path
) -> None:
    started, pids = tmp_path / "started", []
    os.mkfifo(started)

    def interrupt() -> None:
        pids.append(started.read_text().strip())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    engine = engine_kit.engine(name)
    document = tool(tmp_path, f"echo $$ > {started}; exec sleep 1000")
    with pytest.raises(KeyboardInterrupt):
        engine.run(document, None, tmp_path / "out", timeout=100)
    assert pids
    assert not os.path.exists(f"/proc/{pids[0]}")


def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    document = tool(tmp_path, f"sleep 1000; : {tmp_path}")
    with pytest.raises(EngineFailure, match=r"^cwltool: not done after 3 s"):
        engine_kit.engine("cwltool").run(document, None, tmp_path / "out", timeout=3)
    assert engine_kit.processes_of(tmp_path) == []


def test_what_an_engine_says_is_held_against_the_document(tmp_path: Path) -> None:
    document = tool(tmp_path, "true")
    there = {"class": "File", "location": document.as_uri()}
    for said, fault in [
        ("", "no output object"),
        ("{}", "no output made, more"),
        ('{"made": null, "more": null}', "no output made:"),
        (
            json.dumps({"made": {"class": "File", "path": "/not/there"}, "more": None}),
            "/not/there is not there",
        ),
    ]:
        with pytest.raises(EngineFailure, match=fault):
            checked_outputs(document, said)
    said = "INFO {done}\n" + json.dumps({"made": there, "more": None}, indent=4)
    assert checked_outputs(document, said)["made"]["path"] == str(document)


def test_the_outputs_of_packed_documents_are_known(tmp_path: Path) -> None:
    script = kit.write_script(tmp_path, kit.DIAMOND)
    kit.command("d4p2cwl", "-q", script, "--cut", "Source.output", "-o", tmp_path / "cut.cwl")
    outputs = declared_outputs(tmp_path / "cut.cwl")
    assert outputs
    assert {name for name in outputs if name.endswith("results")}


def test_an_engine_that_is_not_there_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("D4PCWL_TOIL", str(tmp_path))
    assert "toil" not in engine_kit.available()
    assert "scripts/engines toil" in engine_kit.missing()["toil"]
