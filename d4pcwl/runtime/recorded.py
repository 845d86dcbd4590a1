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


def recorded(mapping: str, job: Job) -> Job:
    """Begin the job's record, if it has one; the job with which the run goes on."""
    if job.record is None:
        return job
    from d4pcwl.runtime.observed import edge_records, pe_records
    from d4pcwl.workflow.made import made_with
    from d4pcwl.workflow.pe import has_postprocess
    from d4pcwl.workflow.state import keeps_state

    graph = job.graph
    recording = job.record.begin(
        graph.names,
        {pe.id for pe in graph.pes if keeps_state(pe) is not None or has_postprocess(pe)},
        {
            "mapping": mapping,
            "processes": job.processes,
            "seed": job.seed,
            "pes": [
                {**asdict(record), "parameters": made_with(pe)}
                for record, pe in zip(pe_records(graph), graph.pes, strict=True)
            ],
            "edges": [asdict(record) for record in edge_records(graph)],
        },
    )
    return replace(job, recording=recording, sink=_TracedSink(job.sink, job.record))


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
