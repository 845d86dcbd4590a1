"""The path that an expression names, as far as it is known without running it."""

from __future__ import annotations

import ast
import os.path
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, TypeGuard

from d4pcwl.workflow.reading.model import SourceFile
from d4pcwl.workflow.reading.roots import FunctionNode, bound_names, declarations, parameters, words

SAME: Final = words("Path PurePath str fspath abspath realpath normpath expanduser")
SAME_METHODS: Final = words("resolve absolute as_posix expanduser")
_DIRECTIVE: Final = re.compile(r"%(?:\((?P<key>\w*)\))?(?P<spec>[-#0 +\d.*]*[hlL]?)(?P<kind>.)")

Attributes = Mapping[tuple[str, str], Mapping[str, str]]
"""From the file and the name of a class to the first values of its instances' attributes."""


@dataclass(frozen=True)
class UnknownPart:
    """A part of a path that is only known in the run.

    :param variable: the environment variable whose value it is, if there is one
    """

    variable: str = ""


Parts = tuple[str | UnknownPart, ...]
UNKNOWN: Final[Parts] = (UnknownPart(),)


def whole(parts: Parts) -> str | None:
    """The text of ``parts``, or None if it has holes."""
    known = [part for part in parts if isinstance(part, str)]
    return "".join(known) if len(known) == len(parts) else None


class Paths:
    """Evaluates path expressions of one file.

    ``Path(__file__).parent / "data" / "x.json"``, ``os.path.join(HERE, "x.json")``, f-strings,
    ``"x_%s" % name``, ``"{}.txt".format(name)``, and names that the file binds once. Paths from
    ``__file__`` are absolute; literals are unchanged. It may have an :class:`UnknownPart`.

    :param attributes: what is known of the attributes of instances
    """

    def __init__(self, source: SourceFile, attributes: Attributes | None = None) -> None:
        self.file = str(source.absolute)
        self.constants: Mapping[str, ast.expr] = _of_module(source.tree)
        self.attributes = attributes or {}
        self.given = self.attributes.get((self.file, ""), {})
        self.local: frozenset[str] = frozenset()
        self._own: _OwnAttributes | None = None
        self._body: Sequence[ast.AST] = ()
        self._busy: set[str] = set()

    @contextmanager
    def inside(self, node: ast.ClassDef | FunctionNode) -> Iterator[None]:
        """While a class or function is read, its own names override those of the file."""
        constants, own, local, body = self.constants, self._own, self.local, self._body
        if isinstance(node, ast.ClassDef):
            self._own = _OwnAttributes(node, self.attributes.get((self.file, node.name), {}))
        else:
            self.constants = _scope(node, constants)
            self.local |= _local_names(node)
            self._body = _body(node)
        try:
            yield
        finally:
            self.constants, self._own, self.local, self._body = constants, own, local, body

    def value(self, node: ast.expr) -> str | None:
        """The path or text of ``node``, or None if it is not known."""
        return whole(self.parts(node))

    def parts(self, node: ast.expr) -> Parts:
        """The path of ``node``, with holes for unknown parts."""
        match node:
            case ast.Constant(value=str() as text):
                return (text,)
            case ast.Name(id="__file__"):
                return (self.file,)
            case ast.Name(id=name) if name in self.constants:
                found = self._followed(name, self.constants[name])
                return (self.given[name],) if found == UNKNOWN and name in self.given else found
            case ast.Name(id=name) if name in self.given and name not in self.local:
                return (self.given[name],)
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if self._own is not None:
                return self._attribute(self._own, name)
            case ast.Attribute(value=base, attr="parent"):
                return self._parent(base)
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if (
                f"{owner}.{name}" in self.constants
            ):
                return self._followed(f"{owner}.{name}", self.constants[f"{owner}.{name}"])
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if (
                f"{owner}.{name}" in self.given and owner not in self.local
            ):
                return (self.given[f"{owner}.{name}"],)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return self._join([left, right])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._glue([self.parts(left), self.parts(right)])
            case ast.BinOp(left=left, op=ast.Mod(), right=right):
                return self._percent(left, right)
            case ast.JoinedStr(values=values):
                return self._glue([self._formatted(value) for value in values])
            case ast.Subscript(
                value=ast.Attribute(value=base, attr="parents"),
                slice=ast.Constant(value=int() as n),
            ) if n >= 0:
                return self._parent(base, n + 1)
            case ast.Subscript(value=base, slice=key) if is_environ(base):
                return self._variable(key)
            case ast.Subscript(
                value=ast.Call(func=func, args=[one]), slice=ast.Constant(value=0)
            ) if _last(func) == "splitext":
                return _without_suffix(self.parts(one))
            case ast.Call(func=func, args=args, keywords=keywords):
                return self._call(func, args, keywords)
        return UNKNOWN

    def alternatives(self, node: ast.expr) -> list[Parts]:
        """The possible values of ``node``: for a name that its function binds several times, all of
        them."""
        parts = self.parts(node)
        if parts != UNKNOWN or not isinstance(node, ast.Name) or node.id in self._busy:
            return [parts]
        self._busy.add(node.id)
        values = [value for name, value in _bindings(self._body) if name == node.id]
        found = [self.parts(value) for value in values]
        self._busy.discard(node.id)
        return list(dict.fromkeys(found)) or [parts]

    def anchored(self, node: ast.expr) -> bool:
        """Whether the path of ``node`` is made from ``__file__``."""
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        if "__file__" in names:
            return True
        own = self._own
        if own is not None:
            attributes = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
            names |= {f"self.{name}" for name in attributes & own.values.keys()}
        further = {name for name in names if self._bound(name) is not None} - self._busy
        self._busy |= further
        found = any(self.anchored(bound) for name in further if (bound := self._bound(name)))
        self._busy -= further
        return found

    def _bound(self, name: str) -> ast.expr | None:
        if name.startswith("self.") and self._own is not None:
            return self._own.values[name[5:]][0]
        return self.constants.get(name)

    def _followed(self, name: str, bound: ast.expr) -> Parts:
        if name in self._busy:
            return UNKNOWN
        self._busy.add(name)
        found = self.parts(bound)
        self._busy.discard(name)
        return found

    def _attribute(self, own: _OwnAttributes, name: str) -> Parts:
        if name in own.changed:
            return UNKNOWN
        found = UNKNOWN
        if name in own.values:
            bound, around = own.values[name]
            constants, self.constants = self.constants, _scope(around, self.constants)
            found = self._followed(f"self.{name}", bound)
            self.constants = constants
        if whole(found) is None and name in own.given:
            return (own.given[name],)
        return found

    def _variable(self, key: ast.expr) -> Parts:
        name = self.value(key)
        return (UnknownPart(name),) if name else UNKNOWN

    def _call(self, func: ast.expr, args: list[ast.expr], keywords: list[ast.keyword]) -> Parts:
        name = _last(func)
        base = func.value if isinstance(func, ast.Attribute) else None
        if base is not None and name == "format":
            return self._format(base, args, keywords)
        if is_environ(base) and name in ("get", "pop", "setdefault") and args:
            return self._variable(args[0])
        if name == "getenv" and args:
            return self._variable(args[0])
        match name, args:
            case (("getcwd" | "cwd"), []):
                return ("",)
            case "Path", []:
                return ("",)
            case "dirname", [one]:
                return self._parent(one)
            case (("join" | "Path" | "PurePath"), [_, _, *_]):
                is_join = name != "join" or base is None or ast.unparse(base).endswith("path")
                return self._join(args) if is_join else UNKNOWN
            case "joinpath", [_, *_] if base is not None:
                return self._join([base, *args])
            case "with_name", [one] if base is not None:
                return _joined([self._parent(base), self.parts(one)])
            case "with_suffix", [one] if base is not None:
                return self._glue([_without_suffix(self.parts(base)), self.parts(one)])
            case same, [one] if same in SAME:
                return self._formatted(one) if same == "str" else self.parts(one)
            case same, [] if same in SAME_METHODS and base is not None:
                return self.parts(base)
        return UNKNOWN

    # -- texts that are put together ------------------------------------------------------------

    def _formatted(self, node: ast.expr) -> Parts:
        """The form of a value in a text."""
        if isinstance(node, ast.FormattedValue):
            plain = node.conversion in (-1, ord("s")) and node.format_spec is None
            return self._formatted(node.value) if plain else UNKNOWN
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return (str(node.value),)
        return self.parts(node)

    def _percent(self, left: ast.expr, right: ast.expr) -> Parts:
        """``"result_%s.txt" % name``."""
        text = self.value(left)
        if text is None:
            return UNKNOWN
        given = right.elts if isinstance(right, ast.Tuple) else [right]
        values, at, parts = iter(given), 0, list[Parts]()
        for found in _DIRECTIVE.finditer(text):
            parts.append((text[at : found.start()],))
            at = found.end()
            if found["kind"] == "%":
                parts.append(("%",))
                continue
            value = next(values, None)
            plain = not found["spec"] and found["key"] is None and found["kind"] in "sd"
            parts.append(self._formatted(value) if plain and value is not None else UNKNOWN)
        return self._glue([*parts, (text[at:],)])

    def _format(self, base: ast.expr, args: list[ast.expr], keywords: list[ast.keyword]) -> Parts:
        """``"result_{}.txt".format(name)``."""
        text = self.value(base)
        if text is None:
            return UNKNOWN
        named = {keyword.arg: keyword.value for keyword in keywords}
        parts: list[Parts] = []
        try:
            fields = list(string.Formatter().parse(text))
        except ValueError:
            return UNKNOWN
        count = 0
        for before, key, spec, conversion in fields:
            parts.append((before,))
            if key is None:
                continue
            place, count = (key, count) if key else (str(count), count + 1)
            value = named.get(place)
            if place.isdigit() and int(place) < len(args):
                value = args[int(place)]
            plain = value is not None and not spec and not conversion
            parts.append(self._formatted(value) if plain and value is not None else UNKNOWN)
        return self._glue(parts)

    def _glue(self, pieces: Iterable[Parts]) -> Parts:
        parts: list[str | UnknownPart] = []
        for part in (part for piece in pieces for part in piece):
            last = parts[-1] if parts else None
            if isinstance(part, str) and isinstance(last, str):
                parts[-1] = last + part
            elif part != "" or not parts:
                parts.append(part)
        if len(parts) > 1 and parts[0] == "":
            del parts[0]
        return tuple(parts)

    def _join(self, nodes: list[ast.expr]) -> Parts:
        return _joined([self.parts(node) for node in nodes])

    def _parent(self, node: ast.expr, times: int = 1) -> Parts:
        parts = self.parts(node)
        for _ in range(times):
            last = parts[-1]
            if isinstance(last, UnknownPart) and len(parts) == 1:
                return UNKNOWN
            while isinstance(parts[-1], UnknownPart) or "/" not in parts[-1]:
                if len(parts) == 1:
                    return ("",) if isinstance(parts[0], str) else UNKNOWN
                parts = parts[:-1]
            text = str(parts[-1])
            parent = str(PurePosixPath(text).parent)
            if len(parts) > 1:
                parent = text.rpartition("/")[0]
            parts = (*parts[:-1], "" if parent == "." else parent)
            if parts[-1] == "" and len(parts) > 1:
                parts = parts[:-1]
        return parts


def _joined(pieces: list[Parts]) -> Parts:
    """Paths that are joined as by ``os.path.join``."""
    parts: list[str | UnknownPart] = []
    for piece in pieces:
        first = piece[0]
        if isinstance(first, str) and first.startswith("/"):
            parts = []
        last = parts[-1] if parts else ""
        if parts and (isinstance(last, UnknownPart) or (last and not last.endswith("/"))):
            parts.append("/")
        parts += piece
    glued: list[str | UnknownPart] = []
    for part in parts:
        if glued and isinstance(part, str) and isinstance(glued[-1], str):
            glued[-1] += part
        else:
            glued.append(part)
    if len(glued) > 1 and glued[0] == "":
        del glued[0]
    return tuple(glued)


def _without_suffix(parts: Parts) -> Parts:
    last = parts[-1]
    if isinstance(last, UnknownPart):
        return parts
    return (*parts[:-1], os.path.splitext(last)[0]) if "." in last else parts


def is_environ(node: ast.expr | None) -> bool:
    """Whether ``node`` is ``os.environ``, as it is mostly written."""
    return node is not None and _last(node) == "environ"


def _last(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


class _OwnAttributes:
    """The attributes of ``self`` that the methods of a class set.

    :param given: what is known of its instances
    """

    def __init__(self, node: ast.ClassDef, given: Mapping[str, str]) -> None:
        self.given = given
        self.values: dict[str, tuple[ast.expr, FunctionNode | None]] = {}
        self.changed: set[str] = set()
        for name, value in _constants(
            [s for s in node.body if isinstance(s, ast.Assign | ast.AnnAssign)]
        ).items():
            self.values[name] = (value, None)
        for method in node.body:
            if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                self._read(method)

    def _read(self, method: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        bound: dict[str, ast.expr] = {}
        for node in ast.walk(method):
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            if isinstance(node, ast.Assign) and _is_own(target) and len(node.targets) == 1:
                bound[getattr(target, "attr", "")] = node.value
        for node in ast.walk(method):
            if not _is_own(node) or isinstance(node.ctx, ast.Load):
                continue
            early = method.name == "__init__" and node.attr in bound
            if not early or (node.attr in self.values and self.values[node.attr][1] is not None):
                self.changed.add(node.attr)
            else:
                self.values[node.attr] = (bound[node.attr], method)


def _is_own(node: object) -> TypeGuard[ast.Attribute]:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )


def _scope(node: FunctionNode | None, around: Mapping[str, ast.expr]) -> Mapping[str, ast.expr]:
    """The constants that can be seen in a function."""
    if node is None:
        return around
    own = _local_names(node)
    kept = {name: value for name, value in around.items() if name not in own}
    return kept | {n: v for n, v in _constants(_body(node)).items() if n in own}


def _body(node: FunctionNode) -> list[ast.AST]:
    return [node.body] if isinstance(node, ast.Lambda) else list(node.body)


def _local_names(node: FunctionNode) -> frozenset[str]:
    args, body = node.args, _body(node)
    own = {a.arg for a in (args.vararg, args.kwarg) if a}
    return frozenset({*parameters(node), *own} | bound_names(body)) - declarations(body).keys()


def _of_module(tree: ast.Module) -> dict[str, ast.expr]:
    """The constants of a file: its own, those of its classes, and names bound in one place only."""
    found = _constants([tree])
    scopes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    elsewhere = {n for f in ast.walk(tree) if isinstance(f, ast.Global) for n in f.names}
    top = _constants([statement for statement in tree.body if not isinstance(statement, scopes)])
    found |= {name: value for name, value in top.items() if name not in elsewhere}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            own = _constants([s for s in node.body if not isinstance(s, scopes)])
            found |= {f"{node.name}.{name}": value for name, value in own.items()}
    return found


def _bindings(body: Sequence[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """The plain assignments to names in ``body``."""
    for node in (node for statement in body for node in ast.walk(statement)):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name):
                yield target.id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def _constants(body: Sequence[ast.AST]) -> dict[str, ast.expr]:
    """The names that ``body`` binds exactly once, by a plain assignment, with their values."""
    count: dict[str, int] = {}
    values = dict(_bindings(body))
    for node in (node for statement in body for node in ast.walk(statement)):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            count[node.id] = count.get(node.id, 0) + 1
        elif isinstance(node, ast.arg):
            count[node.arg] = count.get(node.arg, 0) + 1
    return {name: value for name, value in values.items() if count.get(name) == 1}
