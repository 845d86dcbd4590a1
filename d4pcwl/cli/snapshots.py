"""``--checkpoint``, ``--every`` and ``--resume``: a run that was killed is resumed."""

from __future__ import annotations

from contextlib import nullcontext

TYPE_CHECKING = False  # an interrupt during these imports cannot end the command properly
if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager

    from d4pcwl.runtime.checkpoint.session import Session
    from d4pcwl.workflow.load import Script


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options, for :func:`snapshots`."""
    from pathlib import Path

    group.add_argument(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="write snapshots of the run into a folder; if the run is killed, the same command "
        "with --resume continues it",
    )
    group.add_argument(
        "--every",
        type=float,
        metavar="SECONDS",
        help="time from one snapshot to the next (default: 60)",
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="continue after the newest snapshot in DIR; if there is none, start from the "
        "beginning",
    )


def snapshots(
    options: argparse.Namespace, script: Script
) -> AbstractContextManager[Session | None]:
    """The snapshots of a run, for a job, if they are asked for.

    :raises UsageError: the options do not fit each other, or the folder cannot be used
    """
    from d4pcwl.errors import UsageError

    if options.checkpoint is None:
        if options.every is not None or options.resume:
            raise UsageError("--every and --resume need the folder of the run: --checkpoint DIR")
        return nullcontext()
    for other, wanted in (("--stage", options.stage), ("--provenance", options.provenance)):
        if wanted:
            raise UsageError(f"--checkpoint does not work with {other}")
    if options.dry_run:
        return nullcontext()
    from d4pcwl.cli.common import tell
    from d4pcwl.runtime.checkpoint.session import Session
    from d4pcwl.workflow.parameters import plain_values

    return Session(
        options.checkpoint,
        options.every,
        resume=options.resume,
        parameters=plain_values(script.builder, script.values),
        say=(lambda text: None) if options.quiet else lambda text: tell(f"note: {text}"),
    )
