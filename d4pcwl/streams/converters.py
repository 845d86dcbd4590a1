"""How objects of other packages are written: as plain data under a name, by a pair of functions.

The table of types is the only state here. A script registers its own types when it is imported, in
every process that gets such items.
"""

from __future__ import annotations

import copyreg
import re
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from d4pcwl.errors import ItemError, UsageError, nearest

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Converter:
    """A registered type: ``to_plain`` gives data that can be encoded, ``from_plain`` undoes it."""

    cls: type
    name: str
    to_plain: Callable[[Any], Any]
    from_plain: Callable[[Any], Any]


_by_type: dict[type, Converter] = {}
_by_name: dict[str, Converter] = {}


def register(
    cls: type[T], name: str, to_plain: Callable[[T], Any], from_plain: Callable[[Any], T]
) -> None:
    """Register a type, so that objects of exactly this type can be in streams, without pickle.

    Registering the same class under the same name again replaces its functions.

    :param cls: the type; it does not hold for subclasses, because they would become ``cls``
    :param name: its name in streams, with a dot: ``"mypackage.Pick"``
    :param to_plain: makes plain data from an object (everything that the codec knows, also arrays
        and other registered types); equal objects should give equal data
    :param from_plain: makes the object from the plain data
    :raises UsageError: the name has no dot, or the name or the class is already registered
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a type in streams: give it as 'package.Type'")
    taken = _by_name.get(name)
    if taken is not None and full_name(taken.cls) != full_name(cls):
        raise UsageError(f"{name!r} is registered already, for {full_name(taken.cls)}")
    known = _by_type.get(cls)
    if known is not None and known.name != name:
        raise UsageError(f"{full_name(cls)} is registered already, as {known.name!r}")
    if taken is not None:
        _by_type.pop(taken.cls, None)
    converter = Converter(cls, name, to_plain, from_plain)
    _by_type[cls] = converter
    _by_name[name] = converter


def for_type(cls: type) -> Converter | None:
    """The converter of exactly this type, or None; obspy's types are registered when first met."""
    found = _by_type.get(cls)
    if found is None and cls.__module__.partition(".")[0] == "obspy":
        _register_obspy()
        found = _by_type.get(cls)
    return found


def for_name(name: str) -> Converter:
    """The converter with the name ``name`` in streams.

    :raises ItemError: there is none, or obspy is needed and not installed
    """
    if name.startswith("obspy.") and name not in _by_name:
        try:
            _register_obspy()
        except ImportError as error:
            raise ItemError(f"an item holds a {name}, and obspy is not installed") from error
    if name not in _by_name:
        own = [known for known in _by_name if not known.startswith("obspy.")]
        raise ItemError(
            f"an item holds a {name!r}, a type that is not registered here; import the module that"
            f" calls d4pcwl.streams.codec.register() for it{nearest(name, own)}"
        )
    return _by_name[name]


@cache
def obspy_reducers() -> Mapping[type, Callable[[Any], Any]]:
    """For a pickler: use converters for obspy's types, and nothing for other types."""
    _register_obspy()
    own = {c.cls: _reducer(c) for c in list(_by_name.values()) if c.name.startswith("obspy.")}
    return ChainMap(own, copyreg.dispatch_table)


def _reducer(converter: Converter) -> Callable[[Any], Any]:
    return lambda thing: (converter.from_plain, (converter.to_plain(thing),))


def full_name(cls: type) -> str:
    """The type's name for messages, with its module unless that is builtins."""
    module = cls.__module__
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


def _register_obspy() -> None:
    from d4pcwl.streams.obspy_types import register_all

    register_all(register)
