"""The templates are valid without a warning, and do what the script alone does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from d4pcwl.runtime.mappings.registry import BUILT_IN

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "cwl_templates"
TEMPLATES = sorted(FOLDER.glob("*.cwl"))
TOOLS = [path.stem for path in TEMPLATES if "\nclass: CommandLineTool\n" in path.read_text()]

pytest.importorskip("cwltool")


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment, and insist that it succeeds."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [str(argument) for argument in arguments],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def expected() -> list[str]:
    example = ROOT / "examples" / "word_count"
    given = json.dumps({"read": [{"input": str(example / "text.txt")}]})
    lines = command("dispel4py", "simple", example / "word_count.py", "-d", given).stdout
    return sorted(lines.splitlines())


@pytest.mark.parametrize("name", sorted({"simple", "multi", *TOOLS}))
def test_the_template_of_a_mapping_runs_it(name: str) -> None:
    assert name in BUILT_IN
    assert f"baseCommand: [dispel4py, {name}]\n" in (FOLDER / f"{name}.cwl").read_text()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_can_be_run_as_a_command(template: Path) -> None:
    assert template.read_text().startswith("#!/usr/bin/env cwl-runner\ncwlVersion: v1.2\n")
    assert os.access(template, os.X_OK)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_is_valid_without_a_warning(template: Path) -> None:
    done = command("cwltool", "--validate", template)
    assert "is valid CWL" in done.stdout
    assert "WARNING" not in done.stderr


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_gives_the_results_of_the_script(
    template: Path, expected: list[str], tmp_path: Path
) -> None:
    done = command("cwltool", "--outdir", tmp_path, template, FOLDER / "job.yml")
    assert "WARNING" not in done.stderr
    results = Path(json.loads(done.stdout)["results"]["path"])
    assert sorted(results.read_text().splitlines()) == expected
