"""The graph of a run as a picture, with the figures of its PEs and edges."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

from d4pcwl.trace import units
from d4pcwl.trace.summary import OfEdge, OfPE, Summary
from d4pcwl.workflow.nodes import SINK, SOURCE, STATE, Arrow, Box, Node
from d4pcwl.workflow.picture import Picture

_ID = re.compile(r' id="[^"]*"')
_NODE = re.compile(r'<g class="node">\s*<title>([^<]*)</title>')


def svg(summary: Summary, hot: str | None) -> str | None:
    """The picture as SVG to be put into a page; None without Graphviz, or without a graph.

    :param hot: the id of the PE that stands out: its element gets the class ``hot``
    """
    if not shutil.which("dot") or not summary.edges:
        return None
    keys = {pe: f"pe{number}" for number, pe in enumerate(summary.pes)}
    text = picture(summary).image("svg").decode()
    text = _ID.sub("", text[text.index("<svg") :])
    marked = keys.get(hot or "")
    return _NODE.sub(
        lambda found: (
            found[0].replace('"node"', '"node hot"', 1) if found[1] == marked else found[0]
        ),
        text,
    )


def picture(summary: Summary) -> Picture:
    """Nodes with the share of time that PEs are busy, arrows with what went along them."""
    keys = {pe: f"pe{number}" for number, pe in enumerate(summary.pes)}
    nodes = []
    for pe in summary.pes.values():
        into = [edge for edge in summary.edges.values() if edge.record.dest == pe.record.pe]
        out = [edge for edge in summary.edges.values() if edge.record.source == pe.record.pe]
        nodes.append(
            Node(
                keys[pe.record.pe],
                f"{pe.name}\n{_told(summary, pe)}",
                tuple(dict.fromkeys(edge.record.input for edge in into)),
                tuple(dict.fromkeys(edge.record.output for edge in out)),
                _boxes(pe),
                tuple(_kinds(pe, bool(out))),
            )
        )
    arrows = [
        Arrow(
            keys[edge.record.source],
            edge.record.output,
            keys[edge.record.dest],
            edge.record.input,
            _carried(edge),
        )
        for edge in summary.edges.values()
        if {edge.record.source, edge.record.dest} <= keys.keys()
    ]
    return Picture(nodes, arrows)


def _told(summary: Summary, pe: OfPE) -> str:
    copies = len(pe.instances)
    busy = f"{units.percent(summary.share(pe.instances, 'busy'))} busy"
    return f"{busy}, {copies} instances" if copies > 1 else busy


def _carried(edge: OfEdge) -> str:
    """What went along an edge: items, and bytes where these are known."""
    parts = [f"{units.count(edge.items)} items"] if edge.items else []
    if edge.bytes:
        parts.append(units.size(edge.bytes))
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
