"""Items are values: a receiver never sees what a sender does to an object after ``write``.

Between processes, encoding sees to it. Inside one process, every receiver gets a copy of its own,
and what cannot change is passed on as it is.
"""

from __future__ import annotations

import copy
import datetime
import decimal
import fractions
import pathlib
import types
import uuid
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

IMMUTABLE: frozenset[type] = frozenset(
    {
        bool,
        bytes,
        complex,
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        decimal.Decimal,
        float,
        fractions.Fraction,
        int,
        pathlib.PosixPath,
        pathlib.PurePosixPath,
        range,
        str,
        type,
        types.BuiltinFunctionType,
        types.FunctionType,
        types.NoneType,
        uuid.UUID,
    }
)
"""Types whose objects need no copy. Subclasses are not meant: they may carry attributes."""


def snapshot(item: Any) -> Any:
    """A copy of ``item`` that shares nothing with it that can change.

    :raises Exception: what the item's own copying raises
    """
    cls = type(item)
    if cls in IMMUTABLE:
        return item
    copier = _COPIERS.get(cls)
    if copier is not None:
        return copier(item)
    if cls.__module__ == "numpy" and cls.__name__ == "ndarray" and not item.dtype.hasobject:
        return item.copy(order="K")
    return copy.deepcopy(item)


def _copy_list(item: list[Any]) -> Any:
    if all(type(entry) in IMMUTABLE for entry in item):
        return item.copy()
    return _copy_shared(item)


def _copy_tuple(item: tuple[Any, ...]) -> Any:
    if all(type(entry) in IMMUTABLE for entry in item):
        return item
    return _copy_shared(item)


def _copy_set(item: Any) -> Any:
    if all(type(entry) in IMMUTABLE for entry in item):
        return item.copy()
    return copy.deepcopy(item)


def _copy_dict(item: dict[Any, Any]) -> Any:
    if all(type(entry) in IMMUTABLE for entry in item.values()):
        return item.copy()
    return _copy_shared(item)


def _copy_shared(item: Any) -> Any:
    """Copy nested containers; one object met twice stays one object, and circles stay circles."""
    if _is_tree(item, set()):
        return _copy_tree(item)
    return copy.deepcopy(item)


def _is_tree(item: Any, seen: set[int]) -> bool:
    """Whether no changeable object below ``item`` is met twice."""
    if type(item) in IMMUTABLE:
        return True
    if id(item) in seen:
        return False
    seen.add(id(item))
    if type(item) is dict:
        return all(_is_tree(entry, seen) for entry in item.values())
    if type(item) in (list, tuple):
        return all(_is_tree(entry, seen) for entry in item)
    return True


def _copy_tree(item: Any) -> Any:
    cls = type(item)
    if cls is dict:
        return {key: _copy_tree(entry) for key, entry in item.items()}
    if cls is list:
        return [_copy_tree(entry) for entry in item]
    if cls is tuple:
        return tuple(_copy_tree(entry) for entry in item)
    return snapshot(item)


_COPIERS: dict[type, Callable[[Any], Any]] = {
    list: _copy_list,
    tuple: _copy_tuple,
    dict: _copy_dict,
    set: _copy_set,
    frozenset: _copy_set,
    bytearray: bytearray.copy,
}


def weight(item: Any, depth: int = 3) -> int:
    """About how many bytes ``item`` holds; cheap rather than exact, and bounded in its own cost."""
    cls = type(item)
    if cls in (str, bytes, bytearray):
        return len(item)
    if cls in IMMUTABLE or depth == 0:
        return 8
    if cls.__module__ == "numpy":
        return int(getattr(item, "nbytes", 8))
    if cls is dict:
        return _weight_of(item.values(), len(item), depth)
    if cls in (list, tuple, set, frozenset):
        return _weight_of(item, len(item), depth)
    attributes = getattr(item, "__dict__", None)
    # An object that does not show what it holds is taken to hold a good deal.
    return _weight_of(attributes.values(), len(attributes), depth) if attributes else 4096


def _weight_of(entries: Iterable[Any], count: int, depth: int) -> int:
    sample = [weight(entry, depth - 1) for entry in islice(entries, 8)]
    return 8 + sum(sample) * count // max(1, len(sample))
