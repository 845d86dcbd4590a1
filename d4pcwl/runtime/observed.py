"""A job that is observed: which PEs and edges there are, that it begins, and how it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sized
from typing import TYPE_CHECKING, Any

from d4pcwl.errors import presentable
from d4pcwl.runtime.job import Job

if TYPE_CHECKING:
    from d4pcwl.trace.format import PE, Edge
    from d4pcwl.workflow.flat import FlatGraph


@contextlib.contextmanager
def observed(mapping: str, job: Job) -> Iterator[None]:
    """Tell the job's observer, if it has one, of the run in the block."""
    observer = job.observer
    if observer is None:
        yield
        return
    from d4pcwl.runtime.engine.plan import usable_cores

    inputs = [given if isinstance(given, int) else _length(given) for given in job.inputs.values()]
    observer.begin(
        mapping,
        job.processes or usable_cores(),
        pe_records(job.graph, thorough=observer.thorough),
        edge_records(job.graph),
        None if None in inputs else sum(filter(None, inputs)),
    )
    try:
        yield
    except BaseException as error:
        interrupted = not isinstance(error, Exception)
        observer.end("interrupted" if interrupted else presentable(str(error)))
        raise
    observer.end()


def _length(given: Any) -> int | None:
    return len(given) if isinstance(given, Sized) else None


def pe_records(graph: FlatGraph, *, thorough: bool = True) -> list[PE]:
    """What a trace says about the PEs.

    :param thorough: also whether they keep state
    """
    from d4pcwl.trace.format import PE
    from d4pcwl.workflow.state import keeps_state

    return [
        PE(
            pe=pe.id,
            name=graph.names.get(pe.id),
            class_=getattr(pe, "process_class", type(pe).__name__),
            state=thorough and keeps_state(pe) is not None,
            source=not graph.into(pe),
            heavy=bool(getattr(pe, "heavy", False)),
            step=getattr(pe, "step", None),
        )
        for pe in graph.pes
    ]


def edge_records(graph: FlatGraph) -> list[Edge]:
    """What a trace says about the edges."""
    from d4pcwl.trace.format import Edge

    return [
        Edge(
            edge=number,
            source=edge.source.id,
            output=edge.output,
            dest=edge.target.id,
            input=edge.input,
            grouping=str(graph.grouping(edge)),
        )
        for number, edge in enumerate(graph.edges)
    ]
