"""Values that emitted tools pass to the command in a special way, because of limits of CWL.

A parameter reference puts a text into JSON without escapes. So texts are separate arguments beside
``-d``. An EnvVarRequirement cannot leave out a variable. So the tool names the variables that must
be absent if they are empty.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

from d4pcwl.errors import UsageError

TEXT = "$text"
"""The only key of an object in ``-d`` that is replaced by a text; its value is the number of the
``--text``, from 1."""

UNSET = "D4PCWL_UNSET"
"""The names, separated by spaces, of variables that must be absent if they are empty."""


def leave_out_unset(environ: MutableMapping[str, str]) -> None:
    """Remove the empty variables that :data:`UNSET` names."""
    for name in environ.pop(UNSET, "").split():
        if not environ.get(name):
            environ.pop(name, None)


def with_texts(value: Any, texts: Sequence[str]) -> Any:
    """``value``, with texts in their places.

    :raises UsageError: there is no text with a number

    >>> with_texts([{"input": {"$text": 1}}], ['a "quoted" word'])
    [{'input': 'a "quoted" word'}]
    """
    if isinstance(value, list):
        return [with_texts(entry, texts) for entry in value]
    if not isinstance(value, dict):
        return value
    if list(value) != [TEXT]:
        return {key: with_texts(entry, texts) for key, entry in value.items()}
    number = value[TEXT]
    if not isinstance(number, int) or not 1 <= number <= len(texts):
        raise UsageError(f"-d has a place for --text number {number}, and {len(texts)} are given")
    return texts[number - 1]
