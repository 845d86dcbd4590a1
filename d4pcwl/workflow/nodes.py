"""The parts of a picture: nodes with ports, arrows between them, and boxes around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SOURCE, STATE, SINK = "source", "keeps state", "sink"
SCATTERED, CONDITIONAL = "scattered", "conditional"


@dataclass(frozen=True)
class Box:
    """A box around nodes; equal boxes are the same box."""

    key: str
    title: str


@dataclass(frozen=True)
class Node:
    """One node of the picture.

    :param boxes: the boxes around it, outermost first
    :param kinds: what is special about it: shown by its shape, and by words below its title
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
    """The nodes at a depth, and the boxes, each with all its nodes."""
    inner: dict[Box, list[Node]] = {}
    for node in nodes:
        if len(node.boxes) == depth:
            yield None, node
        else:
            inner.setdefault(node.boxes[depth], []).append(node)
    yield from inner.items()
