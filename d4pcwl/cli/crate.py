"""``d4pcwl crate RUN… -o CRATE``: runs as one RO-Crate."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from d4pcwl.cli.common import say

if TYPE_CHECKING:
    from typing import Any


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``crate``; :func:`run` is set as the ``run`` of the arguments."""
    parser = subparsers.add_parser(
        "crate",
        help="put a run with all that belongs to it into an RO-Crate",
        description="Put runs with their workflow, files, parameters and provenance into one "
        "Workflow Run RO-Crate (profile Provenance Run Crate 0.5), to be published. It has a page "
        "for people: ro-crate-preview.html.",
    )
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        type=Path,
        help="the folder that dispel4py --provenance has made, or that of cwltool --provenance; "
        "the first is that of the main workflow",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="CRATE",
        help="a new folder, or a zip file",
    )
    parser.add_argument(
        "--zip", action="store_true", help="write a zip file, as it is uploaded to repositories"
    )
    parser.add_argument(
        "--author",
        action="append",
        default=[],
        metavar="NAME",
        help='who wrote the workflow, with an ORCID iD if there is one: "Ada Lovelace '
        '0000-0002-1825-0097"; for several, give it again (default: as declared)',
    )
    parser.add_argument(
        "--license",
        metavar="LICENCE",
        help="the licence of the crate, as SPDX names it, such as CC-BY-4.0, or a URI (default: as "
        "declared)",
    )
    parser.add_argument(
        "--take",
        action="append",
        default=[],
        metavar="PATH",
        help="include a file that is left out by default because it may be private: its name, or "
        "its path in the run",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes on standard error")
    parser.add_argument("--debug", action="store_true", help="tracebacks")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do what the parsed arguments ask for; return the exit code.

    :raises D4pcwlError: a folder is not of a run, or the crate cannot be written
    """
    from d4pcwl.crate.making import make_crate

    make_crate(
        options.runs,
        options.output,
        authors=options.author,
        license_=options.license,
        as_zip=options.zip,
        take=options.take,
        say=(lambda text: None) if options.quiet else say,
    )
    return 0
