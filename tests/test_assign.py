"""The algorithms that choose an assignment, on costs that are made up."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from assign_kit import costs
from hypothesis import given, settings
from hypothesis import strategies as st
from mapping_kit import CountKeys, Plus, Ports, Source, Tag, Total, chain, join

from d4pcwl import WorkflowGraph
from d4pcwl.errors import GraphError, UsageError
from d4pcwl.runtime.engine.plan import make_plan
from d4pcwl.trace.assign import ALGORITHMS, assign, best, naive, staging, useful_workers
from d4pcwl.trace.predict import Machine, Prediction, keyed_share, predict
from d4pcwl.workflow.assignment import Assignment, aligned, check, keeps_promises
from d4pcwl.workflow.flat import FlatGraph, flatten

Places = dict[str, tuple[int, ...]]


def flat_chain(*pes: Any) -> FlatGraph:
    return flatten(chain(*pes))


def time_of(graph: FlatGraph, model: Any, places: Places, **machine: Any) -> Prediction:
    return predict(graph, model, lambda pe: places[pe.id], Machine(**machine))


# --- predictions ----------------------------------------------------------------------------------


def test_the_process_with_the_most_to_do_is_the_bottleneck() -> None:
    graph = flat_chain(Source([]), Plus(), Total())
    model = costs(graph, [1, 6, 2], sending=0.001)  # 1000 items: 1 s to send, 0.5 s to receive
    found = time_of(graph, model, {"Source0": (0,), "Plus1": (1, 2), "Total2": (3,)})
    assert found.seconds == pytest.approx(6 / 2 + (1 + 0.5) / 2)
    assert found.heaviest == "Plus1"
    assert found.loads[0].passing == pytest.approx(1)
    assert found.loads[3].seconds == pytest.approx(2.5)


def test_what_stays_in_a_process_costs_nothing_to_pass() -> None:
    graph = flat_chain(Source([]), Plus(), Plus(), Total())
    model = costs(graph, [1, 4, 4, 1], sending=0.001)
    beside = time_of(
        graph, model, dict(zip(model.works, [(0,), (1, 2), (1, 2), (3,)], strict=True))
    )
    assert beside.seconds == pytest.approx((4 + 4 + 1 + 0.5) / 2)
    shared = time_of(graph, model, dict.fromkeys(model.works, (0,)))
    assert shared.seconds == pytest.approx(10)


def test_a_copy_beside_its_source_gets_its_part_without_passing() -> None:
    graph = flat_chain(Source([]), Plus(), Total())
    model = costs(graph, [1, 6, 2], sending=0.001)
    found = time_of(graph, model, {"Source0": (0,), "Plus1": (0, 1), "Total2": (1,)})
    assert found.loads[0].seconds == pytest.approx(1 + 3 + 1 / 2 + 1 / 2)


def test_a_hot_key_bounds_what_copies_gain() -> None:
    graph = flat_chain(Source([]), CountKeys())
    model = costs(graph, [0, 8], sending=0.0, hot=0.5)
    for copies in (1, 2, 4):
        places: Places = {"Source0": (0,), "CountKeys1": tuple(range(1, copies + 1))}
        found = time_of(graph, model, places)
        assert found.seconds == pytest.approx(8 * (0.5 + 0.5 / copies))


def test_all_and_global_are_counted_as_they_are_sent() -> None:
    graph = flat_chain(Source([]), Tag("all", 3))
    model = costs(graph, [0, 3], sending=0.001)
    found = time_of(graph, model, {"Source0": (0,), "Tag1": (1, 2, 3)})
    assert found.loads[0].passing == pytest.approx(3)
    graph = flat_chain(Source([]), Tag("global", 2))
    model = costs(graph, [0, 3], sending=0.001)
    found = time_of(graph, model, {"Source0": (0,), "Tag1": (1, 2)})
    assert (found.loads[1].seconds, found.loads[2].seconds) == (pytest.approx(3.5), 0)


def test_cores_and_a_network_are_bounds() -> None:
    graph = flat_chain(Source([]), Plus(), Total())
    model = costs(graph, [1, 4, 1], sending=0.0)
    places: Places = {"Source0": (0,), "Plus1": (1, 2, 3, 4), "Total2": (5,)}
    assert time_of(graph, model, places).seconds == pytest.approx(1)
    two = time_of(graph, model, places, cores=2)
    assert (two.seconds, two.by_cores) == (pytest.approx(3), True)
    slow = time_of(graph, model, places, bandwidth=10_000.0)  # 1000 items of 100 bytes
    assert slow.seconds == pytest.approx(1 + 10)


# --- what an assignment promises ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("places", "fault"),
    [
        ([(0,), (1,), (2,), (3,)], None),
        ([(0,), (1, 2), (1, 2), (3,)], None),
        ([(0,), (0, 1, 2), (2, 3), (3,)], None),
        ([(0,), (1, 2), (2, 1), (3,)], "in a circle"),
        ([(1,), (0,), (2,), (1,)], "in a circle"),
        ([(0, 1), (1,), (2,), (3,)], "Source0 would have 2 instances"),
        ([(0,), (1,), (2,), (3, 4)], "Total3 would have 2 instances"),
    ],
)
def test_promises_of_an_assignment(places: list[tuple[int, ...]], fault: str | None) -> None:
    graph = flat_chain(Source([]), Plus(), Plus(), Total())
    assignment = Assignment(dict(zip([pe.id for pe in graph.pes], places, strict=True)))
    assert keeps_promises(graph, assignment) == (fault is None)
    if fault is not None:
        with pytest.raises(GraphError, match=fault):
            check(graph, assignment)


def test_an_assignment_of_another_graph_is_refused() -> None:
    graph = flat_chain(Source([]), Plus())
    with pytest.raises(GraphError, match="it has no Plus1"):
        check(graph, Assignment({"Source0": (0,)}))
    with pytest.raises(GraphError, match="the graph has no Other2"):
        check(graph, Assignment({"Source0": (0,), "Plus1": (0,), "Other2": (0,)}))


def test_a_cycle_keeps_its_process() -> None:
    source, loop, back = Source([]), Ports(2, 1), Plus()
    graph = flatten(
        join(
            (source, "output", loop, "in0"),
            (loop, "out0", back, "input"),
            (back, "output", loop, "in1"),
        )
    )
    apart = Assignment({"Source0": (0,), "Ports1": (1,), "Plus2": (2,)})
    with pytest.raises(GraphError, match="the cycle of Ports1, Plus2 has to share a process"):
        check(graph, apart)
    for how in ALGORITHMS:
        check(graph, assign(how, graph, costs(graph, [1, 5, 5]), 4).assignment)


def test_copies_side_by_side_keep_their_items() -> None:
    graph = flat_chain(Source([]), Plus(), Plus(), Total())
    places: Places = dict(
        zip([pe.id for pe in graph.pes], [(0,), (1, 2), (1, 2), (2,)], strict=True)
    )
    assert [aligned(graph, edge, lambda pe: places[pe.id]) for edge in graph.edges] == [
        False,
        True,
        False,
    ]
    plan = make_plan(graph, 9, assignment=Assignment(places))
    assert plan.processes == ((0,), (1, 3), (2, 4, 5))
    assert plan.upstream[3:] == (frozenset({1}), frozenset({2}), frozenset({3, 4}))
    assert "Plus_1.output → Plus_2.input (within the process)" in str(plan)


# --- naive assignment -----------------------------------------------------------------------------


def test_naive_joins_neighbours_that_talk_longer_than_they_work() -> None:
    """As the paper says: where communication takes longer than the shorter execution; and the
    processes but that of the source go by the share of the time: 6 of 9 and 3 of 9 of six."""
    graph = flat_chain(Source([]), Plus(), Plus(), Plus())
    model = costs(graph, [1, 5, 1, 3], sending=[0.01, 0.001, 0.0001])
    found = naive(graph, model, 7)
    assert dict(found.assignment.processes) == {
        "Source0": (0,),
        "Plus1": (1, 2, 3, 4),
        "Plus2": (1, 2, 3, 4),
        "Plus3": (5, 6),
    }


def test_naive_takes_from_the_largest_what_rounding_up_adds() -> None:
    graph = flat_chain(Source([]), Plus(), Plus(), Plus())
    found = naive(graph, costs(graph, [1, 6, 2, 2], sending=0.0), 6)
    numbers = [len(found.assignment.processes[pe.id]) for pe in graph.pes]
    assert numbers == [1, 3, 1, 1]  # 5 processes by 6 to 2 to 2: rounded up 3, 1, 1


def test_naive_leaves_what_keeps_state_in_one_piece() -> None:
    graph = flat_chain(Source([]), Plus(), Total())
    found = naive(graph, costs(graph, [1, 1, 8], sending=0.0), 8)
    assert found.assignment.of(graph.pes[2]) == (found.assignment.of(graph.pes[1])[-1] + 1,)


# --- staging --------------------------------------------------------------------------------------


def test_stages_end_where_data_is_shuffled() -> None:
    graph = flat_chain(Source([]), Plus(), Plus(), CountKeys(), Plus(), Total())
    found = staging(graph, 9)
    assert [[pe.id for pe in stage.pes] for stage in found.stages.stages] == [
        ["Source0"],
        ["Plus1", "Plus2"],
        ["CountKeys3", "Plus4"],
        ["Total5"],
    ]
    assert dict(found.assignment.processes) == {
        "Source0": (0,),
        "Plus1": (1, 2, 3, 4),
        "Plus2": (1, 2, 3, 4),
        "CountKeys3": (5, 6, 7),
        "Plus4": (5, 6, 7),
        "Total5": (8,),
    }


def test_stages_that_are_too_many_are_put_together() -> None:
    graph = flat_chain(Source([]), Plus(), Plus(), Total())
    found = staging(graph, 2, costs(graph, [1, 5, 5, 1]))
    assert found.assignment.count == 2


# --- the best -------------------------------------------------------------------------------------


def every_assignment(graph: FlatGraph, processes: int) -> Iterator[Places]:
    """All assignments to so many processes, found by trying."""
    choices = [
        places
        for number in range(1, processes + 1)
        for places in itertools.combinations(range(processes), number)
    ]
    for places in itertools.product(choices, repeat=len(graph.pes)):
        found = dict(zip([pe.id for pe in graph.pes], places, strict=True))
        if keeps_promises(graph, Assignment(found)):
            yield found


@pytest.mark.parametrize(
    ("pes", "seconds", "processes"),
    [
        ([Plus, Total], [1, 10, 1], 2),
        ([Plus, Total], [1, 10, 1], 4),
        ([Plus, Total], [5, 1, 5], 3),
        ([CountKeys, Total], [1, 9, 2], 3),
        ([Plus, Plus], [1, 10, 3], 4),
        ([Total, Plus], [2, 2, 9], 4),
        ([Plus, Plus, Total], [1, 4, 4, 1], 3),
    ],
)
def test_nothing_is_better_than_the_best(
    pes: list[Any], seconds: list[float], processes: int
) -> None:
    graph = flat_chain(Source([]), *(pe() for pe in pes))
    model = costs(graph, seconds)
    found = best(graph, model, processes, Machine())
    check(graph, found.assignment)
    assert found.assignment.count <= processes
    predicted = predict(graph, model, found.assignment.of).seconds
    least = min(time_of(graph, model, p).seconds for p in every_assignment(graph, processes))
    assert predicted == pytest.approx(least, rel=0.01)


def test_heavy_edges_stay_in_a_process() -> None:
    graph = flat_chain(Source([]), Plus(), Plus(), Total())
    model = costs(graph, [1, 1, 1, 1], sending=[0.01, 0.01, 0.01])
    assert best(graph, model, 4, Machine()).assignment.count == 1


def test_processes_that_gain_nothing_are_not_used() -> None:
    graph = flat_chain(Source([]), Plus(), Total())
    found = best(graph, costs(graph, [5, 1, 1]), 64, Machine())
    assert found.assignment.count == 2


@settings(max_examples=60)
@given(st.data())
def test_every_choice_keeps_the_promises(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 12))
    pes = [Ports(1, 1) for _ in range(size)]
    graph = WorkflowGraph()
    for pe in pes:
        pe.numprocesses = data.draw(st.integers(1, 3))
        pe.stateful = data.draw(st.booleans())
        graph.add(pe)
    nodes = st.integers(0, size - 1)
    for a, b in data.draw(st.sets(st.tuples(nodes, nodes), max_size=12)):
        graph.connect(pes[a], "out0", pes[b], "in0")
    flat = flatten(graph)
    times = st.floats(0, 10)
    model = costs(flat, data.draw(st.lists(times, min_size=size, max_size=size)))
    processes = data.draw(st.integers(1, 9))
    for how in ALGORITHMS:
        found = assign(how, flat, model, processes)
        check(flat, found.assignment)
        assert found.assignment.count <= processes
        make_plan(flat, processes, assignment=found.assignment)


def test_larger_graphs_are_searched() -> None:
    graph = flat_chain(Source([]), *(Plus() for _ in range(30)), Total())
    model = costs(graph, [0.1, *[1.0] * 30, 0.1])
    found = best(graph, model, 8, Machine())
    check(graph, found.assignment)
    assert predict(graph, model, found.assignment.of).seconds < 1.1 * 30.2 / 8


def test_an_unknown_algorithm() -> None:
    graph = flat_chain(Source([]), Plus())
    with pytest.raises(UsageError, match="there is no algorithm 'bets'; did you mean best"):
        assign("bets", graph, costs(graph, [1, 1]), 2)


def test_useful_workers() -> None:
    graph = flat_chain(Source([]), Plus(), Total())
    assert useful_workers(graph, costs(graph, [1, 8, 2]), 16) == 6  # 11 s, of which 2 in one piece
    assert useful_workers(graph, costs(graph, [1, 8, 2]), 3) == 3
    assert useful_workers(graph, costs(graph, [0, 8, 0]), 16) == 16


def test_shares_of_a_hot_key() -> None:
    assert [keyed_share(0.5, n) for n in (1, 2, 4)] == [1, 0.75, 0.625]
