"""Pictures: nodes with ports, edges, and boxes around nodes; in Graphviz' language or Mermaid's."""

from __future__ import annotations

import html
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from d4pcwl.errors import UsageError, presentable

_TOLD = 3
"""How many pairs of ports are written at one arrow."""


@dataclass(frozen=True)
class Box:
    """What is drawn around nodes; equal boxes are the same one."""

    key: str
    title: str


@dataclass(frozen=True)
class Node:
    """One thing in the picture.

    :param boxes: the boxes around it, outermost first
    """

    key: str
    title: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Arrow:
    """From an output of a node to an input of one."""

    source: str
    output: str
    target: str
    input: str
    title: str = ""


@dataclass(frozen=True)
class Picture:
    """Nodes and arrows between them."""

    nodes: Sequence[Node]
    arrows: Sequence[Arrow] = field(default=())

    def dot(self) -> str:
        """The picture in Graphviz' language: a table for each node, with its ports.

        Graphviz has records for that, but fails on some edges between these that are in boxes.
        """
        nodes = {node.key: node for node in self.nodes}
        lines = [
            "digraph workflow {",
            "  rankdir=LR;",
            '  node [shape=plain, fontname="sans-serif"];',
            *_dot_nodes(self.nodes, 0, "  "),
        ]
        for arrow in self.arrows:
            output = nodes[arrow.source].outputs.index(arrow.output)
            target = nodes[arrow.target].inputs.index(arrow.input)
            text = f' [label="{_dot_escaped(arrow.title)}"]' if arrow.title else ""
            lines.append(f"  {arrow.source}:out{output} -> {arrow.target}:in{target}{text};")
        return "\n".join([*lines, "}", ""])

    def mermaid(self) -> str:
        """The picture in Mermaid's language, which code hosts draw in Markdown.

        Two nodes are joined by one arrow, however many ports they share.
        """
        lines = ["flowchart LR", *_mermaid_nodes(self.nodes, 0, "  ")]
        joined: dict[tuple[str, str], list[str]] = {}
        for arrow in self.arrows:
            ports = (
                arrow.output if arrow.output == arrow.input else f"{arrow.output} → {arrow.input}"
            )
            title = f"{ports} ({arrow.title})" if arrow.title else ports
            joined.setdefault((arrow.source, arrow.target), []).append(title)
        for (source, target), titles in joined.items():
            title = "; ".join(titles) if len(titles) <= _TOLD else f"{len(titles)} values"
            lines.append(f'  {source} -->|"{_mermaid_escaped(title)}"| {target}')
        return "\n".join([*lines, ""])

    def image(self, kind: str) -> bytes:
        """The picture as an image.

        :param kind: one of Graphviz' formats: ``svg``, ``png``, ``pdf``, …
        :raises UsageError: Graphviz is not installed, or does not know the format
        """
        try:
            drawn = subprocess.run(
                ["dot", "-T", kind], input=self.dot().encode(), capture_output=True, check=False
            )
        except FileNotFoundError:
            raise UsageError(
                "Graphviz (the command dot) draws images, and it is not installed; get it from "
                "your system's packages, or choose .mmd or .dot"
            ) from None
        if drawn.returncode:
            raise UsageError(f"Graphviz cannot draw {kind}: {drawn.stderr.decode().strip()}")
        return drawn.stdout


def _level(
    nodes: Sequence[Node], depth: int
) -> Iterator[tuple[Box, list[Node]] | tuple[None, Node]]:
    """The nodes at a depth, each by itself, and the boxes, each with all that is in it."""
    inner: dict[Box, list[Node]] = {}
    for node in nodes:
        if len(node.boxes) == depth:
            yield None, node
        else:
            inner.setdefault(node.boxes[depth], []).append(node)
    yield from inner.items()


def _dot_nodes(nodes: Sequence[Node], depth: int, indent: str) -> Iterator[str]:
    for box, found in _level(nodes, depth):
        if isinstance(found, Node):
            inputs, outputs = _dot_ports(found.inputs, "in"), _dot_ports(found.outputs, "out")
            row = f"<TR>{inputs}<TD>{_html_escaped(found.title)}</TD>{outputs}</TR>"
            yield f"{indent}{found.key} [label=<{_dot_table(row)}>];"
        elif box is not None:
            yield f"{indent}subgraph cluster_{box.key} {{"
            title = _dot_escaped(box.title)
            yield f'{indent}  label="{title}"; style=filled; fillcolor=lightgrey;'
            yield from _dot_nodes(found, depth + 1, indent + "  ")
            yield f"{indent}}}"


def _dot_ports(names: Sequence[str], prefix: str) -> str:
    """A cell with a row for each port."""
    rows = "".join(
        f'<TR><TD PORT="{prefix}{place}">{_html_escaped(name)}</TD></TR>'
        for place, name in enumerate(names)
    )
    return f'<TD BORDER="0" CELLPADDING="0">{_dot_table(rows)}</TD>' if names else ""


def _dot_table(rows: str) -> str:
    attributes = 'BORDER="0" CELLBORDER="1" CELLSPACING="0" CELLPADDING="4" BGCOLOR="white"'
    return f"<TABLE {attributes}>{rows}</TABLE>"


def _html_escaped(text: str) -> str:
    return html.escape(presentable(text)).replace("\n", "<BR/>")


def _dot_escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in '"\\' else c for c in text)


def _mermaid_nodes(nodes: Sequence[Node], depth: int, indent: str) -> Iterator[str]:
    for box, found in _level(nodes, depth):
        if isinstance(found, Node):
            yield f'{indent}{found.key}["{_mermaid_escaped(found.title)}"]'
        elif box is not None:
            yield f'{indent}subgraph {box.key}["{_mermaid_escaped(box.title)}"]'
            yield from _mermaid_nodes(found, depth + 1, indent + "  ")
            yield f"{indent}end"


def _mermaid_escaped(text: str) -> str:
    named = {'"': "#quot;", "<": "#lt;", ">": "#gt;", "#": "#35;", "\n": " "}
    return "".join(named.get(character, character) for character in text)
