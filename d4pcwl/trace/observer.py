"""The observer of a run makes records of what the processes report.

Each process sends *laps*: what it did in a short time (``runtime/local/meter.py`` makes them). The
:class:`Observer` gets them in the process that started the run. It numbers processes and
instances, and passes records on to a file, a display, or both.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from d4pcwl.errors import TraceError
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

Take = Callable[[Record], None]
"""Takes one record."""

Way = tuple[str, str, str, str]
"""An edge: PE, output, PE, input."""


class EdgeTraffic(NamedTuple):
    """What has left a process along an edge.

    :param bytes: as encoded
    :param sent: the same after compression; 0 where nothing is compressed
    """

    items: int = 0
    bytes: int = 0
    sent: int = 0

    def plus(self, other: EdgeTraffic) -> EdgeTraffic:
        """Both together."""
        return EdgeTraffic(*(a + b for a, b in zip(self, other, strict=True)))


Sent = Callable[[], Mapping[Way, EdgeTraffic]]
"""Gives, by edge, what has left the process."""


def with_sent(ways: Mapping[Way, EdgeTraffic], sent: int) -> dict[Way, EdgeTraffic]:
    """What has left by edges whose batches are compressed together: each has the part of the bytes
    sent that it has of the bytes."""
    whole = max(1, sum(carried.bytes for carried in ways.values()))
    return {way: c._replace(sent=sent * c.bytes // whole) for way, c in ways.items()}


@dataclass
class InstanceLap:
    """What one instance did in a lap; the amounts are those of a :class:`Sample`.

    :param copy: its number among the copies of the PE, where the plan has one for it
    """

    pe: str
    copy: int | None
    taken: int = 0
    written: int = 0
    busy: float = 0.0
    waiting: float = 0.0
    blocked: float = 0.0
    encoding: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.taken or self.written or self.busy or self.blocked or self.encoding)


@dataclass
class Lap:
    """What one process did in a time; all times are of its wall clock.

    :param did: by the instance's index in the plan
    :param sent: by edge, what has left the process
    :param spans: instance, beginning, end, and the number of the item
    :param events: instance, what, why, how many times
    """

    host: str
    pid: int
    start: float
    end: float
    cpu: float = 0.0
    memory: int | None = None
    idle: float = 0.0
    ready: float = 0.0
    did: dict[int, InstanceLap] = field(default_factory=dict)
    sent: dict[Way, EdgeTraffic] = field(default_factory=dict)
    spans: list[tuple[int, float, float, int]] = field(default_factory=list)
    events: list[tuple[int, str, str, int]] = field(default_factory=list)


class Observer:
    """See the module.

    :param takers: take the records, one after the other; may be called from any thread
    :param script: what runs, as it was named
    :param arguments: of the command
    :param thorough: the PEs' states are found out, too, which takes a moment
    :ivar queues: by instance of the plan, the items that wait for it where anybody knows
    """

    def __init__(
        self,
        takers: Iterable[Take] = (),
        *,
        script: str | None = None,
        arguments: Sequence[str] = (),
        thorough: bool = False,
    ) -> None:
        self.thorough = thorough
        self.queues: Callable[[], Mapping[int, int]] = dict
        self._takers = list(takers)
        self._script, self._arguments = script, list(arguments)
        self._lock = threading.RLock()
        self._began = time.time()
        self._edges: dict[Way, int] = {}
        self._processes: dict[tuple[str, int], int] = {}
        self._instances: dict[tuple[int, int], int] = {}
        self._copies = Counter[str]()
        self._pe_of: dict[int, str] = {}
        self._places: dict[str, set[int]] = {}
        self._sources: dict[str, list[str]] = {}
        self._sent, self._taken = Counter[str](), Counter[str]()
        self._over = False

    def begin(
        self,
        mapping: str,
        processes: int,
        pes: Sequence[PE],
        edges: Sequence[Edge],
        inputs: int | None,
    ) -> None:
        """The run begins."""
        self._began = time.time()
        self._edges = {(e.source, e.output, e.dest, e.input): e.edge for e in edges}
        for edge in edges:
            self._sources.setdefault(edge.dest, []).append(edge.source)
        import uuid

        began = datetime.fromtimestamp(self._began, UTC)
        self._put(
            Run(
                id=str(uuid.uuid4()),
                began=began.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                mapping=mapping,
                processes=processes,
                script=self._script,
                arguments=self._arguments,
                host=os.uname().nodename,
                python=".".join(map(str, sys.version_info[:3])),
                versions={"d4pcwl": sys.modules["d4pcwl"].__version__},
                inputs=inputs,
            ),
            *pes,
            *edges,
        )

    def hear(self, lap: Lap) -> None:
        """Take a report of a process."""
        with self._lock:
            records: list[Record] = []
            start, end = self._since(lap.start), self._since(lap.end)
            process = self._number_of(lap, start, records)
            self._count(lap, process)
            waiting = self._waiting()
            for index, did in lap.did.items():
                number = self._instance_of(index, did, process, start, records)
                records.append(
                    Sample(
                        instance=number,
                        start=start,
                        end=end,
                        taken=did.taken,
                        written=did.written,
                        busy=did.busy,
                        waiting=did.waiting,
                        blocked=did.blocked,
                        encoding=did.encoding,
                        queue=waiting.get(did.pe),
                    )
                )
            records.append(
                Usage(
                    process=process,
                    start=start,
                    end=end,
                    cpu=lap.cpu,
                    memory=lap.memory,
                    idle=lap.idle,
                    ready=lap.ready,
                )
            )
            records += [
                Traffic(
                    edge=self._edges[way],
                    process=process,
                    start=start,
                    end=end,
                    items=carried.items,
                    bytes=carried.bytes,
                    sent=carried.sent or None,
                )
                for way, carried in lap.sent.items()
                if way in self._edges
            ]
            for index, begin, until, item in lap.spans:
                known = self._instances.get((process, index))
                if known is not None:
                    times = self._since(begin), self._since(until)
                    records.append(Span(instance=known, start=times[0], end=times[1], item=item))
            for index, what, why, number in lap.events:
                records.append(
                    Event(
                        at=end,
                        what=what,
                        why=why,
                        instance=self._instances.get((process, index)),
                        process=process,
                        pe=lap.did[index].pe if index in lap.did else None,
                        number=number if number > 1 else None,
                    )
                )
            self._put(*records)

    def _count(self, lap: Lap, process: int) -> None:
        """Count what was sent to each PE, and what it has taken."""
        for index, did in lap.did.items():
            self._pe_of[index] = did.pe
            self._places.setdefault(did.pe, set()).add(process)
            self._taken[did.pe] += did.taken
        for way, carried in lap.sent.items():
            if way in self._edges:
                self._sent[way[2]] += carried.items

    def _waiting(self) -> Mapping[str, int]:
        """By PE, the items that wait for it: all of them came from other processes, so that they
        were counted when they were sent; or else the mapping knows."""
        found = Counter[str]()
        for index, number in self.queues().items():
            if index in self._pe_of:
                found[self._pe_of[index]] += number
        for pe, sent in self._sent.items():
            here = self._places.get(pe, set())
            if all(here.isdisjoint(self._places.get(source, ())) for source in self._sources[pe]):
                found[pe] = max(0, sent - self._taken[pe])
        return found

    def note(self, what: str, why: str, number: int | None = None, pid: int | None = None) -> None:
        """Something has happened; see :class:`~d4pcwl.trace.format.Event`.

        :param pid: the process here that it happened to
        """
        process = self._processes.get((os.uname().nodename, pid)) if pid is not None else None
        at = self._since(time.time())
        self._put(Event(at=at, what=what, why=why, number=number, process=process))

    def join(self, path: str | os.PathLike[str]) -> None:
        """Take over the records of another run that was a part of this one, such as a step.

        :param path: its trace, whose name is ``STEP_trace.jsonl``. If it cannot be read, an event
            reports that
        """
        stem = os.path.basename(path).partition(".")[0]
        step = stem.removesuffix("trace").rstrip("_") or "tool"
        try:
            records = list(read_trace(path))
        except TraceError as error:
            self.note("trace", str(error))
            return
        with self._lock:
            self._put(*self._renumbered(records, step))

    def _renumbered(self, records: Iterable[Record], step: str) -> Iterator[Record]:
        """Records of another run, with numbers and times of this one."""
        later = 0.0
        numbers: dict[type[Record], dict[int, int]] = {Process: {}, Instance: {}, Edge: {}}
        for record in records:
            if isinstance(record, Run):
                later = datetime.fromisoformat(record.began).timestamp() - self._began
                continue
            if isinstance(record, End):
                continue
            changes: dict[str, Any] = {}
            for known in fields(record):
                name, value = known.name, getattr(record, known.name)
                if value is None:
                    continue
                if name in ("at", "start", "end"):
                    changes[name] = max(0.0, value + later)
                elif name in ("pe", "source", "dest") and isinstance(value, str):
                    changes[name] = f"{step}/{value}"
                elif name in ("process", "instance", "edge"):
                    kind = {"process": Process, "instance": Instance, "edge": Edge}[name]
                    changes[name] = self._number(numbers[kind], value, kind)
            if isinstance(record, PE):
                changes |= {"step": step, "name": f"{step}/{record.name or record.pe}"}
            yield replace(record, **changes)

    def _number(self, known: dict[int, int], value: int, kind: type[Record]) -> int:
        """The number that something of another run has here."""
        if value not in known:
            ways: dict[Any, dict[Any, int]] = {
                Process: self._processes,
                Instance: self._instances,
                Edge: self._edges,
            }
            taken = ways[kind]
            known[value] = taken[object()] = len(taken)
        return known[value]

    def end(self, failed: str | None = None) -> None:
        """The run is over.

        :param failed: why it could not be done
        """
        with self._lock:
            self._put(End(at=self._since(time.time()), complete=failed is None, failed=failed))
            self._over = True

    def _since(self, clock: float) -> float:
        return max(0.0, clock - self._began)

    def _number_of(self, lap: Lap, start: float, records: list[Record]) -> int:
        """The number of a process; its record, where it is new."""
        key = (lap.host, lap.pid)
        if key not in self._processes:
            self._processes[key] = len(self._processes)
            records.append(
                Process(process=self._processes[key], host=lap.host, pid=lap.pid, at=start)
            )
        return self._processes[key]

    def _instance_of(
        self, index: int, did: InstanceLap, process: int, start: float, records: list[Record]
    ) -> int:
        """The number of an instance; its record, where it is new."""
        key = (process, index)
        if key not in self._instances:
            number = self._instances[key] = len(self._instances)
            copy = self._copies[did.pe] if did.copy is None else did.copy
            self._copies[did.pe] += 1
            records.append(
                Instance(instance=number, pe=did.pe, copy=copy, process=process, at=start)
            )
        return self._instances[key]

    def _put(self, *records: Record) -> None:
        with self._lock:
            if not self._over:
                for take in self._takers:
                    for record in records:
                        take(record)


def resident_bytes() -> int | None:
    """The memory that this process has now; None if the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
