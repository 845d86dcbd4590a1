"""Parameter references: escaping of texts that are no references, and a check of real ones. Users
choose the names of files, PEs and ports. These names are in fields in which engines look for
``$(…)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_REFERENCE: Final = re.compile(
    r"(?P<root>inputs|runtime|self)"
    r"(?:\.(?P<name>\w+))?"
    r"(?:\.\w+|\[\d+\]|\['(?:[^'\\]|\\.)*'\]|\[\"(?:[^\"\\]|\\.)*\"\])*",
    re.ASCII,
)
_STARTS: Final = re.compile(r"(?<!\\)(?:\\\\)*\$(?P<open>[({])")
_DATA: Final = ("label", "doc", "default", "id", "hints", "envName")


def literal(text: str, *, beside_reference: bool = False) -> str:
    r"""``text`` for a field in which engines look for parameter references.

    :param beside_reference: whether it becomes a part of a text with references in it; a text
        without any is taken as it is

    >>> literal("a$(b).txt"), literal("a\\b"), literal("a\\b", beside_reference=True)
    ('a\\$(b).txt', 'a\\b', 'a\\\\b')
    """
    if not beside_reference and "$(" not in text and "${" not in text:
        return text
    doubled = text.replace("\\", "\\\\")
    return doubled.replace("$(", "\\$(").replace("${", "\\${")


def literal_glob(path: str) -> str:
    """The glob pattern that matches the file ``path`` and no other."""
    return literal(re.sub(r"([*?[])", r"[\1]", path))


def wrong_references(process: Mapping[str, Any]) -> Iterator[str]:
    """The parameter references of a tool that an engine without JavaScript could not resolve.

    :param process: a CommandLineTool, as data
    """
    inputs = {parameter["id"] for parameter in process["inputs"]}
    for text in _texts(process):
        for start in _STARTS.finditer(text):
            inside = text[start.end() : text.find(")", start.end())]
            found = _REFERENCE.fullmatch(inside) if start["open"] == "(" else None
            if found is None:
                yield f"{text!r} has no parameter reference at {start.start()}"
            elif found["root"] == "inputs" and found["name"] not in inputs:
                yield f"{text!r} refers to {found['name']}, which is not an input"


def _texts(value: Any) -> Iterator[str]:
    """The texts of a document that engines look at for references."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            if key not in _DATA:
                yield from _texts(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _texts(entry)
