"""What emitted tools say to the command, since CWL cannot say it elsewhere.

A parameter reference puts a text into JSON as it is, without escapes, so texts stand beside ``-d``
as arguments of their own. An EnvVarRequirement cannot leave a variable out, so the tool names those
that are to be absent where they are empty.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

from d4pcwl.errors import UsageError

TEXT = "$text"
"""The only key of an object in ``-d`` that stands for a text: its value is the number of the
``--text``, from 1."""

UNSET = "D4PCWL_UNSET"
"""Names, separated by spaces, of variables that are to be absent where they are empty."""


def leave_out_unset(environ: MutableMapping[str, str]) -> None:
    """Take the empty variables out that :data:`UNSET` names."""
    for name in environ.pop(UNSET, "").split():
        if not environ.get(name):
            environ.pop(name, None)


def with_texts(value: Any, texts: Sequence[str]) -> Any:
    """``value`` with texts in the places that stand for them.

    :raises UsageError: there is no text of a number

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
