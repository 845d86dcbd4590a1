"""What a picture is made of: nodes with ports, arrows between them, and boxes around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SOURCE, STATE, SINK = "source", "keeps state", "sink"
SCATTERED, CONDITIONAL = "scattered", "conditional"


@dataclass(frozen=True)
class Box:
    """What is drawn around nodes; equal boxes are the same one."""

    key: str
    title: str


@dataclass(frozen=True)
class Node:
    """One thing in the picture.

    :param boxes: the boxes around it, outermost first
    :param kinds: what is special about it: told by its shape, and by words below its title
    """

    key: str
    title: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arrow:
    """From an output of a node to an input of one.

    :param style: of its line, as Graphviz has them
    """

    source: str
    output: str
    target: str
    input: str
    title: str = ""
    style: str = "solid"


def level(
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
