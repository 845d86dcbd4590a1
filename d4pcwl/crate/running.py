"""Commands that run again what a crate describes, and what comes out of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from d4pcwl.errors import RunError
from d4pcwl.lineage.comparing import Verdict

Say = Callable[[str], None]


@dataclass(frozen=True)
class Output:
    """An output of a run that was done again.

    :param name: the output, and where its file is in the new folder
    :param verdict: how it compares with that of the crate
    """

    name: str
    verdict: Verdict


def carry_out(command: list[str], folder: Path, say: Say, *, keep: bool = False) -> str:
    """Run a command in a folder; what it says goes to standard error.

    :param keep: return its standard output, instead of showing it
    :raises RunError: it fails, or cannot be found
    """
    say(f"running {' '.join(command)}")
    here = os.path.dirname(sys.executable)
    path = os.pathsep.join([here, os.environ.get("PATH", os.defpath)])
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if keep else sys.stderr.fileno(),
            encoding="utf-8",
            check=False,
        )
    except OSError as error:
        raise RunError(f"{command[0]} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        raise RunError(f"the run failed (exit code {done.returncode}); its messages are above")
    return done.stdout if keep else ""


def files_below(folder: Path) -> Iterator[Path]:
    """The files in a folder and in those in it, as paths from there."""
    for above, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield Path(above, name).relative_to(folder)
