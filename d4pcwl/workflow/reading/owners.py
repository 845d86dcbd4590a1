"""The lines of a script that a PE may run: its classes, the functions that it holds, and what they
call. They show which PE opens a file in a line."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, Final, cast

from d4pcwl.workflow.reading.paths import Attributes
from d4pcwl.workflow.reading.roots import is_framework, named_by, plain_function
from d4pcwl.workflow.reading.source import is_library, is_library_file

_TEXTS: Final = (str, os.PathLike)


@dataclass(frozen=True)
class Lines:
    """Lines of a file, which is absolute."""

    file: str
    first: int
    last: int

    def has(self, file: str, line: int) -> bool:
        """Whether a line is among them."""
        return file == self.file and self.first <= line <= self.last


def lines_of(pe: object) -> frozenset[Lines]:
    """The lines of the user's files that ``pe`` may run after it was made."""
    found = set(_of_class(cast(Hashable, type(pe))))
    for value in vars(pe).values():
        function = plain_function(value) or plain_function(getattr(value, "func", None))
        if function is not None:
            found |= _of_functions([function])
        elif _is_users(type(value)):
            found |= _of_class(cast(Hashable, type(value)))
    return frozenset(found)


@functools.lru_cache(maxsize=1024)
def _of_class(key: Hashable) -> frozenset[Lines]:
    cls = cast(type, key)
    classes = [base for base in cls.__mro__ if _is_users(base)]
    functions = [f for base in classes for f in _functions(base)]
    return frozenset(_around(classes) | _of_functions(functions))


def _of_functions(functions: Iterable[FunctionType]) -> set[Lines]:
    """The lines of functions and of what they use, directly or not."""
    waiting: list[object] = list(functions)
    seen: set[int] = set()
    found: set[Lines] = set()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, type) and _is_users(thing):
            found |= _around([thing])
            waiting += _functions(thing)
        elif isinstance(thing, FunctionType) and not is_library(thing):
            found |= _around([thing])
            waiting += named_by(thing)
    return found


def _functions(cls: type) -> list[FunctionType]:
    return [f for f in map(plain_function, vars(cls).values()) if f is not None]


def _is_users(cls: type) -> bool:
    return cls.__module__ != "builtins" and not is_framework(cls.__module__)


def _around(things: Iterable[type | FunctionType]) -> set[Lines]:
    found = set()
    for thing in things:
        try:
            file = os.path.realpath(inspect.getsourcefile(thing) or "")
            lines, first = inspect.getsourcelines(thing)
        except (OSError, TypeError):  # made without a source
            continue
        found.add(Lines(file, first, first + len(lines) - 1))
    return found


def known_attributes(pes: Iterable[Any], module: ModuleType) -> Attributes:
    """Known parts of paths: texts that are equal in all instances of a user's class, and the values
    of the script's own names."""
    known: dict[tuple[str, str], dict[str, set[str]]] = {}
    for pe in pes:
        texts = _texts(vars(pe))
        for base in filter(_is_users, type(pe).__mro__):
            try:
                file = os.path.realpath(inspect.getsourcefile(base) or "")
            except (OSError, TypeError):
                continue
            into = known.setdefault((file, base.__name__), {})
            for name, text in texts.items():
                into.setdefault(name, set()).add(text)
    scope = vars(module)
    here = known.setdefault((os.path.realpath(scope.get("__file__") or ""), ""), {})
    here.update({name: {text} for name, text in _texts(scope).items()})
    for owner, value in scope.items():
        beside = getattr(value, "__file__", None) if isinstance(value, ModuleType) else None
        if beside and not is_library_file(beside):
            here.update({f"{owner}.{n}": {text} for n, text in _texts(vars(value)).items()})
    return {
        key: {name: next(iter(texts)) for name, texts in each.items() if len(texts) == 1}
        for key, each in known.items()
    }


def _texts(values: dict[str, Any]) -> dict[str, str]:
    return {
        name: os.fspath(value)
        for name, value in values.items()
        if isinstance(value, _TEXTS)
        and isinstance(os.fspath(value), str)
        and name != "id"
        and not name.startswith("__")
    }
