"""The object of a name or an expression when a function is read."""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import CodeType, FunctionType, ModuleType
from typing import Final


def words(text: str) -> frozenset[str]:
    """The set of the words of ``text``."""
    return frozenset(text.split())


FRAMEWORK: Final = ("d4pcwl", "dispel4py.core", "dispel4py.base")
MISSING: Final = object()

CONTAINERS: Final = (list, dict, set, bytearray, deque)
MUTATORS: Final = words(
    "append appendleft extend extendleft insert pop popitem popleft remove discard clear update add"
    " setdefault sort reverse rotate subtract difference_update intersection_update fill resize"
    " push partial_fit"
    " symmetric_difference_update put put_nowait get_nowait send __setitem__ __delitem__ __next__"
    " __setattr__ __delattr__ __iadd__ __ior__ seed shuffle"
)
RNG: Final = "rng"
"""The attribute of a PE with a generator of random numbers: the runtime's, or its own."""

WRITERS: Final = words("write writelines writerow writerows readline readlines")
CONSUMED: Final = words(
    "_io._IOBase queue.Queue _queue.SimpleQueue zlib.Compress zlib.Decompress _bz2.BZ2Compressor"
    " _bz2.BZ2Decompressor _lzma.LZMACompressor _lzma.LZMADecompressor codecs.IncrementalDecoder"
    " codecs.IncrementalEncoder threading.Event threading.Semaphore"
)
"""Classes of Python whose methods change the object."""
FIRST_ARGUMENT: Final = words(
    "heappush heappop heapify heapreplace heappushpop insort insort_left insort_right next anext"
    " setattr delattr shuffle setitem delitem iadd copyto put place putmask at fill_diagonal"
    " put_along_axis"
)
ELEMENTS: Final = words(
    "get values items keys setdefault __getitem__ pop reshape ravel view swapaxes transpose squeeze"
)
PASS_THROUGH: Final = words("enumerate zip reversed sorted iter list tuple")
CONTAINER_NODES: Final = (ast.List, ast.ListComp, ast.Set, ast.SetComp, ast.Dict, ast.DictComp)
FIXED: Final = (ModuleType, FunctionType, str, bytes, tuple, int, float, frozenset)
SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

DEEPEST: Final = 6

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True)
class Root:
    """The object of an expression: ``self`` (depth 0), something inside it, or something outside.

    :param text: its usual form in code, such as ``self.counts[word]``
    :param attribute: the attribute of ``self`` it is reached by; None for ``self`` and outer things
    :param depth: steps below ``self`` or below the outer name
    :param outer: whether it is a global, a class, a default value or a variable of a closure
    :param value: the object itself where it is known, else ``MISSING``
    :param held: it is outer, but the PE holds it, as an argument of its function
    :param kind: the class of ``self``, if it is known
    """

    text: str
    attribute: str | None = None
    depth: int = 0
    outer: bool = False
    value: object = field(default=MISSING, compare=False, hash=False)
    held: bool = False
    kind: type | None = None

    def below(self, text: str, attribute: str | None = None, value: object = MISSING) -> Root:
        """The object one attribute or one index deeper; deep inside, all objects are one, so that
        the reading of a recursive function ends."""
        if self.depth == DEEPEST:
            return self
        first = self.attribute if self.depth or self.outer else attribute
        return Root(self.text + text, first, self.depth + 1, self.outer, value, self.held)


def is_container(value: object) -> bool:
    """Whether ``value`` is a list, dict, set, deque or the like, by its type alone."""
    return issubclass(type(value), CONTAINERS)


def is_framework(module: object) -> bool:
    """Whether a class of ``module`` belongs to the framework, whose own methods are known."""
    name = str(module)
    return any(name == known or name.startswith(f"{known}.") for known in FRAMEWORK)


def plain_function(value: object) -> FunctionType | None:
    """The Python function behind ``value``, through methods, wrappers and descriptors."""
    *_, last = _unwrapped(value)
    return last if isinstance(last, FunctionType) else None


def functions_of(value: object) -> list[FunctionType]:
    """All Python functions behind ``value``: those of its decorators, then the decorated one."""
    return [layer for layer in _unwrapped(value) if isinstance(layer, FunctionType)]


def _unwrapped(value: object) -> Iterator[object]:
    for _ in range(32):
        yield value
        if isinstance(value, staticmethod | classmethod) or inspect.ismethod(value):
            value = value.__func__
        else:
            value = inspect.getattr_static(value, "__wrapped__", None)
            if value is None:
                return


def named_by(function: FunctionType) -> Iterator[object]:
    """The user's functions and classes that a function names, also those of modules."""
    names = set(_names(function.__code__))
    scope = function.__globals__
    for value in [scope[name] for name in names if name in scope]:
        if isinstance(value, ModuleType):
            yield from (vars(value)[name] for name in names if name in vars(value))
        elif isinstance(value, type):
            yield value
        elif (inner := plain_function(value)) is not None:
            yield inner
    for cell in function.__closure__ or ():
        try:
            inner = plain_function(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
        if inner is not None:
            yield inner


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def parameters(node: FunctionNode) -> list[str]:
    """The names of the positional parameters of ``node``, then the keyword-only ones."""
    args = node.args
    return [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]


def is_terminal(value: object) -> bool:
    """Whether ``value`` is standard output or standard error."""
    return value is sys.stdout or value is sys.stderr


def consumes(value: object) -> bool:
    """Whether a call of any method of ``value`` may change it: an iterator, a file or a queue."""
    if is_terminal(value):
        return False
    names = (f"{c.__module__}.{c.__qualname__}" for c in type(value).__mro__)
    return hasattr(type(value), "__next__") or not CONSUMED.isdisjoint(names)


def draws(value: object) -> bool:
    """Whether ``value`` is a random generator, which each call changes."""
    return any(
        c.__module__ in ("random", "_random") or c.__module__.startswith("numpy.random")
        for c in type(value).__mro__
    )


def may_change(value: object) -> bool:
    if value is MISSING or is_container(value):
        return True
    fixed = (type, *FIXED)
    return not isinstance(value, fixed) and value is not None and not callable(value)


def is_fixed(root: Root) -> bool:
    """Whether ``root`` is known and cannot be changed: a module, a function, a number."""
    return root.outer and (root.value is None or isinstance(root.value, FIXED))


def below_outer(owner: Root, name: str) -> Root | None:
    value: object = MISSING
    if isinstance(owner.value, ModuleType):
        if name not in vars(owner.value):
            return None
        value = vars(owner.value)[name]
    elif owner.value is not MISSING:
        kind = owner.value if isinstance(owner.value, type) else type(owner.value)
        value = inspect.getattr_static(kind, name, MISSING)
    return replace(owner.below(f".{name}"), value=value)


def last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def catches(node: ast.expr | None, names: frozenset[str]) -> bool:
    """Whether the type of an ``except`` is one of these errors, or all errors."""
    if isinstance(node, ast.Tuple):
        return any(catches(each, names) for each in node.elts)
    return node is None or ast.unparse(node).rpartition(".")[2] in names


def short(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 30 else "..."


def declarations(body: Iterable[ast.AST]) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in _own_nodes(body):
        if isinstance(node, ast.Global | ast.Nonlocal):
            kind = "global" if isinstance(node, ast.Global) else "nonlocal"
            found.update(dict.fromkeys(node.names, kind))
    return found


def bound_names(body: Iterable[ast.AST]) -> set[str]:
    names: set[str] = set()
    for node in _own_nodes(body):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                names.add(name)
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                names.add(name)
            case ast.ExceptHandler(name=str() as name) | ast.MatchAs(name=str() as name):
                names.add(name)
            case ast.MatchStar(name=str() as name) | ast.MatchMapping(rest=str() as name):
                names.add(name)
            case ast.alias(name=name, asname=asname):
                names.add(asname or name.split(".")[0])
    return names


def _own_nodes(body: Iterable[ast.AST]) -> Iterable[ast.AST]:
    """All nodes of one scope: functions and classes inside are named, not entered."""
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*SCOPES, ast.ClassDef)):
            waiting.extend(ast.iter_child_nodes(node))


class Names:
    """The names of a function, and their objects at the present point of reading."""

    def __init__(self, function: FunctionType) -> None:
        self.env: dict[str, Root | None] = {}
        self.globals = function.__globals__
        self.cells: dict[str, object] = {}
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=False
        ):
            try:
                self.cells[name] = cell.cell_contents
            except ValueError:  # not filled yet
                self.cells[name] = MISSING

    def root(self, node: ast.expr) -> Root | None:
        match node:
            case ast.Name(id=name):
                return self.name(name)
            case ast.Attribute(value=base, attr=name):
                owner = self.root(base)
                if owner is None:
                    return None
                if not owner.outer and owner.depth == 0 and name == "__class__":
                    return Root(f"{owner.text}.__class__", outer=True)
                return below_outer(owner, name) if owner.outer else owner.below(f".{name}", name)
            case ast.Subscript(value=base, slice=index):
                owner = self.root(base)
                return owner and owner.below(f"[{short(index)}]")
            case ast.NamedExpr(value=value) | ast.Starred(value=value) | ast.Await(value=value):
                return self.root(value)
            case ast.IfExp(body=one, orelse=other):
                return self.root(one) or self.root(other)
            case ast.BoolOp(values=values):
                return next((r for r in map(self.root, values) if r is not None), None)
            case ast.Call(func=ast.Attribute(value=base, attr=name)) if name in ELEMENTS:
                owner = self.root(base)
                if owner is None or (owner.outer and not is_container(owner.value)):
                    return None
                return owner.below("[...]") if owner.depth or owner.outer else None
            case ast.Call(func=ast.Name(id="globals"), args=[]):
                return Root("globals()", outer=True) if "globals" not in self.env else None
            case ast.Call(func=ast.Name(id="super"), args=[]):
                return Root("super()") if "super" not in self.env else None
            case ast.Call(
                func=ast.Name(id="type" | "vars" | "getattr" as name), args=[first, *more]
            ):
                owner = self.root(first)
                if owner is None or owner.outer:
                    return None
                if name == "type":
                    return Root(f"type({owner.text})", outer=True) if owner.depth == 0 else None
                if name == "vars":
                    return owner.below(".__dict__", "__dict__")
                if more and isinstance(more[0], ast.Constant) and isinstance(more[0].value, str):
                    return owner.below(f".{more[0].value}", more[0].value)
                return owner.below(".<attribute>", "") if more else None
        return None

    def name(self, name: str) -> Root | None:
        if name in self.env:
            return self.env[name]
        if name in self.cells:
            return Root(name, outer=True, value=self.cells[name])
        if name in self.globals:
            return Root(name, outer=True, value=self.globals[name])
        return None if hasattr(builtins, name) else Root(name, outer=True)
