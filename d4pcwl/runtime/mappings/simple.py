"""``simple``: the whole graph in this process, with one instance of each PE, also if it asks for
more. Each item is worked through to the end before the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import Mapping
from d4pcwl.runtime.options import Options

if TYPE_CHECKING:
    from d4pcwl.runtime.engine.instance import Receive
    from d4pcwl.runtime.engine.plan import Plan
    from d4pcwl.runtime.results import Sink


class _OneProcess:
    """There is only one process: only results leave it."""

    def __init__(self, plan: Plan, sink: Sink) -> None:
        self._plan, self._sink = plan, sink

    def result(self, pe: str, output: str) -> Receive:
        from d4pcwl.runtime.engine.marks import result_taker

        return result_taker(self._plan, (pe, output), self._sink.take(pe, output))

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Receive:
        raise AssertionError("simple has one process")

    def end(self, instance: int) -> None:
        """There is no other process to tell."""

    def sent(self, source: tuple[str, str], target: int, input: str) -> None:
        """Nothing is sent."""


def run(job: Job, options: Options) -> None:
    """Run the job.

    :raises RunError: a PE failed
    """
    from d4pcwl.runtime.engine.instance import Halt
    from d4pcwl.runtime.engine.worker import Worker
    from d4pcwl.runtime.local.measured import measured

    plan = job.plan(processes=1, copies=False)
    job.say(str(plan))
    worker = Worker(job.graph, plan, 0, job.inputs, _OneProcess(plan, job.sink), own=job.own_pes)
    try:
        with measured([worker], job.hear):
            worker.start()
            while worker.hungry:
                worker.feed()
                job.check()
    except Halt as halt:
        raise halt.error from halt.__cause__
    job.tell_counts(plan, worker.counts, ranks=True)


MAPPING = Mapping(
    "simple",
    "one process; each item is worked through to the end before the next",
    run,
    Options,
    processes="number of processes; simple always uses one",
    parallel=False,
    upstream="simple_process",
)
