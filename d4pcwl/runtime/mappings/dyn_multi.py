"""``dyn_multi``: processes of this machine that take work from a common queue.

PEs that keep state, sources and cycles are pinned to a process. Any free process runs the other
PEs. If a worker dies, it is replaced, and its work is done again.
"""

from __future__ import annotations

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import Mapping
from d4pcwl.runtime.options import Options


def run(job: Job, options: Options) -> None:
    """Run the job.

    :raises RunError: a PE failed, or a worker died that held the state of PEs
    """
    from d4pcwl.runtime.pool.parent import run_dynamic
    from d4pcwl.runtime.pool.pipes import PipeTransport
    from d4pcwl.runtime.pool.scale import fixed

    run_dynamic(job, fixed, PipeTransport)


MAPPING = Mapping(
    "dyn_multi",
    "several processes on this machine that take work from a common queue",
    run,
    Options,  # upstream's -ct has no effect there and is not taken
    processes="number of worker processes (default: the usable cores)",
    pooled=True,
    checkpoints=True,
    upstream="new_dynamic",
)
