"""Traces whose bottleneck is known: tandem queues, worked out item by item, without a clock.

An item enters a stage when the stage has room for it: when the item that is ``ROOM`` places before
it has been taken up there. So a slow stage blocks those before it, and those behind it wait. The
recursion is that of tandem queues with blocking after service (Perros, Queueing Networks with
Blocking, 1994).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from d4pcwl.trace.format import (
    PE,
    Edge,
    End,
    Instance,
    Process,
    Record,
    Run,
    Sample,
    TraceWriter,
    Traffic,
)

ROOM = 8
"""How many items wait between two stages."""


@dataclass(frozen=True)
class Stage:
    """PEs that share a process, in as many copies as there are processes for them.

    :param pes: the seconds that each of them takes for an item, by its id
    :param encoding: seconds to encode what the last of them writes
    :param size: bytes of an item that it writes
    :param weights: how often an item is for each copy, where its input is grouped by a key
    """

    pes: dict[str, float]
    copies: int = 1
    state: bool = False
    encoding: float = 0.0
    size: int = 100
    weights: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        return sum(self.pes.values()) + self.encoding

    @property
    def load(self) -> float:
        """Seconds for each item of the stream, of the copy that has most to do."""
        part = max(self.weights) / sum(self.weights) if self.weights else 1 / self.copies
        return self.seconds * part


@dataclass(frozen=True)
class _Stay:
    """What an item means for the copy of a stage that takes it up: four moments."""

    free: float
    start: float
    done: float
    gone: float


def simulated(
    stages: Sequence[Stage], items: int, seed: int = 0, every: float = 1.0, mapping: str = "multi"
) -> list[Record]:
    """The trace of a chain of stages, the first of which is the source."""
    stays = _stays(stages, items, random.Random(seed))
    end = max(stay.gone for of_copy in stays for copy in of_copy for stay in copy)
    chain = [pe for stage in stages for pe in stage.pes]
    edges = list(pairwise(chain))
    keyed = {next(iter(stage.pes)) for stage in stages if stage.weights}
    records: list[Record] = [begun(mapping=mapping, processes=sum(s.copies for s in stages))]
    for stage in stages:
        for pe in stage.pes:
            class_ = pe.rstrip("0123456789").title()
            records.append(PE(pe=pe, class_=class_, state=stage.state, source=pe == chain[0]))
    for number, (source, dest) in enumerate(edges):
        grouping = "group-by [0]" if dest in keyed else None
        ports = {"output": "output", "input": "input", "grouping": grouping}
        records.append(Edge(edge=number, source=source, dest=dest, **ports))
    instance = process = 0
    for stage, of_copy in zip(stages, stays, strict=True):
        for copy, taken in enumerate(of_copy):
            records.append(Process(process=process, host="here", pid=100 + process, at=0.0))
            for pe in stage.pes:
                records.append(Instance(instance=instance, pe=pe, copy=copy, process=process))
                records += _samples(instance, stage, pe, taken, end, every)
                instance += 1
            number = chain.index(list(stage.pes)[-1])
            if number < len(edges):
                records += _traffic(number, process, stage, taken, end, every)
            process += 1
    return [*records, End(at=end, complete=True)]


def begun(**told: Any) -> Run:
    """The first record of a trace."""
    given = {"id": "5f0c2d6e-7a58-4c3a-9a54-1f6f3f0f7e11", "began": "2026-11-21T10:00:00+00:00"}
    given |= {"script": "flow.py", "mapping": "multi", "processes": 1, "host": "here"}
    return Run(**(given | {"python": "3.11.2", "versions": {"d4pcwl": "0.1.0"}} | told))


def write(path: Path, records: Iterable[Record]) -> Path:
    """A file of records."""
    writer = TraceWriter(path)
    writer.write(*records)
    writer.close()
    return path


def _stays(stages: Sequence[Stage], items: int, choice: random.Random) -> list[list[list[_Stay]]]:
    """By stage and copy, what its items mean for it."""
    stays: list[list[list[_Stay]]] = [[[] for _ in range(stage.copies)] for stage in stages]
    starts: list[list[float]] = [[] for _ in stages]
    for item in range(items):
        came = 0.0
        for place, stage in enumerate(stages):
            free = [copy[-1].gone if copy else 0.0 for copy in stays[place]]
            if stage.weights:
                copy = choice.choices(range(stage.copies), stage.weights)[0]
            else:
                copy = min(range(stage.copies), key=free.__getitem__)
            start = max(came, free[copy])
            done = start + stage.seconds * choice.uniform(0.9, 1.1)
            starts[place].append(start)
            gone = done
            if place + 1 < len(stages) and item >= ROOM:
                gone = max(done, starts[place + 1][item - ROOM])
            stays[place][copy].append(_Stay(free[copy], start, done, gone))
            came = gone
    return stays


def _samples(
    instance: int, stage: Stage, pe: str, taken: Sequence[_Stay], end: float, every: float
) -> list[Record]:
    """What an instance did in each interval: its part of the time of its process."""
    part = stage.pes[pe] / stage.seconds if stage.seconds else 0.0
    last = pe == list(stage.pes)[-1]
    encoding = stage.encoding / stage.seconds if last and stage.seconds else 0.0
    records: list[Record] = []
    for begin, to in _intervals(end, every):
        inside = [stay for stay in taken if stay.gone >= begin and stay.free < to]
        work = sum(_common(begin, to, stay.start, stay.done) for stay in inside)
        done = sum(begin <= stay.done < to or stay.done == to == end for stay in inside)
        waiting = sum(_common(begin, to, stay.free, stay.start) for stay in inside)
        waiting += _common(begin, to, taken[-1].gone if taken else 0.0, end)
        seconds = {"busy": work * part, "encoding": work * encoding, "waiting": waiting}
        if last:
            seconds["blocked"] = sum(_common(begin, to, s.done, s.gone) for s in inside)
        counts = {"taken": done, "written": done}
        records.append(Sample(instance=instance, start=begin, end=to, **counts, **seconds))
    return records


def _traffic(
    edge: int, process: int, stage: Stage, taken: Sequence[_Stay], end: float, every: float
) -> list[Record]:
    records: list[Record] = []
    for begin, to in _intervals(end, every):
        gone = sum(begin <= stay.gone < to or stay.gone == to == end for stay in taken)
        sent = {"items": gone, "bytes": gone * stage.size}
        records.append(Traffic(edge=edge, process=process, start=begin, end=to, **sent))
    return records


def _intervals(end: float, every: float) -> list[tuple[float, float]]:
    count = int(end // every) + 1
    return [(n * every, min((n + 1) * every, end)) for n in range(count) if n * every < end]


def _common(begin: float, to: float, start: float, stop: float) -> float:
    return max(0.0, min(to, stop) - max(begin, start))
