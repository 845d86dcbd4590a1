"""A job of which there are snapshots."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from d4pcwl.runtime.job import Job


def checkpointed(mapping: str, job: Job) -> Job:
    """The job with which the run goes on: its results are logged, if there are snapshots of it.

    :raises UsageError: there cannot be snapshots of it
    """
    if job.checkpoint is None:
        return job
    _refuse(job)
    return replace(job, sink=job.checkpoint.join(job.sink, _facts(mapping, job)))


def _refuse(job: Job) -> None:
    """:raises UsageError: a PE has state that no snapshot can have, with all of these"""
    from d4pcwl.errors import PEError, UsageError, raise_faults
    from d4pcwl.runtime.checkpoint.state import check
    from d4pcwl.workflow.pe import PreparingPE
    from d4pcwl.workflow.state import keeps_state, keeps_state_outside

    faults = []
    if job.record is not None:
        faults.append("--checkpoint: a run whose provenance is recorded cannot be resumed")
    for pe in job.graph.pes:
        name = job.graph.names[pe.id]
        if isinstance(pe, PreparingPE):
            faults.append(
                f"--checkpoint: {name} prepares the run in folders of its own, so a run with it "
                "cannot be resumed"
            )
        elif (reason := keeps_state_outside(pe)) is not None:
            faults.append(
                f"--checkpoint: {name} keeps state that is not in its attributes: {reason}. Put it "
                "into an attribute; or declare stateful = False, if a resumed run may begin "
                "without it"
            )
        elif keeps_state(pe) is not None:
            try:
                check(pe, name)
            except PEError as error:
                faults.append(str(error))
    raise_faults(UsageError, faults)


def _facts(mapping: str, job: Job) -> dict[str, Any]:
    """What makes a run another run."""
    import sys
    from dataclasses import asdict

    from d4pcwl.lineage.identity import described

    graph = job.graph
    inputs = {graph.names[pe]: described(given)[0] for pe, given in sorted(job.inputs.items())}
    return {
        "d4pcwl": sys.modules["d4pcwl"].__version__,
        "mapping": mapping,
        "PEs": [f"{graph.names[pe.id]} ({type(pe).__qualname__})" for pe in graph.pes],
        "edges": [
            f"{graph.names[edge.source.id]}.{edge.output} → {graph.names[edge.target.id]}."
            f"{edge.input} ({graph.grouping(edge)})"
            for edge in graph.edges
        ],
        "inputs": {pe: digest.hex() if digest else None for pe, digest in inputs.items()},
        "seed": job.seed,
        "policy": asdict(job.policy),
    }
