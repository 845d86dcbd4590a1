"""Keys: the part of an item that says what belongs together.

They are given as for a grouping: ``"station"``, ``0``, ``["station", "norm"]``, or None for the
whole item.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from d4pcwl.errors import GraphError
from d4pcwl.workflow.grouping import GroupBy, freeze, parse_grouping

Keys = str | int | Sequence[str | int] | None


def key_reader(keys: Keys, where: str) -> Callable[[Any], Hashable]:
    """A function from an item to its key, which can be hashed.

    :param where: who asks, for the message
    :raises GraphError: these are no keys
    """
    if keys is None:
        return freeze
    read = grouped_by(keys, where).reader()
    return lambda item: freeze(read(item))


def grouped_by(keys: Keys, where: str) -> GroupBy:
    """The grouping by some keys.

    :raises GraphError: these are no keys
    """
    grouping = parse_grouping(keys, where)
    if not isinstance(grouping, GroupBy):
        raise GraphError(f"{where}: {keys!r} are not keys; give indices or names")
    return grouping


def group_input(pe: Any, name: str, keys: Keys) -> None:
    """Have the items of an input go to the instance that owns their key; None: to the first."""
    if keys is None:
        pe._add_input(name, grouping="global")
    else:
        pe._add_input(name, grouping=list(grouped_by(keys, f"{pe.name}.{name}").keys))


def checked_number(value: int | None, name: str, pe: object, least: int = 1) -> int | None:
    """A parameter that is a whole number, or None.

    :raises GraphError: it is below ``least``
    """
    if value is not None and value < least:
        raise GraphError(f"{type(pe).__name__}: {name} is {value}; it must be at least {least}")
    return value
