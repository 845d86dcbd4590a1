"""The graph of a run as a picture, with the figures of its PEs and edges."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator

from d4pcwl.pages.html import drawing
from d4pcwl.trace import units
from d4pcwl.trace.summary import OfEdge, OfPE, Summary
from d4pcwl.workflow.nodes import SINK, SOURCE, STATE, Arrow, Box, Node
from d4pcwl.workflow.picture import Picture

_NODE = re.compile(r'<g class="node">\s*<title>([^<]*)</title>')


def svg(summary: Summary, hot: str | None) -> str | None:
    """The picture as SVG to be put into a page; None without Graphviz, or without a graph.

    :param hot: the id of the PE that stands out: its element gets the class ``hot``
    """
    if not shutil.which("dot") or not summary.edges:
        return None
    text = drawing(picture(summary).image("svg").decode())
    marked = _keys(summary).get(hot or "")
    return _NODE.sub(
        lambda found: (
            found[0].replace('"node"', '"node hot"', 1) if found[1] == marked else found[0]
        ),
        text,
    )


def picture(summary: Summary) -> Picture:
    """Nodes with the share of time that PEs are busy, arrows with what went along them."""
    shown = {pe.record.pe: pe for pe in summary.shown}
    keys = _keys(summary)
    edges = [
        (edge, dest)
        for edge in summary.edges.values()
        if edge.record.source in shown and (dest := _end(summary, edge, shown)) is not None
    ]
    nodes = []
    for pe in shown.values():
        into = [edge.record.input for edge, dest in edges if dest == pe.record.pe]
        out = [edge.record.output for edge, _ in edges if edge.record.source == pe.record.pe]
        nodes.append(
            Node(
                keys[pe.record.pe],
                f"{pe.name}\n{_told(summary, pe)}",
                tuple(dict.fromkeys(into)),
                tuple(dict.fromkeys(out)),
                _boxes(pe),
                tuple(_kinds(pe, bool(out))),
            )
        )
    arrows = []
    for edge, dest in edges:
        start, told = keys[edge.record.source], edge.record
        arrows.append(Arrow(start, told.output, keys[dest], told.input, _carried(edge)))
    return Picture(nodes, arrows)


def _keys(summary: Summary) -> dict[str, str]:
    """What nodes are called in pictures, by the ids of PEs."""
    return {pe: f"pe{number}" for number, pe in enumerate(summary.pes)}


def _end(summary: Summary, edge: OfEdge, shown: Collection[str]) -> str | None:
    """The PE at the end of an edge: behind what joins steps, if there is such a thing."""
    dest = edge.record.dest
    if dest in shown:
        return dest
    behind = {other.record.dest for other in summary.edges.values() if other.record.source == dest}
    return behind.pop() if len(behind) == 1 and behind <= set(shown) else None


def _told(summary: Summary, pe: OfPE) -> str:
    copies = len(pe.instances)
    busy = f"{units.percent(summary.share(pe.instances, 'busy'))} busy"
    return f"{busy}, {copies} instances" if copies > 1 else busy


def _carried(edge: OfEdge) -> str:
    """What went along an edge: items, bytes where these are known, and those after compression."""
    parts = [f"{units.count(edge.items)} items"] if edge.items else []
    if edge.bytes:
        parts.append(units.size(edge.bytes))
    if edge.sent:
        parts.append(f"sent as {units.size(edge.sent)}")
    return " ".join(part.replace(" ", "\u00a0") for part in parts)


def _boxes(pe: OfPE) -> tuple[Box, ...]:
    step = pe.record.step
    return (Box(f"step_{re.sub(r'[^a-zA-Z0-9]', '_', step)}", step),) if step else ()


def _kinds(pe: OfPE, written: bool) -> Iterator[str]:
    if pe.record.source:
        yield SOURCE
    elif pe.record.state:
        yield STATE
    if not written and not pe.record.source:
        yield SINK
