"""One item of a stream as bytes and back, in open formats; pickle only if the user asks for it.

There are four codecs, each with a letter:

- ``J``  UTF-8 JSON; what JSON lacks goes as tagged objects, see :mod:`d4pcwl.streams.plain`
- ``A``  one numpy array, as .npy
- ``M``  JSON, with the arrays and long bytes of the item kept beside it
- ``P``  pickle, protocol 5

Equal items give equal bytes, if their types (``1`` is not ``1.0``) and the order of dicts are
equal, too. This does not hold for P. Subclasses, dataclasses and enums never lose their type: they
are registered, pickled or refused.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from types import NoneType
from typing import Any

from d4pcwl.errors import ItemError
from d4pcwl.streams.converters import register
from d4pcwl.streams.json_lines import to_json_line
from d4pcwl.streams.plain import BIG, Lowering, Unencodable, dumps, is_plain
from d4pcwl.streams.raising import Raising, loads
from d4pcwl.streams.tagged import Buffer

__all__ = ["ARRAY", "JSON", "MIXED", "PICKLE", "decode", "encode", "register", "to_json_line"]

JSON, ARRAY, MIXED, PICKLE = b"J", b"A", b"M", b"P"

_CONSTANTS = {None: b"null", True: b"true", False: b"false"}


def encode(item: Any, *, allow_pickle: bool | None = False) -> tuple[bytes, Sequence[Buffer]]:
    """Encode an item.

    :param item: any plain data, numpy arrays, objects of registered types, in any nesting
    :param allow_pickle: pickle the whole item if a part of it has no open format; None: no, and
        messages do not mention this option, as in steps of compiled CWL
    :return: the codec's byte, and the parts of the payload. Parts may be views of the item's own
    arrays, so write or join them before the item can change
    :raises ItemError: a part of the item cannot be encoded; the message says which and what to do
    """
    kind = type(item)
    if kind is int and -BIG < item < BIG:
        return JSON, (b"%d" % item,)
    if kind is float and math.isfinite(item):
        return JSON, (repr(item).encode("ascii"),)
    if kind is str or ((kind is dict or kind is list) and is_plain(item)):
        try:
            text = dumps(item)
            if '"$' not in text:
                return JSON, (text.encode("utf-8"),)
        except (ValueError, RecursionError):
            pass  # not finite, too many digits, lone surrogates: use the slow way
    elif kind is NoneType or kind is bool:
        return JSON, (_CONSTANTS[item],)
    elif kind.__name__ == "ndarray" and kind.__module__ == "numpy" and not item.dtype.hasobject:
        from d4pcwl.streams import arrays

        try:
            return ARRAY, arrays.npy_parts(item)
        except ValueError:
            pass  # .npy cannot describe its dtype: the slow way reports that, or pickles
    return _encode_slowly(item, allow_pickle)


def _encode_slowly(item: Any, allow_pickle: bool | None) -> tuple[bytes, Sequence[Buffer]]:
    low = Lowering()
    try:
        skeleton = dumps(low.lower(item)).encode("utf-8")
    except Unencodable as error:
        if allow_pickle:
            return PICKLE, (_pickled(item),)
        advice = "register a converter for it (d4pcwl.streams.codec.register)"
        if allow_pickle is None:
            advice += " or send plain data or arrays"
        else:
            advice += ", send plain data or arrays, or allow pickle (--allow-pickle)"
        raise ItemError(f"{error.place()} {error}; {advice}") from None
    except Exception as error:
        # an error of a converter, or a stack that is nearly full
        if allow_pickle:
            return PICKLE, (_pickled(item),)
        raise ItemError(f"an item cannot be encoded: {type(error).__name__}: {error}") from error
    return (MIXED, joined(skeleton, low.parts)) if low.parts else (JSON, (skeleton,))


def joined(skeleton: bytes, parts: Sequence[Sequence[Buffer]]) -> list[Buffer]:
    """The payload of JSON and of parts beside it."""
    sizes = [len(skeleton), *(sum(map(len, part)) for part in parts)]
    head = struct.pack(f"<I{len(sizes)}Q", len(parts), *sizes)
    return [head + skeleton, *(buffer for part in parts for buffer in part)]


def parted(view: memoryview) -> list[memoryview]:
    """The JSON and the parts beside it, from the output of :func:`joined`.

    :raises ValueError: the bytes are not such an output
    """
    (count,) = struct.unpack_from("<I", view)
    if count > len(view) // 8:
        raise ValueError("it has more parts than bytes")
    sizes = struct.unpack_from(f"<{count + 1}Q", view, 4)
    start = 4 + 8 * (count + 1)
    if start + sum(sizes) != len(view):
        raise ValueError("its parts do not add up to its length")
    pieces = []
    for size in sizes:
        pieces.append(view[start : start + size])
        start += size
    return pieces


def _pickled(item: Any) -> bytes:
    import pickle

    try:
        return pickle.dumps(item, protocol=5)
    except Exception as error:
        raise ItemError(
            f"an item of type {type(item).__name__} has no open format and cannot be pickled"
            f" either: {type(error).__name__}: {error}"
        ) from error


def decode(tag: bytes, payload: Buffer, *, allow_pickle: bool = False, convert: bool = True) -> Any:
    """Decode the output of :func:`encode`. Arrays are writable, and have their own memory.

    :param tag: the codec's byte
    :param payload: the payload's parts, joined
    :param allow_pickle: accept P; reading it runs code in the bytes
    :param convert: make objects of registered types; if False, they stay in their plain form, and
        their packages are not needed
    :raises ItemError: the bytes are not an item of this codec, or are a pickle and that is not
        allowed, or a type in them is not registered here
    """
    with Decoding():
        if tag == JSON:
            return _decode_json(bytes(payload), convert)
        if tag == ARRAY:
            from d4pcwl.streams import arrays

            return arrays.read_npy(payload)
        if tag == MIXED:
            skeleton, *parts = parted(memoryview(payload))
            return _decode_json(bytes(skeleton), convert, parts)
        if tag == PICKLE and allow_pickle:
            import pickle

            return pickle.loads(payload)
    if tag == PICKLE:
        raise ItemError(
            "an item is a pickle, and reading a pickle runs code that it contains; if you trust "
            "its source, allow pickle (--allow-pickle)"
        )
    raise ItemError(f"an item has the codec {tag!r}, which this version of d4pcwl does not know")


class Decoding:
    """A block in which bytes of unknown origin, a converter or a pickle may raise any error: it
    raises ItemError instead.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ItemError) or not isinstance(error, Exception):
            return
        if isinstance(error, ImportError):
            raise ItemError(f"an item needs a package that is not installed: {error}") from error
        text = f"{type(error).__name__}: {error}"
        shown = text if len(text) <= 300 else text[:300] + "..."
        raise ItemError(f"an item cannot be decoded: {shown}") from error


def _decode_json(payload: bytes, convert: bool, parts: Sequence[memoryview] = ()) -> Any:
    text = str(payload, "utf-8")
    if '"$' not in text:
        return loads(text, payload)
    return Raising(parts, convert).loads(text, payload)
