"""``d4pcwl-runner`` when something fails, is refused, or is interrupted."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from mapping_kit import have_ended, wait_until
from runner_kit import CHAIN, LOGGING_TOOL, run, run_job, start, write


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return write(tmp_path, tool_cwl=LOGGING_TOOL, chain_cwl=CHAIN)


def job(folder: Path, texts: list[str]) -> Path:
    path = folder / "job.json"
    path.write_text(json.dumps({"texts": texts, "log": str(folder / "log")}))
    return path


@pytest.mark.parametrize("options", [("--mapping", "simple"), ("-n", "2")])
def test_the_message_says_which_step_and_element_and_why(
    options: tuple[str, ...], chain: Path
) -> None:
    made, told = run(
        chain / "chain.cwl", *options, job(chain, ["a", "bad"]), outdir=chain / "out", code=1
    )
    assert "d4pcwl-runner: step first[1]: permanentFail" in told
    assert "exited with status: 3" in told
    assert "command: sh -c" in told
    assert "standard error, at the end:\n    this is bad" in told
    assert "Traceback" not in told
    assert made["first"] == ["a", "bad"] or made["first"] == ["a", None]


def test_nothing_is_started_after_a_failure(chain: Path) -> None:
    texts = ["a", "bad", "c", "d"]
    made, _ = run(
        chain / "chain.cwl",
        *("--mapping", "simple"),
        job(chain, texts),
        outdir=chain / "out",
        code=1,
    )
    assert made["third"] == ["a", None, None, None]  # what is finished is kept
    log = (chain / "log").read_text().splitlines()
    assert log == ["first a", "second a", "third a", "first bad"]


@pytest.mark.parametrize("options", [("--mapping", "simple"), ("-n", "2")])
def test_on_error_continue_goes_on_with_what_does_not_depend_on_it(
    options: tuple[str, ...], chain: Path
) -> None:
    made, told = run(
        chain / "chain.cwl",
        *(*options, "--on-error", "continue"),
        job(chain, ["a", "bad", "c"]),
        outdir=chain / "out",
        code=1,
    )
    assert made["third"] == ["a", None, "c"]
    assert told.count("permanentFail") == 1
    assert "second bad" not in (chain / "log").read_text()


def test_a_failed_job_keeps_its_line(chain: Path) -> None:
    jobs = chain / "jobs.jsonl"
    jobs.write_text(
        "".join(
            json.dumps({"texts": texts, "log": str(chain / "log")}) + "\n"
            for texts in (["a"], ["bad"], ["c"])
        )
    )
    text, told = run(
        chain / "chain.cwl",
        *("--on-error", "continue", "--jobs"),
        jobs,
        outdir=chain / "out",
        code=1,
    )
    assert [json.loads(line)["third"] for line in text.splitlines()] == [["a"], [None], ["c"]]
    assert "job 2: step first[0]: permanentFail" in told


CODES = """
cwlVersion: v1.2
class: CommandLineTool
inputs: {code: {type: int, inputBinding: {}}}
outputs: {}
successCodes: [7]
temporaryFailCodes: [8]
baseCommand: [sh, -c, 'exit $0']
"""


@pytest.mark.parametrize(
    ("code", "status"), [(7, None), (8, "temporaryFail"), (9, "permanentFail")]
)
def test_success_and_failure_codes(code: int, status: str | None, tmp_path: Path) -> None:
    write(tmp_path, codes_cwl=CODES, job_json=json.dumps({"code": code}))
    expected = 0 if status is None else 1
    _, told = run(
        tmp_path / "codes.cwl", tmp_path / "job.json", outdir=tmp_path / "out", code=expected
    )
    assert status is None or f"d4pcwl-runner: {status}" in told


def test_a_subworkflow_says_where_it_failed(chain: Path) -> None:
    write(
        chain,
        outer_cwl="""
cwlVersion: v1.2
class: Workflow
requirements: {ScatterFeatureRequirement: {}, SubworkflowFeatureRequirement: {}}
inputs: {lists: {type: {type: array, items: {type: array, items: string}}}, log: string}
outputs: {third: {type: Any, outputSource: inner/third}}
steps:
  inner: {run: chain.cwl, scatter: texts, in: {texts: lists, log: log}, out: [third]}
""",
    )
    order = chain / "job.json"
    order.write_text(json.dumps({"lists": [["a"], ["b", "c", "bad"]], "log": str(chain / "log")}))
    made, told = run(
        chain / "outer.cwl", "--on-error", "continue", order, outdir=chain / "out", code=1
    )
    assert "step inner[1]/first[2]: permanentFail" in told
    assert made == {"third": [["a"], ["b", "c", None]]}


REFUSED = {
    "unknown": ("requirements: {NoSuchRequirement: {}}", "NoSuchRequirement"),
    "software": ("requirements: {SoftwareRequirement: {packages: {}}}", "SoftwareRequirement"),
    "not enabled": (
        "$namespaces: {cwltool: 'http://commonwl.org/cwltool#'}\n"
        "requirements: {cwltool:ShmSize: {shmSize: 1g}}",
        "cwltool:ShmSize: this is an extension of cwltool; use --enable-ext",
    ),
    "container": ("requirements: {DockerRequirement: {dockerPull: x}}", "DockerRequirement"),
    "extension": (
        "$namespaces: {cwltool: 'http://commonwl.org/cwltool#'}\n"
        "requirements: {cwltool:ProcessGenerator: {}}",
        "cwltool:ProcessGenerator",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_refused_with_33(name: str, tmp_path: Path) -> None:
    text, requirement = REFUSED[name]
    write(
        tmp_path,
        tool_cwl=f"cwlVersion: v1.2\nclass: CommandLineTool\nbaseCommand: touch\n"
        f"arguments: [{tmp_path}/touched]\ninputs: []\noutputs: []\n{text}\n",
        flow_cwl="cwlVersion: v1.2\nclass: Workflow\ninputs: []\noutputs: []\n"
        "steps: {go: {run: tool.cwl, in: [], out: []}}\n",
    )
    line = 7 + text.count("\n")
    for document in ("tool", "flow"):
        _, told = run(
            tmp_path / f"{document}.cwl", "--no-container", outdir=tmp_path / "out", code=33
        )
        assert requirement in told
        assert f"tool.cwl:{line}" in told
    assert not (tmp_path / "touched").exists()


def test_a_document_that_is_not_valid_is_told_of(tmp_path: Path) -> None:
    write(tmp_path, wrong_cwl="cwlVersion: v1.2\nclass: CommandLineTool\ninputs: []\n")
    _, told = run(tmp_path / "wrong.cwl", outdir=tmp_path / "out", code=1)
    assert "wrong.cwl" in told
    assert "outputs" in told
    assert "Traceback" not in told
    _, told = run(tmp_path / "none.cwl", outdir=tmp_path / "out", code=1)
    assert "none.cwl" in told


def test_inputs_that_do_not_fit_are_told_of(chain: Path) -> None:
    order = chain / "job.json"
    order.write_text('{"texts": 3, "log": "x"}')
    _, told = run(chain / "chain.cwl", order, outdir=chain / "out", code=1)
    assert "'texts' field" in told


def test_messages_have_the_names_of_files_as_people_write_them(tmp_path: Path) -> None:
    folder = tmp_path / "a b+c"
    folder.mkdir()
    write(
        folder,
        none_cwl="cwlVersion: v1.2\nclass: CommandLineTool\nbaseCommand: 'true'\ninputs: []\n"
        "outputs: {file: {type: File, outputBinding: {glob: none}}}\n",
        needs_cwl="cwlVersion: v1.2\nclass: CommandLineTool\nbaseCommand: 'true'\n"
        "inputs: {n: int}\noutputs: []\n",
        flow_cwl="cwlVersion: v1.2\nclass: Workflow\ninputs: []\noutputs: []\n"
        "steps: {one: {run: needs.cwl, in: [], out: []}}\n",
        outer_cwl="cwlVersion: v1.2\nclass: Workflow\ninputs: []\noutputs: []\n"
        "requirements: {SubworkflowFeatureRequirement: {}}\n"
        "steps: {one: {run: flow.cwl, in: [], out: []}}\n",
        two_cwl="cwlVersion: v1.2\nclass: Workflow\ninputs: {a: Any, b: Any}\n"
        "steps: []\noutputs: {both: {type: Any, outputSource: [a, b]}}\n",
    )
    _, told = run(folder / "none.cwl", outdir=tmp_path / "out", code=1)
    assert "a b+c/none.cwl:5:" in told
    _, told = run(folder / "outer.cwl", "--validate", outdir=tmp_path / "out", code=1)
    assert f"Tool definition {folder}/flow.cwl failed validation" in told
    _, told = run(folder / "two.cwl", "--validate", outdir=tmp_path / "out", code=1)
    assert "a b+c/two.cwl:5: both has several sources" in told


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_an_expression_that_fails_is_shown_with_its_error_only(tmp_path: Path) -> None:
    write(
        tmp_path,
        fails_cwl="cwlVersion: v1.2\nclass: CommandLineTool\nbaseCommand: 'true'\n"
        "requirements: {InlineJavascriptRequirement: {}}\ninputs: {n: int}\noutputs: []\n"
        "arguments: [$(inputs.none.length)]\n",
        flow_cwl="cwlVersion: v1.2\nclass: Workflow\ninputs: []\noutputs: []\n"
        "requirements: {InlineJavascriptRequirement: {}, StepInputExpressionRequirement: {}}\n"
        "steps: {one: {run: fails.cwl, in: {n: {valueFrom: '${ 1 + 1; }'}}, out: []}}\n",
    )
    _, told = run_job(tmp_path, "fails", code=1, n=1)
    assert "fails.cwl:7:13: Expression evaluation error:\n  (function" in told
    assert "\n  TypeError: Cannot read prop" in told
    _, told = run_job(tmp_path, "flow", code=1)
    assert told == (
        "d4pcwl-runner: step one: valueFrom of 'n': Expression evaluation error:\n"
        "the expression returns no value\n"
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [("--mapping", "simple"), ("-n", "2"), ("--mapping", "multi")])
def test_an_interrupt_leaves_nothing(
    how: signal.Signals, options: tuple[str, ...], chain: Path
) -> None:
    scratch = chain / "scratch"
    scratch.mkdir()
    runner = subprocess.Popen(
        [
            *start("d4pcwl-runner"),
            *options,
            *("--outdir", str(chain / "out"), "--tmpdir-prefix", f"{scratch}/t"),
            str(chain / "chain.cwl"),
            str(job(chain, ["a", "forever", "forever"])),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    family: dict[int, str] = {}

    def begun() -> bool:
        assert runner.poll() is None
        family.update(_descendants(runner.pid))
        return "sleep" in family.values()

    wait_until(begun)
    os.kill(runner.pid, how)
    _, told = runner.communicate(timeout=60)
    assert runner.returncode == 128 + how, told
    have_ended(family)
    assert list(scratch.iterdir()) == []


def _descendants(pid: int) -> dict[int, str]:
    """The processes below one, by their ids, and what they are called."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found[process.pid] = process.name()
    return found


def test_a_run_leaves_nothing_in_the_temporary_folder(chain: Path) -> None:
    scratch = chain / "scratch"
    scratch.mkdir()
    run(
        chain / "chain.cwl",
        job(chain, ["a", "bad"]),
        outdir=chain / "out",
        code=1,
        env={"TMPDIR": str(scratch)},
    )
    assert list(scratch.iterdir()) == []


def test_help_and_version() -> None:
    for option, shown in (("--version", "d4pcwl "), ("--help", "--on-error {stop,continue}")):
        done = subprocess.run(
            [sys.executable, "-m", "d4pcwl.cli.runner", option],
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown in done.stdout
