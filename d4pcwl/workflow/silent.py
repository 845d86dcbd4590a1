"""PEs whose work comes to nothing: who wrote them forgot to return the item.

Nothing says so when the graph runs: a PE may return None to write no item. So the bytecode of the
user's methods is searched for what returns or writes one.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.place import place_of_work
from d4pcwl.workflow.reading.bytecode import NOISE, STORES, with_inner
from d4pcwl.workflow.reading.roots import is_framework, plain_function

_WORK = ("_process", "process", "compute_fn")
_VALUES = ("BINARY", "BUILD", "CALL", "COMPARE", "FORMAT")


def forgotten_returns(graph: FlatGraph) -> list[str]:
    """What to say of PEs that neither return nor write an item, though others wait for one.

    A PE that feeds no other may work for its side effects: it is reported if it has none.
    """
    return [text for pe in graph.pes for text in _of(graph, pe)]


def _of(graph: FlatGraph, pe: Any) -> Iterator[str]:
    written = _written(pe)
    work = [written[name].__code__ for name in _WORK if name in written]
    silent = not any("write" in name for f in written.values() for name in _names(f.__code__))
    if not work or not silent or any(map(_returns, work)):
        return
    fed = [output for output in pe.outputconnections if graph.out_of(pe, output)]
    for output in (fed or list(pe.outputconnections))[:1]:
        if fed or all(map(_computes_only, work)):
            place = place_of_work(pe)
            yield (
                f"{f'{place}: ' if place else ''}{graph.names[pe.id]} returns no item and writes "
                f"none, so nothing comes from its output '{output}'; end its work with return ITEM"
            )


def _written(pe: Any) -> dict[str, FunctionType]:
    """The functions that users have written for a PE, by name."""
    found = {"compute_fn": vars(pe).get("compute_fn")}
    for cls in type(pe).__mro__:
        if cls is not object and not is_framework(cls.__module__):
            found = {**vars(cls), **found}
    functions = {name: plain_function(value) for name, value in found.items()}
    return {name: function for name, function in functions.items() if function is not None}


def _names(code: CodeType) -> Iterator[str]:
    for part in with_inner(code):
        yield from part.co_names


def _returns(code: CodeType) -> bool:
    """Whether a function may return something other than None, or never returns."""
    if code.co_flags & inspect.CO_GENERATOR:
        return True
    returned, before = [], ("", None)
    for step in dis.get_instructions(code):
        if step.opname == "RETURN_CONST":  # from Python 3.12 on
            returned.append(step.argval is not None)
        elif step.opname == "RETURN_VALUE":
            # Where a jump ends here, it comes with another value: "return item if ok else None".
            returned.append(step.is_jump_target or before != ("LOAD_CONST", None))
        if step.opname not in NOISE:
            before = (step.opname, step.argval)
    return any(returned) or not returned


def _computes_only(code: CodeType) -> bool:
    """Whether a function makes values, and changes nothing with them."""
    computes, before = False, ""
    for step in dis.get_instructions(code):
        called = step.opname == "POP_TOP" and before.startswith("CALL")
        if called or step.opname in STORES or step.opname.startswith("RAISE"):
            return False
        computes = computes or step.opname.startswith(_VALUES)
        if step.opname not in NOISE:
            before = step.opname
    return computes
