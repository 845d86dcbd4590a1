"""From samples to a table: medians, ratios, and whether what was aimed at is reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.cases import Target


@dataclass
class Side:
    """What one package reached in a row.

    :param samples: of runs that gave the right answer
    :param faults: what was wrong with the others
    """

    samples: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def median(self) -> float | None:
        return median(self.samples) if self.samples else None

    @property
    def fault(self) -> str:
        """The most usual fault, and of how many runs."""
        if not self.faults:
            return ""
        (fault, _), *_ = Counter(self.faults).most_common(1)
        runs = len(self.faults) + len(self.samples)
        return fault if not self.samples else f"{fault} ({len(self.faults)} of {runs} runs)"


@dataclass
class Row:
    """One line of the table."""

    case: str
    mapping: str
    unit: str
    ours: Side = field(default_factory=Side)
    upstream: Side = field(default_factory=Side)
    targets: tuple[Target, ...] = ()
    limit: str = ""

    @property
    def lower_is_better(self) -> bool:
        return self.unit in ("s", "MB")

    @property
    def ratio(self) -> float | None:
        """How many times better ours is."""
        ours, upstream = self.ours.median, self.upstream.median
        if not ours or not upstream:
            return None
        return upstream / ours if self.lower_is_better else ours / upstream


def judge(
    row: Row, target: Target, limits: dict[str, Side], shorter: float | None = None
) -> tuple[str, bool | None]:
    """A target in words, and whether it is met; None where that cannot be said.

    :param shorter: our median for the shorter stream, for a target of growth
    """
    ours = row.ours.median
    reached: float | None
    if target.kind == "ratio":
        words, reached = f"≥ {target.value:g}x", row.ratio
    elif target.kind == "rate":
        words, reached = f"≥ {target.value:g} {row.unit}", ours
    elif target.kind == "share":
        limit = limits[row.limit].median if row.limit in limits else None
        words = f"≥ {target.value:.0%} of {row.limit}"
        reached = ours / limit if ours and limit else None
    elif target.kind == "growth":
        words = f"growth ≤ {target.value:g}x"
        grown = ours / shorter if ours and shorter else None
        return words, None if grown is None else grown <= target.value
    else:
        raise ValueError(f"no target is of the kind {target.kind}")
    if reached is None:
        return words, False if ours is None and row.ours.faults else None
    return words, reached >= target.value


def figure(value: float | None, unit: str = "") -> str:
    """A number of three digits or so."""
    if value is None:
        return "—"
    if unit == "s":
        return f"{value:.3f}" if value < 1 else f"{value:.2f}"
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    if value >= 1e4:
        return f"{value / 1e3:.0f} k"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _cell(side: Side, unit: str) -> str:
    shown = figure(side.median, unit) if side.samples else ""
    return "; ".join(part for part in (shown, side.fault) if part) or "—"


def lines(rows: Sequence[Row], limits: dict[str, Side]) -> list[list[str]]:
    """The cells of the table."""
    shorter = {
        row.mapping: row.ours.median for row in rows if row.case == "peak memory, 100 k ints"
    }
    table = []
    for row in rows:
        limit = limits[row.limit].median if row.limit in limits else None
        share = f"{row.ours.median / limit:.0%} of {row.limit}" if row.ours.median and limit else ""
        verdicts = []
        for target in row.targets:
            words, met = judge(row, target, limits, shorter.get(row.mapping))
            verdicts.append(f"{words}: {'not comparable' if met is None else _verdict(met)}")
        if row.ratio:
            ratio = f"{row.ratio:.3g}x" if row.ratio < 100 else f"{row.ratio:.0f}x"
        else:
            ratio = _why_no_ratio(row)
        table.append(
            [
                row.case,
                row.mapping,
                row.unit,
                _cell(row.ours, row.unit),
                _cell(row.upstream, row.unit),
                ratio,
                "; ".join(verdicts),
                share,
            ]
        )
    return table


def _why_no_ratio(row: Row) -> str:
    if not row.ours.samples or not row.upstream.faults:
        return "—"
    slow = "took longer" in row.upstream.fault
    return "upstream not done" if slow else "upstream fails"


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


HEADINGS = ["case", "mapping", "unit", "ours", "upstream", "ratio", "target", "of the limit"]


def rendered(table: Sequence[Sequence[str]], headings: Sequence[str] = HEADINGS) -> str:
    """A table in Markdown, with columns of even width."""
    widths = [
        max(len(row[column]) for row in [headings, *table]) for column in range(len(headings))
    ]
    rows = [headings, ["-" * width for width in widths], *table]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )


def as_json(rows: Sequence[Row], limits: dict[str, Side], about: dict[str, Any]) -> dict[str, Any]:
    """Everything, with all samples."""

    def side(side: Side) -> dict[str, Any]:
        return {"median": side.median, "samples": side.samples, "faults": side.faults}

    return {
        "about": about,
        "rows": [
            {
                "case": row.case,
                "mapping": row.mapping,
                "unit": row.unit,
                "ours": side(row.ours),
                "upstream": side(row.upstream),
                "ratio": row.ratio,
                "targets": [{"kind": target.kind, "value": target.value} for target in row.targets],
                "limit": row.limit,
            }
            for row in rows
        ],
        "limits": {name: side(limit) for name, limit in limits.items()},
    }
