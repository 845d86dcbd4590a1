"""From JSON back to the Python values from which :mod:`~d4pcwl.streams.plain` made it.

The text may come from any source. So each tag must have the form that the writer gives it, no part
is used twice, and the size of the values is bounded by a multiple of the size of the text.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from base64 import b64decode
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from d4pcwl.errors import ItemError
from d4pcwl.streams import converters
from d4pcwl.streams.plain import FACTORIES, FRACTION_BITS, PATHS
from d4pcwl.streams.tagged import Buffer, Wrong, whole

T = TypeVar("T")

_HEX = re.compile("-?0x[0-9a-f]+")
_NOT_FINITE = {text: float(text) for text in ("nan", "inf", "-inf")}
_LARGE_EXPONENT = re.compile(rb"e\+?[0-9]{3}").search, re.compile(rb"E\+?[0-9]{3}").search
_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_MANY_DIGITS = b"0" * 200
_SPACED_COLON = re.compile(rb'"[ \t\n\r]+:').search


class _Clash(Exception):
    """Values of registered types that stay in their plain form cannot be keys, or are equal
    keys."""


def loads(text: str, payload: bytes) -> Any:
    """The data of a JSON text without tags.

    :param payload: the same text, encoded
    :raises ValueError: it is not JSON, or has a number that is too large for a float
    :raises ItemError: an object in it has a key twice
    """
    if payload[:1] == b'"':
        return _loads(text)
    exactly = _may_overflow(payload)
    item = _decoder(None, exactly)(text) if exactly else _loads(text)
    if b"{" in payload and _may_repeat_keys(item, payload):
        return _decoder(_unique, exactly)(text)
    return item


class Raising:
    """The conversion of one item from JSON: the object hook of a JSON decoder.

    :param parts: the parts beside the JSON
    :param convert: whether to make objects of registered types; if not, they stay in their plain
        form
    """

    def __init__(self, parts: Sequence[memoryview], convert: bool) -> None:
        self.parts = parts
        self.convert = convert
        self._taken: set[int] = set()

    def loads(self, text: str, payload: bytes) -> Any:
        """The item of this JSON text; ``payload`` is the same, encoded."""
        return _decoder(self._object, _may_overflow(payload))(text)

    def _object(self, pairs: list[tuple[str, Any]]) -> Any:
        fields = _unique(pairs)
        tags = [key for key in fields if key.startswith("$")]
        if not tags:
            return fields
        if len(fields) != 1:
            raise ItemError(f"an item holds an object with {tags[0]!r} and other keys")
        ((tag, value),) = fields.items()
        try:
            return self._raised(tag, value)
        except Wrong as error:
            raise ItemError(f"under {tag!r} an item does not hold {error}") from None
        except _Clash as error:
            if self.convert:
                raise ItemError(f"under {tag!r} an item holds {error}") from None
            return value

    def _raised(self, tag: str, value: Any) -> Any:
        undo = _UNDO.get(tag)
        if undo is not None:
            return undo(value)
        if tag in ("$bytes", "$bytearray"):
            data = self._part(value)
            return bytes(data) if tag == "$bytes" else bytearray(data)
        if "." in tag:
            return converters.for_name(tag[1:]).from_plain(value) if self.convert else value
        if tag not in ("$array", "$numpy", "$masked"):
            raise ItemError(f"an item holds a {tag!r}, which this version of d4pcwl does not know")
        from d4pcwl.streams import arrays

        if tag == "$array":
            return arrays.read_npy(self._part(value))
        return arrays.raise_scalar(value) if tag == "$numpy" else arrays.raise_masked(value)

    def _part(self, value: int | str) -> Buffer:
        if type(value) is str:
            return b64decode(value, validate=True)
        if type(value) is not int or not 0 <= value < len(self.parts):
            raise Wrong(f"base64 or the number of one of its {len(self.parts)} parts")
        if value in self._taken:
            raise Wrong(f"a part of its own: part {value} is already used")
        self._taken.add(value)
        return self.parts[value]


def _may_overflow(payload: bytes) -> bool:
    """Whether a number in a JSON text may be too large for a float: then each number is checked."""
    if b"e" in payload and _LARGE_EXPONENT[0](payload):
        return True
    if b"E" in payload and _LARGE_EXPONENT[1](payload):
        return True
    return len(payload) >= len(_MANY_DIGITS) and _MANY_DIGITS in payload.translate(_ALIKE)


def _may_repeat_keys(item: Any, payload: bytes) -> bool:
    """Whether an object in a JSON text may have a key twice: then each is checked, which is slow.
    It has none if the item has as many keys as the text, or more.
    """
    at_most = payload.count(b":")
    after_quotes = payload.count(b'":')
    found = 0
    level: list[Any] = [item]
    while level and found < after_quotes:
        dicts = [value for value in level if type(value) is dict]
        found += sum(map(len, dicts))
        if found < after_quotes:
            lists = [value for value in level if type(value) is list]
            level = [v for fields in dicts for v in fields.values()]
            level += [v for values in lists for v in values]
    if found == at_most:
        return False
    return found != after_quotes or _SPACED_COLON(payload) is not None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        shown = twice if len(twice) <= 40 else twice[:37] + "..."
        raise ItemError(f"an item holds an object with the key {shown!r} twice")
    return fields


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is too large for a float")
    return number


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not valid JSON")


def _decoder(
    hook: Callable[[list[tuple[str, Any]]], Any] | None, exactly: bool
) -> Callable[[str], Any]:
    return json.JSONDecoder(
        object_pairs_hook=hook,
        parse_constant=_refuse_constant,
        parse_float=_finite if exactly else None,
    ).decode


_loads = _decoder(None, exactly=False)


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise Wrong("a list")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise Wrong("a string")
    return value


def _of_text(undo: Callable[[str], T]) -> Callable[[Any], T]:
    return lambda value: undo(_text(value))


def _set(cls: type[T]) -> Callable[[Any], T]:
    make: Callable[[list[Any]], T] = cls

    def undo(value: Any) -> T:
        try:
            return make(_list(value))
        except TypeError:
            raise _Clash("a value that cannot be in a set") from None

    return undo


def _pairs(value: Any) -> dict[Any, Any]:
    for pair in _list(value):
        if type(pair) is not list or len(pair) != 2:
            raise Wrong("a list of [key, value]")
        if not isinstance(pair[0], Hashable):
            raise _Clash("a value that cannot be a key")
    try:
        made = dict(value)
    except TypeError:
        raise _Clash("a value that cannot be a key") from None
    if len(made) != len(value):
        raise _Clash("the same key twice")
    return made


def _raise_int(value: Any) -> int:
    if not _HEX.fullmatch(_text(value)):
        raise Wrong("hexadecimal digits after 0x")
    return int(value, 16)


def _raise_float(value: Any) -> float:
    if _text(value) not in _NOT_FINITE:
        raise Wrong("nan, inf or -inf")
    return _NOT_FINITE[value]


def _raise_complex(value: Any) -> complex:
    if type(value) is not list or [type(n) in (int, float) for n in value] != [True, True]:
        raise Wrong("two numbers")
    return complex(*value)


def _raise_slice(value: Any) -> slice:
    if len(_list(value)) != 3:
        raise Wrong("a list of three")
    return slice(*value)


def _raise_fraction(value: Any) -> Fraction:
    numerator, denominator = whole(value, (int, int), "two integers")
    if max(numerator.bit_length(), denominator.bit_length()) > FRACTION_BITS or not denominator:
        raise Wrong(f"two integers of up to {FRACTION_BITS} bits, of which the second is not 0")
    return Fraction(numerator, denominator)


def _raise_time(cls: type[dt.datetime] | type[dt.time]) -> Callable[[Any], Any]:
    def undo(value: Any) -> Any:
        if type(value) is str:
            return cls.fromisoformat(value)
        if type(value) is not list or len(value) != 3 or value[1] not in (0, 1):
            raise Wrong("a time, or a list of time, fold and zone")
        iso, fold, zone = value
        time = cls.fromisoformat(_text(iso)).replace(fold=int(fold))
        return time if zone is None else time.replace(tzinfo=ZoneInfo(_text(zone)))

    return undo


def _raise_defaultdict(value: Any) -> Any:
    if len(_list(value)) != 2 or not (value[0] is None or _text(value[0]) in FACTORIES):
        raise Wrong(f"null or one of {', '.join(FACTORIES)}, and a list of [key, value]")
    return defaultdict(value[0] and FACTORIES[value[0]], _pairs(value[1]))


def _raise_deque(value: Any) -> Any:
    form = "a maximal length or null, and a list that is no longer"
    if len(_list(value)) != 2:
        raise Wrong(form)
    longest, items = value
    if longest is not None and (type(longest) is not int or longest < len(_list(items))):
        raise Wrong(form)
    return deque(_list(items), longest)


def _raise_path(value: Any) -> Any:
    name, path = whole(value, (str, str), "the kind of a path and the path")
    if name not in PATHS:
        raise Wrong(f"one of {', '.join(PATHS)}, and the path")
    return PATHS[name](path)


_UNDO: dict[str, Callable[[Any], Any]] = {
    "$str": lambda value: b64decode(_text(value), validate=True).decode("utf-8", "surrogatepass"),
    "$int": _raise_int,
    "$float": _raise_float,
    "$dict": _pairs,
    "$tuple": lambda value: tuple(_list(value)),
    "$set": _set(set),
    "$frozenset": _set(frozenset),
    "$complex": _raise_complex,
    "$slice": _raise_slice,
    "$range": lambda value: range(*whole(value, (int, int, int), "three integers")),
    "$datetime": _raise_time(dt.datetime),
    "$time": _raise_time(dt.time),
    "$date": _of_text(dt.date.fromisoformat),
    "$timedelta": lambda value: dt.timedelta(*whole(value, (int, int, int), "three integers")),
    "$decimal": _of_text(Decimal),
    "$fraction": _raise_fraction,
    "$uuid": _of_text(UUID),
    "$ordereddict": lambda value: OrderedDict(_pairs(value)),
    "$counter": lambda value: Counter(_pairs(value)),
    "$defaultdict": _raise_defaultdict,
    "$deque": _raise_deque,
    "$path": _raise_path,
}
