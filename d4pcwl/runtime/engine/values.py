"""Items are values: a receiver never sees what a sender does to an object after ``write``.

Between processes, this follows from encoding. Inside one process, every receiver gets its own copy;
objects that cannot change are passed on without a copy.
"""

from __future__ import annotations

import copy
import datetime
import pathlib
import sys
import types
from collections import deque
from collections.abc import Callable, Collection, Hashable
from functools import lru_cache
from sys import getsizeof
from typing import Any, cast

IMMUTABLE: frozenset[type] = frozenset(
    {
        bool,
        bytes,
        complex,
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        float,
        int,
        pathlib.PosixPath,
        pathlib.PurePosixPath,
        range,
        str,
        type,
        types.BuiltinFunctionType,
        types.FunctionType,
        types.NoneType,
    }
)
"""Types whose objects need no copy. This does not hold for subclasses, which may have
attributes."""

_IMMUTABLE_IF_IMPORTED = (("decimal", "Decimal"), ("fractions", "Fraction"), ("uuid", "UUID"))


@lru_cache(maxsize=1024)
def _is_immutable(cls: Hashable) -> bool:
    """Whether a class is immutable that is not worth an import where nobody uses it."""
    return any(
        getattr(sys.modules.get(module), name, None) is cls
        for module, name in _IMMUTABLE_IF_IMPORTED
    )


def snapshot(item: Any) -> Any:
    """A copy of ``item`` that shares no changeable object with it.

    :raises Exception: what the item's own copying raises
    """
    cls = type(item)
    if cls in IMMUTABLE:
        return item
    copier = _COPIERS.get(cls)
    if copier is not None:
        return copier(item)
    if _is_immutable(cast(Hashable, cls)):
        return item
    if is_plain_array(item):
        return item.copy(order="K")
    return copy.deepcopy(item)


def is_plain_array(item: Any) -> bool:
    """Whether an item is an array of numpy's, and of no subclass, that holds no objects."""
    cls = type(item)
    if cls.__module__ != "numpy" or cls.__name__ != "ndarray":
        return False
    return not item.dtype.hasobject


def is_plain_tuple(item: Any) -> bool:
    """Whether an item is a tuple that needs no copy."""
    return type(item) is tuple and IMMUTABLE.issuperset(map(type, item))


def _copy_list(item: list[Any]) -> Any:
    if IMMUTABLE.issuperset(map(type, item)):
        return item.copy()
    return _copy_shared(item)


def _copy_tuple(item: tuple[Any, ...]) -> Any:
    if IMMUTABLE.issuperset(map(type, item)):
        return item
    return _copy_shared(item)


def _copy_set(item: Any) -> Any:
    if IMMUTABLE.issuperset(map(type, item)):
        return item.copy()
    return copy.deepcopy(item)


def _copy_dict(item: dict[Any, Any]) -> Any:
    if IMMUTABLE.issuperset(map(type, item.values())):
        return item.copy()
    return _copy_shared(item)


def _copy_shared(item: Any) -> Any:
    """Copy nested containers. An object that occurs twice stays one object, and cycles stay
    cycles."""
    if _is_tree(item, set()):
        return _copy_tree(item)
    return copy.deepcopy(item)


def _is_tree(item: Any, seen: set[int]) -> bool:
    """Whether no changeable object below ``item`` occurs twice."""
    if type(item) in IMMUTABLE or _is_immutable(cast(Hashable, type(item))):
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


SMALL: frozenset[type] = frozenset({bool, float, int, types.NoneType})
"""Types whose objects are very small, except for a few integers."""

_LEAVES = (IMMUTABLE | {bytearray}) - {
    range,
    *(pathlib.PosixPath, pathlib.PurePosixPath),
}
"""Types for which ``sys.getsizeof`` gives the complete size."""

_PLAIN_CONTAINERS = frozenset({frozenset, list, set, tuple})
_UNKNOWN = 4096


def weight(item: Any) -> int:
    """The approximate size of ``item`` in bytes, with everything in it. It looks only at what
    copying and pickling look at. Shared objects count once. An object with unknown contents counts
    as rather large.
    """
    cls = type(item)
    if cls in _LEAVES:
        return getsizeof(item)
    if cls in _PLAIN_CONTAINERS and _LEAVES.issuperset(map(type, item)):
        return sum(map(getsizeof, item), getsizeof(item))
    total, seen, waiting = 0, {id(item)}, [item]
    while waiting:
        size, parts = _size_and_parts(waiting.pop())
        total += size
        for entries in parts:
            if _LEAVES.issuperset(map(type, entries)):
                total += sum(map(getsizeof, entries))
                continue
            for entry in entries:
                if type(entry) in _LEAVES:
                    total += getsizeof(entry)
                elif id(entry) not in seen:
                    seen.add(id(entry))
                    waiting.append(entry)
    return total


def _size_and_parts(item: Any) -> tuple[int, list[Collection[Any]]]:
    """The size of an object itself, and the objects that it holds."""
    cls = type(item)
    if cls in _PLAIN_CONTAINERS:
        return 8 * len(item), [item]
    if cls is dict:
        return 16 * len(item), [item.keys(), item.values()]
    if isinstance(item, type):
        return 8, []
    # Arrays, and what is like them. The class is asked: an object may answer to any name.
    nbytes = item.nbytes if hasattr(cls, "nbytes") else None
    if isinstance(nbytes, int):
        objects = getattr(getattr(item, "dtype", None), "hasobject", False)
        return nbytes, [item.tolist()] if objects and hasattr(item, "tolist") else []
    parts: list[Collection[Any]] = []
    if isinstance(item, (list, tuple, set, frozenset, deque)):
        parts.append(item)
    elif isinstance(item, dict):
        parts += [item.keys(), item.values()]
    attributes = getattr(item, "__dict__", None)
    if attributes:
        parts.append(attributes.values())
    slots = [getattr(item, name) for name in _slots(cast(Hashable, cls)) if hasattr(item, name)]
    if slots:
        parts.append(slots)
    return (64 if parts else max(_UNKNOWN, getsizeof(item))), parts


@lru_cache(maxsize=1024)
def _slots(cls: Hashable) -> tuple[str, ...]:
    """The attributes that objects of a class have without a dictionary."""
    bases = cls.__mro__ if isinstance(cls, type) else ()
    members = (member for base in bases for member in vars(base).items())
    return tuple(name for name, member in members if isinstance(member, types.MemberDescriptorType))
