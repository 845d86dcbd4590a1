"""A job whose items' lineage is recorded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d4pcwl.runtime.engine.order import EntrancePE
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.stage_streams import READERS

if TYPE_CHECKING:
    from d4pcwl.lineage.run_record import RunRecord
    from d4pcwl.runtime.engine.instance import Receive
    from d4pcwl.runtime.results import Sink
    from d4pcwl.workflow.flat import FlatGraph


def recorded(mapping: str, job: Job) -> Job:
    """Begin the job's record, if it has one; the job with which the run goes on."""
    if job.record is None:
        return job
    from d4pcwl.runtime.observed import edge_records, pe_records
    from d4pcwl.workflow.made import made_with
    from d4pcwl.workflow.pe import has_postprocess
    from d4pcwl.workflow.state import keeps_state

    graph = job.graph
    entrances = [pe.entrance for pe in graph.roots if isinstance(pe, EntrancePE)]
    recording = job.record.begin(
        graph.names,
        {pe.id for pe in graph.pes if keeps_state(pe) is not None or has_postprocess(pe)},
        _twice(graph),
        {
            "mapping": mapping,
            "processes": job.processes,
            "seed": job.seed,
            "pes": [
                {
                    **asdict(record),
                    "ordered": getattr(pe, "ordered", True) is not False,
                    "parameters": {} if isinstance(pe, READERS) else made_with(pe),
                }
                for record, pe in zip(pe_records(graph), graph.pes, strict=True)
            ],
            "edges": [asdict(record) for record in edge_records(graph)],
        },
        readers=[pe.id for pe in graph.roots if isinstance(pe, READERS)],
    )
    marked = entrances[0].wanted if entrances else frozenset()
    return replace(job, recording=recording, sink=_TracedSink(job.sink, job.record, marked))


def _twice(graph: FlatGraph) -> set[str]:
    """The ids of the PEs that take an item by several inputs."""
    from d4pcwl.workflow.numbering import Numbering

    taken: set[tuple[str, str, str]] = set()
    found = set()
    for edge in graph.edges:
        source = graph.into(edge.source)[0] if isinstance(edge.source, Numbering) else edge
        way = (source.source.id, source.output, edge.target.id)
        if way in taken:
            found.add(edge.target.id)
        taken.add(way)
    return found


class _TracedSink:
    """A sink that takes items with their traces, and passes on the items.

    :param marked: the outputs whose items come with their marks, as pairs of a mark and such a pair
    """

    def __init__(
        self, sink: Sink, record: RunRecord, marked: Collection[tuple[str, str]] = ()
    ) -> None:
        self._sink, self._record, self._marked = sink, record, marked

    def take(self, pe: str, output: str) -> Receive:
        from d4pcwl.runtime.engine.policy import ERRORS

        take = self._sink.take(pe, output)
        if (pe, output) == ERRORS:
            return take
        note = partial(self._record.note_result, pe, output)

        def receive(pair: tuple[bytes, Any]) -> None:
            trace, item = pair
            take(item)
            note(trace)

        def receive_marked(pair: tuple[Any, tuple[bytes, Any]]) -> None:
            mark, (trace, item) = pair
            take((mark, item))
            note(trace)

        return receive_marked if (pe, output) in self._marked else receive

    def close(self, complete: bool) -> None:
        self._sink.close(complete)


class StreamSink:
    """A sink for a stream file of a recorded stage: the record notes each item in it."""

    def __init__(self, sink: Sink, record: RunRecord, path: Path) -> None:
        self._sink, self._note = sink, record.stream(path)

    def take(self, pe: str, output: str) -> Receive:
        take, note = self._sink.take(pe, output), self._note

        def receive(item: Any) -> None:
            take(item)
            note()

        return receive

    def close(self, complete: bool) -> None:
        self._sink.close(complete)
