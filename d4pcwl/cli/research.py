"""``d4pcwl-runner --provenance``: the research object of a run, as cwltool makes it."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # an interrupt during these imports cannot end the command properly
if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager

    from d4pcwl.cwl.importing.cwltool.research_object import ResearchObject


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options, for :func:`research_object`."""
    from pathlib import Path

    group.add_argument(
        "--provenance",
        type=Path,
        metavar="DIR",
        help="write a research object (CWLProv) into a new folder: what ran, when, and all files",
    )
    group.add_argument(
        "--orcid",
        default=os.environ.get("ORCID", ""),
        metavar="ID",
        help="your ORCID iD, for --provenance (default: $ORCID)",
    )
    group.add_argument(
        "--full-name",
        default=os.environ.get("CWL_FULL_NAME", ""),
        metavar="NAME",
        help="your name, for --provenance (default: $CWL_FULL_NAME)",
    )
    for what, told in (("user", "account"), ("host", "machine")):
        names = group.add_argument(
            f"--enable-{what}-provenance",
            dest=f"{what}_provenance",
            action="store_true",
            help=f"also write the name of your {told}",
        )
        group.add_argument(
            f"--disable-{what}-provenance",
            dest=names.dest,
            action="store_false",
            help="do not write it (default)",
        )


def research_object(
    options: argparse.Namespace,
) -> AbstractContextManager[ResearchObject | None]:
    """The research object of the run, if one is asked for.

    :raises UsageError: it cannot be made there, or the outputs go there
    """
    from contextlib import nullcontext

    if options.provenance is None:
        return nullcontext()
    from d4pcwl.cwl.importing.cwltool.research_object import Author, ResearchObject
    from d4pcwl.errors import UsageError

    folder, outdir = os.path.realpath(options.provenance), os.path.realpath(options.outdir)
    if os.path.commonpath([folder, outdir]) == folder:
        raise UsageError(
            f"--provenance {options.provenance}: the outputs go there, too (--outdir); name "
            "another folder"
        )
    author = Author(
        options.orcid, options.full_name, options.user_provenance, options.host_provenance
    )
    return ResearchObject(options.provenance, author)
