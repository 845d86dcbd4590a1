"""The CWL engines on this machine: run a document on one, and get its output object.

Each engine has a virtual environment of its own, since their pins clash; d4pcwl is in all of them.
cwltool is looked for beside the running Python, as our own runner is, the others in
``.venv-streamflow`` and ``.venv-toil``, which ``scripts/engines`` makes. ``D4PCWL_CWLTOOL``,
``D4PCWL_STREAMFLOW`` and ``D4PCWL_TOIL`` name other environments.

    outputs = available()["streamflow"].run(document, job, outdir)

What an engine says cannot be trusted: one may print ``{}`` and exit with 0. So the outputs are held
against what the document declares, and files must be there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
STREAMFLOW_FILE = ROOT / "cwl_templates" / "engines" / "streamflow-local.yml"

_SECONDS_TO_CLEAN_UP = 10
_LAST_CHARACTERS = 6000
_UNWANTED = ("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS", "VIRTUAL_ENV")


class EngineFailure(Exception):
    """An engine failed, took too long, or did not give the outputs that the document declares."""


@dataclass(frozen=True)
class Engine:
    """A CWL engine.

    :param name: ``cwltool``, ``streamflow``, ``toil`` or ``d4pcwl-runner``
    :param venv: its virtual environment
    :param options: more options for its command, before the document
    :param env: more environment variables
    :param containers: whether steps with a DockerRequirement run in containers of docker; their
        images have to be on this machine
    """

    name: str
    venv: Path
    options: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    containers: bool = False

    def with_options(self, *options: object, **env: object) -> Engine:
        """The same engine with other options, and with environment variables added."""
        more = {name: str(value) for name, value in env.items()}
        return replace(self, options=tuple(map(str, options)), env={**self.env, **more})

    @property
    def version(self) -> str:
        """What the engine calls its version.

        :raises EngineFailure: it does not say
        """
        with scratch_folder() as scratch:
            done = self.execute([_PROGRAMS[self.name], "--version"], scratch, timeout=60)
        return done.stdout.split()[-1]

    def run(
        self,
        document: Path,
        job: Path | Mapping[str, Any] | None,
        outdir: Path,
        *,
        timeout: float = 300,
    ) -> dict[str, Any]:
        """Run a document.

        :param job: the job order: a file, or the order itself with absolute paths
        :param outdir: the folder for the outputs; it is made
        :param timeout: in seconds; then the engine and all that it started are ended
        :returns: the output object; each File and Directory in it has its absolute ``path``
        :raises EngineFailure: with the end of what the engine said
        """
        outdir.mkdir(parents=True, exist_ok=True)
        with scratch_folder() as scratch:
            if not isinstance(job, Path):
                order = scratch / "job.json"
                order.write_text(json.dumps(job or {}), encoding="utf-8")
                job = order
            command = self._command(document.resolve(), job.resolve(), outdir.resolve(), scratch)
            done = self.execute(command, scratch, timeout=timeout)
        try:
            return checked_outputs(document, done.stdout)
        except EngineFailure as fault:
            raise EngineFailure(f"{self.name}: {fault}\n{_end_of(done)}") from None

    def execute(
        self, command: list[str], scratch: Path, *, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine's environment, in ``scratch``, which becomes its TMPDIR.

        :raises EngineFailure: its exit code is not 0, or it takes longer than ``timeout`` seconds
        """
        env = {name: text for name, text in os.environ.items() if name not in _UNWANTED}
        env["PATH"] = os.pathsep.join([str(self.venv / "bin"), env.get("PATH", os.defpath)])
        env.update(PYTHONNOUSERSITE="1", TMPDIR=str(scratch))
        if self.name != "cwltool":
            env["HOME"] = str(scratch)  # where these two keep a record of all runs
        env.update(self.env)
        program = shutil.which(command[0], path=env["PATH"])
        if program is None:
            raise EngineFailure(f"{self.name}: {command[0]} is not in {self.venv}")
        with subprocess.Popen(
            [program, *command[1:]],
            cwd=scratch,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        ) as process:
            late = False
            try:
                said = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                late, said = True, _end(process)
            except BaseException:
                _end(process)
                raise
        done = subprocess.CompletedProcess(command, process.returncode, *said)
        if late:
            raise EngineFailure(f"{self.name}: not done after {timeout:g} s\n{_end_of(done)}")
        if done.returncode != 0:
            raise EngineFailure(f"{self.name}: exit code {done.returncode}\n{_end_of(done)}")
        return done

    def _command(self, document: Path, job: Path, outdir: Path, scratch: Path) -> list[str]:
        options = [*self.options]
        if self.name == "streamflow":
            if "--streamflow-file" not in options:
                options += ["--streamflow-file", str(self._streamflow_file(scratch))]
        elif not self.containers:
            options.append("--no-container")
        if self.name == "d4pcwl-runner":
            options.append("--empty-printed")  # as other engines give them out
        if self.name == "toil":
            if self.containers:
                options.append("--no-prepull")
            if "--jobStore" not in options:
                options += ["--jobStore", str(scratch / "jobs")]
                options += ["--workDir", str(scratch), "--coordinationDir", str(scratch)]
        files = ["--outdir", str(outdir), str(document), str(job)]
        return [_PROGRAMS[self.name], *options, *files]

    def _streamflow_file(self, scratch: Path) -> Path:
        if not self.containers:
            return STREAMFLOW_FILE
        plain = scratch / "streamflow.yml"
        plain.write_text("version: v1.0\nworkflows: {}\n", encoding="utf-8")
        return plain


_PROGRAMS = {
    "cwltool": "cwltool",
    "streamflow": "cwl-runner",
    "toil": "toil-cwl-runner",
    "d4pcwl-runner": "d4pcwl-runner",
}
_BESIDE = ("cwltool", "d4pcwl-runner")
"""Those that are looked for beside the running Python."""


def available() -> dict[str, Engine]:
    """The engines that are installed, by name."""
    return {
        name: Engine(name, _venv(name))
        for name, program in _PROGRAMS.items()
        if os.access(_venv(name) / "bin" / program, os.X_OK)
        and os.access(_venv(name) / "bin" / "dispel4py", os.X_OK)
    }


def missing() -> dict[str, str]:
    """For each engine that is not installed, why, and how to install it."""
    found = available()
    return {
        name: f"{program} and dispel4py are not both in {_venv(name)}: {_how_to_install(name)}"
        for name, program in _PROGRAMS.items()
        if name not in found
    }


def _how_to_install(name: str) -> str:
    if name in _BESIDE:
        return "pip install 'd4pcwl[runner]'"
    return f"scripts/engines {name} makes it"


def _venv(name: str) -> Path:
    given = os.environ.get(f"D4PCWL_{name.upper()}")
    if given:
        return Path(given).absolute()
    return Path(sys.prefix) if name in _BESIDE else ROOT / f".venv-{name}"


# --- outputs --------------------------------------------------------------------------------------


def checked_outputs(document: Path, said: str) -> dict[str, Any]:
    """The output object in what an engine prints, held against the document.

    :raises EngineFailure: there is none, an output is missing, or a file is not there
    """
    start = said.find("{\n") if "{\n" in said else said.find("{")
    try:
        outputs, _ = json.JSONDecoder().raw_decode(said[start:] if start >= 0 else "")
    except ValueError:
        raise EngineFailure("it printed no output object") from None
    declared = declared_outputs(document)
    lacking = [
        name
        for name, optional in declared.items()
        if name not in outputs or (outputs[name] is None and not optional)
    ]
    if lacking:
        raise EngineFailure(f"there is no output {', '.join(lacking)}: {outputs}")
    for place in _files(outputs):
        location = str(place.get("path") or place.get("location"))
        parts = urlsplit(location)
        place["path"] = unquote(parts.path) if parts.scheme == "file" else location
        if not os.path.exists(place["path"]):
            raise EngineFailure(f"the output {location} is not there")
    return dict(outputs)


def declared_outputs(document: Path) -> dict[str, bool]:
    """The ids of a document's outputs, and whether each may be null."""
    from ruamel.yaml import YAML

    process = YAML(typ="safe").load(document.read_text(encoding="utf-8"))
    for part in process.get("$graph", ()):
        if part["id"].lstrip("#") == "main":
            process = part
    outputs = process["outputs"]
    if isinstance(outputs, dict):
        entries = list(outputs.items())
    else:
        entries = [(entry["id"], entry) for entry in outputs]
    return {
        name.rsplit("#", 1)[-1].rsplit("/", 1)[-1]: _may_be_null(
            entry["type"] if isinstance(entry, dict) else entry
        )
        for name, entry in entries
    }


def _may_be_null(cwl_type: Any) -> bool:
    if isinstance(cwl_type, list):
        return "null" in cwl_type
    return isinstance(cwl_type, str) and (cwl_type.endswith("?") or cwl_type in ("null", "Any"))


def _files(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if value.get("class") in ("File", "Directory"):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from _files(entry)


# --- processes ------------------------------------------------------------------------------------


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for what an engine leaves behind. Its path is short, as those of sockets must be."""
    with tempfile.TemporaryDirectory(prefix="cwl-", ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()


def _end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """End an engine and all that it has started; what it had said.

    It is asked first, as by Ctrl-C, so that it ends its jobs itself: those of a queue are not its
    children. Tools may be in sessions of their own, so killing its group would not be enough.
    """
    started = _descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    try:
        return process.communicate(timeout=_SECONDS_TO_CLEAN_UP)
    except subprocess.TimeoutExpired:
        started |= _descendants(process.pid) | {process.pid}
    finally:
        for pid in started:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return process.communicate()


def _descendants(pid: int) -> set[int]:
    """The processes below one, from /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return set(found[1:])


def _end_of(done: subprocess.CompletedProcess[str]) -> str:
    """The last of what a command said."""
    return f"{done.stdout[-_LAST_CHARACTERS:]}\n{done.stderr[-_LAST_CHARACTERS:]}".strip()
