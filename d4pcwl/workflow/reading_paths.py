"""What path an expression names, worked out without running it."""

from __future__ import annotations

import ast
import os.path
from pathlib import PurePosixPath
from typing import Final

from d4pcwl.workflow.reading_model import Source
from d4pcwl.workflow.reading_roots import words

SAME: Final = words("Path PurePath str fspath abspath realpath normpath expanduser")
SAME_METHODS: Final = words("resolve absolute as_posix expanduser")


class Paths:
    """Works out path expressions of one file.

    ``Path(__file__).parent / "data" / "x.json"``, ``os.path.join(HERE, "x.json")``, f-strings of
    constants, and names that the file binds once. Paths made from ``__file__`` are absolute;
    literals are what the script says.
    """

    def __init__(self, source: Source) -> None:
        self.file = str(source.absolute)
        self.constants = _constants(source.tree)
        self._busy: set[str] = set()

    def value(self, node: ast.expr) -> str | None:
        """The path or text that ``node`` stands for, or None where that is not known."""
        match node:
            case ast.Constant(value=str() as text):
                return text
            case ast.Name(id="__file__"):
                return self.file
            case ast.Name(id=name) if name in self.constants and name not in self._busy:
                self._busy.add(name)
                found = self.value(self.constants[name])
                self._busy.discard(name)
                return found
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return self._join([left, right])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._glue([left, right])
            case ast.JoinedStr(values=values):
                return self._glue(values)
            case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
                return self.value(value)
            case ast.Attribute(value=base, attr="parent"):
                return self._parent(base)
            case ast.Subscript(
                value=ast.Attribute(value=base, attr="parents"),
                slice=ast.Constant(value=int() as n),
            ) if n >= 0:
                return self._parent(base, n + 1)
            case ast.Call(func=func, args=args, keywords=[]):
                return self._call(func, args)
        return None

    def anchored(self, node: ast.expr) -> bool:
        """Whether the path of ``node`` is made from ``__file__``."""
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        if "__file__" in names:
            return True
        further = (names & self.constants.keys()) - self._busy
        self._busy |= further
        found = any(self.anchored(self.constants[name]) for name in further)
        self._busy -= further
        return found

    def _call(self, func: ast.expr, args: list[ast.expr]) -> str | None:
        name = func.id if isinstance(func, ast.Name) else getattr(func, "attr", "")
        base = func.value if isinstance(func, ast.Attribute) else None
        match name, args:
            case (("getcwd" | "cwd"), []):
                return ""
            case "Path", []:
                return ""
            case "dirname", [one]:
                return self._parent(one)
            case (("join" | "Path" | "PurePath"), [_, _, *_]):
                is_join = name != "join" or base is None or ast.unparse(base).endswith("path")
                return self._join(args) if is_join else None
            case "joinpath", [_, *_] if base is not None:
                return self._join([base, *args])
            case "with_name", [one] if base is not None:
                parent, last = self._parent(base), self.value(one)
                return os.path.join(parent, last) if parent is not None and last else None
            case "with_suffix", [one] if base is not None:
                whole, suffix = self.value(base), self.value(one)
                return os.path.splitext(whole)[0] + suffix if whole and suffix else None
            case same, [one] if same in SAME:
                return self.value(one)
            case same, [] if same in SAME_METHODS and base is not None:
                return self.value(base)
        return None

    def _join(self, nodes: list[ast.expr]) -> str | None:
        values = [self.value(node) for node in nodes]
        known = [value for value in values if value is not None]
        return os.path.join(*known) if len(known) == len(values) else None

    def _glue(self, nodes: list[ast.expr]) -> str | None:
        values = [self.value(node) for node in nodes]
        known = [value for value in values if value is not None]
        return "".join(known) if len(known) == len(values) else None

    def _parent(self, node: ast.expr, times: int = 1) -> str | None:
        value = self.value(node)
        if value is None:
            return None
        for _ in range(times):
            parent = str(PurePosixPath(value).parent)
            value = "" if parent == "." else parent
        return value


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """The names that the file binds exactly once, by a plain assignment, with their values."""
    count: dict[str, int] = {}
    values: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            count[node.id] = count.get(node.id, 0) + 1
        elif isinstance(node, ast.arg):
            count[node.arg] = count.get(node.arg, 0) + 1
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name):
                values[target.id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            values[node.target.id] = node.value
    return {name: value for name, value in values.items() if count.get(name) == 1}
