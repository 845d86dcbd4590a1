"""The table that shows how far a run is, drawn by rich."""

from __future__ import annotations

import io

from d4pcwl.trace import units
from d4pcwl.trace.totals import PETotal, Totals, last_line

_NARROW, _NARROWER = 70, 50
_BAR = 10
_GAP = 2
_NAME = 6
"""The smallest number of columns for a name."""


def table(totals: Totals, width: int, height: int) -> list[str]:
    """The rows of the table, as a terminal takes them.

    :param width: columns of the terminal
    :param height: the most rows
    """
    from rich.console import Console
    from rich.table import Table

    pes = totals.shown
    fitting = pes if len(pes) + 2 <= height else pes[: max(0, height - 3)]
    columns = _columns(totals, width)
    rows = [[_cells(totals, total)[column] for column in columns] for total in fitting]
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    # Names are cut, and figures are not.
    figures = sum(_GAP + max(map(len, cells)) for cells in zip(columns, *rows, strict=True))
    shown.add_column(
        "Step" if totals.steps else "PE",
        no_wrap=True,
        overflow="ellipsis",
        min_width=_NAME,
        max_width=max(_NAME, width - 1 - figures),
    )
    for column in columns:
        shown.add_column(column, justify="right", no_wrap=True)
    for total, cells in zip(fitting, rows, strict=True):
        shown.add_row(total.name, *cells)
    console = Console(
        file=io.StringIO(), width=width - 1, force_terminal=True, highlight=False, markup=False
    )
    console.print(shown)
    if len(fitting) < len(pes):
        console.print(f"… and {len(pes) - len(fitting)} more", no_wrap=True)
    console.print(_status(totals), style="dim", no_wrap=True, overflow="ellipsis")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def _columns(totals: Totals, width: int) -> list[str]:
    """What there is room for."""
    pes = totals.shown
    columns = ["in", "out", "items/s"]
    if width >= _NARROWER:
        columns.append("at work")
    if width >= _NARROW:
        columns += ["queue"] if any(total.queue is not None for total in pes) else []
        columns.append("instances")
    if any(total.errors for total in pes):
        columns.append("errors")
    return columns


def _cells(totals: Totals, total: PETotal) -> dict[str, str]:
    """By column, what is shown of a PE."""
    return {
        "in": f"{total.taken:,}",
        "out": f"{total.written:,}" if total.written else "",
        "items/s": f"{totals.rate(total):,.0f}",
        "at work": f"{total.share:.0%}" if total.observed else "",
        "queue": f"{total.queue:,}" if total.queue is not None else "",
        "instances": str(len(total.instances) or ""),
        "errors": f"{total.errors:,}" if total.errors else "",
    }


def _status(totals: Totals) -> str:
    if totals.end is not None:
        return last_line(totals)
    parts = [units.seconds(totals.at, 2)]
    done = totals.done
    if done is not None:
        filled = round(_BAR * done)
        parts.append(f"{'█' * filled}{'░' * (_BAR - filled)} {done:.0%} of the {totals.inputs}")
        if totals.left is not None:
            parts.append(f"about {units.seconds(totals.left, 2)} left")
    return "  ".join(parts)
