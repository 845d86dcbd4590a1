"""The parts of a graph: nodes (PEs and nested graphs), and edges between their ports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeAlias

from d4pcwl.errors import GraphError, brief, nearest
from d4pcwl.workflow.pe import GenericPE, check_port, declares, is_of, is_pe
from d4pcwl.workflow.place import Place, calling_line, place_of_init


@dataclass(frozen=True, eq=False)
class Edge:
    """One connection: output ``output`` of ``source`` feeds input ``input`` of ``target``.

    :param place: the line of the script that connects them
    """

    source: Any
    output: str
    target: Any
    input: str
    place: Place | None = None

    @property
    def key(self) -> tuple[int, str, int, str]:
        """Equal for two edges that connect the same ports of the same nodes."""
        return (id(self.source), self.output, id(self.target), self.input)

    def __str__(self) -> str:
        return f"{label(self.source)}.{self.output} → {label(self.target)}.{self.input}"


class WorkflowNode:
    """What networkx views of a graph hold: a PE or a nested graph."""

    WORKFLOW_NODE_PE = 0
    WORKFLOW_NODE_FN = 1
    WORKFLOW_NODE_CP = 2

    def __init__(self, obj: Any) -> None:
        self.obj = obj
        self.nodeType = self.WORKFLOW_NODE_PE if is_pe(obj) else self.WORKFLOW_NODE_CP

    def get_contained_object(self) -> Any:
        """The PE or nested graph."""
        return self.obj

    getContainedObject = get_contained_object  # noqa: N815 - the older spelling, still in scripts


Node: TypeAlias = "GenericPE | Nodes"
"""A node of a graph."""


class Nodes:
    """The PEs and nested graphs of a graph, and the edges between them."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.edges: list[Edge] = []
        self._index()

    def _index(self) -> None:
        # By identity: users' PEs may define equality, and a graph of thousands must stay fast.
        self._known = {id(node) for node in self.nodes}
        self._joined = {edge.key for edge in self.edges}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._index()

    def add(self, node: Any) -> WorkflowNode:
        """Add a PE or a nested graph, unless it is in the graph already.

        A PE's id is its name and its place in the graph.

        :raises GraphError: it is neither a PE nor a graph
        """
        if id(node) in self._known:
            return WorkflowNode(node)
        if is_of(node, type):
            raise GraphError(f"{node.__name__} is a class; connect an instance: {node.__name__}()")
        if is_pe(node):
            lacking = {"name", "inputconnections", "outputconnections"} - vars(node).keys()
            if lacking and not declares(node, *lacking):
                raise GraphError(
                    f"{type(node).__name__} does not call the __init__ of its base class: make "
                    f"super().__init__() the first line of its __init__{place_of_init(type(node))}"
                )
            node.id = f"{node.name}{len(self.nodes)}"
        elif not is_graph(node):
            hint = ""
            if is_of(node, FunctionType):
                hint = f"; make a PE of it: SimpleFunctionPE({node.__name__})"
            raise GraphError(f"{brief(node)} is neither a PE nor a graph{hint}")
        self._known.add(id(node))
        self.nodes.append(node)
        return WorkflowNode(node)

    def connect(
        self, from_node: Node, from_connection: str, to_node: Node, to_connection: str
    ) -> None:
        """Connect an output to an input, and add the nodes to the graph if they are not in it yet.

        :raises GraphError: a port does not exist, or the edge exists already
        """
        for node in (from_node, to_node):
            self.add(node)
        if is_pe(from_node):
            check_port(from_node, "output", from_connection)
        if is_pe(to_node):
            check_port(to_node, "input", to_connection)
        edge = Edge(from_node, from_connection, to_node, to_connection, calling_line())
        if edge.key in self._joined:
            raise GraphError(f"{edge} is connected twice")
        self._joined.add(edge.key)
        self.edges.append(edge)

    def get_contained_objects(self) -> list[Any]:
        """The nodes, sorted by id."""
        return sorted(self.nodes, key=lambda node: str(getattr(node, "id", "")))

    getContainedObjects = get_contained_objects  # noqa: N815 - the older spelling


def is_graph(candidate: object) -> bool:
    """Whether an object is a workflow graph: ours, or upstream's (a networkx graph inside).

    This works for any object: none of its own code runs.
    """
    return is_of(candidate, Nodes) or declares(candidate, "objToNode", "graph", "connect")


def label(node: Any) -> str:
    """The name of a node in messages, before its graph is complete."""
    return str(getattr(node, "name", None) or type(node).__name__)


def mapped_port(graph: Any, kind: str, name: str) -> tuple[Any, str]:
    """The inner node and its port to which a composite maps an input or output.

    :raises GraphError: the composite has no such input or output
    """
    mappings: Any = getattr(graph, f"{kind}mappings", None) or {}
    if not is_of(mappings, Mapping) or name not in mappings:
        known = nearest(str(name), map(str, mappings)) if is_of(mappings, Mapping) else ""
        raise GraphError(f"composite {label(graph)} has no {kind} '{name}'{known}")
    mapped = mappings[name]
    if not is_of(mapped, (tuple, list)) or len(mapped) != 2:
        raise GraphError(
            f"composite {label(graph)} must map its {kind} '{name}' to a pair of a PE and the "
            f"name of its {kind}, not to {brief(mapped)}"
        )
    return mapped[0], mapped[1]
