"""Algorithms that choose an assignment: which PEs share a process, and how many copies they have.

``naive``
    Naive assignment. Two neighbours share a partition where an item takes longer from one to the
    other than the shorter of their executions takes; sources stay alone. Of the processes, the
    partition of a source gets one, and the others share the rest in proportion to their execution
    times.
``staging``
    Staging. A stage ends where data is shuffled: where items of several instances come together or
    are shared out, as by a key. Stages that may run in copies share the processes evenly.
``best``
    Ours: the assignment with the least predicted time (:mod:`d4pcwl.trace.predict`).

The first two are those of L. Liang, R. Filgueira, Y. Yan, "Adaptive optimizations for stream-based
workflows", WORKS 2020, doi:10.1109/WORKS51914.2020.00010, and, with T. Heinis, "Scalable adaptive
optimizations for stream-based workflows in multi-HPC-clusters and cloud infrastructures", Future
Generation Computer Systems 128 (2022) 102-116, doi:10.1016/j.future.2021.09.036. There, each
partition may run in any number of processes. Here results must not hang on that: a partition with a
PE that keeps state, or with a keyed edge in it, has one. Where there are more partitions than
processes, neighbours with little to do are put together.

``best`` looks at all ways to group the PEs into stages, for small graphs; for larger ones it starts
from those above and goes on as long as a single step (two stages together, or a PE to a neighbour's
stage) makes it better. For each way it finds the number of copies of each stage by trying times: a
time can be kept where each stage has as many copies as it needs, and they fit. A process may be
shared by the last copy of a stage and the first of the next, so that no process is left with little
to do. So it is chains-on-chains partitioning (A. Pinar, C. Aykanat, "Fast optimal load balancing
algorithms for 1D partitioning", Journal of Parallel and Distributed Computing 64 (2004) 974-996,
doi:10.1016/j.jpdc.2004.05.003), with copies added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from d4pcwl.errors import UsageError, nearest
from d4pcwl.trace.model import CostModel
from d4pcwl.trace.predict import Machine, keyed_share, passage_of, single_item, work_of
from d4pcwl.workflow.assignment import Assignment, of_stages
from d4pcwl.workflow.copies import asked_copies, may_have_copies
from d4pcwl.workflow.cut import Cut, cut_between, cut_into
from d4pcwl.workflow.edges import Edge
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.grouping import SHUFFLE, GroupBy
from d4pcwl.workflow.lazy import cached_property

ALGORITHMS = ("naive", "staging", "best")

_EXACT = 8
"""Up to this number of PEs (or cycles), all ways to group them are tried."""

_EFFORT = 400_000
"""For larger graphs: the number of PEs and edges that all steps together may look at."""

_EXACTNESS = 1e-3
"""The smallest relative difference that makes a time better."""


@dataclass(frozen=True)
class Choice:
    """What an algorithm has chosen.

    :param stages: which PEs go together
    :param assignment: their instances and processes
    """

    stages: Cut
    assignment: Assignment


def assign(
    how: str,
    graph: FlatGraph,
    model: CostModel,
    processes: int,
    machine: Machine | None = None,
) -> Choice:
    """The choice of one of :data:`ALGORITHMS`.

    :param processes: at the most
    :param machine: what ``best`` predicts for
    :raises UsageError: there is no such algorithm
    """
    check_algorithm(how)
    if how == "naive":
        return naive(graph, model, processes)
    if how == "staging":
        return staging(graph, processes, model)
    return best(graph, model, processes, machine or Machine())


def check_algorithm(how: str) -> None:
    """Make sure that there is an algorithm.

    :raises UsageError: there is none of that name
    """
    if how not in ALGORITHMS:
        raise UsageError(f"there is no algorithm '{how}'{nearest(how, ALGORITHMS)}")


def useful_workers(graph: FlatGraph, model: CostModel, most: int) -> int:
    """How many workers of a pool have something to do: so many that they keep up with the PE that
    has the most to do of those that stay in one piece.

    :param most: at the most
    """
    whole = sum(work_of(model, pe).seconds for pe in graph.pes)
    pinned = [work_of(model, pe).seconds for pe in graph.pes if not may_have_copies(graph, pe)]
    longest = max(pinned, default=0.0)
    return min(most, math.ceil(whole / longest)) if longest else most


# --- naive assignment -----------------------------------------------------------------------------


def naive(graph: FlatGraph, model: CostModel, processes: int) -> Choice:
    """Naive assignment; see the module."""
    roots = {id(pe) for pe in graph.roots}

    def belong_together(edge: Edge) -> bool:
        if id(edge.source) in roots or id(edge.target) in roots:
            return False
        passage = passage_of(model, edge)
        shorter = min(work_of(model, edge.source).pace, work_of(model, edge.target).pace)
        return passage.items > 0 and passage.sending + passage.receiving > shorter

    stages = _fitting(cut_between(graph, belong_together), model, processes)
    costs = _Costs(graph, model)
    seconds = {s.name: costs.work(s.pes) for s in stages.stages}
    with_source = {s.name for s in stages.stages if any(id(pe) in roots for pe in s.pes)}
    able = [s.name for s in stages.stages if s.name not in with_source and costs.able(s.pes)]
    others = [s.name for s in stages.stages if s.name not in with_source]
    left = processes - len(with_source)
    whole = sum(seconds[name] for name in others) or 1.0
    copies = {name: max(1, math.ceil(left * seconds[name] / whole)) for name in able}
    spare = left - (len(others) - len(able))
    while sum(copies.values()) > max(spare, len(able)):
        most = max(copies, key=lambda name: copies[name])
        copies[most] -= 1
    return Choice(stages, of_stages(stages, copies))


# --- staging --------------------------------------------------------------------------------------


def staging(graph: FlatGraph, processes: int, model: CostModel | None = None) -> Choice:
    """Staging; see the module.

    :param model: which stages have little to do, where there are more of them than processes
    """

    def is_narrow(edge: Edge) -> bool:
        alike = may_have_copies(graph, edge.source) == may_have_copies(graph, edge.target)
        return alike and graph.grouping(edge) == SHUFFLE

    model = model or CostModel({}, {})
    stages = _fitting(cut_between(graph, is_narrow), model, processes)
    costs = _Costs(graph, model)
    able = [stage.name for stage in stages.stages if costs.able(stage.pes)]
    spare = processes - (len(stages.stages) - len(able))
    copies = {
        name: max(1, spare // len(able) + (number < spare % len(able)))
        for number, name in enumerate(able)
    }
    return Choice(stages, of_stages(stages, copies))


def _fitting(stages: Cut, model: CostModel, processes: int) -> Cut:
    """As many stages as there are processes, at the most: neighbours with the least to do are put
    together."""
    graph, costs = stages.graph, _Costs(stages.graph, model)
    groups = [list(stage.pes) for stage in stages.stages]
    while len(groups) > processes:
        pairs = range(len(groups) - 1)
        at = min(pairs, key=lambda n: costs.work(groups[n]) + costs.work(groups[n + 1]))
        groups[at : at + 2] = [groups[at] + groups[at + 1]]
    return stages if len(groups) == len(stages.stages) else cut_into(graph, groups)


# --- the best -------------------------------------------------------------------------------------


class _Costs:
    """What stages would have to do."""

    def __init__(self, graph: FlatGraph, model: CostModel) -> None:
        self.graph, self.model = graph, model
        self._able = {id(pe): may_have_copies(graph, pe) for pe in graph.pes}
        self._work = {id(pe): work_of(model, pe) for pe in graph.pes}

    def work(self, pes: Iterable[Any]) -> float:
        """Seconds in the code of some PEs."""
        return sum(self._work[id(pe)].seconds for pe in pes)

    def cpu(self, pes: Iterable[Any]) -> float:
        """Seconds of processor time in the code of some PEs."""
        return sum(self._work[id(pe)].cpu for pe in pes)

    def able(self, pes: Sequence[Any]) -> bool:
        """Whether a stage of these PEs may run in any number of copies."""
        inside = {id(pe) for pe in pes}
        return all(self._able[id(pe)] for pe in pes) and all(
            self.graph.grouping(edge) == SHUFFLE
            for pe in pes
            for edge in self.graph.into(pe)
            if id(edge.source) in inside
        )

    def hot(self, pes: Iterable[Any]) -> float:
        """The part of the commonest key, for the copies of a stage."""
        keyed = (
            passage_of(self.model, edge).hot
            for pe in pes
            for edge in self.graph.into(pe)
            if isinstance(self.graph.grouping(edge), GroupBy)
        )
        return max(keyed, default=0.0)


@dataclass(frozen=True)
class _Stage:
    """A stage as the search sees it.

    :param seconds: that it has to do, in one process
    :param hot: the part of them that no copies can share
    :param least: the part of them that a single item takes
    :param copies: that it may have; None: any number
    """

    seconds: float
    hot: float
    least: float
    copies: tuple[int, ...] | None

    def load(self, copies: int) -> float:
        """Seconds that the busiest copy has to do."""
        return self.seconds * keyed_share(self.hot, copies, self.least)

    def needed(self, seconds: float) -> int | None:
        """How many copies it needs, so that none has more to do than that."""
        if self.copies is not None:
            return next((n for n in self.copies if self.load(n) <= seconds), None)
        if self.seconds <= seconds:
            return 1
        if seconds <= 0 or self.seconds * max(self.hot, self.least) > seconds * (1 - 1e-12):
            return None
        return math.ceil((1 - self.hot) / (seconds / self.seconds - self.hot) - 1e-9)


Shared = tuple[int, bool]
"""How many copies a stage has, and whether its first one shares the process of the one before."""


class _Search:
    """The search for the best assignment of one graph."""

    def __init__(
        self, graph: FlatGraph, model: CostModel, processes: int, machine: Machine
    ) -> None:
        self.graph, self.model, self.machine = graph, model, machine
        self.processes = processes
        self.costs = _Costs(graph, model)
        self.units = [tuple(component) for component in graph.cycles]
        self.unit_of = {id(pe): n for n, unit in enumerate(self.units) for pe in unit}
        self.best_seconds = math.inf
        self.best: tuple[list[list[int]], list[Shared]] | None = None

    @cached_property
    def _edges(self) -> list[tuple[int, int, float, float]]:
        """Of each edge between units: both, and what it costs on either side where it crosses."""
        found = []
        for edge in self.graph.edges:
            source, target = self.unit_of[id(edge.source)], self.unit_of[id(edge.target)]
            if source != target:
                passage = passage_of(self.model, edge)
                network = self.machine.passing(passage)
                sending = passage.items * (passage.sending + network)
                found.append(
                    (source, target, sending, passage.items * (passage.receiving + network))
                )
        return found

    def look_at(self, groups: list[list[int]]) -> float:
        """The time that a grouping would take, if it is better than the best so far; else more.

        :param groups: units, in an order in which none depends on one behind it
        """
        group_of = {unit: number for number, group in enumerate(groups) for unit in group}
        extra = [0.0] * len(groups)
        for source, target, sending, receiving in self._edges:
            one, other = group_of[source], group_of[target]
            if one != other:
                extra[one] += sending
                extra[other] += receiving
        stages, cpu = [], sum(extra)
        for group, more in zip(groups, extra, strict=True):
            stage = self._stage(tuple(sorted(group)))
            stages.append(replace(stage, seconds=stage.seconds + more))
            cpu += self._cpu[tuple(sorted(group))]
        cores = self.machine.cores
        least = cpu / cores if cores and cores < self.processes else 0.0
        least = max(least, sum(stage.seconds for stage in stages) / self.processes)
        enough = self.best_seconds * (1 - _EXACTNESS)
        if least >= enough:
            return math.inf
        high = min(enough, sum(stage.seconds for stage in stages))
        found = self._fit(stages, high)
        if found is None:
            return math.inf
        low = least
        for _ in range(40):
            if high - low <= _EXACTNESS * high / 4:
                break
            middle = (low + high) / 2
            better = self._fit(stages, middle)
            if better is None:
                low = middle
            else:
                found, high = better, middle
        self.best_seconds, self.best = high, ([list(group) for group in groups], found)
        return high

    @cached_property
    def _known(self) -> dict[tuple[int, ...], _Stage]:
        return {}

    @cached_property
    def _cpu(self) -> dict[tuple[int, ...], float]:
        return {}

    def _stage(self, group: tuple[int, ...]) -> _Stage:
        """What the PEs of a group have to do, without what passes between groups."""
        if group not in self._known:
            pes = [pe for unit in group for pe in self.units[unit]]
            copies: tuple[int, ...] | None = (1,)
            if self.costs.able(pes):
                copies = None
            elif len(pes) == 1 and id(pes[0]) not in self.graph.cyclic:
                copies = tuple(sorted({1, asked_copies(self.graph, pes[0])}))
            least = max(single_item(self.model, pe) for pe in pes)
            hot, seconds = self.costs.hot(pes), self.costs.work(pes)
            self._known[group] = _Stage(seconds, hot, least, copies)
            self._cpu[group] = self.costs.cpu(pes)
        return self._known[group]

    def _fit(self, stages: Sequence[_Stage], seconds: float) -> list[Shared] | None:
        """How many copies each stage has where no process has more to do than that; None where
        that needs too many processes.

        Of the ways to place the first stages, only those go on that no other beats, in processes
        and in what the last process has to do.
        """
        ways: list[tuple[int, float, list[Shared]]] = [(0, math.inf, [])]
        for stage in stages:
            following: list[tuple[int, float, list[Shared]]] = []
            alone = stage.needed(seconds)
            for used, last, chosen in ways:
                if alone is not None:
                    following.append((used + alone, stage.load(alone), [*chosen, (alone, False)]))
                beside = stage.needed(seconds - last) if last < seconds else None
                if beside is not None:
                    load = stage.load(beside) + (last if beside == 1 else 0.0)
                    following.append((used + beside - 1, load, [*chosen, (beside, True)]))
            ways, lightest = [], math.inf
            for way in sorted(following, key=lambda way: way[:2]):
                if way[0] <= self.processes and way[1] < lightest:
                    ways.append(way)
                    lightest = way[1]
        return ways[0][2] if ways else None

    # --- which groupings are looked at ---

    def groupings(self) -> Iterator[list[list[int]]]:
        """All ways to group the units so that groups do not depend on each other in a circle."""
        groups: list[list[int]] = []

        def place(unit: int) -> Iterator[list[list[int]]]:
            if unit == len(self.units):
                ordered = self._in_order(groups)
                if ordered is not None:
                    yield ordered
                return
            for group in groups:
                group.append(unit)
                if self._in_order(groups) is not None:
                    yield from place(unit + 1)
                group.pop()
            groups.append([unit])
            yield from place(unit + 1)
            groups.pop()

        return place(0)

    def _in_order(self, groups: list[list[int]]) -> list[list[int]] | None:
        """Groups, each behind those that it depends on; None if there is a circle."""
        group_of = {unit: number for number, group in enumerate(groups) for unit in group}
        behind: list[set[int]] = [set() for _ in groups]
        for source, target, _, _ in self._edges:
            one, other = group_of.get(source), group_of.get(target)
            if one is not None and other is not None and one != other:
                behind[other].add(one)
        try:
            ordered = TopologicalSorter(dict(enumerate(behind))).static_order()
            return [groups[number] for number in ordered]
        except CycleError:
            return None

    def climb(self, groups: list[list[int]], effort: int) -> None:
        """Go on from a grouping as long as a step makes it better.

        :param effort: PEs and edges to look at, at the most
        """
        self.best_seconds, kept = math.inf, (self.best_seconds, self.best)
        current = self.look_at(groups)
        while True:
            found = None
            for step in self._steps(groups):
                effort -= len(self.units) + len(self._edges)
                if effort < 0:
                    break
                ordered = self._in_order(step)
                seconds = math.inf if ordered is None else self.look_at(ordered)
                if ordered is not None and seconds < current:
                    found, current = ordered, seconds
            if found is None:
                break
            groups = found
        if kept[0] <= self.best_seconds:
            self.best_seconds, self.best = kept

    def _steps(self, groups: list[list[int]]) -> Iterator[list[list[int]]]:
        """Groupings that are one step away."""
        group_of = {unit: number for number, group in enumerate(groups) for unit in group}
        joined = {(group_of[s], group_of[t]) for s, t, _, _ in self._edges}
        for one, other in sorted(joined):
            if one != other:
                rest = [group for n, group in enumerate(groups) if n not in (one, other)]
                yield [groups[one] + groups[other], *rest]
        for source, target, _, _ in self._edges:
            one, other = group_of[source], group_of[target]
            if one != other:
                for unit, to in ((source, other), (target, one)):
                    moved = [[u for u in g if u != unit] for g in groups]
                    moved[to] = [*moved[to], unit]
                    yield [group for group in moved if group]
            elif len(groups[one]) > 1:
                for unit in (source, target):
                    rest = [[u for u in g if u != unit] for g in groups]
                    yield [*rest, [unit]]


def best(graph: FlatGraph, model: CostModel, processes: int, machine: Machine) -> Choice:
    """The assignment with the least predicted time; see the module."""
    search = _Search(graph, model, processes, machine)
    starts = [[list(range(len(search.units)))]]
    for choice in (naive(graph, model, processes), staging(graph, processes, model)):
        grouped = [
            sorted({search.unit_of[id(pe)] for pe in stage.pes}) for stage in choice.stages.stages
        ]
        starts.append(grouped)
    if len(search.units) <= _EXACT:
        for groups in search.groupings():
            search.look_at(groups)
    else:
        starts.append([[unit] for unit in range(len(search.units))])
        for groups in starts:
            search.climb(groups, _EFFORT // len(starts))
    if search.best is None:  # nothing is known to take any time
        search.best = (starts[0], [(1, False)])
    groups, shares = search.best
    assigned: dict[str, tuple[int, ...]] = {}
    first = 0
    for group, (copies, beside) in zip(groups, shares, strict=True):
        first -= beside
        for pe in (pe for unit in group for pe in search.units[unit]):
            asked = asked_copies(graph, pe)
            assigned[pe.id] = (
                (first,) * asked if copies == 1 else tuple(range(first, first + copies))
            )
        first += copies
    stages = cut_into(graph, [[pe for u in g for pe in search.units[u]] for g in groups])
    return Choice(stages, Assignment(assigned))
