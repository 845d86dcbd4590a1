"""Python values as JSON. Types that JSON does not have become tagged objects, ``{"$tuple": [1,
2]}``.

A tagged object has one key, which begins with ``$``; docs/stream-files.md lists them. The
conversion to JSON is called *lowering*. It is exact about types: :mod:`~d4pcwl.streams.raising`
makes the same value again, or else lowering refuses the value, with its place.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import pathlib
from base64 import b64encode
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from types import NoneType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from d4pcwl.streams import converters
from d4pcwl.streams.tagged import Buffer

MAX_DEPTH = 200  # JSON readers recurse; three levels of JSON for one of ours stay within 1000
INLINE_BYTES = 256  # longer bytes are kept beside the JSON, as they are
FRACTION_BITS = 1 << 18  # the time for cancelling grows with the square of these
BIG = 1 << 2048  # larger ints are written in hex: Python may limit decimal ones to 640 digits

_SCALARS = frozenset({str, int, float, bool, NoneType})
_PLAIN = _SCALARS | {list, dict}
FACTORIES = {f.__name__: f for f in (list, dict, set, int, float, str, tuple, bool)}
PATHS = {
    cls.__name__: cls
    for cls in (
        pathlib.PurePosixPath,
        pathlib.PureWindowsPath,
        pathlib.PosixPath,
        pathlib.WindowsPath,
    )
}


dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Unencodable(Exception):
    """A part of an item has no plain form; ``path`` is the path to it, innermost step first."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.path: list[str] = []

    def place(self) -> str:
        """The path as an expression: ``item['a'][3]``."""
        steps = self.path[::-1]
        return "item" + "".join(steps if len(steps) < 12 else [*steps[:8], "...", *steps[-2:]])


def is_plain(item: Any, depth: int = 0) -> bool:
    """Whether a list or dict has only types of JSON, and is not too deep. The text of the encoder
    must still be checked for keys that begin with ``$``, floats that are not finite, and lone
    surrogates.
    """
    values: Iterable[Any] = item
    if type(item) is dict:
        for key in item:
            if type(key) is not str:
                return False
        values = item.values()
    kinds = set(map(type, values))
    if int in kinds:
        for value in values:
            if type(value) is int and not -BIG < value < BIG:
                return False
    if kinds <= _SCALARS:
        return True
    if depth >= MAX_DEPTH or not kinds <= _PLAIN:
        return False
    for value in values:
        kind = type(value)
        if (kind is list or kind is dict) and not is_plain(value, depth + 1):
            return False
    return True


Rule = Callable[["Lowering", Any, int], Any]


class Lowering:
    """The conversion of one item to JSON; ``parts`` collects the arrays and long bytes that are
    kept beside it."""

    rules: Mapping[type, Rule]
    """The rules for values of exactly these types."""

    def __init__(self) -> None:
        self.parts: list[Sequence[Buffer]] = []
        self.inline = 0

    def lower(self, item: Any, depth: int = 0) -> Any:
        """The item as JSON data.

        :raises Unencodable: something in it has no plain form, or it is too deep
        """
        kind = type(item)
        if kind is bool or item is None:
            return item
        if depth > MAX_DEPTH:
            raise Unencodable(f"contains itself, or is nested deeper than {MAX_DEPTH} levels")
        rule = self.rules.get(kind)
        if rule is not None:
            return rule(self, item, depth)
        converter = converters.for_type(kind)
        if converter is not None:
            return self.tagged(
                f"${converter.name}", self.lower(converter.to_plain(item), depth + 1)
            )
        if kind.__module__.partition(".")[0] == "numpy":
            return self.numpy(item, depth)
        return self.other(item, depth)

    def tagged(self, tag: str, plain: Any) -> Any:
        """A tagged object, from a tag and a plain form."""
        return {tag: plain}

    def numpy(self, item: Any, depth: int) -> Any:
        """An object of numpy."""
        from d4pcwl.streams import arrays

        lowered = arrays.lower(self, item, depth)
        if isinstance(lowered, str):
            raise Unencodable(lowered)
        return lowered

    def other(self, item: Any, depth: int) -> Any:
        """An object without a rule or a converter."""
        kind = type(item)
        name = converters.full_name(kind)
        for base in kind.__mro__[1:]:
            if base in self.rules or base is bool:
                raise Unencodable(
                    f"is of type {name}, a subclass of {base.__name__}; its type would be lost"
                )
        raise Unencodable(f"is of type {name}, which has no plain form")

    def part(self, buffers: Sequence[Buffer]) -> int | str:
        """Keep bytes beside the JSON and return their number; in a set, return them as base64."""
        if self.inline:
            return b64encode(b"".join(buffers)).decode("ascii")
        self.parts.append(buffers)
        return len(self.parts) - 1

    def children(self, items: Iterable[Any], depth: int) -> list[Any]:
        """The items of a list or another sequence, lowered."""
        lowered = []
        try:
            for item in items:
                lowered.append(self.lower(item, depth + 1))
        except Unencodable as error:
            error.path.append(f"[{len(lowered)}]")
            raise
        return lowered

    def mapping(self, items: dict[str, Any], depth: int) -> dict[str, Any]:
        """A dict with plain keys, its values lowered."""
        lowered = {}
        key: Any = None
        try:
            for key, value in items.items():
                lowered[key] = self.lower(value, depth + 1)
        except Unencodable as error:
            error.path.append(f"[{_short(key)}]")
            raise
        return lowered

    def pairs(self, items: dict[Any, Any], depth: int) -> list[Any]:
        """A dict as a list of [key, value]."""
        lowered = []
        step = ""
        try:
            for key, value in items.items():
                step = f".<key {_short(key)}>"
                low_key = self.lower(key, depth + 1)
                step = f"[{_short(key)}]"
                lowered.append([low_key, self.lower(value, depth + 1)])
        except Unencodable as error:
            error.path.append(step)
            raise
        return lowered

    def members(self, items: Iterable[Any], depth: int) -> list[Any]:
        """The members of a set, in the order of their JSON, so that equal sets look the same."""
        self.inline += 1
        try:
            return sorted((self.lower(item, depth + 1) for item in items), key=_bytes_of)
        except Unencodable as error:
            error.path.append(".<member>")
            raise
        finally:
            self.inline -= 1


def _bytes_of(lowered: Any) -> bytes:
    return dumps(lowered).encode("utf-8")


def _short(key: Any) -> str:
    try:
        text = repr(key)
    except Exception:  # noqa: BLE001 - an error of a key's repr must not hide the error to report
        text = f"<{type(key).__name__}>"
    return text if len(text) <= 40 else text[:37] + "..."


def text_fits(text: str) -> bool:
    """Whether UTF-8 can encode it."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _lower_str(low: Lowering, item: str, depth: int) -> Any:
    if text_fits(item):
        return item
    return low.tagged("$str", b64encode(item.encode("utf-8", "surrogatepass")).decode("ascii"))


def _lower_int(low: Lowering, item: int, depth: int) -> Any:
    return item if -BIG < item < BIG else low.tagged("$int", hex(item))


def _lower_float(low: Lowering, item: float, depth: int) -> Any:
    return item if math.isfinite(item) else low.tagged("$float", repr(item))


def _lower_list(low: Lowering, item: list[Any], depth: int) -> Any:
    if set(map(type, item)) == {float} and all(map(math.isfinite, item)):
        return item
    return low.children(item, depth)


def _lower_dict(low: Lowering, item: dict[Any, Any], depth: int) -> Any:
    for key in item:
        if type(key) is not str or key.startswith("$") or not text_fits(key):
            return low.tagged("$dict", low.pairs(item, depth))
    return low.mapping(item, depth)


def _lower_bytes(low: Lowering, item: bytes | bytearray, depth: int) -> Any:
    name = "$bytes" if type(item) is bytes else "$bytearray"
    if len(item) > INLINE_BYTES:
        return low.tagged(name, low.part([item]))
    return low.tagged(name, b64encode(item).decode("ascii"))


def _lower_defaultdict(low: Lowering, item: defaultdict[Any, Any], depth: int) -> Any:
    factory: Any = item.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    if name is not None and FACTORIES.get(name) is not factory:
        raise Unencodable(f"is a defaultdict whose factory is {_short(factory)}; make it a dict")
    return {"$defaultdict": [name, low.pairs(item, depth)]}


def _zone(item: dt.datetime | dt.time) -> str | None:
    """The key of the item's time zone; None if the offset in its ISO form is enough."""
    zone = item.tzinfo
    if zone is None or type(zone) is dt.timezone:
        if zone is not None and zone.tzname(None) != dt.timezone(zone.utcoffset(None)).tzname(None):
            raise Unencodable(f"has a time zone with a name of its own, {_short(zone)}")
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    raise Unencodable(f"has a time zone of type {converters.full_name(type(zone))}")


def _lower_time(low: Lowering, item: dt.datetime | dt.time, depth: int) -> Any:
    name = "$datetime" if type(item) is dt.datetime else "$time"
    zone = _zone(item)
    if zone is None and not item.fold:
        return {name: item.isoformat()}
    bare = item if zone is None else item.replace(tzinfo=None)
    return {name: [bare.isoformat(), item.fold, zone]}


def _lower_fraction(low: Lowering, item: Fraction, depth: int) -> Any:
    both = [item.numerator, item.denominator]
    if max(number.bit_length() for number in both) > FRACTION_BITS:
        raise Unencodable(f"is a Fraction of integers with more than {FRACTION_BITS} bits")
    return low.tagged("$fraction", low.children(both, depth))


def by_tag(tag: str, plain: Callable[[Any], Any]) -> Rule:
    """The rule for values that are written as a tag and this plain form."""
    return lambda low, item, depth: low.tagged(tag, low.lower(plain(item), depth))


def _lower_path(low: Lowering, item: pathlib.PurePath, depth: int) -> Any:
    return {"$path": [type(item).__name__, low.lower(str(item), depth)]}


RULES: dict[type, Rule] = {
    str: _lower_str,
    int: _lower_int,
    float: _lower_float,
    list: _lower_list,
    dict: _lower_dict,
    bytes: _lower_bytes,
    bytearray: _lower_bytes,
    tuple: lambda low, item, depth: low.tagged("$tuple", low.children(item, depth)),
    set: lambda low, item, depth: low.tagged("$set", low.members(item, depth)),
    frozenset: lambda low, item, depth: low.tagged("$frozenset", low.members(item, depth)),
    complex: by_tag("$complex", lambda item: [item.real, item.imag]),
    slice: by_tag("$slice", lambda item: [item.start, item.stop, item.step]),
    range: by_tag("$range", lambda item: [item.start, item.stop, item.step]),
    dt.datetime: _lower_time,
    dt.time: _lower_time,
    dt.date: by_tag("$date", dt.date.isoformat),
    dt.timedelta: by_tag("$timedelta", lambda item: [item.days, item.seconds, item.microseconds]),
    Decimal: by_tag("$decimal", str),
    Fraction: _lower_fraction,
    UUID: by_tag("$uuid", str),
    OrderedDict: lambda low, item, depth: {"$ordereddict": low.pairs(item, depth)},
    Counter: lambda low, item, depth: {"$counter": low.pairs(item, depth)},
    defaultdict: _lower_defaultdict,
    deque: lambda low, item, depth: {"$deque": [item.maxlen, low.children(item, depth)]},
    **dict.fromkeys(PATHS.values(), _lower_path),
}
Lowering.rules = RULES
