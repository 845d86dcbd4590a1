"""How long a run with a plan would take, by the cost model of a trace.

A stream's time is that of the process with the most to do, its *bottleneck*: the others wait for
it. A process has to do what its instances do, and to send and receive what passes between it and
others. Where there are fewer cores than processes, all processor time together, shared out among
the cores, is a bound as well. What this leaves out: starting, the time until the last process has
its first item, and that of putting items in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from d4pcwl.trace.model import CostModel, Passage, Work
from d4pcwl.workflow.assignment import ProcessesOf, aligned
from d4pcwl.workflow.edges import Edge
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.grouping import ALL, GLOBAL, GroupBy

COPY_BYTES = 256
"""Bytes of an item, over a network, where no trace tells how many."""


@dataclass(frozen=True)
class Machine:
    """On what a plan would run.

    :param cores: how many there are; None: as many as processes
    :param bandwidth: bytes a second between any two processes; None: they share a memory
    :param latency: seconds for a message between any two processes
    """

    cores: int | None = None
    bandwidth: float | None = None
    latency: float = 0.0

    def passing(self, passage: Passage) -> float:
        """Seconds that an item keeps the network of either side busy."""
        if self.bandwidth is None:
            return 0.0
        return (COPY_BYTES if passage.bytes is None else passage.bytes) / self.bandwidth


@dataclass
class Load:
    """What one process has to do.

    :param works: by PE id, seconds in its code
    :param passing: seconds of sending and receiving
    """

    works: dict[str, float] = field(default_factory=dict)
    passing: float = 0.0

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(self.works.values()) + self.passing


@dataclass(frozen=True)
class Prediction:
    """What a plan would take for what the trace's run has done.

    :param seconds: how long
    :param loads: by process, what it has to do
    :param by_cores: whether the cores are the bound, rather than a process
    """

    seconds: float
    loads: dict[int, Load]
    by_cores: bool

    @property
    def bottleneck(self) -> int:
        """The process with the most to do."""
        return max(self.loads, key=lambda process: self.loads[process].seconds)

    @property
    def heaviest(self) -> str:
        """The id of the PE that most of the bottleneck's time goes to."""
        works = self.loads[self.bottleneck].works
        return max(works, key=lambda pe: works[pe])


def predict(
    graph: FlatGraph, model: CostModel, processes: ProcessesOf, machine: Machine | None = None
) -> Prediction:
    """What a plan would take.

    :param processes: the process of each instance of each PE
    """
    machine = machine or Machine()
    loads = {process: Load() for pe in graph.pes for process in processes(pe)}
    shares: dict[str, tuple[float, ...]] = {}
    cpu = 0.0
    for pe in graph.in_order():
        shares[pe.id] = _shares(graph, model, pe, processes, shares)
        work = work_of(model, pe)
        cpu += work.cpu
        for process, share in zip(processes(pe), shares[pe.id], strict=True):
            works = loads[process].works
            works[pe.id] = works.get(pe.id, 0.0) + work.seconds * share
    for edge in graph.edges:
        passage = passage_of(model, edge)
        network = machine.passing(passage)
        for source, target, items in _flows(graph, passage, edge, processes, shares):
            if source != target:
                loads[source].passing += items * (passage.sending + network)
                loads[target].passing += items * (passage.receiving + network)
                cpu += items * (passage.sending + passage.receiving)
    longest = max(load.seconds for load in loads.values())
    least = cpu / machine.cores if machine.cores and machine.cores < len(loads) else 0.0
    way = machine.latency * _hops(graph, processes) if machine.latency else 0.0
    return Prediction(max(longest, least) + way, loads, by_cores=least > longest)


def _hops(graph: FlatGraph, processes: ProcessesOf) -> int:
    """How often an item, and what comes of it, goes from a process to another, at the most."""
    hops: dict[int, int] = {}
    for component in graph.cycles:
        most = 0
        for edge in (edge for pe in component for edge in graph.into(pe)):
            apart = set(processes(edge.source)) != set(processes(edge.target))
            most = max(most, hops.get(id(edge.source), 0) + apart)
        hops.update({id(pe): most for pe in component})
    return max(hops.values())


def work_of(model: CostModel, pe: Any) -> Work:
    """What a PE cost: nothing, where the trace does not know it."""
    return model.works.get(pe.id) or Work(pe.id, pe.id)


def passage_of(model: CostModel, edge: Edge) -> Passage:
    """What an edge cost: nothing, where the trace does not know it."""
    key = (edge.source.id, edge.output, edge.target.id, edge.input)
    return model.passages.get(key) or Passage(*key)


def keyed_share(hot: float, copies: int, least: float = 0.0) -> float:
    """The part of the items that the copy gets which owns the commonest key.

    :param hot: the part of the items that have that key
    :param least: the part that a single item is
    """
    return max(hot + (1 - hot) / copies, least)


def single_item(model: CostModel, pe: Any) -> float:
    """The part of a PE's items that one item is; 0 where it is not known how many a run has."""
    items = work_of(model, pe).items
    return 1 / items if model.complete and items else 0.0


def _shares(
    graph: FlatGraph,
    model: CostModel,
    pe: Any,
    processes: ProcessesOf,
    known: dict[str, tuple[float, ...]],
) -> tuple[float, ...]:
    """Which part of a PE's work each of its instances has."""
    copies, edges = len(processes(pe)), graph.into(pe)
    for edge in edges:
        if aligned(graph, edge, processes):
            return known[edge.source.id]
    groupings = [graph.grouping(edge) for edge in edges]
    if groupings and all(grouping == GLOBAL for grouping in groupings):
        return (1.0, *(0.0,) * (copies - 1))
    hot = max(
        (passage_of(model, e).hot for e in edges if isinstance(graph.grouping(e), GroupBy)),
        default=0.0,
    )
    return _uneven(hot, copies, single_item(model, pe))


def _uneven(hot: float, copies: int, least: float = 0.0) -> tuple[float, ...]:
    return (keyed_share(hot, copies, least), *((1 - hot) / copies,) * (copies - 1))


def _flows(
    graph: FlatGraph,
    passage: Passage,
    edge: Edge,
    processes: ProcessesOf,
    shares: dict[str, tuple[float, ...]],
) -> Iterator[tuple[int, int, float]]:
    """How many items of an edge go from which process to which."""
    source, target = edge.source, edge.target
    grouping, into = graph.grouping(edge), processes(target)
    beside = aligned(graph, edge, processes)
    parts = _uneven(passage.hot if isinstance(grouping, GroupBy) else 0.0, len(into))
    if grouping == GLOBAL:
        parts = (1.0,) + (0.0,) * (len(into) - 1)
    elif grouping == ALL:
        parts = (1.0,) * len(into)
    for number, process in enumerate(processes(source)):
        items = passage.items * shares[source.id][number]
        if beside:
            yield process, into[number], items
        else:
            yield from ((process, to, items * part) for to, part in zip(into, parts, strict=True))
