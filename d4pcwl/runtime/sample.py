"""A sample of a run, to learn from where there is no trace.

The first inputs go through the whole graph, one item after the other, as in ``simple``: for a few
seconds, in a process of its own, so that nothing of it is left in this one. What the PEs print and
the results are dropped. Whatever else they do, they do: who writes files writes them in the sample,
too, and so a script that visibly does is refused (:func:`refuse_effects`).

Every edge is measured as if it left the process: each item is pickled, and handed on as what comes
out of that. So the sample tells more than a trace of ``simple``.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
import uuid
from collections import Counter
from collections.abc import Hashable
from datetime import UTC, datetime
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from d4pcwl.errors import D4pcwlError, UsageError
from d4pcwl.runtime.engine.chain import Receive
from d4pcwl.runtime.engine.instance import Halt
from d4pcwl.runtime.engine.values import snapshot
from d4pcwl.runtime.engine.worker import Worker
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.local.processes import end, hear_signals, start
from d4pcwl.runtime.observed import edge_records, pe_records
from d4pcwl.trace.format import (
    End,
    Instance,
    Keys,
    Record,
    Run,
    Sample,
    Traffic,
    Usage,
    from_line,
    to_line,
)
from d4pcwl.workflow.edges import Edge
from d4pcwl.workflow.grouping import GroupBy
from d4pcwl.workflow.pe import PreparingPE

SECONDS = 2.0
"""How long a sample takes, where all PEs have had items by then."""

_MOST_SECONDS = 10.0
"""How long it goes on for those that have had none."""

_GIVE_UP_SECONDS = 120.0
"""How long a single item may take."""

_PICKLED = 1000
"""So many items of an edge are all pickled; of later ones, one in :data:`_EVERY`."""

_EVERY = 16
_KEYS = 1 << 16
_DEPTH = 500
"""The largest number of PEs: an item goes through all of them by nested calls."""


def take_sample(job: Job, seconds: float = SECONDS) -> list[Record]:
    """Run a sample of a job, and tell what it cost, as a trace does.

    :param seconds: about how long it takes
    :raises RunError: a PE failed
    :raises UsageError: there can be no sample of this graph
    """
    if len(job.graph.pes) > _DEPTH or any(isinstance(pe, PreparingPE) for pe in job.graph.roots):
        raise UsageError(f"no sample can be taken of this graph; {HOW_TO_TRACE}")
    here, there = Pipe(duplex=False)
    process = start(_work, job, seconds, there)
    there.close()
    try:
        if not here.poll(seconds + _GIVE_UP_SECONDS):
            raise UsageError(
                f"a single item of the sample takes longer than {_GIVE_UP_SECONDS:g} s; "
                + HOW_TO_TRACE
            )
        told = here.recv()
    except EOFError:
        process.join()
        raise UsageError(
            f"the process of the sample ended early (exit code {process.exitcode}); {HOW_TO_TRACE}"
        ) from None
    finally:
        here.close()
        end([process])
    if isinstance(told, D4pcwlError):
        raise told
    return [record for line in told if (record := from_line(line)) is not None]


HOW_TO_TRACE = "make a trace by a run with --trace FILE, and give it with --from FILE"
"""What to do where there is no sample."""


# --- in the sample's process ----------------------------------------------------------------------


def _work(job: Job, seconds: float, parent: Connection) -> None:
    hear_signals()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.stdout = sys.stderr = os.fdopen(nowhere, "w")  # those of a notebook go elsewhere
    meter = _Meter(job, seconds, parent)
    try:
        meter.run()
        meter.tell()
    except Halt as halt:
        parent.send(halt.error)
    except D4pcwlError as error:
        parent.send(error)
    os._exit(0)  # whatever the PEs have begun ends here


class _Way:
    """What is measured of one edge.

    :param number: of the edge
    """

    def __init__(self, number: int, grouping: object) -> None:
        self.number = number
        self.items = self.pickled = self.bytes = 0
        self.seconds = 0.0
        self.keys = Counter[Hashable]()
        self._read = grouping.reader() if isinstance(grouping, GroupBy) else None

    def value(self, item: Any) -> Any:
        """The item as its receiver gets it."""
        self.items += 1
        if self._read is not None:
            self._note_key(item)
        if self.items > _PICKLED and self.items % _EVERY:
            return snapshot(item)
        begun = time.perf_counter()
        try:
            data = pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
        except Exception:  # noqa: BLE001 - users' classes; a run reports it if it comes to that
            return snapshot(item)
        self.seconds += time.perf_counter() - begun
        self.pickled += 1
        self.bytes += len(data)
        return pickle.loads(data)

    def _note_key(self, item: Any) -> None:
        try:
            key = self._read(item) if self._read is not None else None
        except (LookupError, TypeError):
            return  # the run reports it
        if not isinstance(key, Hashable):
            key = repr(key)
        if key in self.keys or len(self.keys) < _KEYS:
            self.keys[key] += 1


class _Meter:
    """Runs the sample: the link of its only worker, which sees every item that passes.

    Time between two such moments is that of the PE at work; where none has been called by an item,
    as a root or at the end, of the one that writes next.
    """

    def __init__(self, job: Job, seconds: float, parent: Connection) -> None:
        self.job, self.parent = job, parent
        self.pes = {pe.id: number for number, pe in enumerate(job.graph.pes)}
        edges = enumerate(job.graph.edges)
        self.ways = {_key(edge): _Way(n, job.graph.grouping(edge)) for n, edge in edges}
        self.wall = dict.fromkeys(self.pes, 0.0)
        self.cpu = dict.fromkeys(self.pes, 0.0)
        self.taken = dict.fromkeys(self.pes, 0)
        self.written = dict.fromkeys(self.pes, 0)
        self.unseen = {pe.id for pe in job.graph.pes if job.graph.into(pe)}
        self.at_work: list[str] = []
        self.began = self.since = time.perf_counter()
        self.cpu_since = time.process_time()
        self.enough, self.most = self.began + seconds, self.began + max(seconds, _MOST_SECONDS)
        self.complete = False

    def run(self) -> None:
        plan = self.job.plan(processes=1, copies=False)
        self.instances = plan.instances
        self.worker = Worker(self.job.graph, plan, 0, self.job.inputs, self, direct=False)
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + 20 * len(self.pes)))
        self.worker.start()
        while self.worker.hungry:
            self.worker.feed()
            self._go_on()
        self.complete = True

    # --- the worker's link ---

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Receive:
        pe = self.instances[target].pe
        way = self.ways[(*source, pe, input)]
        take: Any = None

        def receive(item: Any) -> None:
            nonlocal take
            if take is None:
                take = self.worker.receiver(target, input)
            self._note(source[0])
            self.written[source[0]] += 1
            item = way.value(item)
            self.taken[pe] += 1
            self.unseen.discard(pe)
            self._pass()
            self.at_work.append(pe)
            take((item,))
            self._note(pe)
            self.at_work.pop()
            self._go_on()

        return receive

    def result(self, pe: str, output: str) -> Receive:
        def receive(item: Any) -> None:
            if pe:  # else it is the description of an item that is left out
                self._note(pe)
                self.written[pe] += 1

        return receive

    def end(self, instance: int) -> None:
        """All instances are here."""

    def sent(self, source: tuple[str, str], target: int, input: str) -> None:
        """What is sent is counted here, and nobody else asks."""

    # --- the clock ---

    def _note(self, pe: str) -> None:
        """Until now a PE was at work."""
        wall, cpu = time.perf_counter(), time.process_time()
        pe = self.at_work[-1] if self.at_work else pe
        self.wall[pe] += wall - self.since
        self.cpu[pe] += cpu - self.cpu_since
        self.since, self.cpu_since = wall, cpu

    def _pass(self) -> None:
        """What was done until now was measuring."""
        self.since, self.cpu_since = time.perf_counter(), time.process_time()

    def _go_on(self) -> None:
        """End the sample, if it is time to."""
        now = time.perf_counter()
        if now >= self.most or (now >= self.enough and not self.unseen):
            self.tell()

    # --- reports ---

    def tell(self) -> NoReturn:
        """Send the parent what was measured, and end."""
        self.parent.send([to_line(record) for record in self._records()])
        self.parent.close()
        os._exit(0)

    def _records(self) -> list[Record]:
        graph, end_ = self.job.graph, time.perf_counter() - self.began
        roots = {pe.id for pe in graph.roots}
        counts = {i.pe: self.worker.running[i.index].count for i in self.instances}
        fed = sum(counts[pe] for pe in roots) or 1
        began = datetime.now(UTC).isoformat()
        records: list[Record] = [
            Run(id=str(uuid.uuid4()), began=began, mapping="sample", processes=1, inputs=fed),
            *pe_records(graph),
            *edge_records(graph),
        ]
        for pe in graph.pes:  # each as if it had a process of its own
            number, taken = self.pes[pe.id], max(self.taken[pe.id], counts[pe.id])
            out = [self.ways[_key(edge)] for edge in graph.out_of(pe)]
            records += [
                Instance(instance=number, pe=pe.id, copy=0, process=number),
                Sample(
                    instance=number,
                    start=0.0,
                    end=end_,
                    taken=taken,
                    written=self.written[pe.id],
                    busy=self.wall[pe.id],
                    encoding=sum(w.items * w.seconds / w.pickled for w in out if w.pickled),
                ),
                Usage(process=number, start=0.0, end=end_, cpu=self.cpu[pe.id]),
            ]
        for edge in graph.edges:
            way = self.ways[_key(edge)]
            records.append(
                Traffic(
                    edge=way.number,
                    process=self.pes[edge.source.id],
                    start=0.0,
                    end=end_,
                    items=way.items,
                    bytes=round(way.items * way.bytes / way.pickled) if way.pickled else None,
                )
            )
            if way.keys:
                most = max(way.keys.values())
                records.append(Keys(edge=way.number, items=way.keys.total(), most=most))
        return [*records, End(at=end_, complete=self.complete)]


def _key(edge: Edge) -> tuple[str, str, str, str]:
    return (edge.source.id, edge.output, edge.target.id, edge.input)
