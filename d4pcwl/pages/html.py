"""What all HTML pages share: the document, its colours and type, tables and legends."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources

from d4pcwl.errors import presentable

_ID = re.compile(r' id="[^"]*"')


def document(title: str, body: Iterable[str], style: str = "", script: str = "") -> str:
    """A page.

    :param body: lines of HTML
    :param style: CSS of this page alone, after that of all pages
    :param script: JavaScript, at the end of the body
    """
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escaped(title)}</title>",
            f"<style>{_style()}{style}</style></head>",
            "<body>",
            *body,
            *([f"<script>{script}</script>"] if script else []),
            "</body></html>",
            "",
        ]
    )


def _style() -> str:
    return resources.files("d4pcwl.pages").joinpath("html.css").read_text(encoding="utf-8")


def escaped(text: object) -> str:
    """Any text in HTML."""
    return html.escape(presentable(str(text)))


def drawing(svg: str) -> str:
    """A picture by Graphviz, as a part of a page: it has the page's colours."""
    return _ID.sub("", svg[svg.index("<svg") :])


def tiles(facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Figures that are seen first, each with what it is."""
    yield '<div class="tiles">'
    for value, what in facts:
        yield f"<div><b>{escaped(value)}</b><small>{escaped(what)}</small></div>"
    yield "</div>"


def legend(names: Mapping[str, str]) -> Iterator[str]:
    """What colours mean, by their classes."""
    yield '<div class="legend">'
    yield from (f'<span><i class="{c}"></i>{escaped(name)}</span>' for c, name in names.items())
    yield "</div>"


def table_begin(heads: Sequence[str], text: int) -> Iterator[str]:
    """A table, of which the first columns hold texts."""
    yield '<div class="wide"><table><thead><tr>'
    for number, head in enumerate(heads):
        kind = ' class="text"' if number < text else ""
        yield f"<th{kind}>{escaped(head)}</th>"
    yield "</tr></thead><tbody>"


TABLE_END = "</tbody></table></div>"
