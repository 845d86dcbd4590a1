"""What the emitted tools say in the environment, since CWL cannot say it elsewhere.

Parameter references put a text into ``-d`` as it is, without JSON's escapes, and an
EnvVarRequirement cannot leave a variable out. Both are mended when the command starts. Upstream's
dispel4py knows neither variable; it runs the same tools as far as it needs neither.
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping

TEXT = "D4PCWL_TEXT_"
"""With a number, from 1: the texts that stand raw between quotes in ``-d``, in that order."""

UNSET = "D4PCWL_UNSET"
"""Names, separated by spaces, of variables that are to be absent where they are empty."""


def leave_out_unset(environ: MutableMapping[str, str]) -> None:
    """Take the empty variables out that :data:`UNSET` names."""
    for name in environ.pop(UNSET, "").split():
        if not environ.get(name):
            environ.pop(name, None)


def with_escapes(data: str, environ: MutableMapping[str, str]) -> str:
    """``data`` with JSON's escapes in those of its texts that :data:`TEXT` gives.

    >>> with_escapes('[{"input": "a "quoted" word"}]', {"D4PCWL_TEXT_1": 'a "quoted" word'})
    '[{"input": "a \\\\"quoted\\\\" word"}]'
    """
    done, number = 0, 1
    while (text := environ.pop(f"{TEXT}{number}", None)) is not None:
        place = data.find(f'"{text}"', done)
        if place >= 0:
            escaped = json.dumps(text, ensure_ascii=False)
            data = data[:place] + escaped + data[place + len(text) + 2 :]
            done = place + len(escaped)
        number += 1
    return data
