"""Plans: how many instances, in which process, with which routes; a plan is plain data."""

from __future__ import annotations

import os
import pickle
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapping_kit import CountKeys, Plus, Ports, Source, Tag, Total, chain, join, named

from d4pcwl import IterativePE, SimpleFunctionPE, WorkflowGraph
from d4pcwl.runtime.engine.plan import Plan, make_plan, usable_cores
from d4pcwl.workflow.assignment import of_stages
from d4pcwl.workflow.cut import cut
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.grouping import ALL, GLOBAL, SHUFFLE
from d4pcwl.workflow.lazy import cached_property


def counts(plan: Plan) -> list[int]:
    """The number of instances of each PE, sources first."""
    found: dict[str, int] = {}
    for instance in plan.instances:
        found[instance.pe] = found.get(instance.pe, 0) + 1
    return list(found.values())


def plan_of(graph: WorkflowGraph, processes: int, **options: Any) -> Plan:
    return make_plan(flatten(graph), processes, **options)


def asks(number: int, pe: Any = None) -> Any:
    pe = pe or Plus()
    pe.numprocesses = number
    return pe


class Pinned(Plus):
    single = True


class Stateful(Plus):
    stateful = True


class Stateless(Total):
    stateful = False


@pytest.mark.parametrize(
    ("pes", "processes", "expected"),
    [
        ([Plus], 1, [1, 1]),
        ([Plus], 2, [1, 1]),
        ([Plus], 5, [1, 4]),
        ([Plus, Plus], 4, [1, 2, 1]),
        ([Plus, Plus], 5, [1, 2, 2]),
        ([lambda: asks(3)], 1, [1, 3]),
        ([lambda: asks(3), Plus], 9, [1, 6, 2]),
        ([Total], 9, [1, 1]),
        ([Stateful], 9, [1, 1]),
        ([Stateless], 9, [1, 8]),
        ([lambda: asks(2, Total())], 9, [1, 2]),
        ([Pinned], 9, [1, 1]),
        ([lambda: asks(4, Pinned())], 9, [1, 1]),
        ([CountKeys], 5, [1, 4]),
        ([lambda: Tag("all")], 5, [1, 1]),
        ([lambda: Tag("global")], 5, [1, 1]),
        ([lambda: Tag("all", 3)], 9, [1, 3]),
        ([lambda: SimpleFunctionPE(str)], 3, [1, 2]),
    ],
)
def test_instances(pes: list[Any], processes: int, expected: list[int]) -> None:
    assert counts(plan_of(chain(Source([]), *(make() for make in pes)), processes)) == expected


def test_sources_have_one_instance() -> None:
    assert counts(plan_of(chain(asks(5, Source([])), Plus()), 9)) == [1, 8]


def test_a_cycle_is_not_replicated_and_shares_a_process() -> None:
    source, loop, back = Source([]), Ports(2, 1), Plus()
    plan = plan_of(
        join(
            (source, "output", loop, "in0"),
            (loop, "out0", back, "input"),
            (back, "output", loop, "in1"),
        ),
        9,
    )
    assert counts(plan) == [1, 1, 1]
    assert plan.cycles == (("Ports1", "Plus2"),)
    assert plan.processes == ((0,), (1, 2))


def test_all_instances_of_a_self_loop_share_a_process() -> None:
    source, loop = Source([]), asks(3, Ports(2, 1))
    plan = plan_of(join((source, "output", loop, "in0"), (loop, "out0", loop, "in1")), 9)
    assert plan.processes == ((0,), (1, 2, 3))


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        (1, ((0, 1, 2, 3, 4),)),
        (2, ((0, 1, 2), (3, 4))),
        (3, ((0, 1), (2, 3), (4,))),
        (5, ((0,), (1,), (2,), (3,), (4,))),
        (50, ((0,), (1,), (2,), (3,), (4,))),
    ],
)
def test_processes(processes: int, expected: Any) -> None:
    graph = chain(Source([]), *(Total() for _ in range(4)))
    assert plan_of(graph, processes).processes == expected


def test_stages_are_processes() -> None:
    graph = flatten(chain(named(Source([]), "a"), named(asks(2), "b"), named(Plus(), "c")))
    plan = make_plan(graph, 9, assignment=of_stages(cut(graph, "b.output")))
    assert plan.processes == ((0, 1, 2), (3,))


def test_routes_and_results() -> None:
    source, shuffled, broad, narrow = Source([]), asks(2), Tag("all", 2), Tag("global", 2)
    graph = join(*((source, "output", pe, "input") for pe in (shuffled, broad, narrow)))
    plan = plan_of(graph, 1)
    routes = plan.routes["Source0", "output"]
    assert [(route.grouping, route.targets) for route in routes] == [
        (SHUFFLE, (1, 2)),
        (ALL, (3, 4)),
        (GLOBAL, (5,)),
    ]
    assert plan.results == (("Plus1", "output"), ("Tag2", "output"), ("Tag3", "output"))
    assert plan.upstream == (frozenset(), *[frozenset({0})] * 6)
    assert [i.number for i in plan.of("Tag2")] == [0, 1]


def test_chosen_results() -> None:
    source, plus = Source([]), Plus()
    assert plan_of(chain(source, plus), 1, results=[(source, "output")]).results == (
        ("Source0", "output"),
    )


def test_a_plan_is_data() -> None:
    def build() -> Plan:
        return plan_of(chain(Source([]), asks(2), CountKeys()), 4)

    plan = build()
    assert plan == build() == pickle.loads(pickle.dumps(plan))
    assert str(plan).splitlines() == [
        "process 0: Source[0]",
        "process 1: Plus[0]",
        "process 2: Plus[1]",
        "process 3: CountKeys[0]",
        "Source.output → Plus.input (shuffle)",
        "Plus.output → CountKeys.input (group-by [0])",
    ]


def test_usable_cores() -> None:
    assert usable_cores() >= 1


def test_what_cannot_be_read_is_not_replicated() -> None:
    space: dict[str, Any] = {"IterativePE": IterativePE}
    exec("class Hidden(IterativePE):\n    def _process(self, data):\n        return 1", space)
    assert counts(plan_of(chain(Source([]), space["Hidden"]()), 4))[1] in (1, 3)


@given(st.data())
def test_processes_depend_on_each_other_in_one_direction(data: st.DataObject) -> None:
    """So that no two can wait for each other, whatever the graph and the number."""
    size = data.draw(st.integers(1, 7))
    pes = [Ports(1, 1) for _ in range(size)]
    graph = WorkflowGraph()
    for pe in pes:
        pe.numprocesses = data.draw(st.integers(1, 3))
        graph.add(pe)
    nodes = st.integers(0, size - 1)
    for a, b in data.draw(st.sets(st.tuples(nodes, nodes), max_size=10)):
        graph.connect(pes[a], "out0", pes[b], "in0")
    plan = plan_of(graph, data.draw(st.integers(1, 9)))
    assert sorted(i for process in plan.processes for i in process) == list(
        range(len(plan.instances))
    )
    assert all(plan.processes)
    process = [instance.process for instance in plan.instances]
    for target, senders in enumerate(plan.upstream):
        assert all(process[sender] <= process[target] for sender in senders)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_worker_forked_while_another_thread_finds_something_out_does_not_wait() -> None:
    """What a plan finds out when it is asked has no lock that a fork could leave taken."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow:
        @cached_property
        def value(self) -> int:
            inside.set()
            go_on.wait()
            return 1

    other = threading.Thread(target=lambda: Slow().value)
    other.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        go_on.set()
        os._exit(Slow().value)
    go_on.set()
    other.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
