"""``dispel4py.utils``: loading a graph, and two measures of objects."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from d4pcwl.errors import ScriptError
from d4pcwl.workflow.graph import WorkflowGraph, is_workflow
from d4pcwl.workflow.grouping import freeze, stable_hash
from d4pcwl.workflow.load import load

__all__ = [
    "WorkflowGraph",
    "findWorkflowGraph",
    "loadGraph",
    "loadGraphFromFile",
    "load_graph",
    "make_hash",
    "total_size",
]


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


def findWorkflowGraph(mod: ModuleType, attr: str | None = None) -> Any:  # noqa: N802
    """The graph called ``attr`` in a module, or its only graph that is not a composite.

    :raises d4pcwl.errors.ScriptError: there is no such graph, or there are several
    """
    if attr is not None:
        if not hasattr(mod, attr):
            raise ScriptError(f"{mod.__name__} has no attribute '{attr}'")
        return getattr(mod, attr)
    graphs = {id(value): (name, value) for name, value in vars(mod).items() if is_workflow(value)}
    if len(graphs) != 1:
        names = ", ".join(name for name, _ in graphs.values())
        what = f"several workflow graphs: {names}" if graphs else "no workflow graph"
        raise ScriptError(f"{mod.__name__} holds {what}")
    return next(iter(graphs.values()))[1]


def make_hash(o: Any) -> int:
    """A hash of nested containers; here it is the same in every process."""
    return stable_hash(freeze(o))


def total_size(
    o: Any,
    handlers: Mapping[type, Callable[[Any], Iterable[Any]]] | None = None,
    verbose: bool = False,
) -> int:
    """About how many bytes an object takes, with all that its containers hold.

    :param handlers: from further container types to functions that iterate over what they hold
    :param verbose: say on standard error what is counted
    """
    seen: set[int] = set()
    inner_of: dict[type, Callable[[Any], Iterable[Any]]] = dict(handlers or {})

    def inner(part: Any) -> Iterable[Any]:
        for kind, iterate in inner_of.items():
            if isinstance(part, kind):
                return iterate(part)
        if isinstance(part, dict):
            return (entry for pair in part.items() for entry in pair)
        return part if isinstance(part, (list, tuple, set, frozenset, deque)) else ()

    def size(part: Any) -> int:
        if id(part) in seen:
            return 0
        seen.add(id(part))
        own = sys.getsizeof(part, sys.getsizeof(0))
        if verbose:
            sys.stderr.write(f"{own} {type(part).__name__} {part!r}\n")
        return own + sum(map(size, inner(part)))

    return size(o)
