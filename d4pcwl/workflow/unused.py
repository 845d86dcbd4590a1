"""A message at the end of a script that builds a graph and does nothing with it."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from types import FunctionType

from d4pcwl.errors import shown

_used = False


def note_use() -> None:
    """Note that a graph is used: run, compiled or drawn."""
    global _used
    _used = True


def tell_if_unused(is_workflow: Callable[[object], bool]) -> None:
    """At the end of ``python SCRIPT``, print the command that runs the script's graph.

    :param is_workflow: whether an object is such a graph
    """
    script = vars(sys.modules["__main__"]).get("__file__")  # it no longer exists at the end
    if script and not sys.flags.interactive:
        atexit.register(_tell, script, is_workflow)


def _tell(script: str, is_workflow: Callable[[object], bool]) -> None:
    if _used or hasattr(sys, "last_value") or sys.stderr is None:
        return
    names = vars(sys.modules["__main__"])
    values = [value for value in names.values() if not isinstance(value, type)]
    if any(is_workflow(value) or _makes_workflow(value) for value in values):
        sys.stderr.write(
            f"{shown(script)} builds a workflow and does not run it; type: "
            f"dispel4py simple {shown(script)}\n"
        )


def _makes_workflow(value: object) -> bool:
    """Whether something is a function of the script that makes a graph."""
    if type(value) is not FunctionType or value.__module__ != "__main__":
        return False
    told = value.__annotations__.get("return")
    return str(getattr(told, "__name__", told)).rpartition(".")[2] == "WorkflowGraph"
