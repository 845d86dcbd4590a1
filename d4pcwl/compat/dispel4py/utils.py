"""``dispel4py.utils``: loading a graph, and two measures of objects."""

from __future__ import annotations

import sys
from typing import Any

from d4pcwl.workflow.grouping import freeze, stable_hash
from d4pcwl.workflow.load import load


def load_graph(graph_source: str, attr: str | None = None) -> Any:
    """The graph of a module or file.

    :raises d4pcwl.errors.ScriptError: it cannot be loaded, or has no single graph
    """
    return load(graph_source, attr).graph


def loadGraphFromFile(  # noqa: N802 - upstream's name
    module_name: str, path: str, attr: str | None = None
) -> Any:
    """The graph of a file; its module is called as the file is."""
    return load(path, attr).graph


loadGraph = load_graph  # noqa: N816 - upstream's name


def make_hash(o: Any) -> int:
    """A hash of nested containers; here it is the same in every process."""
    return stable_hash(freeze(o))


def total_size(o: Any) -> int:
    """About how many bytes an object takes, with all that its containers hold."""
    seen: set[int] = set()

    def size(part: Any) -> int:
        if id(part) in seen:
            return 0
        seen.add(id(part))
        inner: Any = ()
        if isinstance(part, dict):
            inner = (entry for pair in part.items() for entry in pair)
        elif isinstance(part, (list, tuple, set, frozenset)):
            inner = part
        return sys.getsizeof(part) + sum(map(size, inner))

    return size(o)
