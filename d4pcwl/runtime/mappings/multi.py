"""``multi``: the processes of the plan as processes of this machine, connected by pipes. Large
buffers, such as the memory of arrays, are put into shared memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import Mapping
from d4pcwl.runtime.options import STATIC_PROCESSES, StaticOptions, option
from d4pcwl.runtime.transport.arena import TOTAL_BYTES


@dataclass(frozen=True)
class MultiOptions(StaticOptions):
    """Upstream's options, and the size of the shared memory."""

    shared_memory: int = option(
        "--shared-memory",
        default=TOTAL_BYTES >> 20,
        metavar="MIB",
        least=0,
        help="the most memory for arrays that are being sent (default: %(default)s); 0: send them "
        "through pipes",
    )


def run(job: Job, options: MultiOptions) -> None:
    """Run the job.

    :raises RunError: a PE failed, or a worker died
    :raises UsageError: this system cannot fork
    """
    from d4pcwl.runtime.static.watch import run_forked
    from d4pcwl.runtime.transport.pipes import Pipes

    shared = options.shared_memory << 20
    job = job.placed(options.assignment(job.graph))
    run_forked(job, lambda pairs: Pipes(pairs, shared))


MAPPING = Mapping(
    "multi",
    "several processes on this machine",
    run,
    MultiOptions,
    processes=STATIC_PROCESSES,
    checkpoints=True,
    upstream="multi_process",
)
