"""The table, in Markdown and HTML, with a footnote for every reason."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from cases import FORMS, Case
from engines import ROOT, Engine, EngineFailure
from verdict import NATIVE, Cell, Kind, Verdict

_TITLE = "Conformance"
_REASON_CHARACTERS = 700
_COLOURS = {
    Kind.PASS: "#d7f0d7",
    Kind.FAIL: "#f6c3c0",
    Kind.REFUSED: "#e6e0f5",
    Kind.SKIPPED: "#eeeeee",
}


def versions(engines: Mapping[str, Engine]) -> dict[str, str]:
    """What ran: this package, Python, and the engines that are here."""
    from d4pcwl import __version__

    found = {"d4pcwl": __version__, "Python": platform.python_version()}
    for name, engine in engines.items():
        try:
            found[name] = engine.version
        except EngineFailure as error:
            found[name] = f"unknown ({str(error).splitlines()[0]})"
    return found


@dataclass(frozen=True)
class Grid:
    """A table of cells that have something in common: a row for each workflow."""

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Verdict | None]]


@dataclass
class Report:
    """All verdicts of a crossing, and the tables they make.

    :param cases: the workflows, by name, in the order of the rows
    :param versions: of what ran
    """

    cases: Mapping[str, Case]
    verdicts: Mapping[Cell, Verdict]
    versions: Mapping[str, str]
    date: str = field(
        default_factory=lambda: dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    )

    def summary(self) -> str:
        """How many cells came out how."""
        counts = Counter(verdict.kind for verdict in self.verdicts.values())
        parts = [f"{counts[kind]} {kind.value}" for kind in Kind if counts[kind]]
        return f"{len(self.verdicts)} cells: {', '.join(parts) or 'none'}"

    def grids(self) -> list[Grid]:
        """Natively by mapping; engines by form, under one mapping; and each form by mapping."""
        mappings = list(dict.fromkeys(cell.mapping for cell in self.verdicts))
        places = list(dict.fromkeys(cell.place for cell in self.verdicts if cell.place != NATIVE))
        by_place = {
            (place, form): [c.mapping for c in self.verdicts if (c.place, c.form) == (place, form)]
            for place, form in [(NATIVE, ""), *((p, f) for p in places for f in FORMS)]
        }
        grids = []
        if by_place[NATIVE, ""]:
            grids.append(self._by_mapping("Natively, by mapping", NATIVE, "", mappings))
        shown = [(place, form) for place in places for form in FORMS if by_place[place, form]]
        if shown:
            one = "simple" if "simple" in mappings else mappings[0]
            cells = [(f"{place} {form}", place, form, one) for place, form in shown]
            grids.append(self._grid(f"On CWL engines, mapping {one}", cells))
        for place, form in shown:
            if len(set(by_place[place, form])) > 1:
                title = f"On {place}, {form}, by mapping"
                grids.append(self._by_mapping(title, place, form, mappings))
        return grids

    def _by_mapping(self, title: str, place: str, form: str, mappings: Sequence[str]) -> Grid:
        return self._grid(title, [(mapping, place, form, mapping) for mapping in mappings])

    def _grid(self, title: str, columns: Sequence[tuple[str, str, str, str]]) -> Grid:
        rows = {
            name: [self.verdicts.get(Cell(name, *where)) for _, *where in columns]
            for name in self.cases
        }
        filled = [n for n in range(len(columns)) if any(row[n] for row in rows.values())]
        return Grid(
            title,
            [columns[n][0] for n in filled],
            {name: [row[n] for n in filled] for name, row in rows.items()},
        )

    def footnotes(self) -> dict[str, int]:
        """The number of every reason, in the order in which the tables come to them."""
        numbers: dict[str, int] = {}
        for grid in self.grids():
            for row in grid.rows.values():
                for verdict in row:
                    if verdict is not None and verdict.reason:
                        numbers.setdefault(verdict.reason, len(numbers) + 1)
        return numbers

    def markdown(self) -> str:
        """The report in Markdown."""
        notes = self.footnotes()
        lines = [
            f"# {_TITLE}",
            "",
            f"{self.date}; {self._versions()}.",
            "",
            f"{self.summary()}.",
            "",
        ]
        for grid in self.grids():
            lines += [f"## {grid.title}", ""]
            lines += [f"| workflow | {' | '.join(grid.columns)} |"]
            lines += [f"|---|{'---|' * len(grid.columns)}"]
            for name, row in grid.rows.items():
                lines.append(f"| {name} | {' | '.join(_text(each, notes) for each in row)} |")
            lines.append("")
        lines += ["## Workflows", "", "| name | what it is |", "|---|---|"]
        lines += [f"| {name} | {case.title} |" for name, case in self.cases.items()]
        if notes:
            lines += ["", "## Reasons", ""]
            for reason, number in notes.items():
                shown = _shown(reason).replace("\n", "\n    ")
                lines += [f"{number}.", "", f"    {shown}", ""]
        return "\n".join(lines).rstrip() + "\n"

    def html(self) -> str:
        """The report as an HTML page that needs nothing else."""
        notes = self.footnotes()
        colours = "".join(
            f"td.{kind.value}{{background:{colour}}}" for kind, colour in _COLOURS.items()
        )
        parts = [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            f"<title>{_TITLE}</title><style>body{{font-family:sans-serif;margin:2em}}"
            "table{border-collapse:separate;border-spacing:0}"
            "td,th{border:1px solid #bbb;border-width:0 1px 1px 0;"
            "padding:.2em .5em;text-align:left}"
            "th{background:#fff;position:sticky;left:0;z-index:1}"
            "th:first-child{border-left-width:1px}"
            "tr:first-child th{top:0;left:auto;border-top-width:1px}"
            "tr:first-child th:first-child{left:0;z-index:2}"
            f"pre{{white-space:pre-wrap}}{colours}</style></head><body>",
            f"<h1>{_TITLE}</h1><p>{escape(self.date)}; {escape(self._versions())}.</p>",
            f"<p>{escape(self.summary())}.</p>",
        ]
        for grid in self.grids():
            parts.append(f"<h2>{escape(grid.title)}</h2><table><tr><th>workflow</th>")
            parts += [f"<th>{escape(column)}</th>" for column in grid.columns]
            parts.append("</tr>")
            for name, row in grid.rows.items():
                title = escape(self.cases[name].title, quote=True)
                parts.append(f'<tr><th title="{title}">{escape(name)}</th>')
                parts += [_html_cell(verdict, notes) for verdict in row]
                parts.append("</tr>")
            parts.append("</table>")
        if notes:
            parts.append("<h2>Reasons</h2><ol>")
            for reason, number in notes.items():
                parts.append(f'<li id="reason-{number}"><pre>{escape(_shown(reason))}</pre></li>')
            parts.append("</ol>")
        return "\n".join([*parts, "</body></html>\n"])

    def _versions(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in self.versions.items())


def write_tables(report: Report, folder: Path) -> None:
    """Write table.md and table.html into ``folder``, each in one go."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("table.md", report.markdown()), ("table.html", report.html())):
        beside = folder / f".{name}.partial"
        try:
            beside.write_text(text, encoding="utf-8")
            os.replace(beside, folder / name)
        finally:
            beside.unlink(missing_ok=True)


def _text(verdict: Verdict | None, notes: Mapping[str, int]) -> str:
    if verdict is None:
        return ""
    word = "**fail**" if verdict.kind is Kind.FAIL else verdict.kind.value
    return f"{word} ({notes[verdict.reason]})" if verdict.reason else word


def _html_cell(verdict: Verdict | None, notes: Mapping[str, int]) -> str:
    if verdict is None:
        return "<td></td>"
    word = verdict.kind.value
    if verdict.reason:
        number = notes[verdict.reason]
        word = f'<a href="#reason-{number}">{word} ({number})</a>'
    return f'<td class="{verdict.kind.value}">{word}</td>'


def _shown(reason: str) -> str:
    """A reason as the tables show it: not too long, files as seen from the repository."""
    text = reason.replace(f"{ROOT}{os.sep}", "")
    if len(text) <= _REASON_CHARACTERS:
        return text
    first = text.splitlines()[0][: _REASON_CHARACTERS // 2]
    last = text[len(first) - _REASON_CHARACTERS :]  # commands say at the end what is wrong
    return f"{first}\n…{last}"
