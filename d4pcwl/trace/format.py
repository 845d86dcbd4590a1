"""Traces: the records of what a run did, and the file that they rest in.

A trace is a file of JSON Lines: one object a line, ``kind`` first. All times are seconds since the
run began, on one clock. ``docs/trace-format.md`` describes each kind for other programs.

>>> line = to_line(Event(at=1.5, what="retry", why="ValueError: 3", pe="parse"))
>>> line
'{"kind":"event","at":1.5,"what":"retry","why":"ValueError: 3","pe":"parse"}'
>>> from_line(line)
Event(at=1.5, what='retry', why='ValueError: 3', instance=None, process=None, pe='parse', \
number=None)
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from d4pcwl.errors import OutputError, TraceError, UsageError, shown

VERSION = 1
_READ_BYTES = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS
_DIGITS = 6
"""Times are written in microseconds: finer than they are measured."""


def _named(name: str) -> Any:
    """A field whose name in the file is a word of Python."""
    return field(metadata={"name": name})


@dataclass(frozen=True, kw_only=True)
class Record:
    """Any line of a trace. Fields that are None are left out of the file."""

    kind: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class Run(Record):
    """The first record: which run this is.

    :ivar began: the wall clock at the time 0, in ISO 8601, UTC
    :ivar script: the script or document, as it was named
    :ivar processes: how many were asked for, or there are cores
    :ivar versions: of Python's packages that matter
    :ivar inputs: how many inputs and iterations the roots are given, where that is known
    """

    kind = "run"
    format: int = VERSION
    id: str
    began: str
    mapping: str
    processes: int
    script: str | None = None
    arguments: list[str] = field(default_factory=list)
    host: str | None = None
    python: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    inputs: int | None = None


@dataclass(frozen=True, kw_only=True)
class PE(Record):
    """A PE of the graph, or a step of a CWL document.

    :ivar pe: its id
    :ivar name: what people call it; None: the id
    :ivar class_: its class; of a step that of the process it runs, such as ``CommandLineTool``
    :ivar state: whether it keeps state, and so must not be replicated at will
    :ivar source: whether it is a root
    :ivar heavy: whether each item is a long work of its own
    :ivar step: the step of a CWL document that the PE runs in
    """

    kind = "pe"
    pe: str
    name: str | None = None
    class_: str = _named("class")
    state: bool = False
    source: bool = False
    heavy: bool = False
    step: str | None = None


@dataclass(frozen=True, kw_only=True)
class Edge(Record):
    """A connection between two PEs.

    :ivar edge: its number
    :ivar grouping: as messages show it; None if there is none
    """

    kind = "edge"
    edge: int
    source: str
    output: str
    dest: str
    input: str
    grouping: str | None = None


@dataclass(frozen=True, kw_only=True)
class Instance(Record):
    """A copy of a PE in a process. The last record of an instance says where it is now.

    :ivar instance: its number; each copy in each process has one of its own
    :ivar copy: its number among those of the PE, from 0
    """

    kind = "instance"
    instance: int
    pe: str
    copy: int
    process: int
    at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Process(Record):
    """A process of the run, once it has begun."""

    kind = "process"
    process: int
    host: str
    pid: int
    at: float


@dataclass(frozen=True, kw_only=True)
class Sample(Record):
    """What an instance did from ``start`` until before ``end``.

    :ivar taken: items that it has worked on; iterations, where it is a root without inputs
    :ivar written: items that it has written, over all outputs; None if nobody counts them
    :ivar busy: seconds in the PE's own code
    :ivar waiting: seconds in which its process waited for something to do
    :ivar blocked: seconds in which what it wrote could not be taken
    :ivar encoding: seconds in which what it wrote was made bytes
    :ivar queue: items that wait for its PE, for all instances of that, at ``end``
    """

    kind = "sample"
    instance: int
    start: float = _named("from")
    end: float = _named("to")
    taken: int = _named("in")
    written: int | None = field(default=None, metadata={"name": "out"})
    busy: float = 0.0
    waiting: float = 0.0
    blocked: float = 0.0
    encoding: float = 0.0
    queue: int | None = None


@dataclass(frozen=True, kw_only=True)
class Usage(Record):
    """What a process used from ``start`` until before ``end``.

    :ivar cpu: seconds of processor time
    :ivar memory: bytes that are resident, at ``end``
    :ivar idle: seconds in which it waited for something to do
    :ivar ready: seconds in which it had something to do, and waited for a processor
    """

    kind = "usage"
    process: int
    start: float = _named("from")
    end: float = _named("to")
    cpu: float = 0.0
    memory: int | None = None
    idle: float = 0.0
    ready: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Traffic(Record):
    """What left a process along an edge from ``start`` until before ``end``.

    :ivar bytes: as encoded, where that is known
    :ivar sent: the bytes after compression, where batches may be compressed
    """

    kind = "traffic"
    edge: int
    process: int
    start: float = _named("from")
    end: float = _named("to")
    items: int
    bytes: int | None = None
    sent: int | None = None


@dataclass(frozen=True, kw_only=True)
class Keys(Record):
    """How unevenly the keys were used of an edge that is grouped by key.

    :ivar items: that were looked at
    :ivar most: those of them that had the commonest key
    """

    kind = "keys"
    edge: int
    items: int
    most: int


@dataclass(frozen=True, kw_only=True)
class Span(Record):
    """One call of an instance, which sampling happened to see.

    :ivar item: the number of the item among those that the instance has worked on, from 0
    """

    kind = "span"
    instance: int
    start: float = _named("from")
    end: float = _named("to")
    item: int | None = None


@dataclass(frozen=True, kw_only=True)
class Event(Record):
    """Something that happened once.

    :ivar what: ``scale``, ``retry``, ``skip``, ``death``, …
    :ivar why: for people
    :ivar number: after ``scale`` how many workers there are; of others the times that it happened
    """

    kind = "event"
    at: float
    what: str
    why: str
    instance: int | None = None
    process: int | None = None
    pe: str | None = None
    number: int | None = None


@dataclass(frozen=True, kw_only=True)
class End(Record):
    """The last record. A trace without it was cut off.

    :ivar complete: whether all was done
    :ivar failed: what went wrong, for people
    """

    kind = "end"
    at: float
    complete: bool
    failed: str | None = None


KINDS: Mapping[str, type[Record]] = {
    kind.kind: kind
    for kind in (Run, PE, Edge, Instance, Process, Sample, Usage, Traffic, Keys, Span, Event, End)
}


# --- lines --------------------------------------------------------------------------------------


@cache
def _fields(name: str) -> list[tuple[str, Field[Any], Any]]:
    """Of each field of a kind the name in the file, and the type that a value must have."""
    kind = KINDS[name]
    hints = get_type_hints(kind)
    return [
        (found.metadata.get("name", found.name), found, _checked(hints[found.name]))
        for found in fields(kind)
    ]


def _checked(hint: Any) -> Any:
    """A type that ``isinstance`` takes."""
    if isinstance(hint, UnionType):
        return tuple(_checked(part) for part in get_args(hint))
    if hint is float:
        return (float, int)
    return get_origin(hint) or hint


def to_line(record: Record) -> str:
    """A record as a line of JSON, without newline."""
    values: dict[str, Any] = {"kind": record.kind}
    for name, found, _ in _fields(record.kind):
        value = getattr(record, found.name)
        if value is not None:
            values[name] = round(value, _DIGITS) if isinstance(value, float) else value
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def from_line(line: str | bytes) -> Record | None:
    """The record that a line holds; None if it is of a kind that is not known here.

    :raises ValueError: it is not valid; the message says why
    """
    values = json.loads(line)
    if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
        raise ValueError("it is not a JSON object with a 'kind'")
    kind = KINDS.get(values["kind"])
    if kind is None:
        return None
    given = {}
    for name, found, checked in _fields(kind.kind):
        value = values.get(name)
        if value is None:
            if found.default is MISSING and found.default_factory is MISSING:
                raise ValueError(f"a record of the kind {kind.kind} has no '{name}'")
            continue
        if not isinstance(value, checked) or (isinstance(value, bool) and checked is not bool):
            raise ValueError(f"'{name}' of a record of the kind {kind.kind} is {value!r}")
        given[found.name] = value
    return kind(**given)


# --- files --------------------------------------------------------------------------------------


class TraceWriter:
    """Appends records to a new file; one that ends in ``.gz`` is compressed.

    Others may read the file meanwhile: each call of :meth:`write` leaves whole lines. Where the
    disk is full, the run is more important: nothing more is written, and :meth:`close` tells.

    :raises UsageError: the file cannot be written
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._pack = zlib.compressobj(wbits=_GZIP) if self.path.suffix == ".gz" else None
        self._failure: OSError | None = None
        try:
            self._file = self.path.open("wb", buffering=0)
        except OSError as error:
            raise UsageError(
                f"the trace {shown(self.path)} cannot be written: {error.strerror}"
            ) from None

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close it; what could not be written is raised where nothing else is."""
        try:
            self.close()
        except OutputError:
            if kind is None:
                raise

    def write(self, *records: Record) -> None:
        """Append records."""
        text = "".join(to_line(record) + "\n" for record in records).encode("utf-8", "replace")
        if self._pack is not None and text:
            text = self._pack.compress(text) + self._pack.flush(zlib.Z_SYNC_FLUSH)
        self._put(text)

    def _put(self, data: bytes) -> None:
        try:
            while data and self._failure is None:
                data = data[self._file.write(data) :]
        except OSError as error:
            self._failure = error

    def close(self) -> None:
        """No more is written.

        :raises OutputError: something could not be
        """
        if self._file.closed:
            return
        if self._pack is not None:
            self._put(self._pack.flush())
        try:
            self._file.close()
        except OSError as error:
            self._failure = self._failure or error
        if self._failure is not None:
            raise OutputError(
                f"the trace {shown(self.path)} cannot be written: {self._failure.strerror}"
            )


class TraceReader:
    """Reads a trace, also one that is being written: :meth:`new` gives what has come since.

    :raises TraceError: the file cannot be read
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._file = self.path.open("rb")
        except OSError as error:
            raise TraceError(f"{shown(self.path)}: cannot be read: {error.strerror}") from None
        self._unpack: Any = None
        self._rest = b""
        self._lines = 0

    def __enter__(self) -> TraceReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def new(self) -> Iterator[Record]:
        """The records of the whole lines that have come since the last call, in their order.

        A last line that is cut off is kept for the next call. Kinds that are not known are passed
        over.

        :raises TraceError: the file is not a trace, or a line is damaged
        """
        while data := self._read():
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._lines += 1
                record = self._record(line)
                if record is not None:
                    yield record

    def _read(self) -> bytes:
        """Some more of the text; nothing where there is no more now."""
        while True:
            try:
                data = self._file.read(_READ_BYTES)
                if self._lines == 0 and not self._rest and data[:2] == b"\x1f\x8b":
                    self._unpack = zlib.decompressobj(wbits=_GZIP)
                if self._unpack is None or not data:
                    return data
                text: bytes = self._unpack.decompress(data)
            except (OSError, zlib.error) as error:
                raise TraceError(f"{shown(self.path)}: cannot be read: {error}") from None
            if text:
                return text

    def _record(self, line: bytes) -> Record | None:
        try:
            record = from_line(line)
        except ValueError as error:
            why = "it is not valid JSON" if isinstance(error, json.JSONDecodeError) else str(error)
            what = "not a trace" if self._lines == 1 else "damaged"
            raise TraceError(f"{shown(self.path)}:{self._lines}: {what}: {why}") from None
        if self._lines == 1 and not isinstance(record, Run):
            raise TraceError(f"{shown(self.path)}:1: not a trace: its first record is not a 'run'")
        if isinstance(record, Run) and record.format > VERSION:
            raise TraceError(
                f"{shown(self.path)}: a trace of format {record.format}; this d4pcwl knows formats "
                f"up to {VERSION}: upgrade it"
            )
        return record


def read_trace(path: str | os.PathLike[str]) -> Iterator[Record]:
    """The records of a trace, in their order; the first is a :class:`Run`.

    :raises TraceError: the file cannot be read, is not a trace, is empty, or a line is damaged
    """
    with TraceReader(path) as reader:
        empty = True
        for record in reader.new():
            empty = False
            yield record
        if empty:
            raise TraceError(f"{shown(path)}: not a trace: it is empty")
