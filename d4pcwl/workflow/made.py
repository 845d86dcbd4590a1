"""What a PE was made with: the arguments of its class, as plain data, for the record of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

MADE_WITH = "_made_with"
"""The attribute of a PE that has its arguments, in their order and by name."""

_CODE = (FunctionType, BuiltinFunctionType, MethodType, type)
_MOST_LETTERS = 1000
_MOST_ENTRIES = 100
_DEEPEST = 6
_LARGEST = 1 << 63


def arguments(given: Sequence[Any], named: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments as plain data. No code of users runs."""
    return [plain(value) for value in given], {name: plain(v) for name, v in named.items()}


def made_with(pe: Any) -> dict[str, Any]:
    """By the names of its parameters, what a PE was made with; also what was not given, and has a
    default. It is empty for a PE that is not of our classes."""
    import inspect

    if MADE_WITH not in vars(pe):
        return {}
    given, named = vars(pe)[MADE_WITH]
    found: dict[str, Any] = {}
    try:
        bound = inspect.signature(type(pe).__init__).bind(pe, *given, **named)
    except (TypeError, ValueError):  # the class changes what it is given
        return {**{str(place): value for place, value in enumerate(given)}, **named}
    for name, parameter in list(bound.signature.parameters.items())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            found |= bound.arguments.get(name, {})
        elif name in bound.arguments:
            found[name] = plain(bound.arguments[name])
        elif parameter.default is not parameter.empty:
            found[name] = plain(parameter.default)
    return found


def plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON has it, if it is short. Of any other value, a text that says what it is."""
    kind = type(value)
    if kind.__module__ == "numpy" and getattr(value, "shape", None) == ():
        return plain(value.tolist())
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if abs(value) < _LARGEST else str(value)
    if kind is float:
        return value if math.isfinite(value) else str(value)
    if kind is str:
        return value if len(value) <= _MOST_LETTERS else value[:_MOST_LETTERS] + "…"
    if isinstance(value, PurePath):
        return str(value)
    if kind in (list, tuple, set, frozenset, dict):
        if len(value) > _MOST_ENTRIES or depth == _DEEPEST:
            return f"{kind.__name__} of {len(value)}"
        if kind is dict:
            return {str(plain(key)): plain(entry, depth + 1) for key, entry in value.items()}
        return [plain(entry, depth + 1) for entry in value]
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        return f"ndarray {value.dtype} {value.shape}"
    if isinstance(value, _CODE):
        return f"{value.__module__}.{value.__qualname__}"
    return kind.__qualname__
