"""Groupings: to which instances of a PE an item goes.

In ``inputconnections`` a grouping is written as dispel4py users write it:

========================  ==============================================================
nothing, ``'shuffle'``    any one instance (:data:`SHUFFLE`)
``[0]``, ``['key', 2]``   the instance that owns the values found there (:class:`GroupBy`)
``'key'``, ``0``          the same, for a single key
``'all'``                 every instance (:data:`ALL`)
``'global'``              the first instance (:data:`GLOBAL`)
========================  ==============================================================
"""

from __future__ import annotations

import contextlib
import datetime
import pathlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from d4pcwl.errors import GraphError

# With more different keys, the cache of owners is cleared, so that memory is bounded.
_REMEMBERED_KEYS = 1 << 16


@dataclass(frozen=True)
class Grouping:
    """How the items of an edge are distributed: ``shuffle``, ``group-by``, ``all`` or
    ``global``."""

    kind: str

    def __str__(self) -> str:
        return self.kind


@dataclass(frozen=True)
class GroupBy(Grouping):
    """Group-by on indices or keys: equal values of ``item[k] for k in keys`` share an instance."""

    keys: tuple[Hashable, ...] = ()

    def __str__(self) -> str:
        return f"group-by {list(self.keys)}"

    def reader(self) -> Callable[[Any], Any]:
        """A function from an item to the value of its key, or to a tuple of several.

        It raises LookupError or TypeError if the item has no such index or key.
        """
        return itemgetter(*self.keys)

    def owner(self, count: int) -> Callable[[Any], int]:
        """A function from an item to the number of the instance, of ``count``, that owns its key.

        The owner depends only on the key: it is the same in every process, in every run and on
        every machine.
        """
        read, known = self.reader(), dict[Hashable, int]()

        def owner_of(item: Any) -> int:
            key = read(item)
            if type(key) not in _PLAIN:
                key = freeze(key)
            owner = known.get(key)
            if owner is None:
                if len(known) >= _REMEMBERED_KEYS:
                    known.clear()
                owner = known[key] = stable_hash(key) % count
            return owner

        return owner_of


class GroupByOfNumbered(GroupBy):
    """Group-by on indices or keys of items that come with their numbers, as pairs."""

    def reader(self) -> Callable[[Any], Any]:
        read = super().reader()
        return lambda pair: read(pair[1])


def of_numbered(grouping: Grouping) -> Grouping:
    """The same grouping for items that come with their numbers, as pairs."""
    if isinstance(grouping, GroupBy):
        return GroupByOfNumbered(grouping.kind, grouping.keys)
    return grouping


_MOST_WHOLE = 1 << 4096
"""Whole numbers from which on digits are too many to be written out."""

_PLAIN = frozenset({bool, bytes, float, int, str})
SHUFFLE = Grouping("shuffle")
ALL = Grouping("all")
GLOBAL = Grouping("global")
_NAMED = {"shuffle": SHUFFLE, "all": ALL, "global": GLOBAL, "none": SHUFFLE}


def parse_grouping(declared: Any, where: str) -> Grouping:
    """The grouping that a connection declares.

    :param declared: the value of ``inputconnections[port]['grouping']``, or None
    :param where: ``PE.port``, for the message
    :raises GraphError: it has none of the forms above
    """
    if declared is None or (isinstance(declared, Sequence) and not declared):
        return SHUFFLE
    if isinstance(declared, str):
        return _NAMED.get(declared.lower()) or GroupBy("group-by", (declared,))
    if isinstance(declared, int) and not isinstance(declared, bool):
        return GroupBy("group-by", (declared,))
    if isinstance(declared, Sequence) and all(isinstance(key, (int, str)) for key in declared):
        return GroupBy("group-by", tuple(declared))
    raise GraphError(
        f"{where}: the grouping {declared!r} is not known; "
        "give a list of indices or keys, 'all', 'global', or nothing"
    )


def freeze(value: Any) -> Hashable:
    """``value`` with its containers frozen, so that it can be a key."""
    if isinstance(value, (list, tuple)):
        return tuple(map(freeze, value))
    if isinstance(value, (set, frozenset)):
        return frozenset(map(freeze, value))
    if isinstance(value, dict):
        return frozenset((freeze(key), freeze(entry)) for key, entry in value.items())
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        plain = value.tolist()
        return plain if type(plain) is type(value) else freeze(plain)  # longdouble has no plain one
    return value  # type: ignore[no-any-return]


def stable_hash(key: Hashable) -> int:
    """A 64-bit hash that is equal for equal keys in every process, run and machine.

    Python's own ``hash`` is salted per process. Keys that are equal in Python hash alike: ``1``,
    ``True`` and ``Decimal(1)``, or one instant in two time zones. Of types that are not known here,
    equal keys must have an equal ``repr``. Hash function: BLAKE2b (RFC 7693) over an unambiguous
    encoding.

    :raises TypeError: keys of this type cannot be hashed in the same way everywhere
    """
    from hashlib import blake2b  # slow to import, and many runs have no keys

    digest = blake2b(_canonical(key), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _canonical(key: Any) -> bytes:
    if isinstance(key, str):
        return b"s" + _sized(key.encode("utf-8", "surrogatepass"))
    if isinstance(key, (int, float, complex)) or _is_number(key):
        return _canonical_number(key)
    if key is None:
        return b"n"
    if isinstance(key, bytes):
        return b"b" + _sized(key)
    if isinstance(key, tuple):
        return b"t%d;" % len(key) + b"".join(map(_canonical, key))
    if isinstance(key, frozenset):
        return b"z%d;" % len(key) + b"".join(sorted(map(_canonical, key)))
    if isinstance(key, (datetime.datetime, datetime.time)) and key.utcoffset() is not None:
        return _canonical_instant(key)
    if isinstance(key, pathlib.PurePath):  # equal paths may be of different classes
        return b"p" + _sized(str(key).encode("utf-8", "surrogateescape"))
    if type(key).__repr__ is object.__repr__:  # type: ignore[comparison-overlap]
        raise TypeError(
            f"a key of type {type(key).__qualname__} cannot be hashed in the same way "
            "everywhere; group by a string, a number or a tuple of them"
        )
    # Dates, UUIDs, enums, named types: their repr shows their value.
    return b"r" + _sized(f"{type(key).__qualname__}:{key!r}".encode())


def _is_number(key: Any) -> bool:
    from numbers import Number  # most runs need it for nothing

    return isinstance(key, Number)


def _canonical_number(key: Any) -> bytes:
    if key != key:
        return b"fnan;"
    if getattr(key, "imag", 0) != 0:
        return b"c%a;" % complex(key)
    key = getattr(key, "real", key)
    if abs(key) < _MOST_WHOLE and key == int(key):
        return b"i%d;" % int(key)
    with contextlib.suppress(OverflowError):
        if float(key) == key:
            return b"f%a;" % float(key)
    return b"h%d;" % hash(key)  # which is not salted, and alike for equal numbers of all types


def _canonical_instant(key: Any) -> bytes:
    offset = key.utcoffset()
    days = key.toordinal() if isinstance(key, datetime.datetime) else 0
    clock = datetime.timedelta(
        days, key.second, key.microsecond, minutes=key.minute, hours=key.hour
    )
    return b"d" + _sized(repr(clock - offset).encode())


def _sized(encoded: bytes) -> bytes:
    return b"%d;" % len(encoded) + encoded
