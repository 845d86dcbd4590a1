"""``dispel4py.visualisation``: pictures of graphs in notebooks."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from d4pcwl.workflow.draw import drawDot

__all__ = ["display", "drawDot"]


def display(graph: Any) -> None:
    """Show the graph in the notebook.

    :raises ModuleNotFoundError: IPython is not installed
    :raises FileNotFoundError: Graphviz' command ``dot`` is not installed
    """
    # Not an import statement, as IPython is no dependency of ours.
    notebook = import_module("IPython.display")
    notebook.display(notebook.Image(data=drawDot(graph)))
