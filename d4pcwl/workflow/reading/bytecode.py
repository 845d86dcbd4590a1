"""What a function changes, if its source cannot be read: a safe guess from its bytecode."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType, FunctionType

from d4pcwl.workflow.reading.roots import MUTATORS, is_container, words

STORES = {
    "STORE_ATTR": "assigns an attribute {}",
    "DELETE_ATTR": "deletes an attribute {}",
    "STORE_SUBSCR": "assigns to an item of something",
    "DELETE_SUBSCR": "deletes an item of something",
    "STORE_SLICE": "assigns to a slice of something",
    "STORE_GLOBAL": "assigns the global {}",
    "DELETE_GLOBAL": "deletes the global {}",
}
NOISE = words("NOP CACHE EXTENDED_ARG RESUME COPY_FREE_VARS PUSH_NULL")


def with_inner(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and of those that it defines."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from with_inner(constant)


def bytecode_changes(function: FunctionType) -> Iterator[tuple[str, int]]:
    """What ``function`` seems to change, as ``(text, line)``.

    Assignments to anything except local names count, and so do mutating methods of objects that are
    not plain local names. In doubt, it reports a change: filling a local dict counts as one.
    """
    yield from _changes(function.__code__, function, frozenset(function.__code__.co_freevars))


def _changes(
    code: CodeType, function: FunctionType, outer: frozenset[str]
) -> Iterator[tuple[str, int]]:
    line = code.co_firstlineno
    me = code.co_varnames[0] if code.co_argcount else None
    aliases = {me}
    before: tuple[str, object] = ("", None)
    for step in dis.get_instructions(code):
        line = (step.positions.lineno if step.positions else None) or line
        if step.opname in NOISE:
            continue
        for name, value in _single(step.opname, step.argval):
            if name in STORES:
                yield STORES[name].format(value), line
            elif name in ("STORE_DEREF", "DELETE_DEREF") and value in outer:
                yield f"assigns the nonlocal {value}", line
            elif name == "STORE_FAST" and _from_elsewhere(before):
                aliases.add(str(value))
            elif (
                name in ("LOAD_METHOD", "LOAD_ATTR")
                and value in MUTATORS
                and _may_be_kept(before, aliases, function)
            ):
                yield f"calls {value} on something it keeps", line
            before = (name, value)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _changes(constant, function, outer & set(constant.co_freevars))


def _single(name: str, value: object) -> list[tuple[str, object]]:
    """Combined instructions (``LOAD_FAST_LOAD_FAST``, from Python 3.13 on), split into single
    ones."""
    if isinstance(value, tuple) and name.count("_FAST") == 2:
        first, second = name.split("_FAST_", 1)
        return [(f"{first}_FAST", value[0]), (second, value[1])]
    if name.startswith(("LOAD_FAST_CHECK", "LOAD_FAST_BORROW")):
        return [("LOAD_FAST", value)]
    return [(name, value)]


def _from_elsewhere(before: tuple[str, object]) -> bool:
    return before[0] in ("LOAD_ATTR", "BINARY_SUBSCR", "LOAD_DEREF", "LOAD_GLOBAL")


def _may_be_kept(
    before: tuple[str, object], aliases: set[str | None], function: FunctionType
) -> bool:
    name, value = before
    if name == "LOAD_FAST":
        return value in aliases
    if name in ("LOAD_GLOBAL", "LOAD_NAME"):
        return is_container(function.__globals__.get(str(value)))
    return name.startswith(("LOAD_ATTR", "BINARY_SUBSCR", "LOAD_DEREF", "CALL", "PRECALL"))
