"""The places where a script reads the arguments of its command line. Under dispel4py, these are the
arguments of dispel4py."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from d4pcwl.workflow.reading.model import Note, SourceFile
from d4pcwl.workflow.reading.roots import last_name

_ADVICE = (
    "in a compiled step these are the arguments of the step; pass the value as a parameter of a "
    "function that makes the graph, as an input of a root, or as an environment variable"
)


def notes_on_arguments(source: SourceFile) -> Iterator[Note]:
    """A note for each line that reads ``sys.argv``, directly or with a parser of arguments."""
    names = {
        alias.asname or alias.name
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and node.module == "sys"
        for alias in node.names
        if alias.name == "argv"
    }
    for node in _without_main(source.tree):
        match node:
            case ast.Attribute(value=ast.Name(id="sys"), attr="argv"):
                yield Note(f"reads sys.argv; {_ADVICE}", source.path, node.lineno)
            case ast.Name(id=name, ctx=ast.Load()) if name in names:
                yield Note(f"reads sys.argv; {_ADVICE}", source.path, node.lineno)
            case ast.Call(func=func, args=[], keywords=[]) if last_name(func) in (
                "parse_args",
                "parse_known_args",
            ):
                yield Note(f"reads the command line; {_ADVICE}", source.path, node.lineno)


def _without_main(tree: ast.Module) -> Iterator[ast.AST]:
    """All nodes, except those under ``if __name__ == "__main__"``, which does not run here."""
    for statement in tree.body:
        if isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test):
            continue
        yield from ast.walk(statement)
