"""Cutting a graph into stages: sets of PEs that share a process, or a command.

========================  ===========================================================
``whole``                 one stage
``composite``             one stage for each outermost composite
``partition``             one stage for each entry of the graph's ``partitions``
``pe``                    one stage for each PE; those that form a cycle stay together
``PE.port,PE.port,…``     the graph is split at the edges of these ports
========================  ===========================================================

PEs that are in no composite or partition form other stages. They are joined with their neighbours
if the order of the stages allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from d4pcwl.errors import GraphError, nearest, raise_faults
from d4pcwl.workflow.composite import own_doc
from d4pcwl.workflow.edges import Edge, label
from d4pcwl.workflow.flat import FlatGraph, ordered_components
from d4pcwl.workflow.lazy import cached_property
from d4pcwl.workflow.numbering import Numbering


@dataclass(frozen=True, eq=False)
class Stage:
    """A set of PEs.

    :param name: unique among the stages
    :param pes: its PEs, in the graph's order
    :param doc: the docstring of the composite, if the stage is one
    """

    name: str
    pes: tuple[Any, ...]
    doc: str = ""

    def __contains__(self, pe: object) -> bool:
        return any(member is pe for member in self.pes)


@dataclass(frozen=True, eq=False)
class Cut:
    """A graph in stages, sources first.

    :param graph: what was cut
    :param stages: each depends only on those before it
    :param crossing: the edges between stages, in the graph's order
    """

    graph: FlatGraph
    stages: tuple[Stage, ...]
    crossing: tuple[Edge, ...]

    @cached_property
    def _stage_of(self) -> dict[int, Stage]:
        return {id(pe): stage for stage in self.stages for pe in stage.pes}

    @cached_property
    def _entering(self) -> dict[Stage, list[Edge]]:
        return self._at("target")

    @cached_property
    def _leaving(self) -> dict[Stage, list[Edge]]:
        return self._at("source")

    def _at(self, end: str) -> dict[Stage, list[Edge]]:
        edges: dict[Stage, list[Edge]] = {}
        for edge in self.crossing:
            edges.setdefault(self.stage_of(getattr(edge, end)), []).append(edge)
        return edges

    def stage_of(self, pe: Any) -> Stage:
        """The stage that a PE is in."""
        return self._stage_of[id(pe)]

    def entering(self, stage: Stage) -> list[Edge]:
        """The edges from other stages to this one."""
        return self._entering.get(stage, [])

    def leaving(self, stage: Stage) -> list[Edge]:
        """The edges from this stage to others."""
        return self._leaving.get(stage, [])


def cut(graph: FlatGraph, how: str = "whole") -> Cut:
    """Cut ``graph``; see the module for ``how``.

    :raises GraphError: an unknown PE or port, partitions that overlap or do not exist, or stages
        that would depend on each other in a circle
    """
    groups: list[_Group]
    if how == "whole":
        groups = [("main", graph.pes, "")]
    elif how == "composite":
        groups = _by_composite(graph)
    elif how == "partition":
        groups = _by_partition(graph)
    elif how == "pe":
        return cut_between(graph, lambda edge: isinstance(edge.target, Numbering))
    else:
        groups = _by_ports(graph, [part.strip() for part in how.split(",") if part.strip()])
    return _ordered(graph, groups)


def cut_between(graph: FlatGraph, may_share_stage: Callable[[Edge], bool]) -> Cut:
    """Cut ``graph`` into the largest possible stages, whose PEs are connected by edges that may be
    inside a stage. No path leaves a stage and comes back to it. For this, each PE gets a level: all
    other edges go to a higher level, and the PEs of a stage have the same level.
    """
    level = dict.fromkeys(map(id, graph.pes), 0)
    for component in graph.cycles:
        inside = {id(pe) for pe in component}
        highest = max(
            (
                level[id(edge.source)] + (0 if may_share_stage(edge) else 1)
                for pe in component
                for edge in graph.into(pe)
                if id(edge.source) not in inside
            ),
            default=0,
        )
        level.update(dict.fromkeys(inside, highest))
    groups = _Groups(graph)
    for edge in graph.edges:
        if level[id(edge.source)] == level[id(edge.target)]:
            groups.merge(edge.source, edge.target)
    return _ordered(graph, _named_by_pes(graph, groups.members()))


def cut_into(graph: FlatGraph, groups: Iterable[Sequence[Any]]) -> Cut:
    """The cut with these stages, which are called as the PEs in them.

    :raises GraphError: stages would depend on each other in a circle
    """
    return _ordered(graph, _named_by_pes(graph, groups))


def part(whole: Cut, is_apart: Callable[[Stage, Any], bool]) -> Cut:
    """A cut in which the given PEs have separate stages."""
    groups: list[_Group] = []
    for stage in whole.stages:
        groups.append((stage.name, [pe for pe in stage.pes if not is_apart(stage, pe)], stage.doc))
        groups += [(whole.graph.names[pe.id], [pe], "") for pe in stage.pes if is_apart(stage, pe)]
    return _ordered(whole.graph, groups)


def fuse(graph: FlatGraph) -> Cut:
    """The stages that each run in one process with ``-s``: the partitions; without these, the roots
    and the rest.

    :raises GraphError: as :func:`cut` does
    """
    if graph.partitions:
        return cut(graph, "partition")
    roots = {id(pe) for pe in graph.roots}
    rest = tuple(pe for pe in graph.pes if id(pe) not in roots)
    parts = tuple(part for part in (graph.roots, rest) if part)
    return cut(replace(graph, partitions=parts), "partition")


_Group = tuple[str, Sequence[Any], str]


def _by_composite(graph: FlatGraph) -> list[_Group]:
    groups: dict[int, tuple[Any, list[Any]]] = {}
    for pe in graph.pes:
        for composite in graph.composites.get(id(pe), ())[:1]:
            groups.setdefault(id(composite), (composite, []))[1].append(pe)
    if not groups:
        raise GraphError(
            "the graph has no composites to cut at; use --cut PE.port, or group PEs in a "
            "CompositePE"
        )
    named = [
        (label(composite), members, own_doc(composite)) for composite, members in groups.values()
    ]
    return _with_the_rest(graph, named)


def _by_partition(graph: FlatGraph) -> list[_Group]:
    if not graph.partitions:
        raise GraphError("the graph has no partitions to cut at; set graph.partitions")
    members = {id(pe) for pe in graph.pes}
    seen: set[int] = set()
    faults = []
    for number, part in enumerate(graph.partitions):
        for pe in part:
            if id(pe) not in members:
                faults.append(f"partition {number}: {label(pe)} is not in the graph")
            elif id(pe) in seen:
                faults.append(f"partition {number}: {label(pe)} is in two partitions")
            seen.add(id(pe))
    raise_faults(GraphError, faults)
    parts = [(f"partition{number}", part, "") for number, part in enumerate(graph.partitions)]
    return _with_the_rest(graph, parts)


def _by_ports(graph: FlatGraph, names: Sequence[str]) -> list[_Group]:
    severed = set[int]()
    faults = []
    for name in names:
        edges, fault = _edges_at(graph, name)
        severed.update(map(id, edges))
        faults += [fault] if fault else []
    raise_faults(GraphError, faults or ([] if names else ["--cut names no PE.port"]))
    groups = _Groups(graph)
    for edge in graph.edges:
        if id(edge) not in severed:
            groups.merge(edge.source, edge.target)
    raise_faults(
        GraphError,
        [
            (
                f"--cut at {edge} does not separate {graph.names[edge.source.id]} and "
                f"{graph.names[edge.target.id]}: other edges still connect them; cut those too, or "
                "leave out this cut"
            )
            for edge in graph.edges
            if id(edge) in severed and groups.find(edge.source) == groups.find(edge.target)
        ],
    )
    return _named_by_pes(graph, groups.members())


def _edges_at(graph: FlatGraph, name: str) -> tuple[list[Edge], str | None]:
    """The edges at ``PE.port`` (an output, or an input if there is no such output), or a fault."""
    known = sorted({f"{graph.names[e.source.id]}.{e.output}" for e in graph.edges})
    pe_name, dot, port = name.rpartition(".")
    pes = graph.find(pe_name)
    if not dot or not pes:
        return [], f"--cut {name}: no such PE.port{nearest(name, known)}"
    if len(pes) > 1:
        names = ", ".join(graph.names[pe.id] for pe in pes)
        return [], f"--cut {name}: several PEs have the name {pe_name}; use {names}"
    edges = graph.out_of(pes[0], port) or [e for e in graph.into(pes[0]) if e.input == port]
    return edges, None if edges else f"--cut {name}: no edge is there{nearest(name, known)}"


class _Groups:
    """Disjoint sets of PEs (union-find), each called by its first PE in the graph's order."""

    def __init__(self, graph: FlatGraph) -> None:
        self.pes = graph.pes
        self.number = {id(pe): number for number, pe in enumerate(graph.pes)}
        self.parent = list(range(len(graph.pes)))

    def find(self, pe: Any) -> int:
        number = self.number[id(pe)]
        while self.parent[number] != number:
            self.parent[number] = self.parent[self.parent[number]]
            number = self.parent[number]
        return number

    def merge(self, pe: Any, other: Any) -> None:
        first, second = sorted((self.find(pe), self.find(other)))
        self.parent[second] = first

    def members(self) -> list[list[Any]]:
        groups: dict[int, list[Any]] = {}
        for pe in self.pes:
            groups.setdefault(self.find(pe), []).append(pe)
        return list(groups.values())


def _with_the_rest(graph: FlatGraph, named: Sequence[_Group]) -> list[_Group]:
    """``named``, and more groups for the PEs that are in none of them."""
    taken = {id(pe) for _, pes, _ in named for pe in pes}
    groups = _Groups(graph)
    for _, pes, _ in named:
        for pe in pes[1:]:
            groups.merge(pes[0], pe)
    for edge in graph.edges:
        if id(edge.source) not in taken and id(edge.target) not in taken:
            attempt = _Groups(graph)
            attempt.parent = list(groups.parent)
            attempt.merge(edge.source, edge.target)
            if _acyclic(graph, attempt):
                groups = attempt
    rest = [pes for pes in groups.members() if id(pes[0]) not in taken]
    return [*named, *_named_by_pes(graph, rest)]


def _acyclic(graph: FlatGraph, groups: _Groups) -> bool:
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for edge in graph.edges:
        source, target = groups.find(edge.source), groups.find(edge.target)
        if source != target:
            sorter.add(target, source)
    try:
        sorter.prepare()
    except CycleError:
        return False
    return True


def _named_by_pes(graph: FlatGraph, groups: Iterable[Sequence[Any]]) -> list[_Group]:
    """Groups with the names of their first and last PEs, along the graph."""
    place = {id(pe): number for number, pe in enumerate(graph.in_order())}
    named: list[_Group] = []
    for pes in groups:
        told = [pe for pe in pes if not isinstance(pe, Numbering)] or pes
        first = graph.names[min(told, key=lambda pe: place[id(pe)]).id]
        last = graph.names[max(told, key=lambda pe: place[id(pe)]).id]
        named.append((first if first == last else f"{first}_to_{last}", pes, ""))
    return named


def _ordered(graph: FlatGraph, groups: Sequence[_Group]) -> Cut:
    number_of = {id(pe): number for number, (_, pes, _) in enumerate(groups) for pe in pes}
    crossing = [e for e in graph.edges if number_of[id(e.source)] != number_of[id(e.target)]]
    before: dict[int, set[int]] = {number: set() for number in range(len(groups))}
    for edge in crossing:
        before[number_of[id(edge.target)]].add(number_of[id(edge.source)])
    components = ordered_components(before)
    circle = next((component for component in components if len(component) > 1), None)
    if circle is not None:
        names = [groups[number][0] for number in circle]
        guilty = [
            str(edge)
            for edge in crossing
            if number_of[id(edge.source)] in circle and number_of[id(edge.target)] in circle
        ]
        raise GraphError(
            f"this cut makes a cycle of the stages {', '.join(names)}, by the edges "
            f"{'; '.join(guilty)}. A CWL step starts when the ones before it have ended; "
            "keep these PEs in one stage"
        )
    order = [number for component in components for number in component]
    names = _unique([groups[number][0] for number in order])
    place = {id(pe): place for place, pe in enumerate(graph.pes)}
    stages = tuple(
        Stage(name, tuple(sorted(pes, key=lambda pe: place[id(pe)])), doc)
        for name, (_, pes, doc) in zip(names, (groups[number] for number in order), strict=True)
    )
    return Cut(graph, stages, tuple(crossing))


def _unique(names: Iterable[str]) -> list[str]:
    unique: list[str] = []
    for name in names:
        candidate, number = name, 2
        while candidate in unique:
            candidate, number = f"{name}_{number}", number + 1
        unique.append(candidate)
    return unique
