"""How the time of a CWL run grows with the files of a step, and with the number of steps."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_COPY = {
    "class": "CommandLineTool",
    "baseCommand": ["sh", "-c", 'mkdir o; cp -t o "$@"', "sh"],
    "inputs": {"files": {"type": "File[]", "inputBinding": {"position": 1}}},
    "outputs": {"made": {"type": "File[]", "outputBinding": {"glob": "o/*"}}},
}
_ECHO = {
    "class": "CommandLineTool",
    "baseCommand": "true",
    "inputs": {"text": "string"},
    "outputs": {"text": {"type": "string", "outputBinding": {"outputEval": "$(inputs.text)"}}},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmarks/growth_cwl", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    parser.add_argument("--sizes", default="1,2,4", metavar="N,…", help="times 500 files, 75 steps")
    parser.add_argument("--beside", action="store_true", help="cwltool as well")
    options = parser.parse_args(argv)
    commands = {"d4pcwl-runner": ["--mapping", "simple"]} | (
        {"cwltool": []} if options.beside else {}
    )
    names = [f"{name}, s" for name in commands]
    sys.stdout.write(f"| what | {' | '.join(names)} |\n|{' --- |' * (1 + len(names))}\n")
    for size in map(int, options.sizes.split(",")):
        for what, make in _CASES.items():
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                number, job = make(folder, size)
                (folder / "job.json").write_text(json.dumps(job))
                cells = " | ".join(
                    "{:.2f} ({:.2f})".format(
                        *map(
                            statistics.median,
                            zip(*_runs(command, more, folder, options.repetitions), strict=True),
                        )
                    )
                    for command, more in commands.items()
                )
            sys.stdout.write(f"| {number:,} {what} | {cells} |\n")
            sys.stdout.flush()
    return 0


def _runs(
    command: str, more: Sequence[str], folder: Path, repetitions: int
) -> Iterator[tuple[float, float]]:
    """The seconds of each run, and those of CPU, which other programs matter less to."""
    program = str(Path(sys.executable).with_name(command))
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as out:
            given = ["--quiet", "--no-container", *more, "--outdir", out]
            began, used = time.monotonic(), _used()
            subprocess.run(
                [program, *given, str(folder / "case.cwl"), str(folder / "job.json")],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            yield time.monotonic() - began, _used() - used


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _files(folder: Path, size: int) -> tuple[int, Any]:
    number = 500 * size
    paths = [folder / f"file{n}" for n in range(number)]
    for path in paths:
        path.write_text(path.name)
    step = {"run": _COPY, "in": {"files": "files"}, "out": ["made"]}
    flow = {
        "class": "Workflow",
        "inputs": {"files": "File[]"},
        "outputs": {"made": {"type": "File[]", "outputSource": "copy/made"}},
        "steps": {"copy": step},
    }
    _write(folder / "case.cwl", flow)
    return number, {"files": [{"class": "File", "path": str(path)} for path in paths]}


def _same_tool(folder: Path, size: int) -> tuple[int, Any]:
    _write(folder / "echo.cwl", _ECHO)
    _write(folder / "case.cwl", _chain(75 * size, "echo.cwl"))
    return 75 * size, {"text": "x"}


def _own_tools(folder: Path, size: int) -> tuple[int, Any]:
    for number in range(75 * size):
        _write(folder / f"echo{number}.cwl", _ECHO)
    _write(folder / "case.cwl", _chain(75 * size, "echo{}.cwl"))
    return 75 * size, {"text": "x"}


def _packed(folder: Path, size: int) -> tuple[int, Any]:
    tools = [{"id": f"echo{number}", **_ECHO} for number in range(75 * size)]
    flow = {"id": "main", **_chain(75 * size, "#echo{}")}
    _write(folder / "case.cwl", {"$graph": [*tools, flow]})
    return 75 * size, {"text": "x"}


_CASES: Mapping[str, Callable[[Path, int], tuple[int, Any]]] = {
    "files through one step": _files,
    "steps, one tool": _same_tool,
    "steps, a file for each tool": _own_tools,
    "steps, packed": _packed,
}


def _chain(number: int, run: str) -> dict[str, Any]:
    steps = {
        f"s{n}": {
            "run": run.format(n),
            "in": {"text": f"s{n - 1}/text" if n else "text"},
            "out": ["text"],
        }
        for n in range(number)
    }
    return {
        "class": "Workflow",
        "inputs": {"text": "string"},
        "outputs": {"text": {"type": "string", "outputSource": f"s{number - 1}/text"}},
        "steps": steps,
    }


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps({"cwlVersion": "v1.2", **document}, indent=1))
