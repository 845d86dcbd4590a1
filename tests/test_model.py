"""The model: PEs, ports, the graph, composites, its flat form, its views."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import pytest
from mapping_kit import Identity, Plus, Ports, Source, chain, join, named

from d4pcwl import (
    BasePE,
    CompositePE,
    ConsumerPE,
    GenericPE,
    IterativePE,
    ProducerPE,
    SimpleFunctionPE,
    WorkflowGraph,
    create_iterative_chain,
)
from d4pcwl.errors import GraphError, PEError
from d4pcwl.runtime.engine.instance import RunningPE
from d4pcwl.workflow.draw import draw
from d4pcwl.workflow.edges import WorkflowNode, is_graph
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.graph import is_workflow


def double(data: int, times: int = 2) -> int:
    """Something to do."""
    return data * times


# --- PEs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "name", "inputs", "outputs"),
    [
        (GenericPE, "GenericPE", [], []),
        (IterativePE, "IterativePE", ["input"], ["output"]),
        (ProducerPE, "ProducerPE", [], ["output"]),
        (ConsumerPE, "ConsumerPE", ["input"], []),
        (SimpleFunctionPE, "SimpleFunctionPE", ["input"], ["output"]),
        (lambda: SimpleFunctionPE(double), "PE_double", ["input"], ["output"]),
        (lambda: SimpleFunctionPE(lambda x: x), "PE_<lambda>", ["input"], ["output"]),
        (lambda: BasePE(["a"], ["b", "c"]), "BasePE", ["a"], ["b", "c"]),
        (lambda: BasePE(num_inputs=2, num_outputs=1), "BasePE", ["input0", "input1"], ["output0"]),
    ],
)
def test_ports_and_names(make: Any, name: str, inputs: list[str], outputs: list[str]) -> None:
    pe = make()
    assert (pe.name, list(pe.inputconnections), list(pe.outputconnections)) == (
        name,
        inputs,
        outputs,
    )
    assert pe.numprocesses == 1


def test_connections_hold_grouping_and_type() -> None:
    pe = GenericPE()
    pe._add_input("in", grouping=[0], tuple_type=["word", "count"])
    pe._add_input("plain", grouping=[])
    pe._add_output("out", tuple_type=["word"])
    assert pe.inputconnections == {
        "in": {"name": "in", "grouping": [0], "type": ["word", "count"]},
        "plain": {"name": "plain"},
    }
    assert pe.get_output_types() == {"out": ["word"]}
    pe._add_output("untyped")
    with pytest.raises(KeyError, match="no type is declared for output untyped"):
        pe.get_output_types()


def test_write_outside_a_run() -> None:
    pe = Identity()
    with pytest.raises(PEError, match="writes to 'output', but no workflow is running"):
        pe.write("output", 1)
    with pytest.raises(PEError, match="no output 'outptu'; did you mean output"):
        pe.write("outptu", 1)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda pe: pickle.loads(pickle.dumps(pe))])
def test_a_running_pe_is_copied_without_what_it_is_bound_to(again: Any) -> None:
    pe, taken = Plus(), list[Any]()
    pe.log = double  # a user's own
    RunningPE(pe, "pe", 0, in_cycle=False).bind("output", taken.append)
    pe.write("output", 1)
    other = again(pe)
    with pytest.raises(PEError, match="no workflow is running"):
        other.write("output", 1)
    assert (taken, other.number, other.log) == ([1], 1, double)


def test_log(capsys: pytest.CaptureFixture[str]) -> None:
    pe = Identity()
    pe.log("before")
    pe.rank = 3
    pe.log({"a": 1})
    assert capsys.readouterr().out == "Identity: before\nIdentity (rank 3): {'a': 1}\n"


# --- connecting -----------------------------------------------------------------------------------


def test_ids_are_name_and_number() -> None:
    first, second, third = Source([]), named(Plus(), "add"), Plus()
    graph = chain(first, second, third)
    assert [pe.id for pe in (first, second, third)] == ["Source0", "add1", "Plus2"]
    assert graph.get_contained_objects() == graph.getContainedObjects() == [third, first, second]


def test_ids_are_unique() -> None:
    graph = WorkflowGraph()
    names = ["a"] * 11 + ["a1"]  # 'a' + '10', and 'a1' + '0' if it came first
    for name in ["a1", *names]:
        graph.add(named(Plus(), name))
    ids = [pe.id for pe in flatten(graph).pes]
    assert len(set(ids)) == len(ids) == 13


class NoInit(IterativePE):
    def __init__(self) -> None:
        pass


class Unlike:
    def __repr__(self) -> str:
        return "<something else>"


@pytest.mark.parametrize(
    ("connect", "message"),
    [
        (lambda g: g.connect(Source([]), "outptu", Plus(), "input"), "no output 'outptu'; did you"),
        (
            lambda g: g.connect(Source([]), "output", Plus(), "x"),
            "Plus has no input 'x'; known: in",
        ),
        (lambda g: g.connect(ConsumerPE(), "output", Plus(), "input"), "has no outputs, so none"),
        (lambda g: g.connect(Source, "output", Plus(), "input"), "Source is a class; .* Source()"),
        (lambda g: g.connect(Source([]), "output", Plus, "input"), "Plus is a class; .* Plus()"),
        (lambda g: g.add(WorkflowGraph), "WorkflowGraph is a class"),
        (lambda g: g.add(Unlike()), "<something else> is neither a PE nor a graph"),
        (lambda g: g.add(NoInit()), "NoInit does not call the __init__ of its base class"),
        (lambda g: g.add(None), "None is neither a PE nor a graph"),
    ],
)
def test_connect_refuses(connect: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        connect(WorkflowGraph())


def test_same_edge_twice_is_refused_and_others_are_not() -> None:
    ports, plus = Ports(2, 2), Plus()
    graph = join(
        (ports, "out0", plus, "input"),
        (ports, "out1", plus, "input"),
        (plus, "output", ports, "in0"),
    )
    with pytest.raises(GraphError, match=r"Ports\.out0 → Plus\.input is connected twice"):
        graph.connect(ports, "out0", plus, "input")
    assert len(graph.edges) == 3


# --- composites -----------------------------------------------------------------------------------


def composite(inner: Any, port: str = "input", out: str = "output") -> CompositePE:
    graph = CompositePE()
    graph._map_input("in", inner, port)
    graph._map_output("out", inner, out)
    return graph


def test_flatten() -> None:
    source, plus, end = Source([]), Plus(), Identity()
    outer = composite(composite(plus), "in", "out")
    graph = join((source, "output", outer, "in"), (outer, "out", end, "input"))
    flat = flatten(graph)
    assert flat.pes == (source, plus, end)
    assert [str(edge) for edge in flat.edges] == [
        "Source.output → Plus.input",
        "Plus.output → Identity.input",
    ]
    assert [len(flat.composites[id(pe)]) for pe in flat.pes] == [0, 2, 0]
    assert (flat.roots, flat.unconnected) == ((source,), [(end, "output")])
    assert graph.nodes[1] is outer  # the graph itself is as it was, until it is told
    graph.flatten()
    assert graph.nodes == [source, plus, end]
    assert len(graph.edges) == 2


def test_flatten_finds_all_faults() -> None:
    wrong_port, unmapped, grouped = composite(Plus(), "no such port"), composite(Plus()), Plus()
    grouped.inputconnections["input"]["grouping"] = 1.5
    source = Source([])
    graph = join(
        (source, "output", wrong_port, "in"),
        (source, "output", unmapped, "inn"),
        (source, "output", grouped, "input"),
    )
    with pytest.raises(GraphError) as caught:
        flatten(graph)
    faults = str(caught.value).splitlines()[::2]  # each with its line of code
    assert len(faults) == 3
    assert "Plus has no input 'no such port'" in faults[0]
    assert "composite CompositePE has no input 'inn'; did you mean in?" in faults[1]
    assert re.search(r": Plus_3\.input: the grouping 1.5 is not known", faults[2])


def test_pe_in_two_composites_and_composite_in_itself() -> None:
    plus, graph = Plus(), WorkflowGraph()
    for nested in (composite(plus), composite(plus)):
        graph.add(nested)
    with pytest.raises(GraphError, match="Plus is in two composites"):
        flatten(graph)
    selfish = CompositePE()
    selfish.add(selfish)
    with pytest.raises(GraphError, match="composite CompositePE contains itself"):
        flatten(selfish)


def test_composite_with_parameters() -> None:
    def build(graph: CompositePE, number: int, name: str = "x") -> None:
        graph._map_input("in", named(Plus(number), name), "input")

    graph = CompositePE(build, {"number": 7})
    ((plus, port),) = graph.inputmappings.values()
    assert (plus.number, plus.name, port) == (7, "x", "input")
    assert not is_workflow(graph)
    assert is_graph(graph)


def test_iterative_chain() -> None:
    graph = create_iterative_chain(
        [double, (double, {"times": 3}), len], name_prefix="<", name_suffix=">"
    )
    flat = flatten(graph)
    assert [pe.name for pe in flat.pes] == ["<double>", "<double>", "<len>"]
    assert [pe.params for pe in flat.pes] == [{}, {"times": 3}, {}]
    assert (graph.inputmappings["input"][0], graph.outputmappings["output"][0]) == (
        flat.pes[0],
        flat.pes[2],
    )
    with pytest.raises(GraphError, match="at least one function"):
        create_iterative_chain([])


def test_iterative_chain_of_a_class_of_ones_own() -> None:
    class Loud(SimpleFunctionPE):
        pass

    (pe,) = flatten(create_iterative_chain([double], Loud)).pes
    assert (type(pe), pe.compute_fn) == (Loud, double)


def test_partitions_of_composites_count_too() -> None:
    plus, source = Plus(), Source([])
    nested = composite(plus)
    nested.partitions = [[plus]]
    graph = join((source, "output", nested, "in"))
    graph.partitions = [[source]]
    assert sorted(len(part) for part in flatten(graph).partitions) == [1, 1]
    assert {part[0] for part in flatten(graph).partitions} == {source, plus}


# --- order, cycles, digests -----------------------------------------------------------------------


def test_order_and_cycles() -> None:
    last, loop, back, source, alone = Identity(), Ports(2, 2), Plus(), Source([]), Plus()
    graph = WorkflowGraph()
    graph.add(last)
    graph.connect(loop, "out0", last, "input")
    graph.connect(loop, "out1", back, "input")
    graph.connect(back, "output", loop, "in1")
    graph.connect(source, "output", loop, "in0")
    graph.add(alone)
    flat = flatten(graph)
    assert flat.cycles == ((source,), (loop, back), (last,), (alone,))
    assert flat.in_order() == [source, loop, back, last, alone]


def test_digest_speaks_of_structure_alone() -> None:
    def build(number: int = 1, name: str = "plus", grouping: Any = None) -> str:
        plus = named(Plus(number), name)
        plus._add_input("input", grouping=grouping)
        return flatten(chain(Source([]), plus)).digest()

    assert build() == build(number=2)
    assert len({build(), build(name="other"), build(grouping=[0]), build(grouping="all")}) == 4


def test_large_graphs() -> None:
    """A step that is quadratic in the number of PEs would not end within the suite's limit."""
    flat = flatten(chain(Source([]), *(Plus() for _ in range(20_000))))
    assert len(flat.in_order()) == 20_001


# --- views ----------------------------------------------------------------------------------------


def test_networkx_view() -> None:
    ports, plus = Ports(1, 2), Plus()
    nested = composite(Plus())
    graph = join(
        (ports, "out0", plus, "input"),
        (ports, "out1", plus, "input"),
        (plus, "output", nested, "in"),
    )
    view = graph.graph
    assert [node.getContainedObject() for node in view.nodes()] == [ports, plus, nested]
    assert [node.nodeType for node in view.nodes()] == [
        WorkflowNode.WORKFLOW_NODE_PE,
        WorkflowNode.WORKFLOW_NODE_PE,
        WorkflowNode.WORKFLOW_NODE_CP,
    ]
    edges = [data for _, _, data in view.edges(data=True)]
    assert [(e["FROM_CONNECTION"], e["TO_CONNECTION"]) for e in edges] == [
        ("out0", "input"),
        ("out1", "input"),
        ("output", "in"),
    ]
    assert edges[2]["DIRECTION"] == (plus, nested)
    assert set(graph.objToNode) == {ports, plus, nested}


def test_types_are_propagated() -> None:
    class Typed(IterativePE):
        def __init__(self) -> None:
            super().__init__()
            self.told: dict[str, Any] = {}

        def set_input_types(self, types: Any) -> None:
            self.told = dict(types)

        def get_output_types(self) -> dict[str, Any]:
            return {"output": [*self.told["input"], "more"]}

    source, first, second = Source([]), Typed(), Typed()
    source._add_output("output", tuple_type=["word"])
    chain(source, first, second).propagate_types()
    assert (first.told, second.told) == ({"input": ["word"]}, {"input": ["word", "more"]})


def test_draw() -> None:
    source, plus, tag = Source([]), named(Plus(), 'a"b|<c>'), Plus()
    tag._add_input("input", grouping=[0])
    nested = composite(plus)
    nested.name = "box"
    text = draw(join((source, "output", nested, "in"), (nested, "out", tag, "input")))
    assert text.startswith("digraph workflow {\n")
    assert text.endswith("}\n")
    assert text.count("{") == text.count("}")
    assert 'label="box"' in text
    assert "a&quot;b|&lt;c&gt;" in text
    assert "pe0:e -> pe1:w;" in text
    assert 'pe1:e -> pe2:w [label="group-by [0]", style=dashed];' in text
