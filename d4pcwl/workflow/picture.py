"""Pictures of nodes with ports, edges, and boxes around nodes, in the language of Graphviz or of
Mermaid."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from d4pcwl.errors import UsageError
from d4pcwl.workflow.dot import dot_text
from d4pcwl.workflow.nodes import SCATTERED, SOURCE, STATE, Arrow, Node, level

_TOLD = 3
"""The largest number of pairs of ports that is written at one arrow."""

_DATE = re.compile(rb"(/CreationDate \(D:)\d{14}")
"""In a PDF: equal pictures are to be equal files."""


@dataclass(frozen=True)
class Picture:
    """Nodes and arrows between them."""

    nodes: Sequence[Node]
    arrows: Sequence[Arrow] = ()

    def dot(self) -> str:
        """The picture in Graphviz' language."""
        return dot_text(self.nodes, self.arrows)

    def mermaid(self) -> str:
        """The picture in Mermaid's language, which code hosts draw in Markdown. There is one arrow
        between two nodes, for any number of edges.
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
                ["dot", "-T", kind],
                input=self.dot().encode(),
                capture_output=True,
                check=False,
            )
        except FileNotFoundError:
            raise UsageError(
                "Graphviz (the command dot) draws images, and it is not installed; get it from "
                "your system's packages, or choose .mmd or .dot"
            ) from None
        if drawn.returncode:
            raise UsageError(f"Graphviz cannot draw {kind}: {drawn.stderr.decode().strip()}")
        return _DATE.sub(rb"\g<1>19700101000000", drawn.stdout)


def _mermaid_nodes(nodes: Sequence[Node], depth: int, indent: str) -> Iterator[str]:
    for box, found in level(nodes, depth):
        if isinstance(found, Node):
            begin, end = _mermaid_shape(found)
            yield f'{indent}{found.key}{begin}"{_mermaid_escaped(found.title)}"{end}'
        elif box is not None:
            yield f'{indent}subgraph {box.key}["{_mermaid_escaped(box.title)}"]'
            yield from _mermaid_nodes(found, depth + 1, indent + "  ")
            yield f"{indent}end"


def _mermaid_shape(node: Node) -> tuple[str, str]:
    if {STATE, SCATTERED} & set(node.kinds):
        return "[[", "]]"
    return ("([", "])") if SOURCE in node.kinds else ("[", "]")


def _mermaid_escaped(text: str) -> str:
    named = {'"': "#quot;", "<": "#lt;", ">": "#gt;", "#": "#35;", "\n": " "}
    return "".join(named.get(character, character) for character in text)
