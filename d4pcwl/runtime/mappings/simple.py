"""``simple``: the whole graph in this process, one instance of each PE, whatever it asks for.

Each item goes as far as it can before the next is taken up.
"""

from __future__ import annotations

import argparse

from d4pcwl.runtime.engine.instance import Halt, Receive
from d4pcwl.runtime.engine.marks import result_taker
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.engine.worker import Worker
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.results import Sink


def add_options(parser: argparse.ArgumentParser) -> None:
    """The option that all mappings have, so that one command line serves them all."""
    parser.add_argument(
        "-n",
        "--num",
        type=int,
        metavar="PROCESSES",
        help="the most processes to use; simple always uses one",
    )


class _OneProcess:
    """No way leads out of the only process, but for the results."""

    def __init__(self, plan: Plan, sink: Sink) -> None:
        self._plan, self._sink = plan, sink

    def result(self, pe: str, output: str) -> Receive:
        return result_taker(self._plan, (pe, output), self._sink.take(pe, output))

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Receive:
        raise AssertionError("simple has one process")

    def end(self, instance: int) -> None:
        """Nobody else is there to be told."""


def run(job: Job) -> None:
    """Run the job.

    :raises RunError: a PE failed
    """
    plan = job.plan(processes=1, copies=False)
    job.say(str(plan))
    worker = Worker(job.graph, plan, 0, job.inputs, _OneProcess(plan, job.sink), own=job.own_pes)
    try:
        worker.start()
        while worker.hungry:
            worker.feed(times=1)
            job.check()
    except Halt as halt:
        raise halt.error from halt.__cause__
    for index, count in worker.counts.items():
        job.say(f"{plan.instances[index].pe} (rank {index}): processed {count} items")
