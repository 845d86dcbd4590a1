"""``--provenance`` and ``--provenance-config``: which items each item of a run comes from."""

from __future__ import annotations

from contextlib import nullcontext

TYPE_CHECKING = False  # an interrupt during these imports cannot end the command properly
if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager

    from d4pcwl.lineage.run_record import RunRecord
    from d4pcwl.workflow.load import Script


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options, for :func:`recording`."""
    from pathlib import Path

    group.add_argument(
        "--provenance",
        type=Path,
        metavar="DIR",
        help="record in a new folder which items each item comes from, as W3C PROV, and for "
        "d4pcwl lineage",
    )
    group.add_argument(
        "--provenance-config",
        metavar="FILE|JSON",
        help="which items to record, and facts about the run, in the terms of S-PROV",
    )


def recording(
    options: argparse.Namespace, script: Script
) -> AbstractContextManager[RunRecord | None]:
    """The record of a run, for a job, if it is asked for.

    :raises UsageError: the options do not fit each other, or the folder has a record already
    """
    from d4pcwl.errors import UsageError

    if options.provenance is None:
        if options.provenance_config is not None:
            raise UsageError("--provenance-config: name the folder of the record: --provenance DIR")
        return nullcontext()
    if options.dry_run:
        return nullcontext()
    from d4pcwl.cli.common import say
    from d4pcwl.lineage.run_record import RunRecord
    from d4pcwl.workflow.parameters import plain_values

    params = [text for text in options.params if "=" not in text and not text.startswith("{")]
    return RunRecord(
        options.provenance,
        options.provenance_config,
        script=str(script.path),
        arguments=options.arguments,
        parameters=plain_values(script.builder, script.values),
        results=options.results,
        files=[path for path in (options.file, *params) if path is not None],
        say=(lambda text: None) if options.quiet else lambda text: say(f"note: {text}"),
    )
