"""``dispel4py.workflow_graph``: the graph, and pictures of it."""

from d4pcwl.workflow.draw import draw, drawDot, write_image
from d4pcwl.workflow.edges import WorkflowNode
from d4pcwl.workflow.graph import WorkflowGraph
from d4pcwl.workflow.pe import GenericPE

FROM_CONNECTION = "from_connection"
TO_CONNECTION = "to_connection"
DIRECTION = "direction"

__all__ = [
    "DIRECTION",
    "FROM_CONNECTION",
    "TO_CONNECTION",
    "GenericPE",
    "WorkflowGraph",
    "WorkflowNode",
    "draw",
    "drawDot",
    "write_image",
]
