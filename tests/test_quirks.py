"""What scripts from elsewhere do that the documentation does not speak of, under every mapping."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import cwl_kit as kit
import pytest
from mapping_kit import Mapping, Source, chain

from d4pcwl import ConsumerPE, GenericPE, IterativePE, SimpleFunctionPE, WorkflowGraph
from d4pcwl.errors import GraphError, PEError
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.shards import shard

# --- consumers that write -------------------------------------------------------------------------


class Reports(ConsumerPE):
    """Writes an output that consumers do not have, as scripts do."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def _process(self, data: Any) -> None:
        self.seen += 1
        self.write("output", data * 10)

    def _postprocess(self) -> None:
        self.write("output", self.seen)


def test_what_a_consumer_writes_to_output_is_a_result(mapping: Mapping) -> None:
    class Inherits(Reports):
        pass

    for consumer in (Reports(), Inherits()):
        assert sorted(mapping.items(chain(Source([1, 2, 3]), consumer))) == [3, 10, 20, 30]


def test_a_consumer_that_writes_elsewhere_is_refused(mapping: Mapping) -> None:
    class Elsewhere(ConsumerPE):
        def _process(self, data: Any) -> None:
            self.write("elsewhere", data)

    with pytest.raises(PEError, match="Elsewhere has no outputs, so none called 'elsewhere'"):
        mapping.run(chain(Source([1]), Elsewhere()))


def test_a_consumer_that_writes_nothing_has_no_output() -> None:
    class WritesFiles(ConsumerPE):
        def _process(self, data: Any) -> None:
            self.file.write(data["output"])

        def write_all(self) -> None:
            self.log("output")

    consumer = WritesFiles()
    assert flatten(chain(Source([1]), consumer)).unconnected == []


def test_the_command_tells_of_what_a_consumer_writes(tmp_path: Path) -> None:
    script = tmp_path / "flow.py"
    script.write_text(
        "from dispel4py.base import ConsumerPE\n"
        "from dispel4py.workflow_graph import WorkflowGraph\n"
        "class Prints(ConsumerPE):\n"
        "    def _process(self, data):\n"
        "        self.write('output', data)\n"
        "graph = WorkflowGraph()\n"
        "graph.add(Prints())\n"
    )
    arguments = ("dispel4py", "simple", str(script), "-d", '{"input": 7}')
    done = kit.command(*arguments)
    assert done.stdout == '{"pe": "Prints", "port": "output", "data": 7}\n'
    assert "Prints is a consumer, but writes to 'output': its items are results" in done.stderr
    assert kit.command(*arguments, "-q").stderr == ""


# --- PEs that are odd -----------------------------------------------------------------------------


class Answers(IterativePE):
    """Answers to every attribute that it has not."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(f"asked for {name}")

    def _process(self, data: Any) -> Any:
        return data


class Incomparable(IterativePE):
    """Has no equality, no truth, no length, no hash and no repr."""

    def _refuse(self, *other: object) -> Any:
        raise RuntimeError("asked")

    __eq__ = __bool__ = __len__ = __repr__ = _refuse
    __hash__ = None  # type: ignore[assignment]

    def _process(self, data: Any) -> Any:
        return data


class PortsOfItsOwn(GenericPE):
    """Sets its ports whole."""

    def __init__(self) -> None:
        super().__init__()
        self.inputconnections = {"input": {"name": "input"}}
        self.outputconnections = {"output": {}}
        self.name = None  # type: ignore[assignment]
        self.numprocesses = "2"  # type: ignore[assignment]

    def _process(self, inputs: Any) -> Any:
        return {"output": inputs["input"]}


@pytest.mark.parametrize("kind", [Answers, Incomparable, PortsOfItsOwn])
def test_odd_pes_run(mapping: Mapping, kind: Any) -> None:
    graph = WorkflowGraph()
    source, odd, end = Source([1, 2]), kind(), SimpleFunctionPE(str)
    graph.connect(source, "output", odd, "input")
    graph.connect(odd, "output", end, "input")
    results = mapping.run(graph)
    assert sorted(results[end]["output"]) == ["1", "2"]


def test_what_pes_cannot_be_is_refused() -> None:
    def refused(**attributes: Any) -> str:
        pe = SimpleFunctionPE(str)
        vars(pe).update(attributes)
        with pytest.raises(GraphError) as caught:
            flatten(alone(pe))
        return str(caught.value)

    def alone(pe: Any) -> WorkflowGraph:
        graph = WorkflowGraph()
        graph.add(pe)
        return graph

    async def work(data: Any) -> Any:
        return data

    assert "PE_str.numprocesses has to be a number" in refused(numprocesses="many")
    assert "such as {'input': {'name': 'input'}}, not ['input']" in refused(
        inputconnections=["input"]
    )
    assert "PE_str.outputconnections has to be" in refused(outputconnections={"output": "output"})
    assert "PE_str._process is an async function" in refused(_process=work)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"partitions": 5}, "partitions of WorkflowGraph have to be a list of lists of PEs, not 5"),
        ({"partitions": [5]}, "have to be a list of lists of PEs, not \\[5\\]"),
        ({"inputmappings": 5}, "has no input 'input'"),
        ({"inputmappings": [1]}, "has no input 'input'"),
        ({"inputmappings": None}, "has no input 'input'"),
        ({"inputmappings": {5: None}}, "has no input 'input'; known: 5"),
        ({"inputmappings": {"input": 5}}, "its input 'input' to a pair of a PE .* not to 5"),
        ({"inputmappings": {"input": ("a",)}}, "not to \\('a',\\)"),
        ({"inputmappings": {"input": ("a", "b")}}, "has no input 'b'"),
        ({"inputmappings": {"input": (Source([]), "input")}}, "Source has no inputs"),
        (
            {"inputmappings": {"input": (SimpleFunctionPE(abs), "input")}},
            "maps to PE_abs, which is",
        ),
    ],
)
def test_what_graphs_cannot_be_is_refused(attributes: dict[str, Any], message: str) -> None:
    inner = WorkflowGraph()
    inner.add(SimpleFunctionPE(str))
    vars(inner).update(attributes)
    with pytest.raises(GraphError, match=message):
        flatten(chain(Source([]), inner))


@pytest.mark.parametrize("port", [5, None, [], (1, 2)])
def test_a_port_that_is_no_name_is_refused(port: Any) -> None:
    with pytest.raises(GraphError, match="Source has no output"):
        WorkflowGraph().connect(Source([]), port, SimpleFunctionPE(abs), "input")


def test_a_pe_that_does_not_call_its_base_class_is_told_of() -> None:
    class Forgets(GenericPE):
        def __init__(self) -> None:
            self.inputconnections = {"input": {"name": "input"}}
            self.outputconnections = {}

    with pytest.raises(GraphError, match="Forgets does not call the __init__ of its base class"):
        WorkflowGraph().add(Forgets())


@pytest.mark.parametrize("raised", ["GeneratorExit", "asyncio.CancelledError", "Odd"])
def test_whatever_a_pe_raises_is_its_failure(mapping: Mapping, raised: str) -> None:
    class Odd(BaseException):
        pass

    errors = {
        "GeneratorExit": GeneratorExit,
        "asyncio.CancelledError": asyncio.CancelledError,
        "Odd": Odd,
    }

    class Raises(IterativePE):
        def _process(self, data: Any) -> Any:
            raise errors[raised]("odd")

    with pytest.raises(PEError, match=r"PE Raises .*failed on .*item.* of 'input': .*\n.*: odd"):
        mapping.run(chain(Source([1]), Raises()))


def test_exit_with_an_object_that_cannot_show_itself(mapping: Mapping) -> None:
    class Exits(IterativePE):
        def _process(self, data: Any) -> Any:
            raise SystemExit(Incomparable())

    with pytest.raises(PEError, match=r"it called exit\(<Incomparable>\)"):
        mapping.run(chain(Source([1]), Exits()))


# --- set-ups that write ---------------------------------------------------------------------------


class Begins(IterativePE):
    """Writes before its first item."""

    def __init__(self, grouping: Any = None) -> None:
        super().__init__()
        self._add_input("input", grouping=grouping)

    def _preprocess(self) -> None:
        self.announce()

    def announce(self) -> None:
        self.write("output", ["begin"])

    def _process(self, data: Any) -> Any:
        return data


@pytest.mark.processes(2, 6)
@pytest.mark.parametrize("grouping", [None, [0]])
def test_what_a_set_up_writes_does_not_depend_on_the_number(
    mapping: Mapping, grouping: Any
) -> None:
    items = mapping.items(chain(Source([["a"], ["b"]]), Begins(grouping)))
    assert sorted(items) == [["a"], ["b"], ["begin"]]


def test_what_writes_in_its_set_up_is_not_sharded() -> None:
    found = shard(flatten(chain(Source([]), Begins([0]))), 2)
    assert not found.sharded
