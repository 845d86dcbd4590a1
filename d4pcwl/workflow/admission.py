"""Checks of a PE before it runs: scripts set attributes of PEs themselves, and may set wrong
values."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from d4pcwl.errors import GraphError, brief
from d4pcwl.workflow.pe import is_of
from d4pcwl.workflow.undeclared import add_undeclared_output

_WORK = ("preprocess", "_preprocess", "process", "_process", "postprocess", "_postprocess")


def admit(pe: Any) -> None:
    """Check a PE, and make its name a text. A consumer gets the output that it writes to.

    :raises GraphError: its ports or its number of instances do not have the right form, or its work
        is an async function, which is never awaited
    """
    if not is_of(pe.name, str):
        pe.name = type(pe).__name__ if pe.name is None else str(pe.name)
    for kind in ("input", "output"):
        ports = getattr(pe, f"{kind}connections")
        if not is_of(ports, Mapping) or not all(
            is_of(name, (str, int)) and is_of(port, Mapping) for name, port in ports.items()
        ):
            raise GraphError(
                f"{pe.name}.{kind}connections has to be a dictionary from name to dictionary, such "
                f"as {{'{kind}': {{'name': '{kind}'}}}}, not {brief(ports)}"
            )
    asked = getattr(pe, "numprocesses", 1) or 1
    try:
        int(asked)
    except (TypeError, ValueError, OverflowError):
        raise GraphError(
            f"{pe.name}.numprocesses has to be a number of instances, not {brief(asked)}"
        ) from None
    for name in _WORK:
        if inspect.iscoroutinefunction(getattr(pe, name, None)):
            raise GraphError(
                f"{pe.name}.{name} is an async function, which d4pcwl does not await: make it "
                "a plain one that calls asyncio.run(...)"
            )
    add_undeclared_output(pe)
