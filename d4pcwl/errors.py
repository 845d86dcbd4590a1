"""Every error that d4pcwl raises on purpose, and the exit code that the commands give it.

::

    D4pcwlError                 1   the base of them all
    ├── UsageError              2   the command line or an API argument is wrong
    ├── ScriptError             2   the script cannot be loaded, or holds no (single) graph
    ├── GraphError              2   the graph is not well formed
    ├── InputError              2   the root inputs (-f, -d) do not fit the graph
    │   └── UnreadableText      2   YAML, JSON or CWL that cannot be read, or not at a bounded cost
    ├── DeclarationError        2   what a script or its sidecar file declares is not valid
    ├── TranslationError        2   the graph cannot be carried over to CWL
    ├── TraceError              2   a file is no trace of a run, or damaged
    ├── RunError                1   the workflow failed while it ran
    │   ├── OutputError         1   what the run is to leave cannot be written
    │   │   └── ReaderGone    141   nobody reads standard output any more, as after `| head`
    │   ├── PEError             1   a PE raised
    │   └── WorkerDied          1   a worker process ended without a word
    ├── ItemError               1   an item cannot be encoded or decoded
    ├── StreamFileError         1   a stream file is truncated, damaged or no stream file
    └── UnsupportedFeature     33   CWL that we do not run

An error that stands for several faults of one document carries them all in ``faults``: people
repair a document once, not once a fault.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar


class D4pcwlError(Exception):
    """Base of all errors that are meant for people; ``exit_code`` is what a command exits with."""

    exit_code: ClassVar[int] = 1

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the message says where the fault is, and a traceback only ours."""
        return [f"{type(self).__name__}: {presentable(str(self))}"]


class UsageError(D4pcwlError):
    """The command line, or an argument of the Python API, is wrong."""

    exit_code = 2


class ScriptError(D4pcwlError):
    """The script cannot be loaded, or it holds no graph, or several and none was chosen."""

    exit_code = 2


class GraphError(D4pcwlError):
    """The graph is not well formed: an unknown port, an edge made twice, a cut with a cycle."""

    exit_code = 2


class InputError(D4pcwlError, ValueError):
    """The inputs given for the roots of the graph do not fit it.

    Upstream raises a ``ValueError`` there.
    """

    exit_code = 2


class UnreadableText(InputError):
    """A text is no YAML, JSON or CWL, or it would become far more than it is."""


class DeclarationError(D4pcwlError):
    """A ``cwl`` declaration, in the script or in its sidecar file, is not valid."""

    exit_code = 2


class TranslationError(D4pcwlError):
    """Something in the graph or the script cannot be carried over to CWL."""

    exit_code = 2


class TraceError(D4pcwlError):
    """A file is no trace of a run, is damaged, or is of a later format."""

    exit_code = 2


class RunError(D4pcwlError):
    """The workflow failed while it ran."""


class OutputError(RunError):
    """What a run is to leave cannot be written: the disk is full, or a folder has gone."""


class ReaderGone(OutputError):
    """Whoever read standard output has gone: the command ends as one does by SIGPIPE."""

    exit_code = 141


class PEError(RunError):
    """A PE raised. The message names the PE, the instance, the item and the user's line.

    :param message: what people read
    :param traceback: the full traceback as text, shown with ``--debug``
    """

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback

    def __reduce__(self) -> tuple[type[PEError], tuple[str, str]]:
        return (type(self), (str(self), self.traceback))


class WorkerDied(RunError):
    """A worker process ended without reporting, for instance by ``kill -9`` or out of memory."""


class ItemError(D4pcwlError):
    """An item of a stream cannot be encoded or decoded."""


class StreamFileError(D4pcwlError):
    """A stream file is truncated, damaged, or not a stream file."""


class UnsupportedFeature(D4pcwlError):
    """A CWL feature that is not run here; engines call this exit code 33."""

    exit_code = 33


@dataclass(frozen=True)
class Fault:
    """One fault of a document, with the place where it is.

    :param message: what is wrong and what to do
    :param file: the file at fault, as the user named it
    :param line: its line, from 1
    :param column: its column, from 1, for the caret
    :param source: the text of that line
    """

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    source: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        text = f"{place}: {self.message}" if place else self.message
        if self.source is not None:
            text += f"\n    {self.source}"
            if self.column is not None:
                text += f"\n    {' ' * (self.column - 1)}^"
        return text


def raise_faults(error: type[D4pcwlError], faults: Iterable[Fault | str]) -> None:
    """Raise ``error`` with all ``faults`` in one message; do nothing where there are none."""
    texts: Sequence[str] = [str(fault) for fault in faults]
    if texts:
        raise error("\n".join(texts))


ITEM_LETTERS = 200
"""How much of an item is shown in messages."""


def brief(value: object, limit: int = 40) -> str:
    """The ``repr`` of anything, cut to ``limit`` characters, for messages: it never raises."""
    try:
        if isinstance(value, str | bytes):
            value = value[: limit + 1]  # the rest would not be seen
        text = " ".join(map(str.strip, repr(value).splitlines()))
    except Exception:  # noqa: BLE001 - what cannot show itself must not hide the error at hand
        text = f"<{type(value).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause for messages: names like ``name``, or all that there are (``'; known: a, b'``)."""
    names = sorted(set(known))
    return closest(name, names) or (f"; known: {', '.join(names)}" if names else "")


def closest(name: str, known: Iterable[str]) -> str:
    """A clause for messages: names like ``name``, or nothing where there are none."""
    import difflib

    close = difflib.get_close_matches(name, sorted(set(known)), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def shown(path: str | os.PathLike[str]) -> str:
    """A path for messages: as short as it can be said from here."""
    try:
        relative = os.path.relpath(path)
    except OSError:  # the current folder has been removed
        return os.fspath(path)
    return os.fspath(path) if relative.startswith("..") else relative


# what terminals take for orders: C0 but tab and line end, DEL, C1, and changes of direction
_ORDERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_CREDENTIALS = re.compile(r"(?<=://)[^\s/\"']*:[^\s/\"']*@")


TIME = "%Y-%m-%d %H:%M:%S"
"""How messages say when they were given, where that is asked for."""


def stamped(text: str) -> str:
    """A message with the time before it."""
    return f"[{datetime.now():{TIME}}] {text}"


def presentable(text: str) -> str:
    """Text for terminals and logs.

    Control characters, as the names in a stranger's files may have, are written out. Names and
    passwords in URLs are left out.
    """
    text = _ORDERS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
    return _CREDENTIALS.sub("***@", text)
