"""``d4pcwl top TRACE``: how a run goes, in another terminal, by the trace that it writes."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from d4pcwl.cli.common import say
from d4pcwl.cli.standard import give_up_output, require_output
from d4pcwl.errors import presentable

if TYPE_CHECKING:
    from typing import Any

    from d4pcwl.trace.format import TraceReader
    from d4pcwl.trace.totals import Totals

_SECONDS = 0.5
"""The time between two looks at the file, on a terminal."""

_PLAIN_SECONDS = 10.0
"""The time between two lines, elsewhere."""

_SILENT_SECONDS = 60.0
"""After this time without new records, a message says that the run may have been killed."""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``top``; :func:`run` is set as the ``run`` of the arguments."""
    parser = subparsers.add_parser(
        "top",
        help="watch a run by the trace that it writes",
        description="Watch a run, here or on a cluster, by the file that its option --trace "
        "writes. "
        "On a terminal it shows a table; q or Ctrl-C ends it. Elsewhere it prints a line from time "
        "to time. It ends when the run ends.",
    )
    parser.add_argument("trace", metavar="TRACE", help="the file that --trace writes")
    parser.add_argument(
        "--every",
        type=_seconds,
        metavar="SECONDS",
        help=f"how often to look (default: {_SECONDS:g} on a terminal, else {_PLAIN_SECONDS:g})",
    )
    parser.add_argument("--debug", action="store_true", help="tracebacks")
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def run(options: argparse.Namespace) -> int:
    """Do what the parsed arguments ask for; return the exit code.

    :raises TraceError: the file is not a trace, or it is damaged
    """
    from d4pcwl.trace.format import TraceReader

    require_output("the progress is shown there")
    with TraceReader(options.trace) as reader, contextlib.suppress(KeyboardInterrupt):
        if sys.stdout.isatty():
            _show(reader, options.every or _SECONDS)
        else:
            try:
                _print(reader, options.every or _PLAIN_SECONDS)
            except BrokenPipeError:  # the reader of our output has had enough
                give_up_output()
    return 0


def _print(reader: TraceReader, every: float) -> None:
    """A line now and then, until the run ends."""
    from d4pcwl.trace.totals import last_line, progress_line

    for totals in _followed(reader):
        if totals.end is None:
            sys.stdout.write(presentable(progress_line(totals)) + "\n")
            sys.stdout.flush()
            time.sleep(every)
        else:
            sys.stdout.write(presentable(last_line(totals)) + "\n")


def _show(reader: TraceReader, every: float) -> None:
    """A table that is always new, until the run ends or a key says that it is enough."""
    from d4pcwl.trace.table import table

    rows: list[str] = []
    with contextlib.suppress(KeyboardInterrupt), _screen_of_its_own() as pressed:
        for totals in _followed(reader):
            width, height = shutil.get_terminal_size()
            rows = table(totals, width, height - 1)
            shown = "".join(f"{row}\x1b[K\n" for row in rows)
            sys.stdout.write(f"\x1b[H{shown}\x1b[J")
            sys.stdout.flush()
            if "q" in pressed(every):
                break
    sys.stdout.write("".join(f"{row}\n" for row in rows))


def _followed(reader: TraceReader) -> Iterator[Totals]:
    """What the records come to so far, again and again, until the run ends."""
    from d4pcwl.trace import units
    from d4pcwl.trace.totals import Totals

    totals = Totals()
    heard, told = time.monotonic(), False
    while totals.end is None:
        for record in reader.new():
            totals.take(record)
            heard, told = time.monotonic(), False
        silent = time.monotonic() - heard
        if silent > _SILENT_SECONDS and not told:
            told = True
            say(
                f"{reader.path}: nothing new for {units.seconds(silent)}; the run may have been "
                "killed"
            )
        yield totals


@contextlib.contextmanager
def _screen_of_its_own() -> Iterator[Callable[[float], str]]:
    """Leave what the terminal shows as it is, and give what waits for keys, for some seconds."""
    import termios
    import tty

    before = termios.tcgetattr(0) if sys.stdin.isatty() else None

    def pressed(seconds: float) -> str:
        if before is None:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([0], [], [], seconds)
        return os.read(0, 1024).decode(errors="replace") if ready else ""

    try:
        if before is not None:
            tty.setcbreak(0)
        sys.stdout.write("\x1b[?1049h\x1b[?25l")
        yield pressed
    finally:
        if before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
        sys.stdout.write("\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()
