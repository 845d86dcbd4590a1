"""The cells of a notebook that make a graph, as a script: CWL runs scripts."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType, NoneType
from typing import Any

from d4pcwl.errors import D4pcwlError, UsageError
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.load import load

_MARK = "# Made by d4pcwl of the cells of a notebook; it is written anew each time.\n"
_OF_OTHERS = ("d4pcwl", "dispel4py", "IPython", "builtins")
"""Packages whose functions use a graph, and add nothing to it."""


def running_shell() -> Any:
    """The IPython shell in which we run, or None."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def script_of_cells(graph: Any) -> tuple[Path, str] | None:
    """Write the script, and return it and the name of the graph in it.

    :param graph: an object of the notebook
    :returns: None if there is no notebook, or if no variable of its cells is the graph
    :raises UsageError: a file of that name exists already, or the cells, in the order in which they
        were run, do not make the graph
    """
    shell = running_shell()
    names = shell.user_ns if shell is not None else {}
    found = (n for n, value in names.items() if value is graph and not n.startswith("_"))
    attr = next(found, None)
    if attr is None:
        return None
    path = Path(f"{attr}_cells.py")
    if path.exists() and not path.read_text(encoding="utf-8").startswith(_MARK):
        raise UsageError(
            f"{path} exists and was not made by d4pcwl, so the notebook's cells are "
            "not written there; rename it, or the variable of the graph"
        )
    flat = flatten(graph)
    nodes = {id(n) for pe in flat.pes for n in (pe, *flat.composites.get(id(pe), ()))}
    parts = {n for n, value in names.items() if id(value) in nodes and not n.startswith("_")}
    path.write_text(_MARK + "\n" + _source(shell, {attr, *parts}), encoding="utf-8")
    try:
        same = flatten(load(path, attr).graph).digest() == flat.digest()
    except D4pcwlError as error:
        raise UsageError(
            f"the cells that made {attr} do not work as a script ({path})\n{error}"
        ) from error
    if not same:
        raise UsageError(
            f"the cells that were run do not make {attr} as it is now; run the notebook from its "
            f"beginning (the script that was made is {path})"
        )
    return path, attr


def _source(shell: Any, wanted: set[str]) -> str:
    """The statements that make the graph.

    :param wanted: the names of the graph and of its nodes
    """
    failed = getattr(shell.history_manager, "exceptions", {})
    statements: list[tuple[ast.stmt, str]] = []
    for number, cell in enumerate(shell.user_ns["In"]):
        code = shell.transform_cell(cell)
        try:
            found = ast.parse(code).body
        except SyntaxError:  # as it was when the cell was run: it has done nothing
            continue
        for statement in found:
            if not (number in failed and isinstance(statement, ast.Expr)):
                statements.append((statement, _text(code, statement)))
    while True:
        chosen, later = _chosen([statement for statement, _ in statements], wanted, shell.user_ns)
        if later <= wanted:
            break
        wanted = wanted | later
    lines: list[str] = []
    before = False
    for place in chosen:
        statement, text = statements[place]
        definition = isinstance(statement, _DEFINITIONS)
        lines += [*([""] * 2 * (definition or before)), text]
        before = definition
    return "\n".join([*lines, ""])


def _text(code: str, statement: ast.stmt) -> str:
    first = min([statement, *getattr(statement, "decorator_list", [])], key=lambda n: n.lineno)
    return "\n".join(code.splitlines()[first.lineno - 1 : statement.end_lineno])


def _chosen(
    statements: Sequence[ast.stmt], wanted: set[str], names: dict[str, Any]
) -> tuple[list[int], set[str]]:
    """The statements that make the wanted names, or names that these need; found from the last one
    back.

    :returns: their places, and the names that functions among them use when they are called
    """
    needed, later = set(wanted), set()
    chosen: list[int] = []
    for place in range(len(statements) - 1, -1, -1):
        statement = statements[place]
        bound = set(_bound(statement))
        if not (bound | _changed(statement, names)) & needed:
            continue
        chosen.insert(0, place)
        if isinstance(statement, (*_DEFINITIONS, ast.Assign, ast.AnnAssign, ast.Import)):
            needed -= bound
        used, used_at_calls = _loaded(statement)
        needed |= used
        later |= used_at_calls & names.keys()
    return chosen, later


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _bound(node: ast.AST) -> Iterator[str]:
    """The global names that a statement gives a value."""
    if isinstance(node, _DEFINITIONS):
        yield node.name
        return
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (a.asname or a.name.partition(".")[0] for a in node.names)
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            module = sys.modules.get(node.module or "")
            yield from getattr(module, "__all__", dir(module))
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    if not isinstance(node, ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _bound(child)


def _changed(statement: ast.stmt, names: dict[str, Any]) -> set[str]:
    """The names of objects that a statement may change: by a method, or by an attribute."""
    if isinstance(statement, _DEFINITIONS):
        return set()
    changed = set()
    for node in ast.walk(statement):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            changed.add(_root(node))
        elif isinstance(node, ast.Call):
            called = names.get(_root(node.func))
            if isinstance(called, (ModuleType, type, FunctionType, BuiltinFunctionType, NoneType)):
                home = getattr(called, "__module__", None) or getattr(called, "__name__", "")
                if called is not None and str(home).partition(".")[0] not in _OF_OTHERS:
                    changed |= {_root(argument) for argument in node.args}
            else:
                changed.add(_root(node.func))
    for node in ast.walk(statement):  # by another name
        if isinstance(node, ast.For) and set(_bound(node.target)) & changed:
            changed |= _names(node.iter)
    return changed


def _root(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _loaded(statement: ast.AST) -> tuple[set[str], set[str]]:
    """The names that a statement uses, and the names that functions in it use when they are
    called."""
    functions = (node for node in ast.walk(statement) if isinstance(node, _FUNCTIONS))
    return _names(statement), {name for function in functions for name in _names(function)}


def _names(node: ast.AST) -> set[str]:
    found = (part for part in ast.walk(node) if isinstance(part, ast.Name))
    return {name.id for name in found if isinstance(name.ctx, ast.Load)}
