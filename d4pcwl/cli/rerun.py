"""``d4pcwl rerun CRATE``: run again what a crate describes, and compare what comes out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from d4pcwl.cli.common import say
from d4pcwl.cli.standard import require_output

if TYPE_CHECKING:
    from typing import Any


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``rerun``; :func:`run` is set as the ``run`` of the arguments."""
    parser = subparsers.add_parser(
        "rerun",
        help="run again what a crate describes, and compare the results",
        description="Run again what an RO-Crate describes, from the crate's own files, in a new "
        "folder, and say of each output whether it is equal, equal as values, or where it differs. "
        "This runs the code that is in the crate. The exit code is 1 if an output differs.",
    )
    parser.add_argument(
        "crate", metavar="CRATE", type=Path, help="the folder of a crate, or its zip file"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="a new folder for the run (default: CRATE-again, here)",
    )
    where.add_argument(
        "--verify",
        action="store_true",
        help="keep nothing of the run: it works in a temporary folder",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="only name outputs that differ")
    parser.add_argument("--debug", action="store_true", help="tracebacks")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do what the parsed arguments ask for; return the exit code, 1 if an output differs.

    :raises D4pcwlError: the crate does not have what is needed, or the run fails
    """
    import tempfile

    from d4pcwl.crate.crates import METADATA, is_crate, opened
    from d4pcwl.crate.rerun import rerun
    from d4pcwl.errors import UsageError, presentable
    from d4pcwl.lineage.comparing import DIFFERENT

    if not is_crate(options.crate):
        raise UsageError(f"{options.crate} is not a crate: it has no {METADATA}")
    require_output("the results of the comparison are printed there")
    with tempfile.TemporaryDirectory(prefix="d4pcwl-again-") as work:
        target = Path(work, "run") if options.verify else _new_folder(options)
        with opened(options.crate) as folder:
            outputs = rerun(
                folder, target.absolute(), (lambda text: None) if options.quiet else say
            )
    different = [each for each in outputs if each.verdict.kind == DIFFERENT]
    for output in different if options.quiet else outputs:
        told = f": {output.verdict.told}" if output.verdict.told else ""
        sys.stdout.write(presentable(f"{output.verdict.kind}  {output.name}{told}\n"))
    if not outputs:
        say("note: the run of the crate had no outputs to compare")
    return 1 if different else 0


def _new_folder(options: argparse.Namespace) -> Path:
    from d4pcwl.errors import UsageError

    target: Path = options.output or Path(f"{options.crate.absolute().stem}-again")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"-o {target}: something is there; name a new folder")
    return target
