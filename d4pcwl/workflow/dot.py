"""Pictures in Graphviz' language: one font, rows as wide as a column of a paper, no colour.

A node is a table with its ports. Graphviz has records for that, but it fails on some edges between
records in boxes. The outline shows the kind of a node: round for sources, double for nodes that
keep state or are scattered, thick for the end of the stream, dashed for steps with a condition.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from d4pcwl.errors import presentable
from d4pcwl.workflow.nodes import (
    CONDITIONAL,
    SCATTERED,
    SINK,
    SOURCE,
    STATE,
    Arrow,
    Box,
    Node,
    level,
)
from d4pcwl.workflow.rows import rows

_ROW = 400
"""The largest width of a row, in points. Its letters can be read when the picture is as wide as a
column."""

_LETTER = 5.5
_ARROW = 40
_LONGEST = 28
"""The largest number of letters of a port's name that is written."""

_BEGIN = """digraph workflow {
  graph [rankdir=LR, newrank=true, nodesep=0.2, ranksep=0.4, fontname="Helvetica", fontsize=10];
  node [shape=plain, fontname="Helvetica", fontsize=10];
  edge [fontname="Helvetica", fontsize=8, arrowsize=0.6];
"""


def dot_text(nodes: Sequence[Node], arrows: Sequence[Arrow]) -> str:
    """The picture of nodes and arrows."""
    ways = _Ways()
    lines = list(_group(_Group("all", nodes, 0, "  "), arrows, ways))
    lines += [f"  {{rank=same; {'; '.join(keys)}}}" for keys in ways.left]
    by_key = {node.key: node for node in nodes}
    turned: set[str] = set()
    for arrow in arrows:
        start = _port(by_key[arrow.source], arrow.output, "out")
        end = _port(by_key[arrow.target], arrow.input, "in")
        title = f'label="{_label(arrow.title)}"' if arrow.title else ""
        style = f"style={arrow.style}" if arrow.style != "solid" else ""
        turn = ways.turns.get(arrow)
        if turn is None:
            loose = "constraint=false" if arrow in ways.loose else ""
            lines.append(f"  {start} -> {end}{_with(title, style, loose)};")
            continue
        if turn not in turned:
            turned.add(turn)
            bare = (style, "dir=none, headclip=false, tailclip=false")
            lines.append(f"  {start} -> {turn}_right{_with(style, 'dir=none, headclip=false')};")
            lines.append(f"  {turn}_left -> {turn}_right{_with(title, *bare)};")
        lines.append(f"  {turn}_left -> {end}{_with(style, 'tailclip=false')};")
    return "\n".join([_BEGIN.rstrip(), *lines, "}", ""])


@dataclass(frozen=True)
class _Group:
    """Nodes in one box, or all of them."""

    name: str
    nodes: Sequence[Node]
    depth: int
    indent: str


@dataclass
class _Ways:
    """The way of arrows to other rows.

    :param turns: to the next row: by two points in a box between the rows, of this name
    :param loose: to rows further away, or above: as Graphviz finds best
    :param left: the nodes at the left of the rows of a group
    """

    turns: dict[Arrow, str] = field(default_factory=dict)
    loose: set[Arrow] = field(default_factory=set)
    left: list[list[str]] = field(default_factory=list)


def _group(group: _Group, arrows: Sequence[Arrow], ways: _Ways) -> Iterator[str]:
    """The lines of a group: each of its rows is a box that is not drawn."""
    units: dict[str, tuple[Box | None, list[Node]]] = {}
    for box, found in level(group.nodes, group.depth):
        nodes = [found] if isinstance(found, Node) else found
        units[box.key if box else nodes[0].key] = box, nodes
    unit_of = {node.key: key for key, (_, inner) in units.items() for node in inner}
    order = dict.fromkeys(unit_of[node.key] for node in group.nodes)
    told = {a.target: _LETTER * max(map(len, _label(a.title).split("\\n"))) for a in arrows}
    widths = {key: _width(units[key][1], told) for key in order}
    inner = [arrow for arrow in arrows if arrow.source in unit_of and arrow.target in unit_of]
    drawn = {(a.source, a.output, unit_of[a.target]): unit_of[a.source] for a in inner}
    found_rows = rows(widths, [(unit, key[2]) for key, unit in drawn.items()], _ROW)
    row_of = {unit: number for number, row in enumerate(found_rows) for unit in row}
    turns: dict[int, dict[tuple[str, str, str], str]] = {}
    for arrow in inner:
        start, end = (row_of[unit_of[key]] for key in (arrow.source, arrow.target))
        if end == start + 1:
            here = turns.setdefault(end, {})
            new = f"turn{end}_{len(here)}_{group.name}"
            alike = (arrow.source, arrow.output, arrow.title)
            ways.turns[arrow] = here.setdefault(alike, new)
        elif end != start:
            ways.loose.add(arrow)
    if len(found_rows) > 1:
        ways.left.append([units[row[0]][1][0].key for row in found_rows])
    for number, row in enumerate(found_rows):
        indent = group.indent
        if number:
            yield f"{indent}subgraph cluster_turn{number}_{group.name} {{"
            yield f'{indent}  label=""; peripheries=0; margin=0;'
            yield f"{indent}  node [shape=point, width=0.01, style=invis];"
            for turn in turns.get(number, {}).values():
                yield f"{indent}  {turn}_left; {turn}_right;"
            yield f"{indent}}}"
        if len(found_rows) > 1:
            yield f"{indent}subgraph cluster_row{number}_{group.name} {{"
            indent += "  "
            yield f'{indent}label=""; peripheries=0; margin=2;'
        for key in row:
            box, nodes = units[key]
            if box is None:
                yield f"{indent}{key} [label=<{_table(nodes[0])}>];"
            else:
                yield f"{indent}subgraph cluster_{key} {{"
                yield f'{indent}  label="{_escaped(box.title)}"; peripheries=1; margin=6;'
                inside = _Group(key, nodes, group.depth + 1, indent + "  ")
                yield from _group(inside, arrows, ways)
                yield f"{indent}}}"
        if len(found_rows) > 1:
            yield f"{group.indent}}}"


def _width(nodes: Sequence[Node], told: Mapping[str, float]) -> float:
    """The approximate width of a node, or of a box of several nodes.

    :param told: the width of the text at the arrows to nodes
    """
    wide = [
        _ARROW
        + told.get(node.key, 0)
        + _LETTER * max(len(line) for line in node.title.splitlines() or [""])
        + _LETTER * sum(max(map(len, map(_short, side)), default=0) for side in _written(node))
        for node in nodes
    ]
    return min(sum(wide), _ROW)


def _written(node: Node) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ports whose names are written: not a lone input, nor an output that is just that."""
    inputs = node.inputs if len(node.inputs) > 1 else ()
    outputs = () if node.outputs == ("output",) else node.outputs
    return inputs, outputs


def _port(node: Node, name: str, side: str) -> str:
    """The end of an arrow: a port's cell, or the node's side."""
    names, written = (
        (node.inputs, _written(node)[0]) if side == "in" else (node.outputs, _written(node)[1])
    )
    compass = "w" if side == "in" else "e"
    return f"{node.key}:{side}{names.index(name)}:{compass}" if written else f"{node.key}:{compass}"


def _table(node: Node) -> str:
    kinds = set(node.kinds)
    title = f'<TD CELLPADDING="4">{_html(node.title)}'
    if kinds:
        title += f'<BR/><FONT POINT-SIZE="8"><I>{_html(", ".join(node.kinds))}</I></FONT>'
    inputs, outputs = _written(node)
    row = f"<TR>{_ports(inputs, 'in')}{title}</TD>{_ports(outputs, 'out')}</TR>"
    outline = ' STYLE="ROUNDED"' if SOURCE in kinds else ""
    outline = ' STYLE="DASHED"' if CONDITIONAL in kinds else outline
    border = 2 if SINK in kinds else 1
    inner = 'CELLBORDER="0" CELLSPACING="0" COLUMNS="*"'
    if not kinds & {STATE, SCATTERED}:
        return f'<TABLE BORDER="{border}" {inner}{outline}>{row}</TABLE>'
    return (
        f'<TABLE BORDER="{border}" CELLBORDER="0" CELLSPACING="1" CELLPADDING="1"{outline}>'
        f'<TR><TD><TABLE BORDER="1" {inner}{outline}>{row}</TABLE></TD></TR></TABLE>'
    )


def _ports(names: Sequence[str], side: str) -> str:
    """A cell with a row for each port."""
    cells = "".join(
        f'<TR><TD PORT="{side}{place}"><FONT POINT-SIZE="8">{_html(_short(name))}</FONT></TD></TR>'
        for place, name in enumerate(names)
    )
    table = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" ROWS="*">{cells}</TABLE>'
    return f'<TD CELLPADDING="0">{table}</TD>' if names else ""


def _short(name: str) -> str:
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[: half - 1]}…{name[-half:]}"


def _with(*attributes: str) -> str:
    given = ", ".join(filter(None, attributes))
    return f" [{given}]" if given else ""


def _html(text: str) -> str:
    return html.escape(presentable(text)).replace("\n", "<BR/>")


def _label(text: str) -> str:
    """The text at an arrow; a long text has two lines."""
    return _escaped(text).replace(" ", "\\n", 1) if len(text) > _LONGEST // 2 else _escaped(text)


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in '"\\' else c for c in presentable(text))
