"""What a trace says, as text for terminals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from d4pcwl.trace import units
from d4pcwl.trace.bottleneck import findings
from d4pcwl.trace.changes import changes, verdict
from d4pcwl.trace.suggestion import Suggestion
from d4pcwl.trace.summary import Summary

_FIRST = 8
"""The largest number of lines of one kind."""


def summary_text(summary: Summary, suggestions: Sequence[Suggestion] = ()) -> str:
    """What ran, what holds it up, the PEs, and plans for the next run."""
    run = summary.run
    parts = [
        run.script or "",
        run.mapping,
        units.number(len(summary.processes), "process"),
        units.seconds(summary.seconds),
        f"{units.count(summary.from_sources)} items from sources",
    ]
    lines = [", ".join(filter(None, parts)), ""]
    lines += [str(finding) for finding in findings(summary)]
    heads = ["PE", "inst.", "in", "out", "busy", "enc.", "blocked", "waiting", "mean", "99 %"]
    rows = [heads]
    for pe in summary.shown:
        shares = [
            units.percent(summary.share(pe.instances, s))
            for s in ("busy", "encoding", "blocked", "waiting")
        ]
        longest = pe.percentile(0.99)
        rows.append(
            [
                pe.name,
                str(len(pe.instances)),
                units.count(pe.taken),
                "" if pe.written is None else units.count(pe.written),
                *shares,
                "" if pe.mean is None else units.seconds(pe.mean),
                "" if longest is None else units.seconds(longest),
            ]
        )
    lines += ["", *columns(rows, texts=1)]
    edges = sorted(summary.edges.values(), key=lambda edge: -(edge.bytes or 0))
    compressed = any(edge.sent is not None for edge in edges)
    sent = [["edge", "items", "bytes", *(["sent"] if compressed else [])]] + [
        [
            f"{summary.name(edge.record.source)}.{edge.record.output} → "
            f"{summary.name(edge.record.dest)}.{edge.record.input}",
            units.count(edge.items),
            "" if edge.bytes is None else units.size(edge.bytes),
            *(["" if edge.sent is None else units.size(edge.sent)] if compressed else []),
        ]
        for edge in edges[:_FIRST]
        if edge.items
    ]
    if len(sent) > 1:
        lines += ["", *columns(sent, texts=1)]
    if suggestions:
        plans = [["plan", "predicted", "processes"]]
        plans += [[plan.how, units.seconds(plan.seconds), str(plan)] for plan in suggestions]
        lines += ["", *columns(plans, texts=3)]
    return "\n".join([*lines, ""])


def changes_text(names: Sequence[str], before: Summary, after: Summary) -> str:
    """What changed between two runs."""
    rows = [["", *names, ""]]
    rows += [[c.what, c.before, c.after, c.told] for c in changes(before, after)]
    return "\n".join([*verdict(before, after), "", *columns(rows, texts=1), ""])


def columns(rows: Sequence[Sequence[str]], texts: int) -> list[str]:
    """Lines of a table; the first columns hold texts, the others figures.

    >>> columns([["PE", "in"], ["parse", "7"]], texts=1)
    ['PE     in', 'parse   7']
    """
    wide = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return [
        "  ".join(
            cell.ljust(width) if number < texts else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, wide, strict=True))
        ).rstrip()
        for row in rows
    ]
