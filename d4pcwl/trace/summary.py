"""What a trace says, in figures: by PE, instance, process and edge, and over time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from d4pcwl.trace.format import (
    PE,
    Edge,
    End,
    Event,
    Instance,
    Process,
    Record,
    Run,
    Sample,
    Span,
    Traffic,
    Usage,
    read_trace,
)

STATES = ("busy", "encoding", "blocked", "waiting")
"""What an instance does; in the rest of the time, its process works for others."""

_ENOUGH_CALLS = 20
"""With a smaller sample, percentiles would say more than is known."""

_EXACT = 1 - 1e-9
"""So that a hundredth of a hundred is less than one, in floating point."""


@dataclass
class Seconds:
    """How long something was in each of the states."""

    busy: float = 0.0
    encoding: float = 0.0
    blocked: float = 0.0
    waiting: float = 0.0

    @property
    def work(self) -> float:
        """What a process cannot give to others meanwhile: the PE's own code, and encoding."""
        return self.busy + self.encoding

    def add(self, other: Seconds | Sample, part: float = 1.0) -> None:
        """Add the seconds of another, or a part of them."""
        for state in STATES:
            setattr(self, state, getattr(self, state) + part * getattr(other, state))


@dataclass
class OfInstance:
    """The figures of an instance: of a copy of a PE in a process."""

    record: Instance
    since: float
    samples: list[Sample] = field(default_factory=list)
    calls: list[Span] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)
    taken: int = 0
    written: int | None = None

    @property
    def until(self) -> float:
        """When it was last heard of."""
        return self.samples[-1].end if self.samples else self.since

    def take(self, sample: Sample) -> None:
        """Count a sample."""
        self.samples.append(sample)
        self.seconds.add(sample)
        self.taken += sample.taken
        if sample.written is not None:
            self.written = (self.written or 0) + sample.written

    def between(self, start: float, end: float) -> Seconds:
        """What it did in a time: samples are spread evenly over theirs."""
        found = Seconds()
        for sample in self.samples:
            found.add(sample, _part(sample, start, end))
        return found


@dataclass
class OfPE:
    """The figures of a PE: of all its instances."""

    record: PE
    instances: list[OfInstance] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What people call it."""
        return self.record.name or self.record.pe

    @property
    def seconds(self) -> Seconds:
        """Of all its instances."""
        total = Seconds()
        for instance in self.instances:
            total.add(instance.seconds)
        return total

    @property
    def taken(self) -> int:
        """Items that it has worked on."""
        return sum(instance.taken for instance in self.instances)

    @property
    def written(self) -> int | None:
        """Items that it has written; None if nobody has counted them."""
        counts = [i.written for i in self.instances if i.written is not None]
        return sum(counts) if counts else None

    @property
    def within(self) -> bool:
        """Whether it is a PE of the graph that a step of a CWL document runs."""
        step = self.record.step
        return step is not None and self.record.pe.startswith(f"{step}/")

    @property
    def items(self) -> int:
        """Its items: those that it has worked on, and of a source those that it has written."""
        return (self.written or 0) if self.writes else self.taken

    @property
    def writes(self) -> bool:
        """Whether its items are those that it has written."""
        return self.record.source and bool(self.written)

    @property
    def mean(self) -> float | None:
        """Seconds in its own code for each of its items."""
        return self.seconds.busy / self.items if self.items else None

    def percentile(self, part: float) -> float | None:
        """Seconds that calls take; 0.5 is for the median. See :func:`percentile`."""
        calls = [call.end - call.start for i in self.instances for call in i.calls]
        return percentile(part, calls, self.taken, self.seconds.busy)


@dataclass
class OfProcess:
    """The figures of a process."""

    record: Process
    usages: list[Usage] = field(default_factory=list)

    @property
    def memory(self) -> int | None:
        """The most bytes that were seen; None if nobody has looked."""
        return max((u.memory for u in self.usages if u.memory is not None), default=None)

    @property
    def cpu(self) -> float:
        """Seconds of processor time."""
        return sum(usage.cpu for usage in self.usages)

    def ready(self, start: float, end: float) -> float:
        """Seconds of a time in which it had something to do, and waited for a processor."""
        return sum(usage.ready * _part(usage, start, end) for usage in self.usages)


def _part(record: Sample | Usage, start: float, end: float) -> float:
    """The part of the time of a record that is in another time."""
    common = min(end, record.end) - max(start, record.start)
    return common / (record.end - record.start) if common > 0 else 0.0


@dataclass
class OfEdge:
    """The figures of an edge: of what left a process along it."""

    record: Edge
    traffic: list[Traffic] = field(default_factory=list)

    @property
    def items(self) -> int:
        """How many items have left a process."""
        return sum(traffic.items for traffic in self.traffic)

    @property
    def bytes(self) -> int | None:
        """Their size as encoded; None if it is not known."""
        sizes = [traffic.bytes for traffic in self.traffic if traffic.bytes is not None]
        return sum(sizes) if sizes else None

    @property
    def sent(self) -> int | None:
        """The same after compression; None if nothing was compressed."""
        sizes = [traffic.sent for traffic in self.traffic if traffic.sent is not None]
        return sum(sizes) if sizes else None


class Summary:
    """The figures of a run. It takes record after record, so it may follow a run that goes on.

    :ivar seconds: the time that the records speak of
    :ivar pes: by their ids, in the order of the trace
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.end: End | None = None
        self.seconds = 0.0
        self.pes: dict[str, OfPE] = {}
        self.instances: dict[int, OfInstance] = {}
        self.processes: dict[int, OfProcess] = {}
        self.edges: dict[int, OfEdge] = {}
        self.events: list[Event] = []

    def take(self, record: Record) -> None:
        """Count a record. What speaks of something that was not told before is passed over."""
        match record:
            case PE():
                self.pes.setdefault(record.pe, OfPE(record))
            case Edge():
                self.edges.setdefault(record.edge, OfEdge(record))
            case Process():
                self.processes.setdefault(record.process, OfProcess(record))
                self._see(record.at)
            case Instance():
                self._place(record)
            case Sample() if record.instance in self.instances and record.end > record.start:
                self.instances[record.instance].take(record)
                self._see(record.end)
            case Usage() if record.process in self.processes:
                self.processes[record.process].usages.append(record)
                self._see(record.end)
            case Traffic() if record.edge in self.edges:
                self.edges[record.edge].traffic.append(record)
                self._see(record.end)
            case Span() if record.instance in self.instances:
                self.instances[record.instance].calls.append(record)
                self._see(record.end)
            case Event():
                self.events.append(record)
                self._see(record.at)
            case End():
                self.end = record
                self._see(record.at)

    def _place(self, record: Instance) -> None:
        known = self.instances.get(record.instance)
        if known is not None:
            known.record = record
        elif record.pe in self.pes:
            instance = OfInstance(record, record.at)
            self.instances[record.instance] = instance
            self.pes[record.pe].instances.append(instance)

    def _see(self, at: float) -> None:
        self.seconds = max(self.seconds, at)

    def name(self, pe: str) -> str:
        """What people call the PE of an id."""
        return self.pes[pe].name if pe in self.pes else pe

    def title(self, instance: OfInstance) -> str:
        """What people call an instance: as the plan does."""
        return f"{self.name(instance.record.pe)}[{instance.record.copy}]"

    def in_process(self, process: int) -> list[OfInstance]:
        """The instances that are in a process."""
        return [i for i in self.instances.values() if i.record.process == process]

    def share(self, instances: Iterable[OfInstance], state: str) -> float:
        """The part of the time in which instances were in a state, from when they were there on."""
        instances = list(instances)
        time = sum(self.seconds - instance.since for instance in instances)
        seconds = sum(getattr(instance.seconds, state) for instance in instances)
        return min(1.0, seconds / time) if time > 0 else 0.0

    @property
    def shown(self) -> list[OfPE]:
        """The PEs that people know: of a CWL document its steps and what they run, and not what
        joins these."""
        steps = [pe for pe in self.pes.values() if pe.record.step is not None]
        return steps or list(self.pes.values())

    @property
    def working(self) -> list[OfInstance]:
        """The instances whose work counts: of a step, its PEs where the trace has them."""
        inner = {pe.record.step for pe in self.pes.values() if pe.within}
        return [
            instance
            for pe in self.pes.values()
            if pe.within or pe.record.step is None or pe.record.step not in inner
            for instance in pe.instances
        ]

    @property
    def when_working(self) -> tuple[float, float]:
        """From when to when PEs were at work."""
        samples = [
            (sample.start, sample.end)
            for instance in self.working
            for sample in instance.samples
            if sample.taken or sample.busy > 0
        ]
        if not samples:
            return 0.0, 0.0
        return min(start for start, _ in samples), max(end for _, end in samples)

    @property
    def items(self) -> int:
        """How many items PEs have worked on, in all."""
        return sum(pe.taken for pe in self.pes.values())

    @property
    def from_sources(self) -> int:
        """How many items came into the graph: what sources wrote, or else took."""
        return sum(pe.items for pe in self.pes.values() if pe.record.source and not pe.within)

    @property
    def memory(self) -> int:
        """The most bytes of all processes, added up; 0 where nobody has looked."""
        return sum(place.memory or 0 for place in self.processes.values())

    @property
    def at_work(self) -> float:
        """The part of the time of all processes in which they worked."""
        work = sum(instance.seconds.work for instance in self.working)
        time = sum(self.seconds - place.record.at for place in self.processes.values())
        return min(1.0, work / time) if time > 0 else 0.0


def summary_of(path: str | os.PathLike[str]) -> Summary:
    """The figures of the trace in a file.

    :raises TraceError: the file cannot be read, is not a trace, is empty, or a line is damaged
    """
    run, *records = read_trace(path)
    assert isinstance(run, Run), "a reader sees to that"
    summary = Summary(run)
    for record in records:
        summary.take(record)
    return summary


# --- over time -----------------------------------------------------------------------------------


def spread(amounts: Iterable[tuple[float, float, float]], until: float, parts: int) -> list[float]:
    """Amounts in equal parts of the time from 0 to ``until``.

    :param amounts: start and end of an interval, and what came in it: evenly, as far as one knows

    >>> spread([(0, 2, 10), (2, 3, 4)], until=4, parts=4)
    [5.0, 5.0, 4.0, 0.0]
    """
    found = [0.0] * parts
    width = until / parts
    for start, end, amount in amounts:
        if end <= start or not amount:
            continue
        for part in range(int(start / width), min(parts, int(end / width) + 1)):
            common = min(end, (part + 1) * width) - max(start, part * width)
            found[part] += amount * max(0.0, common) / (end - start)
    return found


def levels(values: Iterable[tuple[float, float]], until: float, parts: int) -> list[float | None]:
    """The last value that was known in each of equal parts of the time from 0 to ``until``.

    :param values: times, in order, and values from then on

    >>> levels([(1, 10), (1.5, 20)], until=4, parts=4)
    [None, 20, 20, 20]
    """
    found: list[float | None] = [None] * parts
    for at, value in values:
        found[min(parts - 1, int(at * parts / until))] = value
    for part in range(1, parts):
        if found[part] is None:
            found[part] = found[part - 1]
    return found


# --- calls ---------------------------------------------------------------------------------------


def percentile(part: float, calls: Sequence[float], count: int, busy: float) -> float | None:
    """A percentile of the times of ``count`` calls, of which some of the long ones were seen.

    Where those that it has not seen are as long in the mean, the others are a sample of all. Where
    they are shorter, those that were seen are the longest ones. Then what takes less is not known.

    :param part: such as 0.5 for the median
    :param calls: seconds of those that were seen
    :param busy: seconds of all
    :returns: None if it is not known

    >>> percentile(0.5, [1.0, 2.0, 3.0], 3, 6.0)
    2.0
    >>> percentile(0.99, [1.0, 3.0], 100, 4.1), percentile(0.5, [1.0, 3.0], 100, 4.1)
    (3.0, None)
    """
    if not calls or len(calls) > count:  # as of a source, whose calls are seen in parts
        return None
    ordered = sorted(calls, reverse=True)
    unseen = count - len(calls)
    if unseen > 0 and busy - sum(calls) >= unseen * ordered[-1]:
        if len(calls) < _ENOUGH_CALLS:
            return None
        count = len(calls)
    longer = int((1 - part) * count * _EXACT)
    return ordered[longer] if longer < len(ordered) else None
