"""``dyn_multi``: processes of this machine that take work from a common queue.

PEs that keep state, sources and cycles are pinned to a process; everything else runs wherever there
is time. A worker that dies is replaced, and its work done again.
"""

from __future__ import annotations

import argparse

from d4pcwl.runtime.broker import Scale, run_by_broker
from d4pcwl.runtime.job import Job


def add_options(parser: argparse.ArgumentParser) -> None:
    """Upstream's options; its -ct has no effect there and is not taken."""
    parser.add_argument(
        "-n",
        "--num",
        type=int,
        metavar="PROCESSES",
        help="number of worker processes (default: the usable cores)",
    )


def run(job: Job) -> None:
    """Run the job.

    :raises RunError: a PE failed, or a worker died that held the state of PEs
    """
    run_by_broker(job, lambda processes: Scale(processes, processes))
