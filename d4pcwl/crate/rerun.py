"""Running again what a crate describes, from its own files, and comparing what comes out.

The run works in a new folder. Whatever it needs must be in the crate: files are found by their
SHA-256, so a crate cannot pass one for another. Names that leave the crate are refused before
anything runs.
"""

from __future__ import annotations

from pathlib import Path

from d4pcwl.crate.crates import Crate
from d4pcwl.crate.rerun_cwl import rerun_cwl
from d4pcwl.crate.rerun_stream import rerun_stream
from d4pcwl.crate.run_set import record_of
from d4pcwl.crate.running import Output, Say
from d4pcwl.errors import LineageError


def rerun(folder: Path, target: Path, say: Say) -> list[Output]:
    """Run a crate's main workflow in a new folder.

    :param folder: of the crate
    :param target: the new folder
    :param say: takes messages
    :returns: how each output compares
    :raises LineageError: the crate does not have what is needed, its files have changed, or names
        leave it
    :raises RunError: the run fails
    """
    crate = Crate(folder)
    crate.check()
    action = main_action(crate)
    record = record_of(crate, action)
    if record is not None:
        return list(rerun_stream(crate, record, target, say))
    path = crate.path(crate.main)
    if path is not None and path.suffix in (".cwl", ".json"):
        return list(rerun_cwl(crate, action, path, target, say))
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
