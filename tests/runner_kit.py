"""Runs of ``d4pcwl-runner`` and of cwltool on the same documents, for the tests of the runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

LOGGING_TOOL = """\
cwlVersion: v1.2
class: CommandLineTool
doc: Says its text again, notes stage and text in a log, and fails on 'bad'.
inputs:
  text: {type: string, inputBinding: {position: 1}}
  log: {type: string, inputBinding: {position: 2}}
  stage: {type: string, inputBinding: {position: 3}}
outputs:
  text: {type: string, outputBinding: {glob: out, loadContents: true, outputEval: '$(self[0].contents)'}}
baseCommand:
  - sh
  - -c
  - |
    printf %s "$0" > out
    echo "$2 $0" >> "$1"
    if [ "$0" = bad ]; then echo "this is bad" >&2; exit 3; fi
    if [ "$0" = forever ]; then exec sleep 1000; fi
"""  # noqa: E501

CHAIN = """\
cwlVersion: v1.2
class: Workflow
requirements: {ScatterFeatureRequirement: {}, StepInputExpressionRequirement: {}}
inputs: {texts: 'string[]', log: string}
outputs:
  first: {type: Any, outputSource: first/text}
  third: {type: Any, outputSource: third/text}
steps:
  first:
    run: tool.cwl
    scatter: text
    in: {text: texts, log: log, stage: {default: first}}
    out: [text]
  second:
    run: tool.cwl
    scatter: text
    in: {text: first/text, log: log, stage: {default: second}}
    out: [text]
  third:
    run: tool.cwl
    scatter: text
    in: {text: second/text, log: log, stage: {default: third}}
    out: [text]
"""


def run(
    document: Path | str,
    *arguments: str | Path,
    outdir: Path,
    code: int | None = 0,
    command: str = "d4pcwl-runner",
    env: dict[str, str] | None = None,
) -> tuple[Any, str]:
    """Run a document; its output object (or the text, where it is none), and standard error.

    :param arguments: options, and last a job order, whose name ends in ``.json``
    :param code: the exit code that is expected
    """
    given = [*map(str, arguments)]
    job = [given.pop()] if given and given[-1].endswith(".json") else []
    done = subprocess.run(
        [
            *start(command),
            *("--outdir", str(outdir)),
            *given,
            str(document),
            *job,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(env or {})},
    )
    assert code is None or done.returncode == code, done.stderr
    try:
        return json.loads(done.stdout), done.stderr
    except json.JSONDecodeError:
        return done.stdout, done.stderr


def run_job(
    folder: Path, name: str, *options: str, code: int = 0, **inputs: Any
) -> tuple[Any, str]:
    """What a document of a folder gives, without containers; and standard error."""
    job = folder / "job.json"
    job.write_text(json.dumps(inputs), encoding="utf-8")
    given = ["--no-container", *options, job]
    return run(folder / f"{name}.cwl", *given, outdir=folder / "out", code=code)


def start(command: str) -> list[str]:
    """How a command begins: ours by this interpreter, cwltool from beside it."""
    if command == "d4pcwl-runner":
        return [sys.executable, "-m", "d4pcwl.cli.runner"]
    return [str(Path(sys.executable).with_name(command)), "--quiet"]


def without_places(value: Any) -> Any:
    """An output object without what differs from one output folder to another."""
    if isinstance(value, dict):
        gone = {"location", "path", "dirname", "nameroot", "nameext"}
        return {k: without_places(v) for k, v in sorted(value.items()) if k not in gone}
    if isinstance(value, list):
        return [without_places(entry) for entry in value]
    return value


def write(folder: Path, **files: str) -> Path:
    """Write files, ``name_suffix`` as ``name.suffix``; the folder."""
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(text, encoding="utf-8")
    return folder
