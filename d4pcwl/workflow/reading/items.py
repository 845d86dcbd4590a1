"""Which inputs of a PE take the paths of files: those whose items it opens.

``open(inputs["input"])``, ``obspy.read(data)``, ``Path(item).read_text()``, through names,
attributes and functions of the user's. The code is read, not run.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import FunctionType, ModuleType
from typing import Any, Final

from d4pcwl.workflow.reading.files import FOLDER_READERS, LOADERS
from d4pcwl.workflow.reading.paths import SAME, SAME_METHODS
from d4pcwl.workflow.reading.roots import last_name, parameters, plain_function, words
from d4pcwl.workflow.reading.source import is_library, source_node

_OPENERS: Final = LOADERS | words(
    "parse getdata read_file read_feather read_sas read_stata read_spss read_orc read_xml read_json"
    " read_pickle open_rasterio open_zarr open_mfdataset"
)
_NOT_PATHS: Final = words(
    "json simplejson orjson ujson yaml pickle cPickle marshal tomllib toml urllib dateutil datetime"
    " ast argparse csv email html ruamel dill cloudpickle"
)
"""Modules whose ``load``, ``read`` and ``parse`` do not take a path."""
_METHODS: Final = words("open read_text read_bytes glob rglob iterdir")
_STRIPPERS: Final = words("strip rstrip lstrip")
_DEPTH: Final = 6


@dataclass(frozen=True)
class Opened:
    """An input whose items are opened.

    :param use: ``File`` or ``Directory``; empty if the item is only a part of the path, or may be
        something else, because the PE checks its type
    """

    port: str
    use: str
    file: str
    line: int


@dataclass(frozen=True)
class _Item:
    """The part of the items in an expression: one item, a part of one, or the dictionary of all."""

    port: str
    part: bool = False


_ALL: Final = _Item("")


def opened_inputs(pe: Any, *, bare: bool) -> list[Opened]:
    """The inputs of ``pe`` whose items it opens as files, each once, with the line.

    :param bare: whether its ``_process`` gets an item, and not a dictionary of items
    """
    ports = tuple(pe.inputconnections)
    found: dict[str, Opened] = {}
    asked: set[str] = set()
    for function, roots in _entries(pe, ports, bare):
        reader = _Reader(ports, type(pe))
        for opened in reader.read(function, roots, 0):
            known = found.setdefault(opened.port, opened)
            if opened.use and not known.use:
                found[opened.port] = opened
        asked |= reader.asked
    return [
        replace(found[port], use="") if port in asked else found[port]
        for port in ports
        if port in found
    ]


def _entries(
    pe: Any, ports: tuple[str, ...], bare: bool
) -> Iterator[tuple[FunctionType, dict[str, _Item]]]:
    """The functions that the framework calls with items, and which parameter has them."""
    for name in ("process", "_process"):
        function = plain_function(inspect.getattr_static(type(pe), name, None))
        if function is None or is_library(function):
            continue
        names = function.__code__.co_varnames[1 : function.__code__.co_argcount]
        if names:
            item = _Item(ports[0]) if bare and name == "_process" else _ALL
            yield function, {names[0]: item}
    held = plain_function(getattr(pe, "compute_fn", None))
    if held is not None and bare and not is_library(held) and held.__code__.co_argcount:
        yield held, {held.__code__.co_varnames[0]: _Item(ports[0])}


class _Reader:
    """Follows items through the functions of one PE."""

    def __init__(self, ports: tuple[str, ...], cls: type) -> None:
        self.ports = ports
        self.cls = cls
        self.own: dict[str, _Item] = {}  # attributes of self
        self.asked: set[str] = set()  # the inputs whose items are checked for their type
        self.done: set[tuple[FunctionType, tuple[tuple[str, _Item], ...]]] = set()

    def read(
        self, function: FunctionType, roots: Mapping[str, _Item], depth: int
    ) -> Iterator[Opened]:
        """What ``function`` opens, with the names that are items."""
        key = (function, tuple(sorted(roots.items(), key=lambda entry: entry[0])))
        node = source_node(function)
        if node is None or key in self.done or depth > _DEPTH:
            return
        self.done.add(key)
        scope = _Scope(self, function, dict(roots))
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        for statement in body:
            for each in _in_order(statement):
                scope.bind(each)
                if isinstance(each, ast.Call):
                    yield from scope.call(each, depth)


class _Scope:
    """The names of one function that are items, up to the present point of reading."""

    def __init__(self, reader: _Reader, function: FunctionType, names: dict[str, _Item]) -> None:
        self.reader, self.function, self.names = reader, function, names

    def bind(self, node: ast.AST) -> None:
        """Follow an assignment, a loop, or a ``with``."""
        match node:
            case ast.Assign(targets=[target], value=value):
                self.give(target, self.item(value))
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self.give(target, self.item(value))
            case ast.NamedExpr(target=target, value=value):
                self.give(target, self.item(value))
            case ast.For(target=target, iter=ast.Call(func=ast.Attribute(value=base, attr=name))):
                if self.item(base) == _ALL and len(self.reader.ports) == 1:
                    last = target.elts[-1] if isinstance(target, ast.Tuple) else target
                    if name in ("items", "values"):
                        self.give(last, _Item(self.reader.ports[0]))
            case ast.For(target=target, iter=iterable):
                self.give(target, _part(self.item(iterable)))

    def give(self, target: ast.expr, item: _Item | None) -> None:
        if isinstance(target, ast.Name):
            self.names.pop(target.id, None)
            if item is not None:
                self.names[target.id] = item
        elif _is_own(target) and item is not None:
            self.reader.own[last_name(target)] = item

    def item(self, node: ast.expr) -> _Item | None:
        """The part of the items that an expression is."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name)
            case ast.Attribute() if _is_own(node):
                return self.reader.own.get(node.attr)
            case ast.Subscript(value=base, slice=ast.Constant(value=str() as port)):
                return self.of_port(base, port)
            case ast.Call(
                func=ast.Attribute(value=base, attr="get" | "pop"),
                args=[ast.Constant(value=str() as port), *_],
            ):
                return self.of_port(base, port)
            case ast.Call(func=func, args=[one]) if last_name(func) in SAME:
                return self.item(one)
            case ast.Call(func=ast.Attribute(value=base, attr=name)) if (
                name in SAME_METHODS or name in _STRIPPERS
            ):
                return self.item(base)
            case ast.BinOp(left=left, right=right):
                return _part(self.item(left) or self.item(right))
            case ast.JoinedStr(values=[ast.FormattedValue(value=value, format_spec=None)]):
                return self.item(value)
            case ast.JoinedStr(values=values):
                inner = (v.value for v in values if isinstance(v, ast.FormattedValue))
                return _part(next((i for i in map(self.item, inner) if i), None))
            case ast.Call(func=func, args=args) if last_name(func) in (
                "join",
                "joinpath",
                "format",
            ):
                return _part(next((i for i in map(self.item, args) if i), None))
            case ast.IfExp(body=body, orelse=orelse):
                return self.item(body) or self.item(orelse)
        return None

    def of_port(self, base: ast.expr, port: str) -> _Item | None:
        if self.item(base) != _ALL or port not in self.reader.ports:
            return None
        return _Item(port)

    def call(self, node: ast.Call, depth: int) -> Iterator[Opened]:
        """What a call opens, itself or in a function of the user's."""
        func, name = node.func, last_name(node.func)
        function = self.callee(func)
        if function is not None:
            yield from self.enter(function, node, depth)
            return
        if name == "isinstance" and node.args and (item := self.item(node.args[0])) is not None:
            self.reader.asked.add(item.port)
            return
        owner = func.value if isinstance(func, ast.Attribute) else None
        target, use = None, "Directory" if name in FOLDER_READERS else "File"
        owned = self.item(owner) if owner is not None else None
        if owned is not None and owned != _ALL and name in _METHODS:
            target, mode_at = owned, 0  # Path(item).open()
        elif name in _OPENERS | FOLDER_READERS and node.args and self.takes_paths(owner):
            target, mode_at = self.item(node.args[0]), 1
            if name in ("glob", "iglob") and target is not None:
                target = _Item(target.port)
        if target is None or target == _ALL or _writes(node, mode_at):
            return
        file = self.function.__code__.co_filename
        yield Opened(target.port, "" if target.part else use, file, node.lineno)

    def takes_paths(self, owner: ast.expr | None) -> bool:
        """Whether what is called may be a function of a module that opens paths."""
        if owner is None:
            return True
        first = owner
        while isinstance(first, ast.Attribute):
            first = first.value
        if not isinstance(first, ast.Name) or first.id in self.names:
            return False
        value = self.function.__globals__.get(first.id)
        if value is None:
            return first.id not in self.function.__code__.co_varnames or _imports(
                self.function, first.id
            )
        module = value.__name__ if isinstance(value, ModuleType) else ""
        return (module or first.id).partition(".")[0] not in _NOT_PATHS

    def callee(self, func: ast.expr) -> FunctionType | None:
        """The function of the user's that is called."""
        value: object = None
        match func:
            case ast.Name(id=name):
                value = self.function.__globals__.get(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                value = inspect.getattr_static(self.reader.cls, name, None)
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                module = self.function.__globals__.get(owner)
                if isinstance(module, ModuleType):
                    value = vars(module).get(name)
        function = plain_function(value)
        return None if function is None or is_library(function) else function

    def enter(self, function: FunctionType, node: ast.Call, depth: int) -> Iterator[Opened]:
        source = source_node(function)
        if source is None:
            return
        names = parameters(source)
        own = isinstance(node.func, ast.Attribute) and last_name(node.func.value) == "self"
        if own and not isinstance(
            inspect.getattr_static(self.reader.cls, function.__name__, None), staticmethod
        ):
            names = names[1:]
        given = {n: self.item(a) for n, a in zip(names, node.args, strict=False)}
        given |= {k.arg: self.item(k.value) for k in node.keywords if k.arg}
        roots = {name: item for name, item in given.items() if item is not None}
        if roots or own:
            yield from self.reader.read(function, roots, depth + 1)


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes in the approximate order of evaluation: the parts of a statement before the names that
    it binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return
    for child in ast.iter_child_nodes(node):
        yield from _in_order(child)
        if isinstance(node, ast.For) and child is node.iter:
            yield ast.For(node.target, node.iter, [], [])
    if not isinstance(node, ast.For):
        yield node


def _part(item: _Item | None) -> _Item | None:
    return None if item is None or item == _ALL else _Item(item.port, part=True)


def _is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and last_name(node.value) == "self"


def _imports(function: FunctionType, name: str) -> bool:
    """Whether a local name of a function is a module that it imports."""
    node = source_node(function)
    imports = [n for n in ast.walk(node) if isinstance(n, ast.Import)] if node else []
    return any((a.asname or a.name.split(".")[0]) == name for i in imports for a in i.names)


def _writes(node: ast.Call, mode_at: int) -> bool:
    """Whether a call of ``open`` and the like writes."""
    given = next((k.value for k in node.keywords if k.arg == "mode"), None)
    mode = given or (node.args[mode_at] if len(node.args) > mode_at else None)
    text = mode.value if isinstance(mode, ast.Constant) else ""
    return isinstance(text, str) and len(text) < 4 and any(sign in text for sign in "wax")
