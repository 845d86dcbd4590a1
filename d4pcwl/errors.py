"""Every error that d4pcwl raises on purpose, and the exit code that the commands give it.

::

    D4pcwlError                 1   the base of them all
    ├── UsageError              2   the command line or an API argument is wrong
    │   └── CheckpointError     2   a run cannot be resumed from its snapshots
    ├── ScriptError             2   the script cannot be loaded, or has no graph, or several
    ├── GraphError              2   the graph is not valid
    ├── InputError              2   the root inputs (-f, -d) do not fit the graph
    │   └── UnreadableText      2   YAML, JSON or CWL that cannot be read, or is far too large
    ├── DeclarationError        2   a declaration in a script or its sidecar file is not valid
    ├── TranslationError        2   the graph cannot be represented in CWL
    ├── TraceError              2   a file is not a trace of a run, or is damaged
    ├── LineageError            2   a folder has no record of a run, or it cannot answer
    ├── RunError                1   the workflow failed while it ran
    │   ├── OutputError         1   an output of the run cannot be written
    │   │   └── ReaderGone    141   nobody reads standard output any more, as after `| head`
    │   ├── PEError             1   a PE raised an error
    │   └── WorkerDied          1   a worker process ended without a report
    ├── ItemError               1   an item cannot be encoded or decoded
    ├── StreamFileError         1   a stream file is truncated or damaged, or not a stream file
    └── UnsupportedFeature     33   a CWL feature that is not supported

One error reports all faults of a document, so that users can correct them all at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar


class D4pcwlError(Exception):
    """Base of all errors that users see; ``exit_code`` is the exit code of a command."""

    exit_code: ClassVar[int] = 1

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the message. A traceback would only show the code of d4pcwl."""
        return [f"{type(self).__name__}: {presentable(str(self))}"]


class UsageError(D4pcwlError):
    """The command line, or an argument of the Python API, is wrong."""

    exit_code = 2


class CheckpointError(UsageError):
    """The snapshots of a run are damaged, or are of another run."""


class ScriptError(D4pcwlError):
    """The script cannot be loaded, or it has no graph, or several and none was chosen."""

    exit_code = 2


class GraphError(D4pcwlError):
    """The graph is not valid: an unknown port, an edge made twice, a cut that makes a cycle."""

    exit_code = 2


class InputError(D4pcwlError, ValueError):
    """The inputs that are given for the roots do not fit the graph.

    It is also a ``ValueError``, because upstream raises that.
    """

    exit_code = 2


class UnreadableText(InputError):
    """A text is not valid YAML, JSON or CWL, or its aliases and imports make it far too large."""


class DeclarationError(D4pcwlError):
    """A ``cwl`` declaration, in the script or in its sidecar file, is not valid."""

    exit_code = 2


class TranslationError(D4pcwlError):
    """Something in the graph or the script cannot be represented in CWL."""

    exit_code = 2


class TraceError(D4pcwlError):
    """A file is not the trace of a run, is damaged, or is of a later format."""

    exit_code = 2


class LineageError(D4pcwlError):
    """There is no record of a run, it is damaged, or it does not have what is asked for."""

    exit_code = 2


class RunError(D4pcwlError):
    """The workflow failed while it ran."""


class OutputError(RunError):
    """An output of a run cannot be written: the disk is full, or a folder does not exist."""


class ReaderGone(OutputError):
    """The reader of standard output has ended: the command ends as after SIGPIPE."""

    exit_code = 141


class PEError(RunError):
    """A PE raised an error. The message names the PE, the instance, the item and the user's line.

    :param message: what people read
    :param traceback: the full traceback as text, shown with ``--debug``
    """

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback

    def __reduce__(self) -> tuple[type[PEError], tuple[str, str]]:
        return (type(self), (str(self), self.traceback))


class WorkerDied(RunError):
    """A worker process ended without a report, for example after ``kill -9`` or without memory."""


class ItemError(D4pcwlError):
    """An item of a stream cannot be encoded or decoded."""


class StreamFileError(D4pcwlError):
    """A stream file is truncated, damaged, or not a stream file."""


class UnsupportedFeature(D4pcwlError):
    """A CWL feature that is not supported. The exit code is 33, as with other CWL engines."""

    exit_code = 33


@dataclass(frozen=True)
class Fault:
    """One fault of a document, with the place where it is.

    :param message: what is wrong and what to do
    :param file: the file with the fault, as the user named it
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
    """Raise ``error`` with all ``faults`` in one message; do nothing if there are no faults."""
    texts: Sequence[str] = [str(fault) for fault in faults]
    if texts:
        raise error("\n".join(texts))


ITEM_LETTERS = 200
"""The most characters of an item that messages show."""


def brief(value: object, limit: int = 40) -> str:
    """The ``repr`` of anything, cut to ``limit`` characters, for messages: it never raises."""
    try:
        if isinstance(value, str | bytes):
            value = value[: limit + 1]  # the rest would not be seen
        text = " ".join(map(str.strip, repr(value).splitlines()))
    except Exception:  # noqa: BLE001 - its repr must not hide the error to report
        text = f"<{type(value).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """For messages: known names similar to ``name``, or all known names (``'; known: a, b'``)."""
    names = sorted(set(known))
    return closest(name, names) or (f"; known: {', '.join(names)}" if names else "")


def closest(name: str, known: Iterable[str]) -> str:
    """For messages: known names similar to ``name``, or an empty text."""
    import difflib

    close = difflib.get_close_matches(name, sorted(set(known)), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def shown(path: str | os.PathLike[str]) -> str:
    """A path for messages: relative to the current folder, if the file is inside it."""
    try:
        relative = os.path.relpath(path)
    except OSError:  # the current folder has been removed
        return os.fspath(path)
    return os.fspath(path) if relative.startswith("..") else relative


# what terminals read as commands: C0 but tab and line end, DEL, C1, and changes of direction
_ORDERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_CREDENTIALS = re.compile(r"(?<=://)[^\s/\"']*:[^\s/\"']*@")


TIME = "%Y-%m-%d %H:%M:%S"
"""The form of the time in messages, with ``--timestamps``."""


def stamped(text: str) -> str:
    """A message with the time before it."""
    return f"[{datetime.now():{TIME}}] {text}"


def presentable(text: str) -> str:
    """Text for terminals and logs.

    Control characters, which names in other people's files may have, are replaced by escapes. User
    names and passwords in URLs are left out.
    """
    text = _ORDERS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
    return _CREDENTIALS.sub("***@", text)
