"""The plan: which instance of which PE runs in which process, and where items go.

A plan is data: it can be printed, pickled and compared, and it is the same for every mapping. It is
made in three steps.

1. *How many instances?* One for each PE, or as many as ``numprocesses`` says (``simple`` always has
   one of each). If processes are left over, PEs that may be replicated without changing the results
   get more (:mod:`d4pcwl.workflow.copies`).
2. *Which process?* One process for each instance, if there are enough. With fewer processes,
   neighbours share one, sources first; the PEs of a cycle always share a process. So processes
   depend on each other in one direction only, and no two can wait for each other.
3. *Which routes?* For every output, its edges: the target instances, and the grouping that chooses
   among them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from d4pcwl.runtime.engine.order import Order, find_order
from d4pcwl.runtime.engine.policy import ERRORS, FAIL, Policy, policy_of
from d4pcwl.workflow.assignment import Assignment, aligned, check
from d4pcwl.workflow.copies import asked_copies, may_have_copies
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.grouping import GLOBAL, SHUFFLE, Grouping
from d4pcwl.workflow.lazy import cached_property
from d4pcwl.workflow.numbering import Numbering
from d4pcwl.workflow.pe import has_postprocess
from d4pcwl.workflow.place import place_of_work

if TYPE_CHECKING:
    from d4pcwl.lineage.recorder import Recording


@dataclass(frozen=True)
class Instance:
    """One running copy of a PE.

    :param index: its number among all instances; PEs see it as ``self.rank``
    :param pe: the id of the PE
    :param number: its number among the instances of that PE
    :param process: the number of the process that it runs in
    """

    index: int
    pe: str
    number: int
    process: int


@dataclass(frozen=True)
class Route:
    """Where the items of one edge go.

    :param input: the input that receives them
    :param grouping: how a target is chosen for an item
    :param targets: indices of the target instances
    :param aligned: the instance of each number sends to the target of that number, which is in its
        process
    """

    input: str
    grouping: Grouping
    targets: tuple[int, ...]
    aligned: bool = False

    def of(self, number: int) -> tuple[int, ...]:
        """The targets of the instance of that number."""
        return self.targets[number : number + 1] if self.aligned else self.targets


@dataclass(frozen=True)
class Plan:
    """See the module.

    :param instances: sorted by index, sources first
    :param processes: for every process the indices of its instances
    :param routes: from PE id and output to the routes of its edges
    :param results: the outputs, as PE id and name, whose items are results; and the error stream,
        where items may be left out
    :param upstream: for every instance the indices of its senders, without itself
    :param cycles: ids of PEs in a cycle, cycle by cycle
    :param pool: in plans of dynamic mappings, the number that is used as the process of the pool;
        its instances run in any free worker
    :param heavy: pooled instances whose items are handed out one by one
    :param policies: by PE id, what happens when a PE fails on an item; see
        :mod:`d4pcwl.runtime.engine.policy`
    :param order: where items have marks, with which receivers put them in order
    :param names: by PE id, the name of the PE in messages
    :param places: by PE id, the file and line of its work on an item, if they are known
    :param seed: of the random numbers that PEs draw
    :param measured: whether workers measure what they do
    :param recording: how workers record the lineage of items, if they do
    """

    instances: tuple[Instance, ...]
    processes: tuple[tuple[int, ...], ...]
    routes: dict[tuple[str, str], tuple[Route, ...]]
    results: tuple[tuple[str, str], ...]
    upstream: tuple[frozenset[int], ...] = field(repr=False, default=())
    cycles: tuple[tuple[str, ...], ...] = ()
    pool: int | None = None
    heavy: frozenset[int] = frozenset()
    policies: dict[str, Policy] = field(default_factory=dict)
    order: Order = field(repr=False, default=Order())
    names: dict[str, str] = field(repr=False, default_factory=dict)
    places: dict[str, str] = field(repr=False, default_factory=dict)
    seed: int = 0
    measured: bool = False
    recording: Recording | None = field(repr=False, default=None)

    def of(self, pe: str) -> tuple[Instance, ...]:
        """The instances of a PE."""
        return self._of.get(pe, ())

    @cached_property
    def _of(self) -> dict[str, tuple[Instance, ...]]:
        found: dict[str, list[Instance]] = {}
        for instance in self.instances:
            found.setdefault(instance.pe, []).append(instance)
        return {pe: tuple(instances) for pe, instances in found.items()}

    @cached_property
    def slots(self) -> dict[tuple[str, str], int]:
        """The number of each of :attr:`results`."""
        return {port: slot for slot, port in enumerate(self.results)}

    @cached_property
    def downstream(self) -> tuple[tuple[int, ...], ...]:
        """For every instance the indices of its receivers, without itself."""
        found: list[list[int]] = [[] for _ in self.instances]
        for target, senders in enumerate(self.upstream):
            for sender in senders:
                found[sender].append(target)
        return tuple(map(tuple, found))

    def __getstate__(self) -> dict[str, Any]:
        """A plan is pickled without values that can be computed from it."""
        return {entry.name: self.__dict__[entry.name] for entry in fields(self)}

    @cached_property
    def pooled(self) -> frozenset[int]:
        """The instances of the pool."""
        return frozenset(self.processes[self.pool] if self.pool is not None else ())

    def name(self, instance: int) -> str:
        """The name of an instance's PE in messages."""
        pe = self.instances[instance].pe
        return self.names.get(pe, pe)

    def port(self, pe: str, port: str) -> str:
        """The name of a port in messages, with the place of the PE: ``words.py:7:
        count.output``."""
        place = f"{self.places[pe]}: " if pe in self.places else ""
        return f"{place}{self.names.get(pe, pe)}.{port}"

    def senders(self, index: int, name: str) -> tuple[int, ...]:
        """The instances that send to an input of an instance."""
        return tuple(self._senders.get((index, name), ()))

    def edges_to(self, pe: str, name: str) -> int:
        """The number of edges to an input."""
        return self._edges_to[pe, name]

    @cached_property
    def _edges_to(self) -> Counter[tuple[str, str]]:
        routes = (route for routes in self.routes.values() for route in routes)
        return Counter((self.instances[route.targets[0]].pe, route.input) for route in routes)

    @cached_property
    def _senders(self) -> dict[tuple[int, str], dict[int, None]]:
        found: dict[tuple[int, str], dict[int, None]] = {}
        for (source, _), routes in self.routes.items():
            for route in routes:
                for sender in self.of(source):
                    for target in route.of(sender.number):
                        found.setdefault((target, route.input), {})[sender.index] = None
        return found

    @cached_property
    def marked_after(self) -> dict[int, tuple[tuple[int, str], ...]]:
        """By instance, the instances and inputs that take marked items from it."""
        found: dict[int, dict[tuple[int, str], None]] = {}
        for (target, name), senders in self._senders.items():
            if (self.instances[target].pe, name) in self.order.marked:
                for sender in senders:
                    found.setdefault(sender, {})[target, name] = None
        return {sender: tuple(targets) for sender, targets in found.items()}

    def origins_of(self, index: int) -> tuple[int, ...]:
        """The origins of the marks on what one instance writes."""
        pe = self.instances[index].pe
        return self.order.origins.get(pe, ()) if pe in self.order.passing else (index,)

    def __str__(self) -> str:
        lines = []
        for number, indices in enumerate(self.processes):
            names = (f"{self.name(i)}[{self.instances[i].number}]" for i in indices)
            title = "pool" if number == self.pool else f"process {number}"
            lines.append(f"{title}: {', '.join(names)}")
        for (pe, output), routes in self.routes.items():
            for route in routes:
                target = f"{self.name(route.targets[0])}.{route.input}"
                how = "within the process" if route.aligned else route.grouping
                lines.append(f"{self.names.get(pe, pe)}.{output} → {target} ({how})")
        return "\n".join(lines)


def usable_cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_plan(
    graph: FlatGraph,
    processes: int = 1,
    *,
    results: Iterable[tuple[Any, str]] | None = None,
    assignment: Assignment | None = None,
    pooled: bool = False,
    given: Collection[str] = (),
    policy: Policy = FAIL,
    copies: bool = True,
    seed: int = 0,
) -> Plan:
    """Plan the run of ``graph`` with a number of processes.

    :param processes: at least 1; fewer than instances are not an error
    :param results: the outputs, as PE and name, whose items are results (default: the unconnected
        ones)
    :param assignment: the processes of each PE's instances; then ``processes`` has no effect
    :param pooled: PEs that may run anywhere are put into a pool; the others, which hold state, are
        pinned to processes of which there are at most half as many
    :param given: ids of PEs that get inputs of their own; they are pinned, too
    :param policy: what happens when a PE without a policy of its own fails on an item
    :param copies: whether a PE may have several instances; if not, it has one, also if it asks for
        more
    :param seed: of the random numbers that PEs draw
    """
    components = graph.cycles
    if not copies:
        assignment = None
    if assignment is not None:
        check(graph, assignment)
        counts = {id(pe): len(assignment.of(pe)) for pe in graph.pes}
    elif copies:
        counts = _count_instances(graph, processes)
    else:
        counts = {id(pe): 1 for pe in graph.pes}
    pool = {
        id(pe) for pe in graph.pes if pooled and pe.id not in given and _may_run_anywhere(graph, pe)
    }
    if pool:
        counts.update(dict.fromkeys(pool, 1))
        pinned = {key: count for key, count in counts.items() if key not in pool}
        # If pooled PEs do the heavy work, the pinned ones are light, and need only one process.
        heavy = any(getattr(pe, "heavy", False) for pe in graph.pes if id(pe) in pool)
        process_of = _place(graph, pinned, 1 if heavy else max(1, processes // 2))
        process_of.update({key: [processes] for key in pool})
    elif assignment is None:
        process_of = _place(graph, counts, processes)
    else:
        process_of = {id(pe): list(assignment.of(pe)) for pe in graph.pes}

    instances: list[Instance] = []
    indices: dict[int, list[int]] = {}
    for component in components:
        for pe in component:
            for number in range(counts[id(pe)]):
                index = len(instances)
                instances.append(Instance(index, pe.id, number, process_of[id(pe)][number]))
                indices.setdefault(id(pe), []).append(index)

    routes: dict[tuple[str, str], list[Route]] = {}
    upstream: list[set[int]] = [set() for _ in instances]
    for edge in graph.edges:
        grouping = graph.grouping(edge)
        targets = indices[id(edge.target)]
        beside = assignment is not None and aligned(graph, edge, assignment.of)
        route = Route(
            edge.input, grouping, tuple(targets[:1] if grouping == GLOBAL else targets), beside
        )
        routes.setdefault((edge.source.id, edge.output), []).append(route)
        for number, target in enumerate(targets):
            senders = indices[id(edge.source)]
            upstream[target].update(set(senders[number:][:1] if beside else senders) - {target})

    used = sorted({instance.process for instance in instances})
    number_of = {process: number for number, process in enumerate(used)}
    instances = [Instance(i.index, i.pe, i.number, number_of[i.process]) for i in instances]
    by_process: list[list[int]] = [[] for _ in used]
    for instance in instances:
        by_process[instance.process].append(instance.index)
    outputs = list(graph.unconnected if results is None else results)
    ports = [(pe.id, o) for pe, o in outputs]
    policies = {pe.id: policy_of(pe, not graph.into(pe), policy) for pe in graph.pes}
    if any(chosen.skip for chosen in policies.values()):
        ports.append(ERRORS)
    return Plan(
        tuple(instances),
        tuple(map(tuple, by_process)),
        {port: tuple(found) for port, found in routes.items()},
        tuple(ports),
        tuple(map(frozenset, upstream)),
        tuple(tuple(pe.id for pe in c) for c in components if graph.is_cycle(c)),
        pool=len(used) - 1 if pool else None,
        heavy=frozenset(
            indices[id(pe)][0] for pe in graph.pes if id(pe) in pool and getattr(pe, "heavy", False)
        ),
        policies={pe: chosen for pe, chosen in policies.items() if chosen != FAIL},
        order=find_order(
            graph, indices, pool, outputs, given, together=len(used) == 1 and not pool
        ),
        names=graph.names,
        places={pe.id: str(place) for pe in graph.pes if (place := place_of_work(pe))},
        seed=seed,
    )


def _count_instances(graph: FlatGraph, processes: int) -> dict[int, int]:
    """How many instances each PE has."""
    counts = {id(pe): asked_copies(graph, pe) for pe in graph.pes}
    if processes <= sum(counts.values()):
        return counts
    replicable = [pe for pe in graph.pes if may_have_copies(graph, pe)]
    weight = dict(counts)
    for _ in range(processes - sum(counts.values()) if replicable else 0):
        # The one with the fewest instances for its weight; the first of equals.
        neediest = min(replicable, key=lambda pe: counts[id(pe)] / weight[id(pe)])
        counts[id(neediest)] += 1
    return counts


def _may_run_anywhere(graph: FlatGraph, pe: Any) -> bool:
    """Whether any worker's copy of ``pe`` can take any of its items; in a cycle, if it is heavy."""
    from d4pcwl.workflow.state import keeps_state

    groupings = [graph.grouping(edge) for edge in graph.into(pe)]
    in_cycle = id(pe) in graph.cyclic
    held = in_cycle and not getattr(pe, "heavy", False)
    if not groupings or held or getattr(pe, "single", False) or has_postprocess(pe):
        return False
    return all(grouping == SHUFFLE for grouping in groupings) and keeps_state(pe) is None


def _place(graph: FlatGraph, counts: dict[int, int], processes: int) -> dict[int, list[int]]:
    """The process of every instance: runs of neighbours, of about equal length."""
    # A cycle is one unit, and so is every instance of a PE that is in none.
    units: list[list[int]] = []
    beside: dict[int, int] = {}  # a numbering, to the PE whose items it numbers
    for component in graph.cycles:
        if not any(id(pe) in counts for pe in component):
            continue
        if isinstance(component[0], Numbering) and not graph.is_cycle(component):
            source = graph.into(component[0])[0].source
            if id(source) in counts:  # what is pooled has no place
                beside[id(component[0])] = id(source)
                continue
        if graph.is_cycle(component):
            pinned = [pe for pe in component if id(pe) in counts]
            units.append([id(pe) for pe in pinned for _ in range(counts[id(pe)])])
        else:
            units += [[id(component[0])] for _ in range(counts[id(component[0])])]
    processes = min(processes, len(units))
    process_of: dict[int, list[int]] = {}
    for number, unit in enumerate(units):
        for key in unit:
            process_of.setdefault(key, []).append(number * processes // len(units))
    for key, source in beside.items():  # a separate process would have almost nothing to do
        process_of[key] = process_of[source][:1]
    return process_of
