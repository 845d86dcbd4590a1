"""The workflow graph as users build it: a directed multigraph of PEs and nested graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from d4pcwl.errors import GraphError, brief, nearest
from d4pcwl.workflow.pe import check_port, declares, is_of, is_pe

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True, eq=False)
class Edge:
    """One connection: output ``output`` of ``source`` feeds input ``input`` of ``target``."""

    source: Any
    output: str
    target: Any
    input: str

    @property
    def key(self) -> tuple[int, str, int, str]:
        """Equal for two edges that join the same ports of the same nodes."""
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


class WorkflowGraph:
    """A workflow: PEs, or graphs nested as composites, joined port to port.

    Any number of edges may join the same two PEs, in both directions; only the very same edge
    twice is refused. A nested graph is connected by the names in its ``inputmappings`` and
    ``outputmappings`` (name → (inner node, port)).

    ``partitions``, a list of lists of PEs, may say which PEs are to share a process.
    """

    inputmappings: dict[str, tuple[Any, str]]
    outputmappings: dict[str, tuple[Any, str]]
    partitions: list[list[Any]]

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
                    f"{type(node).__name__} does not call the __init__ of its base class: "
                    "super().__init__()"
                )
            node.id = f"{node.name}{len(self.nodes)}"
        elif not is_graph(node):
            raise GraphError(f"{brief(node)} is neither a PE nor a graph")
        self._known.add(id(node))
        self.nodes.append(node)
        return WorkflowNode(node)

    def connect(
        self, from_node: Any, from_connection: str, to_node: Any, to_connection: str
    ) -> None:
        """Connect an output to an input, adding the nodes to the graph if need be.

        :raises GraphError: a port does not exist, or the same edge is there already
        """
        for node in (from_node, to_node):
            self.add(node)
        if is_pe(from_node):
            check_port(from_node, "output", from_connection)
        if is_pe(to_node):
            check_port(to_node, "input", to_connection)
        edge = Edge(from_node, from_connection, to_node, to_connection)
        if edge.key in self._joined:
            raise GraphError(f"{edge} is connected twice")
        self._joined.add(edge.key)
        self.edges.append(edge)

    def get_contained_objects(self) -> list[Any]:
        """The nodes, sorted by id."""
        return sorted(self.nodes, key=lambda node: str(getattr(node, "id", "")))

    getContainedObjects = get_contained_objects  # noqa: N815 - the older spelling

    def flatten(self) -> None:
        """Replace every nested graph by its PEs and its inner edges, in place.

        :raises GraphError: a nested graph has no such mapped input or output
        """
        from d4pcwl.workflow.flat import flatten

        flat = flatten(self)
        self.nodes = list(flat.pes)
        self.edges = list(flat.edges)
        self._index()

    def propagate_types(self) -> None:
        """Tell every PE the types that its sources produce, sources first."""
        from d4pcwl.workflow.flat import flatten

        flat = flatten(self)
        for pe in flat.in_order():
            types = {
                edge.input: edge.source.get_output_types()[edge.output] for edge in flat.into(pe)
            }
            pe.set_input_types(types)

    @property
    def objToNode(self) -> dict[Any, WorkflowNode]:  # noqa: N802 - upstream's name
        """From each node's object to its node in :attr:`graph`."""
        return {node.obj: node for node in self.graph.nodes()}

    @property
    def graph(self) -> networkx.MultiDiGraph[WorkflowNode]:
        """The graph for networkx: a ``MultiDiGraph`` of :class:`WorkflowNode`, made anew.

        Edges carry ``FROM_CONNECTION``, ``TO_CONNECTION`` and ``DIRECTION``.
        """
        import networkx

        view: networkx.MultiDiGraph[WorkflowNode] = networkx.MultiDiGraph()
        nodes = {id(node): WorkflowNode(node) for node in self.nodes}
        view.add_nodes_from(nodes.values())
        for edge in self.edges:
            view.add_edge(
                nodes[id(edge.source)],
                nodes[id(edge.target)],
                FROM_CONNECTION=edge.output,
                TO_CONNECTION=edge.input,
                DIRECTION=(edge.source, edge.target),
            )
        return view


def is_graph(candidate: object) -> bool:
    """Whether an object is a workflow graph: ours, or upstream's (a networkx graph inside).

    Any object may be asked: none of its own code is run.
    """
    return is_of(candidate, WorkflowGraph) or declares(candidate, "objToNode", "graph", "connect")


def is_workflow(candidate: object) -> bool:
    """Whether an object is a graph to run: not one with mapped ports, made to be nested."""
    return is_graph(candidate) and not (
        declares(candidate, "inputmappings") or declares(candidate, "outputmappings")
    )


def label(node: Any) -> str:
    """How messages call a node: a PE's id, a composite's name."""
    if is_pe(node):
        return str(getattr(node, "id", None) or node.name)
    return str(getattr(node, "name", None) or type(node).__name__)


def mapped_port(graph: Any, kind: str, name: str) -> tuple[Any, str]:
    """What a composite's input or output stands for: an inner node and its port.

    :raises GraphError: the composite maps no such name
    """
    mappings: Any = getattr(graph, f"{kind}mappings", None) or {}
    if not is_of(mappings, Mapping) or name not in mappings:
        known = nearest(str(name), map(str, mappings)) if is_of(mappings, Mapping) else ""
        raise GraphError(f"composite {label(graph)} maps no {kind} '{name}'{known}")
    mapped = mappings[name]
    if not is_of(mapped, (tuple, list)) or len(mapped) != 2:
        raise GraphError(
            f"composite {label(graph)} is to map its {kind} '{name}' to a pair of a PE and the "
            f"name of its {kind}, not to {brief(mapped)}"
        )
    return mapped[0], mapped[1]
