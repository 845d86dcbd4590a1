"""A cost model: what a run cost, PE by PE and edge by edge, as a trace tells it.

It is data, and all amounts are sums over the run, so that a plan's load is found by adding up:

- *work* of a PE: seconds in its own code, and how much of that was processor time;
- *passage* of an edge: its items, and for one that goes from a process to another its bytes, and
  the seconds that sender and receiver spend on it.

What a trace does not tell is estimated, by the constants below. A trace tells of bytes only where
an edge left a process.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from d4pcwl.errors import UsageError, shown
from d4pcwl.trace.format import Record, read_trace
from d4pcwl.trace.summary import OfEdge, Summary, summed
from d4pcwl.workflow.flat import FlatGraph

ITEM_SECONDS = 2e-6
"""What it takes to send a small item to another process, where no trace tells it."""

BYTE_SECONDS = 1e-9
"""The same for each further byte: it is copied about once on each side."""

RECEIVING = 0.5
"""What it takes to receive an item, as a part of what it takes to send it; traces tell of the
latter. See ``benchmarks/README.md``."""


@dataclass(frozen=True)
class Work:
    """What one PE cost.

    :param items: that it has worked on; iterations, where it is a root
    :param seconds: in its own code
    :param cpu: of these, seconds of processor time
    """

    items: int = 0
    seconds: float = 0.0
    cpu: float = 0.0

    @property
    def pace(self) -> float:
        """Seconds for an item; 0 where it has had none."""
        return self.seconds / self.items if self.items else 0.0


@dataclass(frozen=True)
class Passage:
    """What one edge cost, or would where it left a process.

    :param items: that went along it
    :param bytes: of an item, as encoded; None if it is not known
    :param sending: seconds for an item on the side that sends it
    :param hot: the part of the items that have the commonest key, where the edge is keyed
    """

    source: str
    output: str
    dest: str
    input: str
    items: float = 0.0
    bytes: float | None = None
    sending: float = ITEM_SECONDS
    hot: float = 0.0

    @property
    def receiving(self) -> float:
        """Seconds for an item on the side that receives it."""
        return RECEIVING * self.sending

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Which edge it is."""
        return (self.source, self.output, self.dest, self.input)


@dataclass(frozen=True)
class CostModel:
    """See the module.

    :param inputs: how many inputs and iterations the roots were given in the run
    :param complete: whether it finished; else, the sums are of a part of it
    """

    works: dict[str, Work]
    passages: dict[tuple[str, str, str, str], Passage]
    inputs: int = 1
    complete: bool = True

    @property
    def work(self) -> float:
        """Seconds in the code of all PEs."""
        return sum(work.seconds for work in self.works.values())


def cost_model(records: Iterable[Record]) -> CostModel:
    """The cost model of a trace."""
    summary = summed(records)
    along = _items(summary)
    carried = defaultdict[str, float](
        float
    )  # by source, how long its items should have taken to send
    for edge in summary.edges.values():
        carried[edge.record.source] += _carried(edge)
    passages = {}
    for number, edge in summary.edges.items():
        passage = _passage(summary, edge, along[number], carried[edge.record.source])
        passages[passage.key] = passage
    roots = sum(pe.taken for pe in summary.pes.values() if pe.record.source)
    complete = summary.end is not None and summary.end.complete
    return CostModel(_works(summary), passages, summary.run.inputs or roots or 1, complete)


def read_model(path: str | os.PathLike[str], graph: FlatGraph) -> CostModel:
    """The cost model of a trace that is to be of this graph.

    :raises TraceError: the trace cannot be read
    :raises UsageError: it is of another graph, or has no work in it
    """
    model = cost_model(read_trace(path))
    unknown = [graph.names[pe.id] for pe in graph.pes if pe.id not in model.works]
    if unknown:
        raise UsageError(
            f"{shown(path)}: a trace of another graph: it does not know {', '.join(unknown)}; make "
            "a new one"
        )
    if not model.work:
        raise UsageError(f"{shown(path)}: no PE takes any time in this trace; trace a longer run")
    return model


def _works(summary: Summary) -> dict[str, Work]:
    """Processor time is known by process: there, PEs have it as they are busy."""
    busy = defaultdict[int, float](float)
    for instance in summary.instances.values():
        busy[instance.record.process] += instance.seconds.busy
    part = {
        number: min(1.0, place.cpu / busy[number])
        for number, place in summary.processes.items()
        if place.usages and busy[number]
    }
    return {
        pe: Work(
            found.taken,
            found.seconds.busy,
            sum(i.seconds.busy * part.get(i.record.process, 1.0) for i in found.instances),
        )
        for pe, found in summary.pes.items()
    }


def _items(summary: Summary) -> dict[int, float]:
    """How many items went along each edge: what its target took, shared out among those that end
    there by what is known to have been sent, else by what their sources wrote."""
    into = defaultdict[str, list[OfEdge]](list)
    out_of = Counter(edge.record.source for edge in summary.edges.values())
    for edge in summary.edges.values():
        into[edge.record.dest].append(edge)
    found: dict[int, float] = {}
    for dest, edges in into.items():
        taken = summary.pes[dest].taken if dest in summary.pes else 0
        weights = {}
        for edge in edges:
            source = summary.pes.get(edge.record.source)
            written = (source.written or 0) / out_of[edge.record.source] if source else 0
            weights[edge.record.edge] = float(edge.items or written or 1)
        whole = sum(weights.values())
        found |= {number: taken * weight / whole for number, weight in weights.items()}
    return found


def _carried(edge: OfEdge) -> float:
    return edge.items * ITEM_SECONDS + (edge.bytes or 0) * BYTE_SECONDS


def _passage(summary: Summary, edge: OfEdge, items: float, carried: float) -> Passage:
    """The seconds of sending are told by PE: its edges have them by what they carried."""
    told = edge.record
    weighed = sum(traffic.items for traffic in edge.traffic if traffic.bytes is not None)
    each = (edge.bytes or 0) / weighed if weighed else None
    sending = ITEM_SECONDS + BYTE_SECONDS * (each or 0)
    encoding = summary.pes[told.source].seconds.encoding if told.source in summary.pes else 0.0
    if encoding and edge.items:
        sending = encoding * _carried(edge) / carried / edge.items
    ways = (told.source, told.output, told.dest, told.input)
    return Passage(*ways, items, each, sending, _hot(summary, edge))


def _hot(summary: Summary, edge: OfEdge) -> float:
    """The part of the commonest key: as it is told, else by how unevenly copies were fed.

    With n copies, one of which has the commonest key, that one gets h + (1 - h) / n of the
    items.
    """
    if edge.keys is not None:
        return edge.keys.most / max(1, edge.keys.items)
    if not (edge.record.grouping or "").startswith("group-by"):
        return 0.0
    copies = summary.pes[edge.record.dest].instances if edge.record.dest in summary.pes else ()
    fed = [copy.taken for copy in copies if copy.samples]
    if len(fed) < 2 or not sum(fed):
        return 0.0
    even = 1 / len(fed)
    return max(0.0, (max(fed) / sum(fed) - even) / (1 - even))
