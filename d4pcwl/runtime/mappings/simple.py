"""``simple``: the whole graph in this process, with one instance of each PE, also if it asks for
more. Each item is worked through to the end before the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import Mapping
from d4pcwl.runtime.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from d4pcwl.runtime.checkpoint.kept import Snapshot
    from d4pcwl.runtime.checkpoint.session import Session
    from d4pcwl.runtime.checkpoint.sources import Pauses
    from d4pcwl.runtime.engine.instance import Receive
    from d4pcwl.runtime.engine.plan import Plan
    from d4pcwl.runtime.engine.worker import Worker
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
    pauses = None
    if job.checkpoint is not None:
        begun = job.checkpoint.begin(plan.results, str(plan))
        if begun is None:
            return
        pauses = _pauses(job.checkpoint, begun, lambda: worker)
    link = _OneProcess(plan, job.sink)
    worker = Worker(job.graph, plan, 0, job.inputs, link, own=job.own_pes, pauses=pauses)
    try:
        with measured([worker], job.hear):
            worker.start()
            while worker.hungry:
                worker.feed()
                job.check()
                if pauses is not None and pauses.asked():
                    pauses.wait()
    except Halt as halt:
        raise halt.error from halt.__cause__
    job.tell_counts(plan, worker.counts, ranks=True)


def _pauses(session: Session, begun: Snapshot, made: Callable[[], Worker]) -> Pauses:
    """While a source waits, no item is on its way, so the snapshot is taken there."""
    from d4pcwl.runtime.checkpoint.kept import Snapshot
    from d4pcwl.runtime.checkpoint.sources import Pauses

    def wait() -> None:
        worker = made()
        session.save(Snapshot({0: worker.keep()}, worker.ended))

    return Pauses(lambda: session.due, wait, begun.processes.get(0, b""), begun.ended)


MAPPING = Mapping(
    "simple",
    "one process; each item passes through the whole graph before the next one",
    run,
    Options,
    processes="number of processes; simple always uses one",
    parallel=False,
    checkpoints=True,
    upstream="simple_process",
)
