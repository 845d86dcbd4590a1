"""The identities of items, and the digests of their values.

An *identity* says where an item was made: in which PE, for which item, as the how-manieth. It does
not depend on processes, so it is the same under every mapping, and when an item is worked on again.
It is the first 16 bytes of a SHA-256 digest. A *digest* is of the item's value: the SHA-256 of its
plain form, as in a stream file (docs/stream-files.md).

An item travels as a pair ``(trace, item)``. The *trace* of an item that is recorded is its
identity. If the item is not recorded, a byte follows (:data:`PASSED_OVER`), and then the identities
of the recorded items that it derives from. So derivations lead on past items that are not recorded.
An iteration of a root has a trace, too (:data:`ITERATION`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

from d4pcwl.errors import ItemError
from d4pcwl.streams.codec import JSON, encode

SIZE = 16
"""The bytes of an identity."""

Trace = bytes

PASSED_OVER, ITERATION = b"\0", b"\1"

_MODULUS = 1 << 8 * SIZE
_FACTOR = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""Odd, so no two identities become one: the golden ratio in 128 bits (Knuth, TAOCP 3, 6.4)."""

_SHOWN = 100
"""The bytes of an item's plain form that are kept to be shown."""

_SIMPLE = (str, int, float, bool)
_BITS = 64


def identity(*parts: bytes) -> bytes:
    """An identity, made of parts; each but the last has a known length."""
    return sha256(b"".join(parts)).digest()[:SIZE]


def salt(*names: str) -> bytes:
    """Names in a form of known length, as a part of identities."""
    return sha256("\0".join(names).encode("utf-8", "surrogatepass")).digest()


def sources(trace: Trace) -> bytes:
    """The identities, one after the other, that what is made of an item derives from."""
    return trace if len(trace) == SIZE else trace[SIZE + 1 :]


def unrecorded(own: bytes, derived: bytes = b"") -> Trace:
    """The trace of an item that is not recorded."""
    return own + PASSED_OVER + derived


def unsampled(own: bytes, name: int, count: int) -> Trace:
    """The trace of an item made of one that is not recorded, where nothing made of it will be. Its
    identity takes a third of the time of :func:`identity`: it is own * factor + name + count. So
    ways that differ lead to others, as far as names are random numbers.

    :param own: the trace that it is made of
    :param name: stands for the PE, the input and the output, as 16 bytes of a :func:`salt`
    """
    made = (int.from_bytes(own[:SIZE]) * _FACTOR + name + count) % _MODULUS
    return made.to_bytes(SIZE) + PASSED_OVER


def each(identities: bytes) -> Iterator[bytes]:
    """The identities that were put one after the other."""
    return (identities[at : at + SIZE] for at in range(0, len(identities), SIZE))


def unique(identities: bytes) -> bytes:
    """The same identities, each once, in the order in which they come first."""
    if len(identities) <= SIZE:
        return identities
    return b"".join(dict.fromkeys(each(identities)))


def joined(parts: Iterable[bytes]) -> bytes:
    """All identities of some, each once."""
    return unique(b"".join(parts))


def described(item: Any) -> tuple[bytes | None, str]:
    """The digest of an item, and a short text that shows it. An item without a plain form has no
    digest."""
    try:
        letter, parts = encode(item)
    except ItemError:
        return None, type(item).__qualname__
    if len(parts) == 1:
        digest = sha256(parts[0]).digest()
    else:
        whole = sha256()
        for part in parts:
            whole.update(part)
        digest = whole.digest()
    if isinstance(item, dict) and (letter != JSON or len(parts[0]) > _SHOWN):
        outline = _outline(item)
        if outline:
            return digest, outline
    if letter == JSON:
        return digest, bytes(parts[0][:_SHOWN]).decode("utf-8", "ignore")
    shape = getattr(item, "shape", None)
    shown = type(item).__qualname__
    return digest, f"{shown} {item.dtype} {shape}" if shape is not None else shown


def _outline(item: Mapping[Any, Any]) -> str:
    """A dictionary that is too long to be shown: the texts and numbers in it that are short."""
    shown, left = "", _SHOWN
    for key, value in item.items():
        if type(key) is not str or type(value) not in _SIMPLE or len(key) > left:
            continue
        if value.bit_length() > _BITS if type(value) is int else len(str(value)) > left:
            continue
        entry = f"{json.dumps(key, ensure_ascii=False)}:{json.dumps(value, ensure_ascii=False)},"
        if len(entry) <= left:
            shown += entry
            left -= len(entry)
    return f"{{{shown}…}}" if shown else ""


def digest_of(item: Any) -> bytes | None:
    """The digest of an item; None if it has no plain form."""
    return described(item)[0]
