"""``dispel4py.workflow_graph``: the graph, and pictures of it."""

from d4pcwl.workflow.draw import draw, drawDot, write_image
from d4pcwl.workflow.graph import WorkflowGraph, WorkflowNode

__all__ = ["WorkflowGraph", "WorkflowNode", "draw", "drawDot", "write_image"]
