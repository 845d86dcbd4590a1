"""``dyn_auto_multi``: dyn_multi with as many workers as there is work for, at most ``-n``."""

from __future__ import annotations

from dataclasses import dataclass

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import Mapping
from d4pcwl.runtime.options import Options, option
from d4pcwl.runtime.pool.scale import THRESHOLD, Scale


@dataclass(frozen=True)
class DynAutoMultiOptions(Options):
    """Upstream's options, without -ct, which has no effect there."""

    threshold: int = option(
        "-thr",
        "--queue_threshold",
        default=THRESHOLD,
        metavar="BATCHES",
        least=0,
        help="start one more worker when this many batches wait for each worker (default: "
        "%(default)s)",
    )


def run(job: Job, options: DynAutoMultiOptions) -> None:
    """Run the job; ``-v`` shows each change of the number of workers, and the reason.

    :raises RunError: a PE failed, or a worker died that held the state of PEs
    """
    from d4pcwl.runtime.pool.pipes import run_by_pipes

    def scale(processes: int) -> Scale:
        return Scale(min(2, processes), processes, options.threshold, at_first=job.workers)

    run_by_pipes(job, scale)


MAPPING = Mapping(
    "dyn_auto_multi",
    "like dyn_multi; the number of workers depends on the work",
    run,
    DynAutoMultiOptions,
    processes="largest number of worker processes (default: the usable cores)",
    pooled=True,
    checkpoints=True,
    upstream="new_dynamic_auto",
)
