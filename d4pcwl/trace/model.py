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
from collections.abc import Iterable
from dataclasses import dataclass, field

from d4pcwl.errors import UsageError, shown
from d4pcwl.trace.format import (
    PE,
    Edge,
    End,
    Instance,
    Keys,
    Record,
    Run,
    Sample,
    Traffic,
    Usage,
    read_trace,
)
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

    pe: str
    name: str
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
    :param seconds: how long the run took
    :param complete: whether it finished; else, the sums are of a part of it
    """

    works: dict[str, Work]
    passages: dict[tuple[str, str, str, str], Passage]
    inputs: int = 1
    seconds: float = 0.0
    complete: bool = True

    @property
    def work(self) -> float:
        """Seconds in the code of all PEs."""
        return sum(work.seconds for work in self.works.values())


def cost_model(records: Iterable[Record]) -> CostModel:
    """The cost model of a trace."""
    sums = _Sums()
    for record in records:
        sums.add(record)
    return sums.model()


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


@dataclass
class _Sums:
    """What is added up of the records of a trace."""

    pes: dict[str, PE] = field(default_factory=dict)
    edges: dict[int, Edge] = field(default_factory=dict)
    instances: dict[int, Instance] = field(default_factory=dict)
    taken: dict[int, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    busy: dict[tuple[int, str], float] = field(default_factory=dict)  # by process and PE
    encoding: dict[str, float] = field(default_factory=dict)
    cpu: dict[int, float] = field(default_factory=dict)
    sent: dict[int, int] = field(default_factory=dict)
    weighed: dict[int, tuple[int, int]] = field(default_factory=dict)  # items and their bytes
    hot: dict[int, float] = field(default_factory=dict)
    inputs: int | None = None
    seconds: float = 0.0
    complete: bool = False

    def add(self, record: Record) -> None:
        match record:
            case Run():
                self.inputs = record.inputs
            case PE():
                self.pes[record.pe] = record
            case Edge():
                self.edges[record.edge] = record
            case Instance():
                self.instances[record.instance] = record
            case Sample():
                self._add_sample(record)
            case Usage():
                self.cpu[record.process] = self.cpu.get(record.process, 0.0) + record.cpu
            case Traffic():
                self.sent[record.edge] = self.sent.get(record.edge, 0) + record.items
                if record.bytes is not None:
                    items, size = self.weighed.get(record.edge, (0, 0))
                    self.weighed[record.edge] = (items + record.items, size + record.bytes)
            case Keys():
                self.hot[record.edge] = record.most / max(1, record.items)
            case End():
                self.seconds, self.complete = record.at, record.complete

    def _add_sample(self, record: Sample) -> None:
        instance = self.instances.get(record.instance)
        if instance is None:  # it is told before it works; a damaged trace may have lost that
            return
        pe, at = instance.pe, (instance.process, instance.pe)
        self.taken[record.instance] = self.taken.get(record.instance, 0) + record.taken
        self.written[pe] = self.written.get(pe, 0) + (record.written or 0)
        self.busy[at] = self.busy.get(at, 0.0) + record.busy
        self.encoding[pe] = self.encoding.get(pe, 0.0) + record.encoding
        self.seconds = max(self.seconds, record.end)

    def model(self) -> CostModel:
        taken = dict.fromkeys(self.pes, 0)
        for index, items in self.taken.items():
            pe = self.instances[index].pe
            taken[pe] = taken.get(pe, 0) + items
        works = self._works(taken)
        along = self._items(taken)
        carried: dict[str, float] = {}  # by source, how long its items should have taken to send
        for number, edge in self.edges.items():
            carried[edge.source] = carried.get(edge.source, 0.0) + self._carried(number)
        passages = {}
        for number, edge in self.edges.items():
            passage = self._passage(number, edge, along[number], carried[edge.source])
            passages[passage.key] = passage
        roots = sum(taken[pe] for pe, record in self.pes.items() if record.source)
        return CostModel(works, passages, self.inputs or roots or 1, self.seconds, self.complete)

    def _works(self, taken: dict[str, int]) -> dict[str, Work]:
        """Processor time is known by process: there, PEs have it as they are busy."""
        whole: dict[int, float] = {}
        for (process, _), busy in self.busy.items():
            whole[process] = whole.get(process, 0.0) + busy
        seconds, cpu = dict.fromkeys(self.pes, 0.0), dict.fromkeys(self.pes, 0.0)
        for (process, pe), busy in self.busy.items():
            known = process in self.cpu and whole[process] > 0
            part = min(1.0, self.cpu[process] / whole[process]) if known else 1.0
            seconds[pe] = seconds.get(pe, 0.0) + busy
            cpu[pe] = cpu.get(pe, 0.0) + busy * part
        return {
            pe: Work(pe, told.name or pe, taken[pe], seconds[pe], cpu[pe])
            for pe, told in self.pes.items()
        }

    def _items(self, taken: dict[str, int]) -> dict[int, float]:
        """How many items went along each edge: what its target took, shared out among those that
        end there by what is known to have been sent, else by what their sources wrote."""
        into: dict[str, list[int]] = {}
        out_of: dict[str, int] = {}
        for number, edge in self.edges.items():
            into.setdefault(edge.dest, []).append(number)
            out_of[edge.source] = out_of.get(edge.source, 0) + 1
        found: dict[int, float] = {}
        for pe, numbers in into.items():
            weights = {}
            for number in numbers:
                source = self.edges[number].source
                written = self.written.get(source, 0) / out_of[source]
                weights[number] = float(self.sent.get(number) or written or 1)
            for number in numbers:
                found[number] = taken.get(pe, 0) * weights[number] / sum(weights.values())
        return found

    def _carried(self, number: int) -> float:
        size = self.weighed.get(number, (0, 0))[1]
        return self.sent.get(number, 0) * ITEM_SECONDS + size * BYTE_SECONDS

    def _passage(self, number: int, edge: Edge, items: float, carried: float) -> Passage:
        """The seconds of sending are told by PE: its edges have them by what they carried."""
        weighed, size = self.weighed.get(number, (0, 0))
        each = size / weighed if weighed else None
        sending = ITEM_SECONDS + BYTE_SECONDS * (each or 0)
        encoding = self.encoding.get(edge.source, 0.0)
        if encoding and self.sent.get(number):
            sending = encoding * self._carried(number) / carried / self.sent[number]
        ways = (edge.source, edge.output, edge.dest, edge.input)
        return Passage(*ways, items, each, sending, self._hot(number, edge))

    def _hot(self, number: int, edge: Edge) -> float:
        """The part of the commonest key: as it is told, else by how unevenly copies were fed.

        With n copies, one of which has the commonest key, that one gets h + (1 - h) / n of the
        items.
        """
        if number in self.hot:
            return self.hot[number]
        if not (edge.grouping or "").startswith("group-by"):
            return 0.0
        fed = [n for i, n in self.taken.items() if self.instances[i].pe == edge.dest]
        if len(fed) < 2 or not sum(fed):
            return 0.0
        even = 1 / len(fed)
        return max(0.0, (max(fed) / sum(fed) - even) / (1 - even))
