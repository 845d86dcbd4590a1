"""Functions with all functions that they call: their sources, and all their changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import FunctionType
from typing import Final

from d4pcwl.workflow.reading.bytecode import bytecode_changes
from d4pcwl.workflow.reading.effects import Call, Effects, Use, effects_of
from d4pcwl.workflow.reading.roots import Root, is_container
from d4pcwl.workflow.reading.source import is_library, same_package, source_node

MOST: Final = 1000
"""So many calls of functions are read."""


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
    held: set[str] = field(default_factory=set)
    parents: set[str] = field(default_factory=set)
    returns: bool = False
    readable: bool = True

    def add(self, other: Traced) -> None:
        """Add what another function does."""
        self.reasons += other.reasons
        self.uses += other.uses
        self.names |= other.names
        self.held |= other.held
        self.parents |= other.parents
        self.returns |= other.returns
        self.readable &= other.readable


def trace(function: FunctionType, roots: tuple[tuple[str, Root], ...] | None = None) -> Traced:
    """Read ``function`` and what it calls. By default, its first parameter is self."""
    traced, seen = Traced(), set[Call]()
    waiting = [Call(function, method_roots(function) if roots is None else roots)]
    while waiting:
        if len(seen) == MOST:
            traced.reasons.append(StateReason(f"{function.__name__} calls too much to be read"))
            break
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
            waiting += [
                c
                for c in effects.calls
                if not is_library(c.function) or same_package(c.function, function)
            ]
        for (text, line), outside in changes.items():
            traced.reasons.append(
                StateReason(f"{text} in {current.__name__}", code.co_filename, line, outside)
            )
    return traced


def _merge(traced: Traced, effects: Effects, current: FunctionType, first: FunctionType) -> None:
    traced.uses += [(use, current) for use in effects.uses]
    traced.names |= effects.names
    traced.held |= effects.held
    if current is first:
        traced.parents |= effects.parents
        traced.returns |= effects.returns


def method_roots(function: FunctionType, kind: type | None = None) -> tuple[tuple[str, Root], ...]:
    """The object of the first parameter of a method of class ``kind``."""
    code = function.__code__
    if not code.co_argcount:
        return ()
    name = code.co_varnames[0]
    return ((name, Root(name, outer=name in ("cls", "klass"), kind=kind)),)


def _default_roots(function: FunctionType) -> dict[str, Root]:
    code, values = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount][code.co_argcount - len(values) :]
    defaults = {**dict(zip(names, values, strict=False)), **(function.__kwdefaults__ or {})}
    return {
        name: Root(f"the default of {name}", outer=True, value=value)
        for name, value in defaults.items()
        if is_container(value)
    }
