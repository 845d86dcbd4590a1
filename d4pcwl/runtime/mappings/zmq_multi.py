"""``zmq_multi``: the processes of the plan as processes of this machine, connected by ZeroMQ.

See ``runtime/static/zmq_sockets.py``. ``multi`` uses pipes because they are faster: on 2 cores
(medians of interleaved runs), integers through 4 PEs had 0.93 of multi's rate, and 1 MB arrays
through 3 PEs 0.2 of it. ZeroMQ copies arrays several times on the way, and shared memory once.
"""

from __future__ import annotations

from dataclasses import dataclass

from d4pcwl.errors import UsageError
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import Mapping
from d4pcwl.runtime.options import STATIC_PROCESSES, StaticOptions, option


@dataclass(frozen=True)
class ZmqMultiOptions(StaticOptions):
    """The options of the static mappings, and the choice of the transport."""

    tcp: bool = option(
        "--tcp", default=False, help="use loopback TCP ports instead of Unix sockets"
    )


def run(job: Job, options: ZmqMultiOptions) -> None:
    """Run the job.

    :raises RunError: a PE failed, or a worker died
    :raises UsageError: pyzmq is not installed, or this system cannot fork
    """
    try:
        import zmq  # noqa: F401
    except ImportError:
        raise UsageError(
            "the mapping zmq_multi needs pyzmq: pip install 'd4pcwl[zmq]'; multi needs no such "
            "package"
        ) from None
    from d4pcwl.runtime.static.watch import run_forked
    from d4pcwl.runtime.static.zmq_sockets import Sockets

    job = job.placed(options.assignment(job.graph))
    run_forked(job, lambda pairs: Sockets(pairs, options.tcp))


MAPPING = Mapping(
    "zmq_multi",
    "several processes on this machine, connected by ZeroMQ",
    run,
    ZmqMultiOptions,
    processes=STATIC_PROCESSES,
    checkpoints=True,
    modules=("zmq",),
)
