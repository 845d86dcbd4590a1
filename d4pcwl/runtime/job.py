"""A job: everything that a mapping needs to know to run a graph once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from d4pcwl.runtime.engine.plan import Plan, make_plan, usable_cores
from d4pcwl.runtime.engine.policy import FAIL, Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from d4pcwl.lineage.recorder import Recording
    from d4pcwl.lineage.run_record import RunRecord
    from d4pcwl.runtime.checkpoint.session import Session
    from d4pcwl.runtime.results import Sink
    from d4pcwl.trace.observer import Lap, Observer
    from d4pcwl.workflow.assignment import Assignment
    from d4pcwl.workflow.flat import FlatGraph
    from d4pcwl.workflow.inputs import RootInputs


@dataclass(frozen=True)
class Origin:
    """Where a graph came from, so that workers on other hosts can load it.

    :param script: its file by its absolute path, or a module
    :param attr: the name of the graph, if it was given
    :param parameters: the values of the workflow's parameters, as JSON
    """

    script: str
    attr: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


def _silent(message: str) -> None:
    """Show no progress messages."""


def _go_on() -> None:
    """The run goes on."""


@dataclass(frozen=True, eq=False)
class Job:
    """One run.

    :param graph: what runs
    :param inputs: the inputs of the roots
    :param sink: takes the results; its owner closes it
    :param results: the outputs whose items are results; None: the unconnected outputs
    :param processes: how many processes the mapping may use; None: the usable cores
    :param assignment: the processes that each PE runs in, if they are chosen already
    :param own_pes: whether the graph's PEs themselves may run, instead of copies
    :param say: takes progress messages
    :param origin: where the graph came from, if other hosts can load it from there
    :param paces: by PE id, seconds for one item, if a run is known
    :param workers: how many workers a dynamic mapping that adapts their number starts with
    :param policy: what happens when a PE fails on an item
    :param seed: the seed of the random numbers that PEs draw
    :param check: is called from time to time; raises an error if nobody needs the results any more
    :param observer: takes what the processes measure, if anybody needs it
    :param record: takes the lineage of items, if it is recorded
    :param recording: what the workers must know for that
    :param checkpoint: the snapshots of the run, if there are any
    """

    graph: FlatGraph
    inputs: RootInputs
    sink: Sink
    results: list[tuple[Any, str]] | None = None
    processes: int | None = None
    assignment: Assignment | None = None
    own_pes: bool = True
    say: Callable[[str], None] = field(default=_silent)
    origin: Origin | None = None
    check: Callable[[], None] = field(default=_go_on)
    paces: Mapping[str, float] = field(default_factory=dict)
    workers: int = 0
    observer: Observer | None = None
    policy: Policy = FAIL
    seed: int = 0
    record: RunRecord | None = None
    recording: Recording | None = None
    checkpoint: Session | None = None

    def placed(self, assignment: Assignment | None) -> Job:
        """The job with its PEs in these processes; as it is, where that is None."""
        return self if assignment is None else replace(self, assignment=assignment)

    def plan(
        self,
        processes: int | None = None,
        *,
        pooled: bool = False,
        copies: bool = True,
    ) -> Plan:
        """The plan of this run.

        :param processes: the number of processes (default: that of the job, or the usable cores)
        :param pooled: for a dynamic mapping: PEs that may run anywhere are put into a pool
        :param copies: whether PEs may have several instances
        """
        number = processes or self.processes or usable_cores()
        plan = make_plan(
            self.graph,
            number,
            results=self.results,
            assignment=self.assignment,
            pooled=pooled and number > 1,  # a single worker needs no pool
            given=self.inputs,
            policy=self.policy,
            copies=copies,
            seed=self.seed,
        )
        return replace(plan, measured=self.observer is not None, recording=self.recording)

    def hear(self, lap: Lap) -> None:
        """Take a report of a process."""
        if self.observer is not None:
            self.observer.hear(lap)

    def note(self, what: str, why: str, number: int | None = None, pid: int | None = None) -> None:
        """Tell of an event; see :meth:`~d4pcwl.trace.observer.Observer.note`."""
        if self.observer is not None:
            self.observer.note(what, why, number, pid)

    def tell_counts(self, plan: Plan, counts: Mapping[int, int], *, ranks: bool = False) -> None:
        """Report how many items each instance has worked on.

        :param counts: by the index of the instance
        :param ranks: whether to show the index of the instance, too
        """
        for index, count in sorted(counts.items()):
            title = plan.name(index) + (f" (rank {index})" if ranks else "")
            self.say(f"{title}: processed {count} items")
