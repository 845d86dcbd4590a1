"""`benchmarks/assigning`: what a plan gains that learns from a sample, on three skewed workflows.

Each is run by the default plan, by those of the three algorithms, and by every other assignment
that there is for the number of processes, so that it is known what can be gained. Two assignments
that differ in the names of processes alone count once.

Work is waiting (``time.sleep``), as the plan is to be judged and not the machine: so a few cores,
which others may be using, do for more processes. In the workflow with heavy edges, items wait when
they are pickled and when they are unpickled, as a slow link would make them.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import d4pcwl
from bench.table import rendered
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import find_mapping, run_job
from d4pcwl.runtime.results import Results
from d4pcwl.runtime.sample import take_sample
from d4pcwl.trace.assign import ALGORITHMS, assign
from d4pcwl.trace.model import CostModel, cost_model
from d4pcwl.trace.predict import predict
from d4pcwl.workflow.assignment import Assignment, keeps_promises
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.inputs import root_inputs
from d4pcwl.workflow.numbering import to_run

HEADINGS = ["workflow", "plan", "predicted, s", "measured, s", "times the default"]
_DEFAULT = "default"
_EVERY = "the best of all"


class _Source(d4pcwl.ProducerPE):
    def __init__(self, make: Callable[[int], Any], count: int, seconds: float = 0.0) -> None:
        super().__init__()
        self.make, self.count, self.seconds = make, count, seconds

    def _process(self, inputs: Any) -> None:
        for number in range(self.count):
            time.sleep(self.seconds)
            self.write("output", self.make(number))


class _Wait(d4pcwl.IterativePE):
    """Keeps no state."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def _process(self, item: Any) -> Any:
        time.sleep(self.seconds)
        return item


class _Heavy:
    """An item that takes 20 ms to send to another process and 10 ms to receive."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        time.sleep(0.02)
        return _received, (self.number,)

    def __deepcopy__(self, memo: Any) -> _Heavy:
        return _Heavy(self.number)


def _received(number: int) -> _Heavy:
    time.sleep(0.01)
    return _Heavy(number)


class _Count(d4pcwl.IterativePE):
    """Keeps state for each key, and needs time for each item."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.counts = seconds, dict[Any, int]()
        self.inputconnections["input"]["grouping"] = [0]

    def _process(self, item: tuple[int, int]) -> tuple[int, int]:
        time.sleep(self.seconds)
        self.counts[item[0]] = self.counts.get(item[0], 0) + 1
        return item[0], self.counts[item[0]]


class _Last(d4pcwl.IterativePE):
    """Keeps state."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds, self.count = seconds, 0

    def _process(self, item: Any) -> None:
        time.sleep(self.seconds)
        self.count += 1

    def _postprocess(self) -> None:
        self.write("output", self.count)


def slow_in_the_middle(items: int) -> d4pcwl.WorkflowGraph:
    """The PE in the middle needs eight times as long as its neighbours."""
    source = _Source(int, items, 0.005)
    return _chain(source, _Wait(0.005), _Wait(0.04), _Last(0.005))


def heavy_edges(items: int) -> d4pcwl.WorkflowGraph:
    """What PEs do with the items is little beside passing them on."""
    return _chain(_Source(_Heavy, items, 0.004), _Wait(0.004), _Wait(0.008), _Last())


def hot_key(items: int) -> d4pcwl.WorkflowGraph:
    """Half of the items have one key, so that copies of the PE that counts help little; its
    neighbour needs as long and keeps no state."""
    source = _Source(lambda n: (0 if n % 2 else n % 16, n), items, 0.002)
    return _chain(source, _Wait(0.03), _Count(0.02), _Last())


WORKFLOWS = (slow_in_the_middle, heavy_edges, hot_key)


def _chain(*pes: Any) -> d4pcwl.WorkflowGraph:
    graph = d4pcwl.WorkflowGraph()
    for source, target in itertools.pairwise(pes):
        graph.connect(source, "output", target, "input")
    return graph


@dataclass(frozen=True)
class Plan:
    """One way to run a workflow.

    :param assignment: None: as the planner does it without
    """

    name: str
    assignment: Assignment | None
    predicted: float


def every_assignment(graph: FlatGraph, processes: int) -> Iterator[Assignment]:
    """All assignments to so many processes at the most, each once."""
    numbers = range(processes)
    choices = [places for n in numbers for places in itertools.combinations(numbers, n + 1)]
    seen = set()
    for places in itertools.product(choices, repeat=len(graph.pes)):
        order = list(dict.fromkeys(process for given in places for process in given))
        shape = tuple(tuple(sorted(map(order.index, given))) for given in places)
        if shape in seen:
            continue
        seen.add(shape)
        ids = [pe.id for pe in graph.pes]
        assignment = Assignment(dict(zip(ids, shape, strict=True)))
        if keeps_promises(graph, assignment):
            yield assignment


def plans(graph: FlatGraph, model: CostModel, processes: int) -> list[Plan]:
    """The default plan and those of the algorithms."""
    usual = Job(graph, {}, Results({})).plan(processes)
    places = {pe.id: tuple(i.process for i in usual.of(pe.id)) for pe in graph.pes}
    found = [Plan(_DEFAULT, None, predict(graph, model, lambda pe: places[pe.id]).seconds)]
    for how in ALGORITHMS:
        chosen = assign(how, graph, model, processes).assignment
        found.append(Plan(how, chosen, predict(graph, model, chosen.of).seconds))
    return found


def seconds_of(graph: FlatGraph, assignment: Assignment | None, processes: int) -> float:
    """How long a run takes, by multi."""
    job = Job(
        graph,
        root_inputs(graph),
        Results(graph.names),
        processes=processes,
        own_pes=False,
        assignment=assignment,
    )
    began = time.perf_counter()
    run_job(find_mapping("multi"), job)
    return time.perf_counter() - began


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmarks/assigning", description=__doc__)
    parser.add_argument("--items", type=int, default=80, metavar="N")
    parser.add_argument("--processes", type=int, default=3, metavar="N")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    parser.add_argument(
        "--within",
        type=float,
        default=1.5,
        metavar="N",
        help="of all assignments, those are run that are predicted to take at most N times as long "
        "as the best (default: %(default)s); 0: all of them",
    )
    options = parser.parse_args(argv)
    rows = []
    for make in WORKFLOWS:
        graph = to_run(make(options.items))
        sampled = Job(graph, root_inputs(graph), Results({}))
        model = cost_model(take_sample(sampled, seconds=60.0))
        rows += measured(make.__name__.replace("_", " "), graph, model, options)
    sys.stdout.write(rendered(rows, HEADINGS) + "\n")
    return 0


def measured(
    name: str, graph: FlatGraph, model: CostModel, options: argparse.Namespace
) -> list[list[str]]:
    """The rows of one workflow."""
    chosen = plans(graph, model, options.processes)
    others = [
        Plan(_EVERY, assignment, predict(graph, model, assignment.of).seconds)
        for assignment in every_assignment(graph, options.processes)
    ]
    least = min(plan.predicted for plan in others)
    if options.within:
        others = [plan for plan in others if plan.predicted <= options.within * least]
    sys.stderr.write(f"{name}: {len(others)} assignments are run\n")
    taken: dict[int, list[float]] = {}
    for repetition in range(options.repetitions):
        for number, plan in enumerate([*chosen, *(others if not repetition else ())]):
            seconds = seconds_of(graph, plan.assignment, options.processes)
            taken.setdefault(number, []).append(seconds)
    # The ones that came first may have been lucky: they are run as often as the others.
    first = len(chosen)
    best = sorted(range(first, first + len(others)), key=lambda number: min(taken[number]))[:3]
    for number in best * (options.repetitions - 1):
        plan = others[number - first]
        taken[number].append(seconds_of(graph, plan.assignment, options.processes))
    medians = {number: statistics.median(seconds) for number, seconds in taken.items()}
    champion = min(best, key=lambda number: medians[number])
    shown = [*enumerate(chosen), (champion, others[champion - first])]
    return [
        [
            name,
            plan.name,
            f"{plan.predicted:.2f}",
            f"{medians[number]:.2f}",
            f"{medians[0] / medians[number]:.2f}",
        ]
        for number, plan in shown
    ]
