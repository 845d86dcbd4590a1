"""The bottleneck of a run, in a sentence, and what to do about it.

A process works for one item at a time, so the process that works most of the time sets the pace:
those before it are blocked, and those behind it wait. The PE that takes most of its time is the
bottleneck. (Users of Flink find it so by hand: the first task behind those that are back-pressured;
"Monitoring Back Pressure" in its documentation.)
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from d4pcwl.trace import units
from d4pcwl.trace.summary import OfInstance, OfPE, OfProcess, Seconds, Summary, spread

_BUSY = 0.6
"""A process that works for this part of the time is a bottleneck."""

_AS_BUSY = 0.85
"""Processes with this part of the work of the busiest one are bottlenecks, too."""

_MOST = 0.6
"""What takes this part of the work of a process is named alone."""

_SKEW = 1.5
"""The busiest copy has this many times the mean work of all, and the load is uneven."""

_BLOCKED = 0.4
"""A PE blocked for this part of the time, with nobody busy behind it, waits for a reader."""

_OUTSIDE = 0.4
"""A process that uses a processor for less of its work than this waits for something outside."""

_READY = 0.3
"""A process that waits for a processor for this part of the time has too few of them."""

_PARTS = 40
"""Into how many parts a run is cut where one PE after the other holds it up."""

_GROWTH = 1.5, 64e6
"""Memory grows where it gets this many times as large, and by this many bytes."""

_LATE, _LITTLE = 0.5, 1.0
"""PEs that are at work for less than this part of a run do not say how long it takes; where it is
less than so many seconds, nothing else is worth a word."""

_MANY = 16
"""Numbers of processes are suggested up to this one."""


@dataclass(frozen=True)
class Finding:
    """Something about a run that people should know.

    :ivar kind: ``source``, ``state``, ``keys``, ``skew``, ``copies``, ``few``, ``shared``,
        ``encoding``, ``cores``, ``reader``, ``waiting``, ``start``; or ``cut``, ``failed``,
        ``death``, ``skip``, ``retry``, ``memory``
    :ivar says: what is so: a sentence
    :ivar advice: what to do: sentences; may be empty
    :ivar pe: the id of the PE that it is about
    """

    kind: str
    says: str
    advice: str = ""
    pe: str | None = None

    def __str__(self) -> str:
        return f"{self.says} {self.advice}".rstrip()


def findings(summary: Summary) -> list[Finding]:
    """All that people should know, the bottleneck first."""
    first = bottleneck(summary)
    if first is None:
        return list(_troubles(summary))
    late = None if first.kind == "start" else _started_late(summary)
    return [first, *([late] if late else []), *_troubles(summary)]


def bottleneck(summary: Summary) -> Finding | None:
    """The bottleneck of a run; None if nothing was worked on."""
    start, end = summary.when_working
    if end <= start:
        return None
    if end - start < _LITTLE and (late := _started_late(summary)):
        return late
    whole = _Period(summary, start, end)
    if whole.top < _BUSY:
        if lacking := _lack_of_cores(whole):
            return lacking
        whole = _busiest_period(summary, start, end) or whole
    if whole.top >= _BUSY:
        return _held_up_by_work(whole)
    return _reader_is_slow(whole) or _waiting(whole)


# --- who works -----------------------------------------------------------------------------------


class _Period:
    """Who works how much from ``start`` to ``end``.

    :ivar load: of each process, the part of the time in which it works
    :ivar top: the greatest of these
    """

    def __init__(self, summary: Summary, start: float, end: float) -> None:
        self.summary, self.start, self.end = summary, start, end
        self.load: dict[int, float] = {}
        self._of: dict[int, Seconds] = {}
        for instance in summary.working:
            seconds = self._of[instance.record.instance] = instance.between(start, end)
            place = instance.record.process
            self.load[place] = self.load.get(place, 0.0) + seconds.work / (end - start)
        self.top = max(self.load.values(), default=0.0)

    def of(self, instance: OfInstance) -> Seconds:
        """What an instance did."""
        return self._of[instance.record.instance]

    def part(self, instance: OfInstance) -> float:
        """The part of the time in which an instance works."""
        return self.of(instance).work / (self.end - self.start)

    @property
    def hot(self) -> list[OfInstance]:
        """The instances in the processes that are the bottleneck."""
        hot = {place for place, load in self.load.items() if load >= _AS_BUSY * self.top}
        return [i for i in self.summary.working if i.record.process in hot]

    def when(self) -> str:
        """The time, for sentences."""
        first, last = self.summary.when_working
        if self.end - self.start > 0.9 * (last - first):
            return "of the time"
        return f"of the time from {units.seconds(self.start)} to {units.seconds(self.end)}"


def _busiest_period(summary: Summary, start: float, end: float) -> _Period | None:
    """The longest time in which one PE is the bottleneck; None if that is short."""
    width = (end - start) / _PARTS
    work: dict[int, list[float]] = {}
    for instance in summary.working:
        amounts = [(s.start - start, s.end - start, s.busy + s.encoding) for s in instance.samples]
        work[instance.record.instance] = spread(amounts, end - start, _PARTS)
    who: list[str | None] = []
    for part in range(_PARTS):
        load: dict[int, float] = {}
        for number, parts in work.items():
            place = summary.instances[number].record.process
            load[place] = load.get(place, 0.0) + parts[part] / width
        place = max(load, key=load.__getitem__)
        if load[place] < _BUSY:
            who.append(None)
            continue
        busiest = max(
            (i for i in summary.working if i.record.process == place),
            key=lambda i: work[i.record.instance][part],
        )
        who.append(busiest.record.pe)
    runs = list(_runs(who))
    first, last = max(runs, key=lambda run: run[1] - run[0], default=(0, 0))
    if last - first < _PARTS // 5:
        return None
    return _Period(summary, start + first * width, start + last * width)


def _runs(values: Sequence[str | None]) -> Iterator[tuple[int, int]]:
    """From where to where the same value stands."""
    start = 0
    for place in range(1, len(values) + 1):
        if place == len(values) or values[place] != values[start]:
            if values[start] is not None:
                yield start, place
            start = place


# --- work holds it up ----------------------------------------------------------------------------


@dataclass
class _Share:
    """What one PE has of the work of the processes that hold the run up."""

    pe: OfPE
    instances: list[OfInstance] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)


def _held_up_by_work(period: _Period) -> Finding:
    most = max(_shares(period, period.hot).values(), key=lambda share: share.seconds.work)
    places = {instance.record.process for instance in most.instances}
    hot = [instance for instance in period.hot if instance.record.process in places]
    shares = _shares(period, hot)
    work = sum(share.seconds.work for share in shares.values())
    encoding = sum(share.seconds.encoding for share in shares.values())
    share = shares[most.pe.record.pe]
    if encoding > work / 2:
        sender = max(shares.values(), key=lambda share: share.seconds.encoding)
        return _encodes(period, sender, encoding / work)
    if len(shares) > 1 and (
        share.seconds.work < _MOST * work or len(period.load) == 1 or _is_pool(hot)
    ):
        return _shared(period, places, shares.values(), share)
    if share.pe.record.source:
        return _source(period, share)
    if _keyed(period.summary, share.pe):
        return _keys(period, share)
    if share.pe.record.state:
        return _state(period, share)
    return _copies(period, share)


def _shares(period: _Period, instances: Iterable[OfInstance]) -> dict[str, _Share]:
    """By PE, what its instances did."""
    shares: dict[str, _Share] = {}
    for instance in instances:
        pe = instance.record.pe
        share = shares.setdefault(pe, _Share(period.summary.pes[pe]))
        share.instances.append(instance)
        share.seconds.add(period.of(instance))
    return shares


def _is_pool(instances: Sequence[OfInstance]) -> bool:
    """Whether they are in several processes, each of which has several."""
    places = {instance.record.process for instance in instances}
    return len(places) > 1 and len(instances) >= 2 * len(places)


def _busy(period: _Period, share: _Share) -> str:
    """``count2 is busy 97 % of the time``."""
    most = max(period.part(instance) for instance in share.instances)
    return f"{share.pe.name} is busy {units.percent(min(1.0, most))} {period.when()}"


def _encodes(period: _Period, share: _Share, part: float) -> Finding:
    summary = period.summary
    edges = [edge for edge in summary.edges.values() if edge.record.source == share.pe.record.pe]
    edge = max(edges, key=lambda edge: (edge.bytes or 0, edge.items), default=None)
    name = share.pe.name
    if edge is None:
        return Finding(
            "encoding",
            f"Encoding what {name} writes takes {units.percent(part)} of the work of its process.",
            "Write fewer or smaller items, or items that are quick to encode, such as arrays.",
            share.pe.record.pe,
        )
    dest = summary.name(edge.record.dest)
    return Finding(
        "encoding",
        f"Encoding what {name} sends to {dest} takes {units.percent(part)} of the work of its "
        "process: more than the PEs' own work.",
        f"Put {name} and {dest} into one process (fewer processes, or graph.partitions with -s), "
        "so that nothing need be encoded; or write fewer or smaller items.",
        share.pe.record.pe,
    )


def _shared(
    period: _Period, places: Collection[int], shares: Collection[_Share], share: _Share
) -> Finding:
    """Several PEs share the work of the processes that are the bottleneck."""
    part = share.seconds.work / sum(other.seconds.work for other in shares)
    names = _listed([other.pe.name for other in shares])
    load = units.percent(min(1.0, period.top))
    most = f"{share.pe.name} takes {units.percent(part)} of that"
    if len(places) == 1:
        says = f"{names} share one process, which is busy {load} {period.when()}; {most}."
    else:
        says = f"All {len(places)} processes that {names} run in are busy up to {load} "
        says += f"{period.when()}; {most}."
    if len(period.load) == 1:
        number = min(_MANY, max(2, len(period.summary.pes)))
        advice = f"Use several processes: the mapping multi with -n {number}."
    else:
        advice = f"Take more processes (-n), as long as there are cores for them{_outside(period)}."
    return Finding("shared", says, advice, share.pe.record.pe)


def _source(period: _Period, share: _Share) -> Finding:
    says = f"{_busy(period, share)}. It is a source, and the PEs after it wait for its items."
    advice = (
        "Let it do less for each item: move work to a PE after it, which can run in several "
        "processes. Or split its data among several sources."
    )
    return Finding("source", says, advice + _outside_alone(period), share.pe.record.pe)


def _state(period: _Period, share: _Share) -> Finding:
    says = f"{_busy(period, share)} and keeps state, so it runs once."
    advice = (
        "Group its input by a key, so that several processes can share the keys; or move the work "
        "that needs no state to a PE before it."
    )
    return Finding("state", says, advice + _outside_alone(period), share.pe.record.pe)


def _keys(period: _Period, share: _Share) -> Finding:
    copies = share.pe.instances
    if len(copies) == 1:
        says = f"{_busy(period, share)}, in one instance."
        advice = "Its input is grouped by a key: take more processes (-n), and they share the keys."
        return Finding("keys", says, advice, share.pe.record.pe)
    parts = sorted(map(period.part, copies), reverse=True)
    hottest = max(copies, key=period.part)
    if parts[0] > _SKEW * sum(parts) / len(parts):
        return _skewed(period, share, hottest, parts)
    says = f"{_busy(period, share)}, in each of {len(copies)} instances."
    advice = "Its input is grouped by a key: with more processes (-n), more of them share the keys."
    return Finding("keys", says, advice, share.pe.record.pe)


def _skewed(period: _Period, share: _Share, hottest: OfInstance, parts: Sequence[float]) -> Finding:
    """One of the instances that share keys works more than the others."""
    title, name = period.summary.title(hottest), share.pe.name
    taken = hottest.taken / max(1, share.pe.taken)
    says = (
        f"{title} is busy {units.percent(min(1.0, parts[0]))} {period.when()}, and the other "
        f"instances of {name} {units.percent(sum(parts[1:]) / (len(parts) - 1))}: "
    )
    if taken * len(parts) > _SKEW:
        says += f"it has {units.percent(taken)} of the items. A few keys have most of them."
        advice = "combine the items of a key in a PE before it, which needs no grouping."
    else:
        says += (
            f"it has {units.percent(taken)} of the items, but the items of its keys take longer."
        )
        advice = "move the work that needs no state to a PE before it."
    return Finding("skew", says, f"Group by a finer key; or {advice}", share.pe.record.pe)


def _copies(period: _Period, share: _Share) -> Finding:
    count, items = len(share.pe.instances), share.pe.taken
    step = share.pe.record.step
    if items <= count:
        says = f"{_busy(period, share)}, for {units.number(items, 'item')}."
        advice = "More processes would have nothing to do. Divide its work into more items"
        advice += " (scatter the step)." if step else "."
        return Finding("few", says, advice, share.pe.record.pe)
    where = "in one process" if count == 1 else f"in each of {count} processes"
    says = f"{_busy(period, share)}, {where}, and keeps no state."
    others = [
        load
        for place, load in period.load.items()
        if share.pe.record.pe not in {i.record.pe for i in period.summary.in_process(place)}
    ]
    work = sum(map(period.part, share.pe.instances))
    enough = math.ceil(work / max(others)) if others and max(others) > 0 else _MANY + 1
    number = f"{enough}" if count < enough <= _MANY else "more"
    how = (
        "shards, by d4p2cwl --shards"
        if share.pe.within
        else "processes: a larger -n, or its numprocesses"
    )
    advice = f"Give it {number} {how}{_outside(period)}."
    return Finding("copies", says, advice, share.pe.record.pe)


def _outside(period: _Period) -> str:
    """More processes than cores help those that wait for something else than a processor."""
    part = _cpu(period)
    if part is None or part >= _OUTSIDE:
        return ""
    return (
        f". Its work uses a processor only {units.percent(part)} of its time (it waits for files, "
        "a network, or a free core), so there may be more processes than cores"
    )


def _outside_alone(period: _Period) -> str:
    part = _cpu(period)
    if part is None or part >= _OUTSIDE:
        return ""
    return (
        f" Its work uses a processor only {units.percent(part)} of its time: it waits for files, a "
        "network, or a free core."
    )


def _cpu(period: _Period) -> float | None:
    """The part of the work of the busy processes in which they used a processor."""
    places = {instance.record.process for instance in period.hot}
    usages = [
        usage
        for place in places & period.summary.processes.keys()
        for usage in period.summary.processes[place].usages
    ]
    work = sum(period.summary.instances[i.record.instance].seconds.work for i in period.hot)
    return sum(usage.cpu for usage in usages) / work if usages and work else None


def _keyed(summary: Summary, pe: OfPE) -> bool:
    """Whether what a PE takes is grouped by keys."""
    groupings = [
        edge.record.grouping or ""
        for edge in summary.edges.values()
        if edge.record.dest == pe.record.pe
    ]
    return bool(groupings) and all(grouping.startswith("group-by") for grouping in groupings)


# --- the machine is busy --------------------------------------------------------------------------


def _lack_of_cores(period: _Period) -> Finding | None:
    """A process has enough to do, and others have the processors."""
    summary, seconds = period.summary, period.end - period.start
    ready = {
        number: place.ready(period.start, period.end) / seconds
        for number, place in summary.processes.items()
    }
    most = max(period.load, key=lambda number: period.load[number] + ready.get(number, 0.0))
    part = ready.get(most, 0.0)
    if part < _READY or period.load[most] + part < _BUSY:
        return None
    busiest = max(summary.in_process(most), key=lambda i: period.of(i).work)
    name = summary.name(busiest.record.pe)
    work = sum(period.of(instance).work for instance in summary.working)
    of_pe = sum(period.of(i).work for i in summary.pes[busiest.record.pe].instances)
    return Finding(
        "cores",
        f"The process of {name} has work {units.percent(period.load[most] + part)} "
        f"{period.when()}, but {units.percent(part)} of the time it waits for a processor, because "
        f"other processes use them. {name} does {units.percent(of_pe / work)} of all work.",
        f"More processes do not help if no processor is free. Make {name} faster, or use a machine "
        "with more processors, or with fewer other programs.",
        busiest.record.pe,
    )


# --- nobody works --------------------------------------------------------------------------------


def _reader_is_slow(period: _Period) -> Finding | None:
    """What is written is not taken, and no PE after it is busy."""
    summary = period.summary
    for instance in summary.working:
        blocked = period.of(instance).blocked / (period.end - period.start)
        if blocked < _BLOCKED:
            continue
        behind = {e.record.dest for e in summary.edges.values()} & _behind(summary, instance)
        loads = [
            period.load[other.record.process]
            for pe in behind
            if pe in summary.pes
            for other in summary.pes[pe].instances
        ]
        if max(loads, default=0.0) < _BUSY / 2:
            says = (
                f"{summary.name(instance.record.pe)} is blocked {units.percent(blocked)} "
                f"{period.when()}: its output is not taken, and no PE after it is busy."
            )
            advice = (
                "Check where results go: to a program that reads slowly, a disk, or a network."
                if not behind
                else "The connection between them is slow: put them into one process, or send less."
            )
            return Finding("reader", says, advice, instance.record.pe)
    return None


def _behind(summary: Summary, instance: OfInstance) -> set[str]:
    return {
        edge.record.dest
        for edge in summary.edges.values()
        if edge.record.source == instance.record.pe
    }


def _waiting(period: _Period) -> Finding:
    load = units.percent(period.top)
    total = sum(period.load.values())
    count = len(period.load)
    if count == 1:
        return Finding(
            "waiting",
            f"The process works {load} {period.when()}. The rest is waiting, and passing items on.",
            "If items are small, put some hundred values into one item: that costs less.",
        )
    says = f"No process works for more than {load} {period.when()}: they wait for each other."
    enough = max(1, math.ceil(total / 0.9))
    if enough < count:
        only = "one process is" if enough == 1 else f"{enough} processes are"
        advice = f"The work takes {units.percent(total)} of the time of one process, so {only} "
        advice += "enough: take a smaller -n."
    else:
        advice = "Put some hundred values into one item: larger items cost less to send."
    return Finding("waiting", says, advice)


def _started_late(summary: Summary) -> Finding | None:
    """Most of the time is start and end."""
    start, end = summary.when_working
    if end - start >= _LATE * summary.seconds:
        return None
    says = (
        f"Of {units.seconds(summary.seconds)}, PEs were at work for {units.seconds(end - start)}: "
        "the rest is start and end."
    )
    return Finding("start", says, "For so little work, the mapping simple is the fastest.")


# --- troubles ------------------------------------------------------------------------------------


def _troubles(summary: Summary) -> Iterator[Finding]:
    """What else people should know."""
    if summary.end is None:
        yield Finding(
            "cut",
            f"The trace has no end: the run is still running, or was killed after "
            f"{units.seconds(summary.seconds)}.",
        )
    elif summary.end.failed:
        yield Finding("failed", f"The run failed: {summary.end.failed}")
    elif not summary.end.complete:
        yield Finding("failed", "The run ended before all was done.")
    for event in summary.events:
        if event.what == "death":
            yield Finding("death", f"At {units.seconds(event.at)}: {event.why}", pe=event.pe)
    yield from _counted(summary)
    for place in summary.processes.values():
        yield from _memory(summary, place)


def _counted(summary: Summary) -> Iterator[Finding]:
    """Items that were skipped, or done again."""
    words = {"skip": "skipped", "retry": "tried again"}
    for what, done in words.items():
        events = [event for event in summary.events if event.what == what]
        by_pe: dict[str, int] = {}
        for event in events:
            by_pe[event.pe or ""] = by_pe.get(event.pe or "", 0) + (event.number or 1)
        for pe, number in by_pe.items():
            why = next(event.why for event in events if (event.pe or "") == pe)
            items = "1 item was" if number == 1 else f"{units.count(number)} items were"
            yield Finding(
                what, f"{items} {done} in {summary.name(pe) or 'PEs'}: {why}", pe=pe or None
            )


def _memory(summary: Summary, place: OfProcess) -> Iterator[Finding]:
    """Memory that grows to the end, after all has been loaded."""
    sizes = [(u.end, u.memory) for u in place.usages if u.memory is not None]
    sizes = sizes[len(sizes) // 4 :]
    if len(sizes) < 4:
        return
    (start, first), (end, last) = sizes[0], sizes[-1]
    middle = sizes[len(sizes) // 2][1]
    factor, least = _GROWTH
    if last < factor * first or last - first < least or not first < middle < last:
        return
    pes = {i.record.pe: summary.pes[i.record.pe] for i in summary.in_process(place.record.process)}
    keeping = [pe.name for pe in pes.values() if pe.record.state]
    rate = units.size((last - first) / (end - start))
    says = (
        f"The memory of process {place.record.process} grows from {units.size(first)} to "
        f"{units.size(last)}, by {rate} a second."
    )
    advice = (
        f"{_listed(keeping)} in it {'keeps' if len(keeping) == 1 else 'keep'} state: check what "
        "is kept, and for how long."
        if keeping
        else f"Check what {_listed([pe.name for pe in pes.values()])} keep of their items."
    )
    yield Finding("memory", says, advice)


def _listed(names: Iterable[str]) -> str:
    """``a, b and c``."""
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
