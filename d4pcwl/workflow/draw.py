"""Pictures of a graph: composites, or the stages of a cut, are boxes around their PEs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d4pcwl.errors import UsageError
from d4pcwl.workflow.edges import label
from d4pcwl.workflow.flat import FlatGraph, flatten

if TYPE_CHECKING:
    from d4pcwl.workflow.picture import Box, Picture
    from d4pcwl.workflow.shards import Sharding


def picture(flat: FlatGraph, stages: Sharding | None = None) -> Picture:
    """The picture of a graph.

    :param stages: what it is cut into; then these are the boxes, and not the composites
    """
    from d4pcwl.workflow.picture import Arrow, Node, Picture

    keys = {id(pe): f"pe{number}" for number, pe in enumerate(flat.pes)}
    nodes = [
        Node(
            keys[id(pe)],
            flat.names[pe.id],
            tuple(map(str, pe.inputconnections)),
            tuple(map(str, pe.outputconnections)),
            _composites(flat, pe, keys) if stages is None else (_stage(stages, pe, keys),),
        )
        for pe in flat.pes
    ]
    arrows = []
    for edge in flat.edges:
        grouping = flat.grouping(edge)
        title = "" if grouping.kind == "shuffle" else str(grouping)
        source, target = keys[id(edge.source)], keys[id(edge.target)]
        arrows.append(Arrow(source, edge.output, target, edge.input, title))
    return Picture(nodes, arrows)


def _composites(flat: FlatGraph, pe: Any, keys: dict[int, str]) -> tuple[Box, ...]:
    """A box for each composite around a PE, called by the first PE in it."""
    from d4pcwl.workflow.picture import Box

    boxes = []
    for depth, composite in enumerate(flat.composites.get(id(pe), ())):
        first = next(p for p in flat.pes if composite in flat.composites.get(id(p), ()))
        boxes.append(Box(f"box{depth}_{keys[id(first)]}", label(composite)))
    return tuple(boxes)


def _stage(stages: Sharding, pe: Any, keys: dict[int, str]) -> Box:
    from d4pcwl.workflow.picture import Box

    stage = stages.cut.stage_of(pe)
    times = f", {stages.count} shards" if stage in stages.sharded else ""
    return Box(f"stage_{keys[id(stage.pes[0])]}", stage.name + times)


def draw(graph: Any) -> str:
    """The graph in Graphviz' language."""
    return picture(flatten(graph)).dot()


def drawDot(graph: Any, img_type: str = "png") -> bytes:  # noqa: N802 - upstream's name
    """The graph as an image.

    :param img_type: any of Graphviz' formats
    :raises UsageError: Graphviz is not installed, or does not know the format
    """
    return picture(flatten(graph)).image(img_type)


def write_image(graph: Any, filename: str, img_type: str = "png") -> None:
    """Draw the graph into a file; without Graphviz, say so and go on."""
    try:
        image = drawDot(graph, img_type)
    except UsageError as error:
        sys.stderr.write(f"{filename} is not drawn: {error}\n")
        return
    Path(filename).write_bytes(image)
