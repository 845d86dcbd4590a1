"""``multi``: the processes of the plan as processes of this machine, joined by pipes.

Large buffers, such as the memory of arrays, are left in shared memory rather than sent.
"""

from __future__ import annotations

import argparse

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.options import add_static_options
from d4pcwl.runtime.static.watch import run_forked
from d4pcwl.runtime.transport.arena import TOTAL_BYTES
from d4pcwl.runtime.transport.pipes import Pipes


def add_options(parser: argparse.ArgumentParser) -> None:
    """Upstream's options, and how much memory is shared."""
    add_static_options(parser)
    parser.add_argument(
        "--shared-memory",
        type=int,
        default=TOTAL_BYTES >> 20,
        metavar="MIB",
        help="the most memory for arrays on their way (default: %(default)s); 0: they go through "
        "the pipes",
    )


def run(job: Job) -> None:
    """Run the job.

    :raises RunError: a PE failed, or a worker died
    :raises UsageError: this system cannot fork
    """
    shared = getattr(job.options, "shared_memory", TOTAL_BYTES >> 20) << 20
    run_forked(job, lambda pairs: Pipes(pairs, shared))
