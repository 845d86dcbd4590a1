"""A job whose items' lineage is recorded."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from d4pcwl.runtime.job import Job

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
    from d4pcwl.workflow.pe import has_postprocess
    from d4pcwl.workflow.state import keeps_state

    graph = job.graph
    recording = job.record.begin(
        graph.names,
        {pe.id for pe in graph.pes if keeps_state(pe) is not None or has_postprocess(pe)},
        _twice(graph),
        {
            "mapping": mapping,
            "processes": job.processes,
            "seed": job.seed,
            "pes": [asdict(record) for record in pe_records(graph)],
            "edges": [asdict(record) for record in edge_records(graph)],
        },
    )
    return replace(job, recording=recording, sink=_TracedSink(job.sink, job.record))


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
    """A sink that takes items with their traces, and passes on the items."""

    def __init__(self, sink: Sink, record: RunRecord) -> None:
        self._sink, self._record = sink, record

    def take(self, pe: str, output: str) -> Receive:
        from d4pcwl.runtime.engine.policy import ERRORS

        take = self._sink.take(pe, output)
        if (pe, output) == ERRORS:
            return take
        note = partial(self._record.note_result, pe, output)

        def receive(pair: tuple[bytes, Any]) -> None:
            trace, item = pair
            note(trace)
            take(item)

        return receive

    def close(self, complete: bool) -> None:
        self._sink.close(complete)
