"""``dispel4py.visualisation``: pictures of graphs in notebooks."""

from __future__ import annotations

from typing import Any

from d4pcwl.workflow.draw import drawDot

__all__ = ["display", "drawDot"]


def display(graph: Any) -> None:
    """Show the graph in the notebook.

    :raises ModuleNotFoundError: IPython is not installed
    :raises FileNotFoundError: Graphviz' command ``dot`` is not installed
    """
    from IPython.display import Image
    from IPython.display import display as show

    show(Image(data=drawDot(graph)))
