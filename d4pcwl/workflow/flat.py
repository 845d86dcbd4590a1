"""The flat graph, on which all code after loading works: without composites, with ids, and
checked."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import count
from typing import Any

from d4pcwl.errors import GraphError, brief, raise_faults
from d4pcwl.workflow.admission import admit
from d4pcwl.workflow.edges import Edge, Nodes, is_graph, label, mapped_port
from d4pcwl.workflow.grouping import Grouping, of_numbered, parse_grouping
from d4pcwl.workflow.lazy import cached_property
from d4pcwl.workflow.pe import GROUPING, RESULT, is_pe, unknown_port
from d4pcwl.workflow.place import place_of_work, told_at
from d4pcwl.workflow.unused import note_use


@dataclass(frozen=True, eq=False)
class FlatGraph:
    """PEs and the edges between them.

    :param pes: in the order in which they joined the graph
    :param edges: in the order in which they were connected
    :param names: the name of each PE that users see, by its id; no two are equal
    :param composites: for each PE (by ``id()``), the composites around it, outermost first
    :param partitions: which PEs share a process, as the author of the graph said
    """

    pes: tuple[Any, ...]
    edges: tuple[Edge, ...]
    names: dict[str, str]
    composites: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    partitions: tuple[tuple[Any, ...], ...] = ()

    @cached_property
    def _into(self) -> dict[int, list[Edge]]:
        return _by_end(self.edges, "target")

    @cached_property
    def _out_of(self) -> dict[int, list[Edge]]:
        return _by_end(self.edges, "source")

    @cached_property
    def _out_of_port(self) -> dict[tuple[int, str], list[Edge]]:
        ports: dict[tuple[int, str], list[Edge]] = {}
        for edge in self.edges:
            ports.setdefault((id(edge.source), edge.output), []).append(edge)
        return ports

    def into(self, pe: Any) -> list[Edge]:
        """The edges that end at ``pe``."""
        return self._into.get(id(pe), [])

    def out_of(self, pe: Any, output: str | None = None) -> list[Edge]:
        """The edges that start at ``pe``, or at one output of it."""
        if output is not None:
            return self._out_of_port.get((id(pe), output), [])
        return self._out_of.get(id(pe), [])

    def grouping(self, edge: Edge) -> Grouping:
        """How the items of ``edge`` are distributed to the instances of its target."""
        port = edge.target.inputconnections[edge.input]
        grouping = parse_grouping(port.get(GROUPING), f"{self.names[edge.target.id]}.{edge.input}")
        numbered = getattr(edge.target, "numbered", False)
        return of_numbered(grouping) if numbered else grouping

    @property
    def roots(self) -> tuple[Any, ...]:
        """The PEs that no edge feeds, in order."""
        return tuple(pe for pe in self.pes if not self.into(pe))

    @cached_property
    def _edge_place(self) -> dict[int, int]:
        return {id(edge): place for place, edge in enumerate(self.edges)}

    @cached_property
    def _place(self) -> dict[int, int]:
        return {id(pe): place for place, pe in enumerate(self.pes)}

    @cached_property
    def unconnected(self) -> list[tuple[Any, str]]:
        """The outputs without edges: their items are the results of the workflow."""
        return [
            (pe, output)
            for pe in self.pes
            for output, port in pe.outputconnections.items()
            if port.get(RESULT, True) and not self.out_of(pe, output)
        ]

    @cached_property
    def cycles(self) -> tuple[tuple[Any, ...], ...]:
        """The strongly connected components, sources first; a PE that is in no cycle is a component
        by itself."""
        numbers = {id(pe): number for number, pe in enumerate(self.pes)}
        before: dict[int, set[int]] = {number: set() for number in numbers.values()}
        for edge in self.edges:
            before[numbers[id(edge.target)]].add(numbers[id(edge.source)])
        components = ordered_components(before)
        return tuple(tuple(self.pes[number] for number in members) for members in components)

    def is_cycle(self, component: Sequence[Any]) -> bool:
        """Whether one of :attr:`cycles` is a real cycle, and not a single PE."""
        first = component[0]
        return len(component) > 1 or any(edge.target is first for edge in self.out_of(first))

    @cached_property
    def cyclic(self) -> frozenset[int]:
        """The PEs that are in a cycle, by ``id()``."""
        return frozenset(id(pe) for c in self.cycles if self.is_cycle(c) for pe in c)

    def in_order(self) -> list[Any]:
        """The PEs, sources first; the PEs of a cycle follow each other."""
        return [pe for component in self.cycles for pe in component]

    def find(self, name: str) -> list[Any]:
        """The PE that users see as ``name``, or else the one with this id, or all of this name."""
        return self._found.get(name, [])

    @cached_property
    def _found(self) -> dict[str, list[Any]]:
        called: dict[str, list[Any]] = {}
        for pe in self.pes:
            called.setdefault(pe.name, []).append(pe)
        ids = {pe.id: [pe] for pe in self.pes}
        return {**called, **ids, **{self.names[pe.id]: [pe] for pe in self.pes}}

    def __contains__(self, pe: object) -> bool:
        return id(pe) in self._place

    def describe(self, pes: Iterable[Any] | None = None) -> dict[str, Any]:
        """The structure of the graph, or of the part with the PEs ``pes``, as plain data. It has
        everything that a stage depends on: the PEs' names and classes, their ports with groupings,
        and every edge that touches them; not the code of the PEs.
        """
        chosen = sorted(self.pes if pes is None else pes, key=lambda pe: self._place[id(pe)])
        names = self.names
        touching = {id(e): e for pe in chosen for e in (*self.into(pe), *self.out_of(pe))}
        return {
            "pes": [
                {
                    "id": names[pe.id],
                    "class": type(pe).__qualname__,
                    "inputs": {
                        name: str(parse_grouping(port.get(GROUPING), f"{names[pe.id]}.{name}"))
                        for name, port in pe.inputconnections.items()
                    },
                    "outputs": list(pe.outputconnections),
                }
                for pe in chosen
            ],
            "edges": [
                [names[edge.source.id], edge.output, names[edge.target.id], edge.input]
                for edge in sorted(touching.values(), key=lambda e: self._edge_place[id(e)])
            ],
        }

    def digest(self, pes: Iterable[Any] | None = None) -> str:
        """A digest of :meth:`describe`, 16 hexadecimal digits: equal structures have equal
        digests."""
        import hashlib
        import json

        text = json.dumps(self.describe(pes), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(graph: Any) -> FlatGraph:
    """The flat form of a graph: every composite, at any depth, is replaced by its PEs. PEs get
    their ids here, the name and the number in the graph, and the names that users see.

    :param graph: a WorkflowGraph, of ours or of upstream's classes
    :raises GraphError: with all faults: ports that do not exist, composites without such an input
        or output, unknown groupings
    """
    note_use()
    nodes: list[tuple[Any, tuple[Any, ...]]] = []
    edges: list[Edge] = []
    partitions: list[tuple[Any, ...]] = []
    _collect(graph, (), nodes, edges, partitions, set())
    faults: list[str] = []
    flat_edges: list[Edge] = []
    inside = {id(pe) for pe, _ in nodes}
    for edge in edges:
        try:
            source, output = _inner(edge.source, "output", edge.output)
            target, target_input = _inner(edge.target, "input", edge.input)
            _check_inside((source, target), inside)
            flat_edges.append(Edge(source, output, target, target_input, edge.place))
        except GraphError as fault:
            faults.append(told_at(edge.place, f"{edge}: {fault}"))
    pes = tuple(pe for pe, _ in nodes)
    _settle_ids(pes)
    flat = FlatGraph(
        pes,
        tuple(flat_edges),
        _names(pes),
        {id(pe): path for pe, path in nodes},
        tuple(partitions),
    )
    for edge in flat.edges:
        try:
            flat.grouping(edge)
        except GraphError as fault:
            faults.append(told_at(place_of_work(edge.target), str(fault)))
    raise_faults(GraphError, dict.fromkeys(faults))
    return flat


def _collect(
    graph: Any,
    path: tuple[Any, ...],
    nodes: list[tuple[Any, tuple[Any, ...]]],
    edges: list[Edge],
    partitions: list[tuple[Any, ...]],
    seen: set[int],
) -> None:
    """Gather PEs, edges and partitions of ``graph`` and of all graphs nested in it."""
    if any(outer is graph for outer in path[:-1]):
        raise GraphError(f"composite {label(graph)} contains itself")
    for node in nodes_of(graph):
        if is_pe(node):
            if id(node) in seen:
                raise GraphError(f"{label(node)} is in two composites; each needs a PE of its own")
            seen.add(id(node))
            admit(node)
            nodes.append((node, path))
        elif is_graph(node):
            _collect(node, (*path, node), nodes, edges, partitions, seen)
    edges.extend(_edges_of(graph))
    partitions.extend(_partitions_of(graph))


def _partitions_of(graph: Any) -> list[tuple[Any, ...]]:
    given = getattr(graph, "partitions", None)
    try:
        return [] if given is None else [tuple(part) for part in given]
    except TypeError:
        raise GraphError(
            f"partitions of {label(graph)} have to be a list of lists of PEs, not {brief(given)}"
        ) from None


def _check_inside(pes: Iterable[Any], inside: set[int]) -> None:
    for pe in pes:
        if id(pe) not in inside:
            raise GraphError(f"a composite maps to {pe.name}, which is not in it: add it first")


def nodes_of(graph: Any) -> Sequence[Any]:
    """The PEs and nested graphs of a graph, of ours or of upstream's classes."""
    if isinstance(graph, Nodes):
        return list(graph.nodes)
    return [node.get_contained_object() for node in graph.graph.nodes()]


def _edges_of(graph: Any) -> Iterable[Edge]:
    if isinstance(graph, Nodes):
        yield from graph.edges
        return
    # Upstream keeps one undirected networkx edge for each pair of nodes, with the direction of its
    # first connection; one that goes the other way shows in its ports.
    for _, _, data in graph.graph.edges(data=True):
        source, target = data["DIRECTION"]
        for output, target_input in data["ALL_CONNECTIONS"]:
            if _joins(target, output, source, target_input) and not _joins(
                source, output, target, target_input
            ):
                yield Edge(target, output, source, target_input)
            else:
                yield Edge(source, output, target, target_input)


def _joins(source: Any, output: str, target: Any, target_input: str) -> bool:
    outputs = {
        **vars(source).get("outputconnections", {}),
        **vars(source).get("outputmappings", {}),
    }
    inputs = {**vars(target).get("inputconnections", {}), **vars(target).get("inputmappings", {})}
    return output in outputs and target_input in inputs


def _inner(node: Any, kind: str, port: str) -> tuple[Any, str]:
    """The PE and port to which a node's port is mapped, at any depth of composites."""
    while not is_pe(node):
        node, port = mapped_port(node, kind, port)
    if port not in (node.inputconnections if kind == "input" else node.outputconnections):
        raise GraphError(unknown_port(node, kind, port))
    return node, port


def _settle_ids(pes: Sequence[Any]) -> None:
    taken: set[str] = set()
    for number, pe in enumerate(pes):
        pe.id = f"{pe.name}{number}"
        while pe.id in taken:  # 'a1' + '0' and 'a' + '10' are the same text
            pe.id = f"{pe.name}_{number}" if not pe.id.endswith(f"_{number}") else f"{pe.id}_"
        taken.add(pe.id)


def _names(pes: Sequence[Any]) -> dict[str, str]:
    """The name of each PE that users see, by its id: its name, with its number among the PEs of
    that name if there are several. It changes only when a PE of the same name is added.
    """
    numbers = {name: count(1) for name, n in Counter(pe.name for pe in pes).items() if n > 1}
    taken = {pe.name for pe in pes}
    names: dict[str, str] = {}
    for pe in pes:
        name = names[pe.id] = next(
            (f"{pe.name}_{n}" for n in numbers.get(pe.name, ()) if f"{pe.name}_{n}" not in taken),
            pe.name,
        )
        taken.add(name)
    return names


def ordered_components(before: dict[int, set[int]]) -> list[list[int]]:
    """The strongly connected components of a graph of numbers, each after those before it.

    If several can come next, the one with the lowest number comes first.

    :param before: for every number those that have edges to it
    """
    member_of = {number: number for number in before}
    members = {number: [number] for number in before}
    try:
        TopologicalSorter(before).prepare()
    except CycleError:
        import networkx  # only where there is a cycle: it takes longer to load than all the rest

        graph = networkx.DiGraph((a, b) for b, sources in before.items() for a in sources)
        for component in networkx.strongly_connected_components(graph):
            first = min(component)
            members[first] = sorted(component)
            for number in component:
                member_of[number] = first
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for number, sources in before.items():
        first = member_of[number]
        sorter.add(first, *({member_of[source] for source in sources} - {first}))
    sorter.prepare()
    order: list[list[int]] = []
    ready: list[int] = []
    while sorter.is_active():
        for number in sorter.get_ready():
            heapq.heappush(ready, number)
        number = heapq.heappop(ready)
        order.append(members[number])
        sorter.done(number)
    return order


def _by_end(edges: Iterable[Edge], end: str) -> dict[int, list[Edge]]:
    sorted_edges: dict[int, list[Edge]] = {}
    for edge in edges:
        sorted_edges.setdefault(id(getattr(edge, end)), []).append(edge)
    return sorted_edges
