"""``d4pcwl-runner``: how documents and job orders are given, and what is kept from run to run."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from runner_kit import run, start, write

ECHO = """
cwlVersion: v1.2
class: CommandLineTool
inputs: {text: {type: string, inputBinding: {}}, more: {type: 'string[]?', inputBinding: {}}}
outputs: {text: {type: stdout}}
baseCommand: echo
stdout: said.txt
"""


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    write(tmp_path, echo_cwl=ECHO)
    return tmp_path / "echo.cwl"


def said(outputs: dict[str, Any]) -> str:
    return Path(outputs["text"]["path"]).read_text()


def finish(*arguments: object, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*start("d4pcwl-runner"), *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_inputs_may_be_options(echo: Path) -> None:
    done = finish(echo, "--text", "hello", "--more", "a", "--more", "b", cwd=echo.parent)
    assert said(json.loads(done.stdout)) == "a b hello\n"
    assert (echo.parent / "said.txt").exists()  # --outdir is the current folder by default


def test_inputs_that_are_not_given_are_asked_for(echo: Path) -> None:
    done = finish(echo, "--more", "a", cwd=echo.parent)
    assert done.returncode == 2
    assert "--text" in done.stderr


def test_the_job_order_may_come_from_standard_input(echo: Path) -> None:
    done = finish("--outdir", "out", echo, "-", cwd=echo.parent, stdin="text: 'from YAML'")
    assert said(json.loads(done.stdout)) == "from YAML\n"


def test_a_job_order_may_name_its_document(echo: Path) -> None:
    job = echo.parent / "job.yml"
    job.write_text("cwl:tool: echo.cwl\ntext: alone\n")
    outputs, _ = run(job, outdir=echo.parent / "out")
    assert said(outputs) == "alone\n"


def test_a_process_of_a_packed_document(tmp_path: Path) -> None:
    tool = ECHO.replace("cwlVersion: v1.2\n", "").strip().replace("\n", "\n    ")
    write(tmp_path, packed_cwl=f"cwlVersion: v1.2\n$graph:\n  - id: one\n    {tool}\n")
    done = finish(f"{tmp_path}/packed.cwl#one", "--text", "packed", cwd=tmp_path)
    assert said(json.loads(done.stdout)) == "packed\n"
    done = finish(tmp_path / "packed.cwl", "--text", "packed", cwd=tmp_path)
    assert done.returncode == 2
    assert "#one" in done.stderr


def test_older_versions_run(echo: Path) -> None:
    for version in ("v1.0", "v1.1"):
        echo.write_text(ECHO.replace("v1.2", version))
        done = finish("--outdir", "out", echo, "--text", version, cwd=echo.parent)
        assert said(json.loads(done.stdout)) == f"{version}\n"


def test_requirements_of_the_job_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        env_cwl="cwlVersion: v1.2\nclass: CommandLineTool\ninputs: []\n"
        "outputs: {text: stdout}\nbaseCommand: [sh, -c, 'echo $GREETING']\n",
        job_json=json.dumps(
            {
                "cwl:requirements": [
                    {
                        "class": "EnvVarRequirement",
                        "envDef": [{"envName": "GREETING", "envValue": "from the job"}],
                    }
                ]
            }
        ),
        overrides_json=json.dumps(
            {
                "cwltool:overrides": {
                    "env.cwl": {
                        "requirements": {"EnvVarRequirement": {"envDef": {"GREETING": "over"}}}
                    }
                }
            }
        ),
    )
    for job, expected in (("job.json", "from the job\n"), ("overrides.json", "over\n")):
        outputs, _ = run(tmp_path / "env.cwl", tmp_path / job, outdir=tmp_path / "out")
        assert said(outputs) == expected
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text((tmp_path / "job.json").read_text() + "\n")
    _, told = run(tmp_path / "env.cwl", "--jobs", jobs, outdir=tmp_path / "out", code=1)
    assert f"{jobs}:1" in told


def test_what_becomes_of_output_files(echo: Path) -> None:
    scratch = echo.parent / "scratch"
    job = write(echo.parent, job_json='{"text": "x"}') / "job.json"
    outputs, _ = run(
        echo,
        *("--leave-outputs", "--tmp-outdir-prefix", f"{scratch}/"),
        job,
        outdir=echo.parent / "out",
    )
    assert said(outputs) == "x\n"
    assert Path(outputs["text"]["path"]).is_relative_to(scratch)
    outputs, _ = run(
        echo, "--copy-outputs", "--no-compute-checksum", job, outdir=echo.parent / "out"
    )
    assert Path(outputs["text"]["path"]) == echo.parent / "out" / "said.txt"


def test_the_environment_is_empty_unless_preserved(tmp_path: Path) -> None:
    write(
        tmp_path,
        env_cwl="cwlVersion: v1.2\nclass: CommandLineTool\ninputs: []\n"
        "outputs: {text: stdout}\nbaseCommand: [sh, -c, 'echo \"<$WORD>\"']\n",
    )
    for options, expected in (
        ((), "<>\n"),
        (("--preserve-environment", "WORD"), "<kept>\n"),
        (("--preserve-entire-environment",), "<kept>\n"),
    ):
        outputs, _ = run(
            tmp_path / "env.cwl", *options, outdir=tmp_path / "out", env={"WORD": "kept"}
        )
        assert said(outputs) == expected


@pytest.mark.parametrize("damage", ["", "not a pickle", "of another"])
def test_the_schema_is_kept_and_made_anew_where_it_cannot_be_used(damage: str, echo: Path) -> None:
    cache = echo.parent / "cache"
    job = write(echo.parent, job_json='{"text": "x"}') / "job.json"
    env = {"XDG_CACHE_HOME": str(cache)}
    run(echo, job, outdir=echo.parent / "out", env=env)
    (kept,) = (cache / "d4pcwl").iterdir()
    content = kept.read_bytes()
    if damage == "not a pickle":
        kept.write_text(damage)
    elif damage:
        kept.write_bytes(b"cos\nabort\n(tR.")  # would end the run if it were read
        kept.chmod(0o666)
    outputs, _ = run(echo, job, outdir=echo.parent / "out", env=env)
    assert said(outputs) == "x\n"
    assert [*(cache / "d4pcwl").iterdir()] == [kept]
    assert len(kept.read_bytes()) == len(content)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


DOCKER = """#!/bin/sh
# Stands in for docker: a client whose end does not end the container.
case "$1" in
  inspect) echo '[{}]' ;;
  run)
    for part; do
      case "$part" in --cidfile=*) echo container42 > "${part#--cidfile=}" ;; esac
    done
    touch RUNNING
    sleep 1000 ;;
  kill) echo "$@" >> LOG ;;
esac
"""


def test_an_interrupt_ends_containers(echo: Path) -> None:
    folder = echo.parent
    echo.write_text(ECHO + "hints: {DockerRequirement: {dockerPull: some/image}}\n")
    docker = folder / "bin" / "docker"
    docker.parent.mkdir()
    running = folder / "running"
    docker.write_text(DOCKER.replace("LOG", f"{folder}/log").replace("RUNNING", str(running)))
    docker.chmod(0o755)
    runner = subprocess.Popen(
        [*start("d4pcwl-runner"), "--outdir", str(folder / "out"), str(echo), "--text", "x"],
        env={**os.environ, "PATH": f"{docker.parent}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not running.exists():
        assert time.monotonic() < deadline
        assert runner.poll() is None
        time.sleep(0.05)
    runner.send_signal(signal.SIGINT)
    _, told = runner.communicate(timeout=60)
    assert runner.returncode == 130, told
    assert (folder / "log").read_text() == "kill container42\n"


def test_quick_imports() -> None:
    """``--help`` must not load cwltool."""
    code = "import d4pcwl.cli.runner, sys; sys.exit('cwltool' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


GRAPH = """
cwlVersion: v1.2
$graph:
- {class: CommandLineTool, id: one, baseCommand: 'true', inputs: [], outputs: []}
- {class: CommandLineTool, id: two, baseCommand: 'true', inputs: [], outputs: []}
- {class: Workflow, id: flow, inputs: [], outputs: [], steps: [{id: s, run: '#two', in: [], out: []}]}
"""  # noqa: E501


def test_a_document_without_main_asks_which(tmp_path: Path) -> None:
    write(tmp_path, graph_cwl=GRAPH)
    for name in ("graph.cwl", str(tmp_path / "graph.cwl")):
        done = finish(name, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1
        assert f"{name}#one, {name}#two, {name}#flow" in done.stderr
    for choice in ("one", "flow"):
        assert finish("--no-container", f"graph.cwl#{choice}", cwd=tmp_path).returncode == 0
    done = finish("graph.cwl#three", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "graph.cwl#one, graph.cwl#two, graph.cwl#flow" in done.stderr


def test_what_a_tool_says_beyond_its_outputs_is_told_of(tmp_path: Path) -> None:
    write(
        tmp_path,
        tool_cwl="cwlVersion: v1.2\nclass: CommandLineTool\ninputs: []\noutputs: {a: int}\n"
        """baseCommand: [sh, -c, 'echo "{\\"a\\": 1, \\"b\\": 2}" > cwl.output.json']\n""",
    )
    done = finish("--no-container", "tool.cwl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"a": 1}
    assert "'b'" in done.stderr
    assert "cwl.output.json" in done.stderr
