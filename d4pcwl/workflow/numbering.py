"""The number of each item, for PEs that draw random numbers.

``self.rng`` depends on the number of the item in the stream. That number must not depend on how
many instances take the stream. So there is a :class:`Numbering` before each input of such a PE. It
keeps state, so it sees the items in the order of ``simple``, also if PEs before it run in several
copies. It writes pairs of a number and an item.
"""

from __future__ import annotations

from typing import Any

from d4pcwl.workflow.edges import Edge
from d4pcwl.workflow.flat import FlatGraph, flatten
from d4pcwl.workflow.pe import GenericPE
from d4pcwl.workflow.reading.drawing import draws_numbers


class Numbering(GenericPE):
    """Numbers the items of one edge.

    :param target: the PE that takes them
    :param place: the place of the edge among the edges to the target, from 0
    :param step: the number of these edges, so that no two items of the target have the same number
    """

    stateful = True
    on_error = "fail"

    def __init__(self, target: Any, place: int, step: int) -> None:
        super().__init__()
        self._add_input("input")
        self._add_output("output")
        self.name = f"numbers_of_{target.numbered}" + (f"_{place + 1}" if step > 1 else "")
        self.number, self.step = place, step

    def process(self, inputs: dict[str, Any]) -> None:
        number = self.number
        self.number += self.step
        self.write("output", (number, inputs["input"]))


def to_run(graph: Any) -> FlatGraph:
    """The flat form of a graph, with a numbering in each edge to a PE that draws.

    :raises GraphError: as :func:`~d4pcwl.workflow.flat.flatten` does
    """
    flat = flatten(graph)
    for pe in flat.pes:
        if isinstance(pe, GenericPE):
            pe.numbered = flat.names[pe.id] if draws_numbers(pe) else ""
    numbered = [pe for pe in flat.pes if getattr(pe, "numbered", "")]
    taken = {*flat.names, *flat.names.values()}
    numberings: dict[Edge, Numbering] = {}
    for target in numbered:
        edges = flat.into(target)
        for place, edge in enumerate(edges):
            pe = numberings[edge] = Numbering(target, place, len(edges))
            pe.id = pe.name
            while pe.id in taken:
                pe.id += "_"
            taken.add(pe.id)
    if not numberings:
        return flat
    # It is in the same composite and partition as the PE whose items it numbers.
    beside = {id(pe): edge.source for edge, pe in numberings.items()}
    composites = {key: flat.composites.get(id(source), ()) for key, source in beside.items()}
    return FlatGraph(
        (*flat.pes, *numberings.values()),
        tuple(part for edge in flat.edges for part in _parted(edge, numberings.get(edge))),
        {**flat.names, **{pe.id: pe.id for pe in numberings.values()}},
        {**flat.composites, **composites},
        tuple(
            (*part, *(pe for pe in numberings.values() if beside[id(pe)] in part))
            for part in flat.partitions
        ),
    )


def _parted(edge: Edge, pe: Numbering | None) -> tuple[Edge, ...]:
    if pe is None:
        return (edge,)
    into = Edge(edge.source, edge.output, pe, "input")
    return into, Edge(pe, "output", edge.target, edge.input)
