"""Many small items of one port in one record, as MessagePack; docs/stream-files.md has the form.

A batch depends only on its items, so equal streams give equal bytes. Items are encoded when they
come, because they may change later.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import msgpack  # type: ignore[import-untyped]

from d4pcwl.errors import ItemError
from d4pcwl.streams import codec
from d4pcwl.streams.plain import MAX_DEPTH
from d4pcwl.streams.tagged import Buffer

LONGEST = 1 << 17
"""The largest size of a batch in bytes."""

_SMALL = 1024  # bytes of an item, so that no list in a batch has more entries
_FEWEST_ITEMS = 8
_MOST_BYTES, _ITEM_BYTES = 1 << 16, 64  # of a batch, counting so many more for each item
_TUPLE, _JSON = 1, 2  # extension types

_IMMUTABLE = {int, complex, dt.date, dt.datetime, dt.time, dt.timedelta, Decimal, Fraction, UUID}
_CONTAINERS = (dict, list, tuple)
# What MessagePack takes for bytes, or for an extension, is not always what it looks like; these
# bytes say where it may be, though other values have them as well.
_BYTES_OR_EXTENSION = bytes([*range(0xC4, 0xCA), *range(0xD4, 0xD9)])
_PLAIN = {type(None), bool, int, float, str, bytes, *_IMMUTABLE}


class _NotSmall(Exception):
    """The item needs a separate record."""


def _packer() -> Any:
    return msgpack.Packer(default=_extension, strict_types=True)


def _extension(value: Any) -> Any:
    """A value that MessagePack has no form for."""
    kind = type(value)
    if kind is tuple:
        return msgpack.ExtType(_TUPLE, _packer().pack([*value]))
    if kind not in _IMMUTABLE and not _is_numpy_scalar(kind):
        raise _NotSmall
    tag, parts = codec.encode(value)
    if tag != codec.JSON:
        raise _NotSmall
    return msgpack.ExtType(_JSON, b"".join(parts))


def _value(code: int, data: bytes) -> Any:
    """The value from which :func:`_extension` has made an extension."""
    if code == _TUPLE:
        return tuple(_unpacked(data))
    if code == _JSON:
        return codec.decode(codec.JSON, data)
    raise ItemError(f"a batch has the extension {code}, which this version does not know")


def _is_numpy_scalar(kind: type) -> bool:
    if kind.__module__ != "numpy":
        return False
    import numpy as np

    return issubclass(kind, np.number | np.bool_ | np.datetime64)


def _is_exact(item: Any, depth: int = 0) -> bool:
    """Whether all parts of an item are decoded to the same types, and it is not too deep."""
    kind = type(item)
    if kind not in _CONTAINERS:
        return kind in _PLAIN or _is_numpy_scalar(kind)
    if depth > MAX_DEPTH:
        return False
    for values in (item, item.values()) if kind is dict else (item,):
        kinds = {*map(type, values)}
        if not kinds <= _PLAIN and not all(_is_exact(value, depth + 1) for value in values):
            return False
    return True


def _unpacked(data: Buffer) -> Any:
    return msgpack.unpackb(
        data,
        ext_hook=_value,
        max_array_len=_SMALL,
        strict_map_key=False,
        timestamp=1,  # as floats, which are packed otherwise: nobody writes timestamps
    )


class Batch:
    """Items that will be written to a file; ``is_full`` says that it is time to write them."""

    def __init__(self) -> None:
        self._pack = _packer().pack
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.is_full = False
        self._items: list[bytes] = []
        self._tuples: list[int] = []  # which items are tuples
        self._room = _MOST_BYTES

    def __len__(self) -> int:
        return len(self._items)

    def take(self, item: Any) -> bool:
        """Take an item in its present form; False: it must be written by itself."""
        is_tuple = type(item) is tuple
        try:
            packed = self._pack([*item] if is_tuple else item)
        except Exception:  # noqa: BLE001 - the error is reported when the item is written
            return False
        size = len(packed)
        suspicious = size > MAX_DEPTH or len(packed.translate(None, _BYTES_OR_EXTENSION)) != size
        if suspicious and (size > _SMALL or not _is_exact(item)):
            return False
        if is_tuple:
            self._tuples.append(len(self._items))
        self._items.append(packed)
        self._room -= size + _ITEM_BYTES
        self.is_full = self._room < 0
        return True

    def items(self) -> list[Any]:
        """The items, made anew."""
        items = [_unpacked(packed) for packed in self._items]
        return _with_tuples(self._tuples, items)

    def payload(self) -> bytes | None:
        """The batch as bytes; None: there are too few items, so they are written one by one."""
        if len(self) < _FEWEST_ITEMS:
            return None
        head = _packer().pack_array_header(1 + len(self))
        return b"".join([head, self._pack(self._tuples), *self._items])


def _with_tuples(tuples: list[int], items: list[Any]) -> list[Any]:
    for place in tuples:
        if type(items[place]) is not list:
            raise ItemError("a batch has an invalid tuple")
        items[place] = tuple(items[place])
    return items


def decode(payload: Buffer) -> list[Any]:
    """The items of a batch.

    :raises ItemError: the bytes are not a batch in the form of writers
    """
    with codec.Decoding():
        whole = _unpacked(payload)
        if _packer().pack(whole) != payload:
            raise ItemError("a batch does not have the form that writers give it")
        tuples, *items = whole
        return _with_tuples(tuples, items)


def count(payload: Buffer) -> int:
    """The number of items that a batch gives.

    :raises ItemError: the bytes are not a batch
    """
    with codec.Decoding():
        unpacker = msgpack.Unpacker(read_size=5)
        unpacker.feed(payload[:5])
        return max(int(unpacker.read_array_header()) - 1, 0)
