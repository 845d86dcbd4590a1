"""An assignment: how many instances each PE has, and which process each of them runs in.

What the planner does with the number of processes, an assignment says itself: ``-s`` makes one, and
so do the algorithms that learn from a trace (:mod:`d4pcwl.trace.assign`). It is data, and it holds
two promises, which :func:`check` looks at:

- results stay as they are: a PE has another number of instances than its author asks for only where
  that changes nothing (:mod:`d4pcwl.workflow.copies`);
- processes depend on each other in one direction only, so that no two can wait for each other.

Where a PE has a copy in each process of the PE before it, and both may have any number, items stay
in their process (:func:`aligned`): the copies are so many pipelines side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from d4pcwl.errors import GraphError, raise_faults
from d4pcwl.workflow.copies import asked_copies, may_have_copies
from d4pcwl.workflow.edges import Edge
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.grouping import SHUFFLE

if TYPE_CHECKING:
    from d4pcwl.workflow.cut import Cut

ProcessesOf = Callable[[Any], tuple[int, ...]]
"""From a PE to the process of each of its instances."""


@dataclass(frozen=True)
class Assignment:
    """See the module.

    :param processes: by PE id, the process of each of its instances
    """

    processes: Mapping[str, tuple[int, ...]]

    def of(self, pe: Any) -> tuple[int, ...]:
        """The process of each instance of a PE."""
        return self.processes[pe.id]

    @property
    def count(self) -> int:
        """How many processes there are."""
        return len({process for given in self.processes.values() for process in given})


def of_stages(stages: Cut, copies: Mapping[str, int] | None = None) -> Assignment:
    """The assignment in which each stage of a cut has processes of its own.

    :param copies: by the name of a stage, in how many processes it runs side by side, with an
        instance of each of its PEs in each; one where it is not said, and then its PEs have as many
        instances in it as their authors ask for
    """
    processes: dict[str, tuple[int, ...]] = {}
    first = 0
    for stage in stages.stages:
        number = (copies or {}).get(stage.name, 1)
        for pe in stage.pes:
            each = (first,) * asked_copies(stages.graph, pe)
            processes[pe.id] = each if number == 1 else tuple(range(first, first + number))
        first += number
    return Assignment(processes)


def aligned(graph: FlatGraph, edge: Edge, processes: ProcessesOf) -> bool:
    """Whether the items of an edge stay in their process, from each copy to the one beside it."""
    source, target = processes(edge.source), processes(edge.target)
    return (
        len(source) > 1
        and source == target
        and len(set(source)) == len(source)
        and graph.grouping(edge) == SHUFFLE
        and may_have_copies(graph, edge.source)
        and may_have_copies(graph, edge.target)
    )


def check(graph: FlatGraph, assignment: Assignment) -> None:
    """Make sure that an assignment keeps its promises.

    :raises GraphError: with all that it does not
    """
    raise_faults(GraphError, _faults(graph, assignment))


def keeps_promises(graph: FlatGraph, assignment: Assignment) -> bool:
    """Whether :func:`check` would find nothing."""
    return next(_faults(graph, assignment), None) is None


def _faults(graph: FlatGraph, assignment: Assignment) -> Iterator[str]:
    known = {pe.id for pe in graph.pes}
    if known != set(assignment.processes):
        missing = ", ".join(sorted(known - set(assignment.processes)))
        other = ", ".join(sorted(set(assignment.processes) - known))
        yield "the assignment is for another graph" + (
            f": it has no {missing}" if missing else f": the graph has no {other}"
        )
        return
    for pe in graph.pes:
        number, asked = len(assignment.of(pe)), asked_copies(graph, pe)
        if number != asked and not may_have_copies(graph, pe):
            yield f"{pe.id} would have {number} instances; only {asked} gives the same results"
    for component in graph.cycles:
        if graph.is_cycle(component) and len({p for e in component for p in assignment.of(e)}) > 1:
            yield f"the cycle of {', '.join(pe.id for pe in component)} has to share a process"
    if not is_one_way(graph, assignment.of):
        yield "processes would depend on each other in a circle, and could wait for one another"


def is_one_way(graph: FlatGraph, processes: ProcessesOf) -> bool:
    """Whether processes depend on each other in one direction only."""
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for edge in graph.edges:
        if not aligned(graph, edge, processes):
            before = set(processes(edge.source))
            for target in set(processes(edge.target)):
                sorter.add(target, *(before - {target}))
    try:
        sorter.prepare()
    except CycleError:
        return False
    return True
