"""The values under a tag in the JSON of an item, and the parts beside it."""

from __future__ import annotations

from typing import Any

Buffer = bytes | bytearray | memoryview


class Wrong(Exception):
    """The value under a tag does not have the form of the format; the text describes that form."""


def whole(value: Any, kinds: tuple[type, ...], form: str) -> list[Any]:
    """``value``, if it is a list whose entries have exactly the types ``kinds``.

    :param form: the expected form
    :raises Wrong: it is something else
    """
    if type(value) is not list or tuple(map(type, value)) != kinds:
        raise Wrong(form)
    return value
