"""What the records of a run come to so far, PE by PE: for displays, of this run or of another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from d4pcwl.trace import units
from d4pcwl.trace.format import PE, Edge, End, Event, Instance, Record, Run, Sample

_RECENT_SECONDS = 5.0
"""The time over which rates are taken."""


@dataclass
class PETotal:
    """One PE.

    :ivar instances: the numbers of its instances
    :ivar errors: items that were left out, and attempts that failed
    """

    pe: PE
    instances: set[int] = field(default_factory=set)
    taken: int = 0
    written: int = 0
    busy: float = 0.0
    observed: float = 0.0
    queue: int | None = None
    errors: int = 0
    recent: list[tuple[float, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """How people call it."""
        return self.pe.name or self.pe.pe

    @property
    def moved(self) -> int:
        """Its items: those that it has taken; of a root those that it has written."""
        return self.written if self.pe.source and self.written else self.taken

    @property
    def share(self) -> float:
        """The part of its time in which it was at work, or made what it wrote bytes; 0 to 1."""
        return min(1.0, self.busy / self.observed) if self.observed else 0.0


class Totals:
    """See the module; :meth:`take` takes the records in their order."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.end: End | None = None
        self.at = 0.0
        self.pes: dict[str, PETotal] = {}
        self.jobs = 0
        self.edges: list[Edge] = []
        self._instances: dict[int, str] = {}

    def take(self, record: Record) -> None:
        """Take a record."""
        if isinstance(record, Run):
            self.run = record
        elif isinstance(record, PE):
            self.pes[record.pe] = PETotal(record)
        elif isinstance(record, Edge):
            self.edges.append(record)
        elif isinstance(record, Instance):
            self._instances[record.instance] = record.pe
            if record.pe in self.pes:
                self.pes[record.pe].instances.add(record.instance)
        elif isinstance(record, Sample):
            self._take_sample(record)
        elif isinstance(record, Event):
            self.at = max(self.at, record.at)
            self.jobs += record.what == "job"
            if record.pe in self.pes and record.what in ("retry", "skip"):
                self.pes[record.pe].errors += record.number or 1
        elif isinstance(record, End):
            self.end, self.at = record, max(self.at, record.at)

    def _take_sample(self, sample: Sample) -> None:
        total = self.pes.get(self._instances.get(sample.instance, ""))
        self.at = max(self.at, sample.end)
        if total is None:
            return
        before = total.moved
        total.taken += sample.taken
        total.written += sample.written or 0
        total.busy += sample.busy + sample.encoding
        total.observed += sample.end - sample.start
        if sample.queue is not None:
            total.queue = sample.queue
        total.recent.append((sample.end, total.moved - before))
        while total.recent[0][0] < self.at - _RECENT_SECONDS:
            total.recent.pop(0)

    def rate(self, total: PETotal) -> float:
        """Items a second that a PE has worked on of late."""
        seconds = min(_RECENT_SECONDS, self.at)
        recent = sum(n for end, n in total.recent if end >= self.at - _RECENT_SECONDS)
        return recent / seconds if seconds else 0.0

    @property
    def roots(self) -> Iterator[PETotal]:
        """The PEs that nothing feeds."""
        return (total for total in self.pes.values() if total.pe.source)

    @property
    def steps(self) -> list[PETotal]:
        """The steps, where a CWL document runs: their PEs that run tools."""
        found = self.pes.values()
        return [total for total in found if total.pe.step is not None and total.pe.heavy]

    @property
    def shown(self) -> list[PETotal]:
        """The PEs that people want to see: steps, where there are such."""
        return self.steps or list(self.pes.values())

    @property
    def items(self) -> int:
        """How many items have entered the graph; of a CWL document, how often tools were run."""
        if self.steps:
            return sum(total.taken for total in self.steps)
        return sum(total.moved for total in self.roots)

    @property
    def done(self) -> float | None:
        """The part of the roots' inputs that has been worked through, 0 to 1; None if it says
        nothing: they are not counted, or are one for each root."""
        inputs = self.run.inputs if self.run is not None else None
        if self.steps:
            return self.jobs / inputs if inputs and inputs > 1 else None
        if not inputs or inputs <= len(list(self.roots)):
            return None
        taken = min(1.0, sum(total.taken for total in self.roots) / inputs)
        return taken * min(map(self._kept_up, self.pes.values()), default=1.0)

    def _kept_up(self, total: PETotal) -> float:
        """The part of what was written for a PE that it has taken, as far as that is known."""
        feeding = {edge.source for edge in self.edges if edge.dest == total.pe.pe}
        ways = [edge for edge in self.edges if edge.source in feeding]
        written = sum(self.pes[source].written for source in feeding if source in self.pes)
        if len(ways) != len(feeding) or not written:  # some of it is for others
            return 1.0
        return min(1.0, total.taken / written)

    @property
    def inputs(self) -> str:
        """What the inputs of the run are called."""
        return "jobs" if self.steps else "inputs"

    @property
    def left(self) -> float | None:
        """About how many seconds are left, where that can be told."""
        done = self.done
        return self.at * (1 - done) / done if done else None

    @property
    def slowest(self) -> PETotal | None:
        """The PE whose instances have the least time to spare."""
        worked = [total for total in self.shown if total.busy]
        return max(worked, key=lambda total: total.share, default=None)


def progress_line(totals: Totals) -> str:
    """How far a run is, in one line."""
    parts = [units.seconds(totals.at, 2)]
    if totals.done is not None:
        parts.append(f"{totals.done:.0%} of the {totals.inputs}")
        if totals.left is not None and totals.end is None:
            parts.append(f"about {units.seconds(totals.left, 2)} left")
    pes = [
        f"{total.name} {total.moved:,}" + (f" ({total.errors:,} errors)" if total.errors else "")
        for total in totals.shown
    ]
    return f"{', '.join(parts)}: {', '.join(pes)}"


def last_line(totals: Totals) -> str:
    """What a run has come to, in one line: items, seconds, the slowest PE; where it has failed,
    how far it came."""
    if totals.end is not None and not totals.end.complete:
        return f"stopped after {progress_line(totals)}"
    rate = totals.items / totals.at if totals.at else 0.0
    what = "runs of tools" if totals.steps else "items"
    line = f"{totals.items:,} {what} in {units.seconds(totals.at, 2)} ({rate:,.0f}/s)"
    slowest = totals.slowest
    if slowest is not None and len(totals.shown) > 1:
        line += f"; the slowest is {slowest.name}, at work {slowest.share:.0%} of the time"
    return line
