"""What ``conformance/cwl`` makes of the results of the official suite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from runner_kit import write

FOLDER = Path(__file__).parents[1] / "conformance" / "cwl"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the conformance runs are not here")


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import summary as module

    return module


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite of four tests: one passes, one fails, one is refused, one ought to fail."""
    (tmp_path / "more").mkdir()
    write(
        tmp_path,
        conformance_tests_yaml="""
- {id: good, doc: good, tool: good.cwl, output: {}, tags: [required, command_line_tool]}
- {id: bad, doc: bad, tool: bad.cwl, output: {}, tags: [required, command_line_tool]}
- $import: more/tests.yaml
""",
        good_cwl="cwlVersion: v1.2\nclass: CommandLineTool\nbaseCommand: 'true'\n"
        "inputs: []\noutputs: []\n",
        bad_cwl="cwlVersion: v1.2\nclass: CommandLineTool\nbaseCommand: 'false'\n"
        "inputs: []\noutputs: []\n",
    )
    write(
        tmp_path / "more",
        tests_yaml="""
- {id: refused, doc: refused, tool: refused.cwl, output: {}, tags: [inplace_update]}
- {id: wrong, doc: wrong, tool: ../good.cwl, should_fail: true, tags: [workflow]}
""",
        refused_cwl="cwlVersion: v1.2\nclass: CommandLineTool\nbaseCommand: 'true'\n"
        "requirements: {NoSuch: {}}\ninputs: []\noutputs: []\n",
    )
    return tmp_path


def test_tests_are_read_with_those_of_other_files(summary: ModuleType, suite: Path) -> None:
    tests = summary.read_tests(suite)
    assert [(test.number, test.name) for test in tests] == [
        (1, "good"),
        (2, "bad"),
        (3, "refused"),
        (4, "wrong"),
    ]
    assert tests[0].tags == ("required", "command_line_tool")


def conformance(suite: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FOLDER / "run"), "--suite", str(suite), "-q", "-j1", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_summary_says_what_does_not_pass_and_why(suite: Path) -> None:
    pytest.importorskip("cwltest")
    found = suite / "summary.md"
    done = conformance(suite, "-o", str(found))
    assert done.returncode == 1
    assert "required, and failed: bad: permanentFail: exited with status: 1" in done.stderr
    text = found.read_text()
    assert "**1 of 4 tests pass**, 1 are refused with exit code 33, 2 fail" in text
    assert "| required | 2 | 1 | 0 | 1 |" in text
    assert "| bad | failed, required | permanentFail: exited with status: 1 |" in text
    assert "| refused | unsupported | NoSuch: this requirement is not supported |" in text
    assert "| wrong | failed | Returned zero but it should be non-zero |" in text


def test_a_part_of_the_suite_goes_to_standard_output(suite: Path) -> None:
    pytest.importorskip("cwltest")
    done = conformance(suite, "--only", "good,refused")
    assert done.returncode == 0, done.stderr
    assert "**1 of 2 tests pass**, 1 are refused with exit code 33, 0 fail" in done.stdout
    assert "| refused | unsupported |" in done.stdout
    assert "no test nonsense" in conformance(suite, "--only", "nonsense").stderr


def test_imported_scripts_are_judged_likewise(suite: Path) -> None:
    pytest.importorskip("cwltest")
    done = conformance(suite, "--imported", "--only", "good,bad,refused")
    assert done.returncode == 1
    assert done.stdout.startswith("# The CWL v1.2 conformance suite with scripts of cwl2d4p\n")
    assert "**1 of 3 tests pass**, 1 are refused with exit code 33, 1 fail" in done.stdout
    assert "| bad | failed, required | permanentFail: exited with status: 1 |" in done.stdout
    assert "| refused | unsupported | NoSuch: this requirement is not supported |" in done.stdout
