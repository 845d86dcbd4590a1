"""numpy's arrays and scalars in streams: arrays as .npy, the rest as tagged plain data.

Imported only when an array is used, because it imports numpy. The .npy header is written here and
not by numpy, because its padding differs between releases of numpy: equal arrays must give equal
bytes.
"""

from __future__ import annotations

import ast
import math
import re
import struct
from base64 import b64decode, b64encode
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.lib.format import descr_to_dtype, dtype_to_descr

from d4pcwl.streams.tagged import Buffer, Wrong, whole

Array = np.ndarray[Any, Any]


class Lowering(Protocol):
    """The conversion to JSON of the item that contains an array: see
    :mod:`~d4pcwl.streams.plain`."""

    def part(self, buffers: Sequence[Buffer]) -> int | str:
        """Keep bytes beside the JSON, and return their replacement."""

    def lower(self, item: Any, depth: int) -> Any:
        """The contents of the array, as JSON data."""


_MAGIC = b"\x93NUMPY"
# numpy refuses longer headers too: parsing them is not safe for text from strangers
_LONGEST_HEADER = 10_000
_MANY = 1 << 16
"""The largest number of values without bytes in an array, or in one element of it."""
_SCALAR = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|[mM]8(\[[0-9]*[A-Za-z]+\])?)")


def npy_parts(array: Array) -> list[Buffer]:
    """The array as .npy: the header, and a view of the data if they are contiguous.

    :raises ValueError: .npy cannot describe its dtype, or it has far more values than bytes
    """
    if not _is_bounded(array.dtype, array.size):
        raise ValueError("has far more values than bytes")
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    if not fortran and not array.flags.c_contiguous:
        array = array.copy(order="C")
    if _has_padding(array.dtype):
        array = _without_padding(array, "F" if fortran else "C")
    header = _header(array.dtype, fortran, array.shape)
    if array.nbytes == 0:
        return [header]
    flat = (array.T if fortran else array).reshape(-1)
    data: Any = flat.view(np.uint8)
    return [header, memoryview(data)]


def read_npy(payload: Buffer) -> Array:
    """The array of a .npy, writable and in its own memory.

    :raises ValueError: it is not a .npy, has objects, or has another length than its header says
    """
    view = memoryview(payload)
    if len(view) < 12 or view[:6] != _MAGIC or view[6] not in (1, 2, 3):
        raise ValueError("an array does not begin with a .npy header")
    start = 10 if view[6] == 1 else 12
    length = int.from_bytes(view[8:start], "little")
    if length > _LONGEST_HEADER:
        raise ValueError("the .npy header of an array is too long")
    dtype, fortran, shape = _parse(bytes(view[start : start + length]), view[6])
    if dtype.itemsize * math.prod(shape) != len(view) - start - length:
        raise ValueError(f"an array of {dtype} and shape {shape} has {len(view)} bytes of .npy")
    if not _is_bounded(dtype, math.prod(shape)):
        raise ValueError(f"an array of {dtype} and shape {shape} has far more values than bytes")
    order: Any = "F" if fortran else "C"
    array: Array = np.ndarray(shape, dtype, buffer=view, offset=start + length, order=order)
    return array.copy(order=order)


def _is_bounded(dtype: np.dtype[Any], size: int) -> bool:
    """Whether the number of an array's values is not far larger than the number of its bytes."""
    if dtype.itemsize == 0 and size > _MANY:
        return False
    if dtype.names is None and dtype.subdtype is None:
        return True
    return values_of(dtype) <= _MANY + 64 * dtype.itemsize


def values_of(dtype: np.dtype[Any]) -> int:
    """How many values an element has, when all that it holds is counted, lists included."""
    if dtype.subdtype is not None:
        return values_in(dtype.subdtype[1], dtype.subdtype[0])
    return 1 + sum(values_of(dtype[name]) for name in dtype.names or ())


def values_in(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """How many values an array is as nested lists, the lists included."""
    lists, total = 1, 0
    for length in shape:
        total += lists
        lists *= length
    return total + lists * values_of(dtype)


@lru_cache(maxsize=256)
def _header(dtype: np.dtype[Any], fortran: bool, shape: tuple[int, ...]) -> bytes:
    text = repr(dtype_to_descr(dtype))
    text = f"{{'descr': {text}, 'fortran_order': {fortran}, 'shape': {shape!r}, }}"
    try:
        data, version = text.encode("latin-1"), 1
    except UnicodeEncodeError:
        data, version = text.encode("utf-8"), 3
    start = 10 if version == 1 else 12
    data += b" " * (-(start + len(data) + 1) % 64) + b"\n"
    if len(data) > _LONGEST_HEADER:
        raise ValueError("is an array whose dtype has too many fields for a .npy header")
    return (
        _MAGIC + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(data)) + data
    )


@lru_cache(maxsize=256)
def _parse(header: bytes, version: int) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    try:
        fields = ast.literal_eval(header.decode("utf-8" if version == 3 else "latin-1").strip())
        descr, fortran, shape = fields["descr"], fields["fortran_order"], fields["shape"]
        dtype = descr_to_dtype(descr)
    except (SyntaxError, TypeError, KeyError, IndexError, MemoryError, RecursionError) as error:
        raise ValueError("the .npy header of an array cannot be read") from error
    if dtype.hasobject:
        raise ValueError("an array is of Python objects, which .npy stores as pickle")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"an array cannot have the shape {shape!r}")
    return dtype, bool(fortran), shape


def _has_padding(dtype: np.dtype[Any]) -> bool:
    """Whether there are bytes between the fields, whose values mean nothing."""
    if dtype.names is None:
        return dtype.subdtype is not None and _has_padding(dtype.base)
    fields = [dtype[name] for name in dtype.names]
    return sum(f.itemsize for f in fields) != dtype.itemsize or any(map(_has_padding, fields))


def _without_padding(array: Array, order: Any) -> Array:
    clean: Array = np.frombuffer(bytearray(array.nbytes), np.uint8).view(array.dtype)
    clean = clean.reshape(array.shape, order=order)
    _fill(clean, array)
    return clean


def _fill(target: Array, source: Array) -> None:
    if target.dtype.names is None:
        target[...] = source
    else:
        for name in target.dtype.names:
            _fill(target[name], source[name])


def lower(low: Lowering, item: Any, depth: int) -> dict[str, Any] | str:
    """The tagged form of a numpy object, or a str with the reason why it has none."""
    kind = type(item)
    if kind is np.ndarray or kind is np.memmap:
        if item.dtype.hasobject:
            return _holds_objects(item)
        try:
            return {"$array": low.part(npy_parts(item))}
        except ValueError as error:
            return f"is an array of {item.dtype}, which the .npy format cannot describe ({error})"
    if item is np.ma.masked:
        return {"$masked": None}
    if kind is np.ma.MaskedArray:
        if item.dtype.hasobject:
            return _holds_objects(item)
        plain = {
            "data": np.asarray(item.data),
            "mask": None if item.mask is np.ma.nomask else np.asarray(item.mask),
            "fill_value": item.fill_value,
            "hard": bool(item.hardmask),
        }
        return {"$masked": low.lower(plain, depth)}
    if isinstance(item, np.generic):
        return _lower_scalar(item)
    if isinstance(item, np.ndarray):
        return (
            f"is a {kind.__name__}, a subclass of numpy.ndarray; its type would be lost; use "
            "numpy.asarray"
        )
    return f"is a numpy {kind.__name__}, which has no plain form"


def _holds_objects(item: Array) -> str:
    return f"is an array of dtype {item.dtype}, which .npy stores as pickle; make it a list"


def _lower_scalar(item: np.generic) -> dict[str, Any] | str:
    dtype = item.dtype
    if dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize <= 8):
        value = item.item()
        if type(value) is float and not math.isfinite(value):
            value = {"$float": repr(value)}
        return {"$numpy": [dtype.str, value]}
    if dtype.kind in "mM":
        return {"$numpy": [dtype.str, int(np.asarray(item).view("i8"))]}
    if dtype.hasobject:
        return "is a numpy record with Python objects"
    npy = b"".join(npy_parts(np.asarray(item)))
    return {"$numpy": ["npy", b64encode(npy).decode("ascii")]}


def raise_scalar(value: Any) -> Any:
    """Undo the ``$numpy`` form: ``[dtype, number]``, or ``["npy", bytes]`` of a 0-d array."""
    form = "a dtype and a number, or npy and base64"
    if type(value) is not list or len(value) != 2 or type(value[0]) is not str:
        raise Wrong(form)
    dtype, plain = value
    if dtype == "npy":
        (npy,) = whole([plain], (str,), form)
        array = read_npy(b64decode(npy, validate=True))
        if array.ndim:
            raise Wrong("an array without dimensions")
        return array[()]
    if not _SCALAR.fullmatch(dtype):
        raise Wrong(form)
    made = np.dtype(dtype)
    if type(plain) is not {"b": bool, "f": float}.get(made.kind, int):
        raise Wrong(form)
    if made.kind in "mM":
        return np.array(plain, "i8").view(made)[()]
    return made.type(plain)


def raise_masked(value: Any) -> Any:
    """Undo the ``$masked`` form: numpy.ma.masked itself, or a masked array."""
    if value is None:
        return np.ma.masked
    if type(value) is not dict or value.keys() != {"data", "mask", "fill_value", "hard"}:
        raise Wrong("null, or data, mask, fill_value and hard")
    data, mask = value["data"], value["mask"]
    if type(data) is not np.ndarray or type(value["hard"]) is not bool:
        raise Wrong("an array of data and, under hard, true or false")
    if mask is not None and (type(mask) is not np.ndarray or mask.shape != data.shape):
        raise Wrong("null or an array of the data's shape as mask")
    return np.ma.MaskedArray(
        data,
        np.ma.nomask if mask is None else mask,
        fill_value=value["fill_value"],
        hard_mask=value["hard"],
    )
