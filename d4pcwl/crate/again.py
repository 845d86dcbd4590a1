"""Running again what a crate describes, from its own files, and comparing what comes out.

The run works in a new folder. Whatever it needs must be in the crate: files are found by their
SHA-256, so a crate cannot pass one for another. Names that leave the crate are refused before
anything runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from d4pcwl.crate.crates import Crate
from d4pcwl.crate.holdings import record_of
from d4pcwl.errors import LineageError, RunError
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


def run_again(folder: Path, target: Path, say: Say) -> list[Output]:
    """Run a crate's main workflow in a new folder.

    :param folder: of the crate
    :param target: the new folder
    :param say: takes messages
    :returns: how each output compares
    :raises LineageError: the crate does not have what is needed, its files have changed, or names
        leave it
    :raises RunError: the run fails
    """
    from d4pcwl.crate.cwl_again import cwl_again
    from d4pcwl.crate.stream_again import stream_again

    crate = Crate(folder)
    crate.check()
    action = main_action(crate)
    record = record_of(crate, action)
    if record is not None:
        return list(stream_again(crate, record, target, say))
    path = crate.path(crate.main)
    if path is not None and path.suffix in (".cwl", ".json"):
        return list(cwl_again(crate, action, path, target, say))
    raise LineageError(
        f"{folder}: its main workflow is neither CWL, nor a stream with a record, so it cannot be "
        "run again"
    )


def main_action(crate: Crate) -> dict[str, object]:
    """The run of the main workflow.

    :raises LineageError: the crate describes none
    """
    main = crate.main
    for action in crate.of_type("CreateAction"):
        if main in crate.linked(action, "instrument"):
            return dict(action)
    raise LineageError(f"{crate.folder}: the crate describes no run of {main['@id']}")


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
            text=True,
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
