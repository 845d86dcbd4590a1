"""Cutting a graph into stages, in every form, and what no cut can be."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapping_kit import Identity, Plus, Ports, Source, chain, join, named

from d4pcwl import CompositePE, WorkflowGraph
from d4pcwl.errors import GraphError
from d4pcwl.workflow.cut import Cut, cut
from d4pcwl.workflow.flat import flatten


def stages(found: Cut) -> dict[str, list[str]]:
    return {stage.name: [pe.name for pe in stage.pes] for stage in found.stages}


def letters(text: str = "abcd") -> list[Any]:
    return [named(Source([]) if i == 0 else Plus(), name) for i, name in enumerate(text)]


class Twice(CompositePE):
    """Two additions."""

    def __init__(self, name: str, *names: str) -> None:
        super().__init__()
        self.name = name
        pes = [named(Plus(), inner) for inner in names]
        for source, target in itertools.pairwise(pes):
            self.connect(source, "output", target, "input")
        self._map_input("in", pes[0], "input")
        self._map_output("out", pes[-1], "output")


def test_whole() -> None:
    graph = flatten(chain(*letters()))
    found = cut(graph)
    assert stages(found) == {"main": ["a", "b", "c", "d"]}
    assert found.crossing == ()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("a.output", {"a": ["a"], "b_to_d": ["b", "c", "d"]}),
        ("b.input", {"a": ["a"], "b_to_d": ["b", "c", "d"]}),
        ("b1.output", {"a_to_b": ["a", "b"], "c_to_d": ["c", "d"]}),
        ("b.output,c.output", {"a_to_b": ["a", "b"], "c": ["c"], "d": ["d"]}),
        (" c.output , a.output ,", {"a": ["a"], "b_to_c": ["b", "c"], "d": ["d"]}),
    ],
)
def test_at_ports(how: str, expected: dict[str, list[str]]) -> None:
    assert stages(cut(flatten(chain(*letters())), how)) == expected


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("x.output", r"--cut x.output: no such PE.port; did you mean .*\ba\.output"),
        ("b", "--cut b: no such PE.port"),
        ("b.outptu", "--cut b.outptu: no edge is there; did you mean b.output"),
        ("d.output", "--cut d.output: no edge is there"),
        ("a.input", "--cut a.input: no edge is there"),
        (" , ", "--cut names no PE.port"),
        ("", "--cut names no PE.port"),
        ("composite", "no composites to cut at"),
        ("partition", "no partitions to cut at"),
    ],
)
def test_what_is_no_cut(how: str, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        cut(flatten(chain(*letters())), how)


def test_all_faults_of_a_cut_in_one_message() -> None:
    with pytest.raises(GraphError) as caught:
        cut(flatten(chain(*letters())), "x.output,y.output,a.output")
    assert len(str(caught.value).splitlines()) == 2


def test_names_that_several_pes_have() -> None:
    graph = flatten(chain(*letters("abb")))
    with pytest.raises(GraphError, match="several PEs have the name b; use b_1, b_2"):
        cut(graph, "b.output")
    assert stages(cut(graph, "b1.output")) == {"a_to_b_1": ["a", "b"], "b_2": ["b"]}


def test_stages_that_stay_joined_by_another_edge() -> None:
    a, b, c, d = letters()
    graph = flatten(
        join(
            (a, "output", b, "input"),
            (a, "output", c, "input"),
            (b, "output", d, "input"),
            (c, "output", d, "input"),
        )
    )
    with pytest.raises(
        GraphError, match=r"b\.output → d\.input does not separate b and d: other edges"
    ):
        cut(graph, "b.output")
    assert stages(cut(graph, "b.output,c.output")) == {"a_to_c": ["a", "b", "c"], "d": ["d"]}


def test_at_composites() -> None:
    a, d = named(Source([]), "a"), named(Plus(), "d")
    first, second = Twice("first", "b", "c"), Twice("second", "e")
    graph = flatten(
        join((a, "output", first, "in"), (first, "out", second, "in"), (second, "out", d, "input"))
    )
    found = cut(graph, "composite")
    assert stages(found) == {"a": ["a"], "first": ["b", "c"], "second": ["e"], "d": ["d"]}
    assert [stage.doc for stage in found.stages] == ["", "Two additions.", "Two additions.", ""]
    assert [str(edge) for edge in found.crossing] == [
        "a.output → b.input",
        "c.output → e.input",
        "e.output → d.input",
    ]


def test_composites_of_one_name_and_without() -> None:
    a, first, second = named(Source([]), "a"), Twice("same", "b"), Twice("same", "c")
    third = CompositePE()
    third._map_input("in", named(Plus(), "d"), "input")
    graph = join(
        (a, "output", first, "in"), (first, "out", second, "in"), (second, "out", third, "in")
    )
    assert list(stages(cut(flatten(graph), "composite"))) == ["a", "same", "same_2", "CompositePE"]


def test_the_rest_is_joined_with_its_neighbours() -> None:
    """b and c stand before the composite, e and f after it; g goes round it."""
    a, b, c, e, f, g = letters("abcefg")
    inner = Twice("inner", "x", "y")
    graph = flatten(
        join(
            (a, "output", b, "input"),
            (b, "output", c, "input"),
            (c, "output", inner, "in"),
            (inner, "out", e, "input"),
            (e, "output", f, "input"),
            (a, "output", g, "input"),
            (g, "output", f, "input"),
        )
    )
    found = cut(graph, "composite")
    sets = sorted(map(sorted, stages(found).values()))
    assert ["x", "y"] in sets
    assert any({"a", "b", "c"} <= set(s) for s in sets)
    assert any({"e", "f"} <= set(s) for s in sets)
    assert len(sets) == 3


def test_at_partitions() -> None:
    pes = letters()
    graph = chain(*pes)
    graph.partitions = [[pes[2], pes[1]], [pes[3]]]
    found = cut(flatten(graph), "partition")
    assert stages(found) == {"a": ["a"], "partition0": ["b", "c"], "partition1": ["d"]}
    graph.partitions = [pes[:2]]
    assert stages(cut(flatten(graph), "partition")) == {
        "partition0": ["a", "b"],
        "c_to_d": ["c", "d"],
    }


def test_partitions_that_are_wrong() -> None:
    pes = letters()
    graph = chain(*pes)
    graph.partitions = [pes[:2], [pes[1], Plus()]]
    with pytest.raises(GraphError) as caught:
        cut(flatten(graph), "partition")
    assert str(caught.value).splitlines() == [
        "partition 1: b is in two partitions",
        "partition 1: Plus is not in the graph",
    ]
    graph.partitions = [[pes[0], pes[2]], [pes[1], pes[3]]]
    with pytest.raises(GraphError, match=r"cycle of the stages partition0, partition1, .*keep"):
        cut(flatten(graph), "partition")


def test_a_cycle_stays_whole() -> None:
    a, loop, back = named(Source([]), "a"), named(Ports(2, 1), "loop"), named(Plus(), "back")
    graph = flatten(
        join(
            (a, "output", loop, "in0"), (loop, "out0", back, "input"), (back, "output", loop, "in1")
        )
    )
    assert stages(cut(graph, "a.output")) == {"a": ["a"], "loop_to_back": ["loop", "back"]}
    with pytest.raises(GraphError, match=r"makes a cycle of the stages|does not separate"):
        cut(graph, "loop.out0,back.output")


def test_ports_of_stages() -> None:
    a, b, c = named(Ports(1, 2), "a"), named(Identity(), "b"), named(Identity(), "c")
    graph = flatten(
        join(
            (a, "out0", b, "input"),
            (a, "out0", c, "input"),
            (a, "out1", c, "input"),
            (b, "output", c, "input"),
        )
    )
    found = cut(graph, "a.out0,a.out1")
    first, second = found.stages
    assert found.stage_of(c) is second
    crossing = list(found.crossing)
    assert found.leaving(first) == found.entering(second) == crossing
    assert [(e.source, e.output) for e in crossing] == [(a, "out0"), (a, "out0"), (a, "out1")]
    assert found.leaving(second) == found.entering(first) == []


def test_stages_come_sources_first() -> None:
    a, b, c = letters("abc")
    graph = WorkflowGraph()
    graph.add(c)
    graph.add(b)
    graph.connect(a, "output", b, "input")
    graph.connect(b, "output", c, "input")
    assert list(stages(cut(flatten(graph), "a.output,b.output"))) == ["a", "b", "c"]


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=14), st.data())
def test_any_cut_is_a_partition_in_order(pairs: list[tuple[int, int]], data: st.DataObject) -> None:
    pes = [named(Ports(1, 1), f"p{n}") for n in range(8)]
    graph = WorkflowGraph()
    for pe in pes:
        graph.add(pe)
    for a, b in {(min(p), max(p)) for p in pairs if p[0] != p[1]}:
        graph.connect(pes[a], "out0", pes[b], "in0")
    chosen = data.draw(st.lists(st.sampled_from(pes), unique=True, max_size=3).filter(bool))
    graph.partitions = [[pe] for pe in chosen]
    found = cut(flatten(graph), "partition")
    assert sorted(pe.name for stage in found.stages for pe in stage.pes) == [p.name for p in pes]
    place = {id(pe): n for n, stage in enumerate(found.stages) for pe in stage.pes}
    assert all(place[id(e.source)] < place[id(e.target)] for e in found.crossing)
    assert len(found.crossing) == sum(
        place[id(e.source)] != place[id(e.target)] for e in found.graph.edges
    )
