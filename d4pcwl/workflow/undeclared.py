"""Outputs that a PE writes to without declaring them: a ConsumerPE's ``output``.

Consumers have no outputs. But some scripts write to ``output`` in them, because upstream's
``simple`` keeps these items as results. Mappings must know all outputs before the run. So the code
of the class is searched for this output.
"""

from __future__ import annotations

import dis
import functools
from collections.abc import Hashable
from types import CodeType
from typing import Any, cast

from d4pcwl.workflow.pe import NAME
from d4pcwl.workflow.reading.bytecode import NOISE, with_inner
from d4pcwl.workflow.reading.roots import is_framework, plain_function

OUTPUT = "output"
UNDECLARED = "undeclared"
"""In an output's entry, True: the PE has not declared it, but writes to it."""


def add_undeclared_output(pe: Any) -> None:
    """Add to a consumer the output that it writes to."""
    if OUTPUT not in pe.outputconnections and _writes_as_consumer(cast(Hashable, type(pe))):
        pe.outputconnections[OUTPUT] = {NAME: OUTPUT, UNDECLARED: True}


@functools.lru_cache(maxsize=1024)
def _writes_as_consumer(key: Hashable) -> bool:
    classes = cast(type, key).__mro__
    if not any(c.__name__ == "ConsumerPE" and is_framework(c.__module__) for c in classes):
        return False
    functions = (
        plain_function(value)
        for cls in classes
        if cls is not object and not is_framework(cls.__module__)
        for value in vars(cls).values()
    )
    return any(_writes(function.__code__) for function in functions if function is not None)


def _writes(code: CodeType) -> bool:
    """Whether the bytecode of a method uses ``self.write`` and ``"output"``."""
    if not code.co_argcount:
        return False
    me, whole = code.co_varnames[0], list(with_inner(code))
    return any(OUTPUT in part.co_consts for part in whole) and any(
        _takes_write(part, me) for part in whole
    )


def _takes_write(code: CodeType, me: str) -> bool:
    before: Any = None
    for step in dis.get_instructions(code):
        if step.opname in NOISE:
            continue
        if step.opname in ("LOAD_METHOD", "LOAD_ATTR") and step.argval in ("write", "_write"):
            # Joined instructions (LOAD_FAST_LOAD_FAST, from Python 3.13 on) have several names.
            last = before[-1] if isinstance(before, tuple) else before
            if last == me:
                return True
        before = step.argval
    return False
