"""d4pcwl-runner beside the CWL engines: uneven scatters in a chain, compiled steps that exchange
streams, many small jobs, start-up."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "conformance"))

from engines import EngineFailure, available, missing

from bench.pipelines import naps
from d4pcwl import to_cwl

_TOOL = {"class": "CommandLineTool", "inputs": {}, "outputs": {}}
_SLEEP = {
    "class": "CommandLineTool",
    "baseCommand": ["sleep"],
    "inputs": {"seconds": {"type": "float", "inputBinding": {"position": 1}}, "after": "File?"},
    "outputs": {"done": {"type": "stdout"}},
    "stdout": "done.txt",
}
_WORKERS = 2


@dataclass(frozen=True)
class Case:
    """A document with a job order.

    :param limit: the seconds that the tools need at least: two at a time, or side by side where
        items stream from one to the next
    """

    name: str
    document: Mapping[str, Any]
    job: Mapping[str, Any]
    limit: float = 0.0


def _cases(items: int) -> Iterator[Case]:
    echo = {**_TOOL, "baseCommand": ["true"]}
    requirements = {"ScatterFeatureRequirement": {}}
    yield Case(
        "start-up, one step",
        {
            "cwlVersion": "v1.2",
            "class": "Workflow",
            "inputs": {},
            "outputs": {},
            "steps": {"only": {"run": echo, "in": {}, "out": []}},
        },
        {},
    )
    counted = {**echo, "inputs": {"number": "int"}}
    yield Case(
        f"{items} times true",
        {
            "cwlVersion": "v1.2",
            "class": "Workflow",
            "requirements": requirements,
            "inputs": {"numbers": "int[]"},
            "outputs": {},
            "steps": {
                "each": {
                    "run": counted,
                    "scatter": "number",
                    "in": {"number": "numbers"},
                    "out": [],
                }
            },
        },
        {"numbers": list(range(items))},
    )
    stages = dict(zip("abc", naps.draw(items), strict=True))
    steps = {}
    for name, before in zip(stages, (None, "a", "b"), strict=True):
        links = {"seconds": f"seconds_{name}"} | ({"after": f"{before}/done"} if before else {})
        scatter = ["seconds", "after"] if before else ["seconds"]
        steps[name] = {
            "run": _SLEEP,
            "scatter": scatter,
            "scatterMethod": "dotproduct",
            "in": links,
            "out": ["done"],
        }
    total = sum(map(sum, stages.values()))
    longest = max(map(sum, zip(*stages.values(), strict=True)))
    yield Case(
        f"{items} items through three uneven scatters",
        {
            "cwlVersion": "v1.2",
            "class": "Workflow",
            "requirements": requirements,
            "inputs": {f"seconds_{name}": "float[]" for name in stages},
            "outputs": {"done": {"type": "File[]", "outputSource": "c/done"}},
            "steps": steps,
        },
        {f"seconds_{name}": seconds for name, seconds in stages.items()},
        max(total / _WORKERS, longest),
    )
    compiled = to_cwl(naps.__file__, cut="pe")
    yield Case(
        f"{naps.ITEMS} items through three compiled steps",
        compiled.document,
        compiled.job,
        _one_after_another(naps.draw()),
    )


def _one_after_another(stages: Sequence[Sequence[float]]) -> float:
    """When the last item comes out of stages that work side by side, each at one item at a time."""
    free = [0.0] * len(stages)
    for times in zip(*stages, strict=True):
        there = 0.0
        for stage, seconds in enumerate(times):
            there = free[stage] = max(there, free[stage]) + seconds
    return free[-1]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="cwl", description=__doc__)
    parser.add_argument("--items", type=int, default=100, metavar="N")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="(Toil: once)")
    parser.add_argument("--only", metavar="NAME,…", help="these engines beside ours")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all samples go there")
    options = parser.parse_args(argv)
    for name, reason in missing().items():
        sys.stderr.write(f"{name} is left out: {reason}\n")
    runners = _runners(options.only.split(",") if options.only else None)
    samples: dict[str, dict[str, list[float]]] = {}
    cases = list(_cases(options.items))
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            document, job = Path(folder, "case.cwl"), Path(folder, "job.json")
            document.write_text(json.dumps(case.document))
            job.write_text(json.dumps(case.job))
            for turn in range(options.repetitions):
                for name, run in runners.items():
                    if turn and name == "toil":
                        continue
                    sys.stderr.write(f"{turn + 1}/{options.repetitions} {case.name}: {name}\n")
                    out = Path(tempfile.mkdtemp(dir=folder))
                    began = time.monotonic()
                    try:
                        run(document, job, out)
                    except (EngineFailure, subprocess.SubprocessError) as error:
                        sys.stderr.write(f"{name}: {error}\n")
                        continue
                    taken = time.monotonic() - began
                    samples.setdefault(case.name, {}).setdefault(name, []).append(taken)
    sys.stdout.write(_table(cases, list(runners), samples))
    if options.json:
        options.json.write_text(json.dumps(samples, indent=2))
    return 0


_Run = Callable[[Path, Path, Path], object]


def _runners(only: Sequence[str] | None) -> dict[str, _Run]:
    runners: dict[str, _Run] = {
        f"d4pcwl-runner, {mapping}": _ours(mapping) for mapping in ("dyn_multi", "multi")
    }
    engines: dict[str, _Run] = {}
    for name, engine in available().items():
        if name == "d4pcwl-runner":
            continue
        engines[name] = partial(engine.run, timeout=900)
        if name == "cwltool":
            parallel = engine.with_options("--parallel")
            engines["cwltool --parallel"] = partial(parallel.run, timeout=900)
    return runners | {name: run for name, run in engines.items() if only is None or name in only}


def _ours(mapping: str) -> _Run:
    def run(document: Path, job: Path, out: Path) -> None:
        command = [str(Path(sys.executable).with_name("d4pcwl-runner")), "--quiet"]
        command += ["--no-container", "--mapping", mapping, "-n", str(_WORKERS)]
        command += ["--outdir", str(out), str(document), str(job)]
        subprocess.run(command, check=True, capture_output=True, timeout=900)

    return run


def _table(
    cases: Sequence[Case], names: Sequence[str], samples: Mapping[str, Mapping[str, list[float]]]
) -> str:
    """Medians in seconds, and how many times the best of ours they are."""
    head = ["case", "limit", *names]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    for case in cases:
        medians = {
            name: statistics.median(taken) for name, taken in samples.get(case.name, {}).items()
        }
        ours = min((v for name, v in medians.items() if name.startswith("d4pcwl")), default=0)
        cells = [
            f"{medians[name]:.2f} s ({medians[name] / ours:.2f})" if name in medians else "failed"
            for name in names
        ]
        limit = f"{case.limit:.2f} s" if case.limit else ""
        lines.append(f"| {' | '.join([case.name, limit, *cells])} |")
    return "\n".join([*lines, ""])
