"""Pictures of a graph: composites, or the stages of a cut, are boxes around their PEs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d4pcwl.errors import UsageError
from d4pcwl.workflow.edges import label
from d4pcwl.workflow.flat import FlatGraph, flatten

if TYPE_CHECKING:
    from d4pcwl.workflow.nodes import Box
    from d4pcwl.workflow.picture import Picture


_STYLES = {"shuffle": "solid", "group-by": "dashed", "all": "bold", "global": "dotted"}
"""The lines of groupings."""


def picture(flat: FlatGraph, box_of: Callable[[Any], Box] | None = None) -> Picture:
    """The picture of a graph.

    :param box_of: returns the box around a PE, for example its stage; without it, composites are
        the boxes
    """
    from d4pcwl.workflow.nodes import Arrow, Node
    from d4pcwl.workflow.picture import Picture

    keys = {id(pe): f"pe{number}" for number, pe in enumerate(flat.pes)}
    nodes = [
        Node(
            keys[id(pe)],
            flat.names[pe.id],
            tuple(map(str, pe.inputconnections)),
            tuple(map(str, pe.outputconnections)),
            _composites(flat, pe, keys) if box_of is None else (box_of(pe),),
            tuple(_kinds(flat, pe)),
        )
        for pe in flat.pes
    ]
    arrows = []
    for edge in flat.edges:
        grouping = flat.grouping(edge)
        title = "" if grouping.kind == "shuffle" else str(grouping)
        source, target = keys[id(edge.source)], keys[id(edge.target)]
        style = _STYLES[grouping.kind]
        arrows.append(Arrow(source, edge.output, target, edge.input, title, style))
    return Picture(nodes, arrows)


def _kinds(flat: FlatGraph, pe: Any) -> Iterator[str]:
    from d4pcwl.workflow.nodes import SINK, SOURCE, STATE
    from d4pcwl.workflow.state import keeps_state

    if not flat.into(pe):
        yield SOURCE
    elif keeps_state(pe) is not None:
        yield STATE
    if not flat.out_of(pe) and flat.into(pe):
        yield SINK


def _composites(flat: FlatGraph, pe: Any, keys: dict[int, str]) -> tuple[Box, ...]:
    """A box for each composite around a PE, called by the first PE in it."""
    from d4pcwl.workflow.nodes import Box

    boxes = []
    for depth, composite in enumerate(flat.composites.get(id(pe), ())):
        first = next(p for p in flat.pes if composite in flat.composites.get(id(p), ()))
        boxes.append(Box(f"box{depth}_{keys[id(first)]}", label(composite)))
    return tuple(boxes)


def draw(graph: Any) -> str:
    """The graph in Graphviz' language."""
    return picture(flatten(graph)).dot()


def svg(graph: Any) -> str | None:
    """The picture of a graph as SVG, or None if Graphviz is not installed."""
    import shutil

    return picture(flatten(graph)).image("svg").decode() if shutil.which("dot") else None


def drawDot(graph: Any, img_type: str = "png") -> bytes:  # noqa: N802 - upstream's name
    """The graph as an image.

    :param img_type: any of Graphviz' formats
    :raises UsageError: Graphviz is not installed, or does not know the format
    """
    return picture(flatten(graph)).image(img_type)


def write_image(graph: Any, filename: str, img_type: str = "png") -> None:
    """Draw the graph into a file; without Graphviz, print a message and go on."""
    try:
        image = drawDot(graph, img_type)
    except UsageError as error:
        sys.stderr.write(f"{filename} is not drawn: {error}\n")
        return
    Path(filename).write_bytes(image)
