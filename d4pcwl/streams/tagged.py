"""What stands under a tag in the JSON of an item, and what is kept beside it."""

from __future__ import annotations

from typing import Any

Buffer = bytes | bytearray | memoryview


class Wrong(Exception):
    """What is under a tag is not what the format puts there; the text says what that is."""


def whole(value: Any, kinds: tuple[type, ...], form: str) -> list[Any]:
    """``value``, if it is a list whose entries have exactly the types ``kinds``.

    :param form: what it is to be
    :raises Wrong: it is something else
    """
    if type(value) is not list or tuple(map(type, value)) != kinds:
        raise Wrong(form)
    return value
