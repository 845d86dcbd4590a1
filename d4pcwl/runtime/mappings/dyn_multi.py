"""``dyn_multi``: processes of this machine that take work from a common queue.

PEs that keep state, sources and cycles are pinned to a process; everything else runs wherever there
is time. A worker that dies is replaced, and its work done again.
"""

from __future__ import annotations

import argparse

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.options import add_processes
from d4pcwl.runtime.pool.parent import run_by_broker
from d4pcwl.runtime.pool.scale import fixed


def add_options(parser: argparse.ArgumentParser) -> None:
    """Upstream's options; its -ct has no effect there and is not taken."""
    add_processes(parser, "number of worker processes")


def run(job: Job) -> None:
    """Run the job.

    :raises RunError: a PE failed, or a worker died that held the state of PEs
    """
    run_by_broker(job, fixed)
