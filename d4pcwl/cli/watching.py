"""``--trace`` and ``--progress``: what a run shows while it lasts, and the trace that it writes."""

from __future__ import annotations

import contextlib
import os

from d4pcwl.cli.common import say

TYPE_CHECKING = False  # what is imported here, an interrupt cannot end in good order
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from d4pcwl.trace.observer import Observer, Take

AUTO, LIVE, PLAIN, NONE = "auto", "live", "plain", "none"


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options, for :func:`watching`."""
    from pathlib import Path

    group.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="what the run did, second by second, as JSON lines (.gz: compressed)",
    )
    group.add_argument(
        "--progress",
        choices=(AUTO, LIVE, PLAIN, NONE),
        default=AUTO,
        help="how far the run is, on standard error: a live table, plain lines, or nothing "
        "(default: live on a terminal)",
    )
    group.add_argument(
        "--no-progress",
        dest="progress",
        action="store_const",
        const=NONE,
        help="the same as --progress none",
    )
    group.add_argument(
        "--progress-interval",
        type=float,
        metavar="SECONDS",
        help="time between two plain lines (default: 10)",
    )


def has_terminal() -> bool:
    """Whether standard error is a terminal that can show a table."""
    return os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb"


@contextlib.contextmanager
def watching(
    options: argparse.Namespace, script: str, arguments: Sequence[str]
) -> Iterator[Observer | None]:
    """The observer of a run, for a job, if somebody wants one.

    :param script: what runs, as it was named
    :param arguments: of the command
    :raises UsageError: an option asks for what is not there
    :raises OutputError: in the end, what was to be left of the run could not be written
    """
    from d4pcwl.errors import UsageError, presentable

    kind = _kind(options)
    if kind == LIVE and not has_terminal():
        raise UsageError("--progress live needs a terminal; --progress plain does not")
    if options.progress_interval is not None and not options.progress_interval > 0:
        raise UsageError(f"--progress-interval {options.progress_interval}: more than 0 is needed")
    others = [getattr(options, name, None) for name in ("results", "errors")]
    if options.trace is not None and options.trace in others:
        raise UsageError(
            f"--trace {options.trace}: another output has the same path; give another one"
        )
    if options.trace is None and kind == NONE:
        yield None
        return
    from d4pcwl.trace.format import TraceWriter
    from d4pcwl.trace.observer import Observer

    with contextlib.ExitStack() as stack:
        takers: list[Take] = []
        if options.trace is not None:
            takers.append(stack.enter_context(TraceWriter(options.trace)).write)
        if kind != NONE:
            from d4pcwl.runtime.progress import PLAIN_SECONDS, LiveTable, PlainLines

            if kind == LIVE:
                live = LiveTable(say)
                stack.callback(live.stop)
                takers.append(live.take)
            else:
                takers.append(PlainLines(say, options.progress_interval or PLAIN_SECONDS).take)
        thorough = options.trace is not None
        shown = [presentable(argument) for argument in arguments]  # without passwords
        yield Observer(takers, script=script, arguments=shown, thorough=thorough)


def _kind(options: argparse.Namespace) -> str:
    kind: str = options.progress
    if options.quiet or kind == NONE:
        return NONE
    if kind != AUTO:
        return kind
    if has_terminal():
        return LIVE
    from d4pcwl.runtime.mpi.terminal import TERMINAL

    return PLAIN if TERMINAL in os.environ else NONE  # rank 0, on another machine
