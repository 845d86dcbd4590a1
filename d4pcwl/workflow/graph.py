"""The workflow graph that users build: a directed multigraph of PEs and nested graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from d4pcwl.workflow.edges import Nodes, WorkflowNode, is_graph, label
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.pe import declares
from d4pcwl.workflow.unused import note_use, tell_if_unused

if TYPE_CHECKING:
    import networkx


class WorkflowGraph(Nodes):
    """A workflow: a graph of PEs and of nested graphs (composites), whose ports are connected.

    Two PEs may have any number of edges between them, in both directions. Only the same edge
    twice is an error. The ports of a nested graph are the names in its ``inputmappings`` and
    ``outputmappings`` (name → (inner node, port)).

    ``partitions``, a list of lists of PEs, may say which PEs share a process.
    """

    inputmappings: dict[str, tuple[Any, str]]
    outputmappings: dict[str, tuple[Any, str]]
    partitions: list[list[Any]]

    def flatten(self) -> None:
        """Replace every nested graph by its PEs and its inner edges, in place.

        :raises GraphError: an edge uses an input or output that a nested graph does not have
        """
        flat = flatten(self)
        self.nodes = list(flat.pes)
        self.edges = list(flat.edges)
        self._index()

    def propagate_types(self) -> None:
        """Tell every PE the types of the items that its sources write, sources first."""
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
        """The graph for networkx: a ``MultiDiGraph`` of :class:`WorkflowNode`, made new each time.

        Edges have ``FROM_CONNECTION``, ``TO_CONNECTION`` and ``DIRECTION``.
        """
        import networkx

        note_use()
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

    def _repr_svg_(self) -> str | None:
        """The picture for notebooks; None without Graphviz: then they show the edges."""
        from d4pcwl.workflow.draw import svg

        return svg(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The text that IPython shows if it cannot show pictures."""
        lines = [str(edge) for edge in self.edges] or [label(node) for node in self.nodes]
        printer.text("\n".join([f"{type(self).__name__} of {len(self.nodes)} nodes", *lines]))


def is_workflow(candidate: object) -> bool:
    """Whether an object is a graph to run, and not a composite: one with mapped ports."""
    return is_graph(candidate) and not (
        declares(candidate, "inputmappings") or declares(candidate, "outputmappings")
    )


tell_if_unused(is_workflow)
