"""Messages for common mistakes in PEs."""

from __future__ import annotations

import re
from typing import Any

from d4pcwl.errors import brief
from d4pcwl.workflow.pe import ConsumerPE, GenericPE, IterativePE, ProducerPE


def wrong_return(pe: Any, result: object) -> str:
    """The message if ``process`` returned neither a dictionary nor None."""
    returned = f"{_method(pe)} returned {brief(result)}, which is of type {type(result).__name__}"
    if not pe.outputconnections:
        return f"{returned}; the PE has no outputs, so it has to return None"
    output = next(iter(pe.outputconnections))
    return (
        f"{returned}; it has to return a dictionary from output name to item, such as "
        f"{{{output!r}: {brief(result)}}}, or None"
    )


def hint_for(pe: Any, error: BaseException) -> str:
    """For messages: what to do about an error of a PE, if it is a common mistake."""
    ports = list(pe.inputconnections)
    of_base = type(pe).process in (IterativePE.process, ConsumerPE.process)
    missing = error.args[0] if isinstance(error, KeyError) and error.args else None
    if missing in ports and len(ports) > 1 and not of_base:
        return (
            "; inputs holds only the port whose item has come: ask if "
            f"{missing!r} in inputs, and keep items in self until the others have come"
        )
    base = next((base for base in (IterativePE, ConsumerPE) if isinstance(pe, base)), None)
    if base is not None and of_base and missing == pe.INPUT_NAME and len(ports) > 1:
        return (
            f"; of {', '.join(map(repr, ports))}, {base.__name__} reads only {missing!r}: derive "
            "from GenericPE where a PE has several inputs"
        )
    if isinstance(error, TypeError) and _OUR_WRITE.search(str(error)) and pe.outputconnections:
        output = next(iter(pe.outputconnections))
        return f"; write takes the name of an output and an item: self.write({output!r}, item)"
    if isinstance(error, TypeError) and f".{_method(pe)}() takes" in str(error):
        return f"; it has to be def {_method(pe)}(self, {'data' if of_base else 'inputs'})"
    if isinstance(error, TypeError) and base is not None and not of_base and "dict" in str(error):
        return (
            "; process is given a dictionary from input name to item: in a PE of one input and "
            f"one output override _process(self, data) of {base.__name__} instead"
        )
    return ""


def argument(frame: Any) -> Any:
    """The argument for the item, of a function that is running."""
    code = frame.f_code
    names = [name for name in code.co_varnames[: code.co_argcount] if name != "self"]
    return frame.f_locals.get(names[0]) if names else {}


def _method(pe: Any) -> str:
    """The method in which a PE works on its items."""
    return "_process" if type(pe).process in _USUAL else "process"


_OUR_WRITE = re.compile(r"RunningPE\._write\(\)|<locals>\.write\(\) missing")
_USUAL = (GenericPE.process, IterativePE.process, ConsumerPE.process, ProducerPE.process)
