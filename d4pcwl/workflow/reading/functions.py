"""Functions with all functions that they call: their sources, and all their changes."""

from __future__ import annotations

import ast
import functools
import linecache
import sysconfig
import warnings
from dataclasses import dataclass, field
from types import FunctionType

from d4pcwl.workflow.reading.bytecode import bytecode_changes
from d4pcwl.workflow.reading.effects import Call, Effects, Use, effects_of
from d4pcwl.workflow.reading.roots import FunctionNode, Root, is_container, is_framework, parameters


@dataclass(frozen=True)
class StateReason:
    """Why a PE counts as one that keeps state.

    :param message: a clause such as ``assigns self.count in _process``
    :param file: the file of that line, if known
    :param line: the line, from 1
    :param outside: it changes something that the PE does not hold, such as a global
    """

    message: str
    file: str | None = None
    line: int | None = None
    outside: bool = False

    def __str__(self) -> str:
        return f"{self.message} ({self.file}:{self.line})" if self.file else self.message


@dataclass
class Traced:
    """What a function and the functions it calls do."""

    reasons: list[StateReason] = field(default_factory=list)
    uses: list[tuple[Use, FunctionType]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    parents: set[str] = field(default_factory=set)
    returns: bool = False
    readable: bool = True

    def add(self, other: Traced) -> None:
        """Add what another function does."""
        self.reasons += other.reasons
        self.uses += other.uses
        self.names |= other.names
        self.parents |= other.parents
        self.returns |= other.returns
        self.readable &= other.readable


def trace(function: FunctionType, roots: tuple[tuple[str, Root], ...] | None = None) -> Traced:
    """Read ``function`` and what it calls. By default, its first parameter is self."""
    traced, seen = Traced(), set[Call]()
    waiting = [Call(function, method_roots(function) if roots is None else roots)]
    while waiting and len(seen) < 200:
        call = waiting.pop(0)
        if call in seen:
            continue
        seen.add(call)
        current, code = call.function, call.function.__code__
        node, effects = source_node(current), None
        if node is not None:
            effects = effects_of(node, current, {**_default_roots(current), **dict(call.roots)})
        if effects is None:
            traced.readable = traced.readable and current is not function
            changes = dict.fromkeys(bytecode_changes(current), False)
        else:
            changes = effects.changes
            _merge(traced, effects, current, function)
            waiting += [c for c in effects.calls if not is_library(c.function)]
        for (text, line), outside in changes.items():
            traced.reasons.append(
                StateReason(f"{text} in {current.__name__}", code.co_filename, line, outside)
            )
    return traced


def _merge(traced: Traced, effects: Effects, current: FunctionType, first: FunctionType) -> None:
    traced.uses += [(use, current) for use in effects.uses]
    traced.names |= effects.names
    if current is first:
        traced.parents |= effects.parents
        traced.returns |= effects.returns


def method_roots(function: FunctionType) -> tuple[tuple[str, Root], ...]:
    code = function.__code__
    if not code.co_argcount:
        return ()
    name = code.co_varnames[0]
    return ((name, Root(name, outer=name in ("cls", "klass"))),)


def _default_roots(function: FunctionType) -> dict[str, Root]:
    code, values = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount][code.co_argcount - len(values) :]
    defaults = {**dict(zip(names, values, strict=False)), **(function.__kwdefaults__ or {})}
    return {
        name: Root(f"the default of {name}", outer=True, value=value)
        for name, value in defaults.items()
        if is_container(value)
    }


def is_library(function: FunctionType) -> bool:
    """Whether ``function`` is the framework's or comes with Python or an installed package."""
    return is_framework(function.__module__) or is_library_file(function.__code__.co_filename)


def is_library_file(file: str) -> bool:
    """Whether a file comes with Python or an installed package."""
    return file.startswith(_library_folders())


@functools.lru_cache(maxsize=1)
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return (*sorted(f"{folder}/" for folder in folders), "<frozen ")


def source_node(function: FunctionType) -> FunctionNode | None:
    """The syntax tree of ``function``, or None if its source is missing or uncertain."""
    code = function.__code__
    lines = linecache.getlines(code.co_filename, function.__globals__)
    found = _nodes("".join(lines)).get((code.co_name, code.co_firstlineno), ()) if lines else ()
    count = code.co_argcount + code.co_kwonlyargcount
    fitting = [n for n in found if tuple(parameters(n)) == code.co_varnames[:count]]
    if len(fitting) > 1:
        columns = {p[2] for p in code.co_positions() if p[2] is not None}
        fitting = [n for n in fitting if isinstance(n, ast.Lambda) and n.body.col_offset in columns]
    return fitting[0] if len(fitting) == 1 else None


@functools.lru_cache(maxsize=64)
def _nodes(text: str) -> dict[tuple[str, int], list[FunctionNode]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            return {}
    found: dict[tuple[str, int], list[FunctionNode]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            found.setdefault(("<lambda>", node.lineno), []).append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            found.setdefault((node.name, first), []).append(node)
    return found
