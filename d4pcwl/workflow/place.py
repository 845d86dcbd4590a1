"""Lines of the user's files, for messages: the line of a call, or of a PE's work."""

from __future__ import annotations

import inspect
import linecache
import os
import sys
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

from d4pcwl.errors import Fault, shown

_PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep


class Place(NamedTuple):
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{shown(self.file)}:{self.line}"

    def fault(self, message: str) -> Fault:
        """A fault there, with the text of the line."""
        text = linecache.getline(self.file, self.line).strip()
        return Fault(message, shown(self.file), self.line, None, text or None)


def told_at(place: Place | None, message: str) -> str:
    """A message with its place, if that is known."""
    return message if place is None else str(place.fault(message))


def calling_line() -> Place | None:
    """The line of the user's code that called us."""
    frame = sys._getframe(1)
    while is_internal(frame.f_code.co_filename):
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno)


def place_of_work(pe: Any) -> Place | None:
    """The method of a PE that works on an item, or else the beginning of its class."""
    cls = type(pe)
    named = (inspect.getattr_static(cls, name, None) for name in ("_process", "process"))
    for function in (*named, *vars(cls).values(), inspect.getattr_static(pe, "compute_fn", None)):
        if isinstance(function, FunctionType):
            code = inspect.unwrap(function).__code__  # not the line of a decorator
            if not is_internal(code.co_filename):
                return Place(code.co_filename, code.co_firstlineno)
    return None


def place_of_init(cls: type) -> str:
    """For messages: the place of the ``__init__`` of a class, as in `` (words.py:7)``."""
    code = getattr(getattr(cls, "__init__", None), "__code__", None)
    return f" ({Place(code.co_filename, code.co_firstlineno)})" if code is not None else ""


def is_internal(filename: str) -> bool:
    """Whether a file belongs to d4pcwl, or to the start of Python."""
    return filename.startswith(("<frozen ", _PACKAGE)) or os.path.abspath(filename).startswith(
        _PACKAGE
    )
