"""Finding the graph among the variables of a script."""

from __future__ import annotations

import ast
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, cast

from d4pcwl.errors import ScriptError, nearest
from d4pcwl.workflow.edges import is_graph
from d4pcwl.workflow.flat import nodes_of
from d4pcwl.workflow.graph import is_workflow
from d4pcwl.workflow.parameters import builders, returns_graph
from d4pcwl.workflow.pe import is_of


def named_graphs(module: ModuleType) -> dict[str, Any]:
    """The graphs, also composites, in the variables of a module."""
    return {
        name: value
        for name, value in list(vars(module).items())
        if isinstance(name, str) and is_graph(value)
    }


def find_graph(module: ModuleType, path: Path, attr: str | None) -> tuple[str, Any]:
    """The workflow graph of a module, and its name: the one called ``attr``, or the only one. If
    there is none, the function that makes it, which is a workflow with parameters.

    :param path: the module's file, for messages
    :raises ScriptError: there is no such graph, or there are several
    :raises Exception: what the module raises when ``attr`` is looked up
    """
    graphs = named_graphs(module)
    if attr is not None:
        return attr, _named(module, path, attr, graphs)
    nested = {id(node) for graph in graphs.values() for node in nodes_of(graph)}
    found: dict[int, tuple[str, Any]] = {}
    for name, value in graphs.items():
        if is_workflow(value) and id(value) not in nested:
            found.setdefault(id(value), (name, value))
    made = {} if found else builders(module)
    if len(found) + len(made) > 1:
        names = ", ".join([*(name for name, _ in found.values()), *made])
        what = "graphs" if found else "workflows"
        raise ScriptError(f"{path} holds several {what}: {names}; choose one with -a NAME")
    if not found and not made:
        hint = (
            "; its graphs are composites (they have inputmappings or outputmappings)"
            if graphs
            else _where_it_is_made(path) or "; put the WorkflowGraph into a variable of the module"
        )
        raise ScriptError(f"{path} holds no workflow graph{hint}")
    return next(iter([*found.values(), *made.items()]))


def _named(module: ModuleType, path: Path, attr: str, graphs: dict[str, Any]) -> Any:
    missing = object()
    graph = getattr(module, attr, missing)
    if graph is missing:
        raise ScriptError(f"{path} has no graph '{attr}'{nearest(attr, graphs)}")
    if is_of(graph, FunctionType):
        function = cast(FunctionType, graph)
        if returns_graph(function):
            return function
        line = function.__code__.co_firstlineno
        raise ScriptError(f"{path}: {attr} is a function, not a graph; {_to_annotate(attr, line)}")
    if not is_graph(graph):
        raise ScriptError(
            f"{path}: {attr} is a {type(graph).__name__}, not a graph{nearest(attr, graphs)}"
        )
    return graph


def _where_it_is_made(path: Path) -> str:
    """For a script without a graph: where its source makes one, and what to do."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return ""
    for node in body:
        if not any(map(_makes_graph, ast.walk(node))):
            continue
        if isinstance(node, ast.If) and "__name__" in map(_name, ast.walk(node.test)):
            return (
                f"; it makes one under if __name__ == '__main__' on line {node.lineno}, which "
                "runs only when the script itself is the program: make the graph before that "
                "line, or in a function that is annotated -> WorkflowGraph"
            )
        if isinstance(node, ast.FunctionDef):
            return (
                f"; its function {node.name}() makes one: {_to_annotate(node.name, node.lineno)}; "
                f"or keep it in a variable of the module, graph = {node.name}()"
            )
    return ""


def _to_annotate(name: str, line: int) -> str:
    return (
        f"write def {name}(…) -> WorkflowGraph: on line {line}, so that it is a workflow whose "
        "arguments are parameters"
    )


def _makes_graph(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _name(node.func) == "WorkflowGraph"


def _name(node: ast.AST) -> str:
    return getattr(node, "id", None) or getattr(node, "attr", None) or ""
