"""Results: the items of unconnected outputs, and where they go."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol

from d4pcwl.errors import OutputError, StreamFileError, UsageError, nearest
from d4pcwl.runtime.engine.instance import Receive
from d4pcwl.runtime.engine.policy import ERRORS
from d4pcwl.runtime.engine.routing import fan_out
from d4pcwl.runtime.engine.values import IMMUTABLE, snapshot
from d4pcwl.streams.output_file import OutputFile, is_standard_output
from d4pcwl.workflow.pe import is_pe

_TAIL_BYTES = 8 << 20


class Sink(Protocol):
    """Takes results."""

    def take(self, pe: str, output: str) -> Receive:
        """A function that takes the items of one output."""


class Results(Mapping[str, dict[str, list[Any]]]):
    """All results of a run: PE → output → items.

    ``errors`` describes the items that were left out, if a policy allowed that.

    PEs that wrote no result are absent. The keys are the PEs' names, or ids where several PEs
    have the same name. A PE may also be given by its id, or as the object itself.

    :param names: the keys, by PE id

    >>> results = Results({"double1": "double"})
    >>> results.take("double1", "output")(4)
    >>> results, results["double1"]["output"]
    ({'double': {'output': [4]}}, [4])
    """

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        self.errors: list[dict[str, Any]] = []
        self._items: dict[str, dict[str, list[Any]]] = {}
        self._names = dict(names or {})

    def take(self, pe: str, output: str) -> Receive:
        if (pe, output) == ERRORS:
            return self.errors.append
        name = self._names.get(pe, pe)

        def receive(item: Any) -> None:
            own = item if type(item) in IMMUTABLE else snapshot(item)
            self._items.setdefault(name, {}).setdefault(output, []).append(own)

        return receive

    def __getitem__(self, pe: Any) -> dict[str, list[Any]]:
        key = pe.id if is_pe(pe) else pe
        name = key if key in self._items else self._names.get(key, key)
        if name in self._items:
            return self._items[name]
        if name in self._names.values():
            return {}
        raise KeyError(f"no results of {key}{nearest(str(key), self._items)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)


class JsonLinesPrinted:
    """Results as JSON lines on standard output, as they come."""

    def take(self, pe: str, output: str) -> Receive:
        from d4pcwl.streams.json_lines import to_json_line

        # Lines of results must not go into an unfinished line of a PE.
        put = getattr(sys.stdout, "put_lines", sys.stdout.write)

        def receive(item: Any) -> None:
            put(to_json_line(pe, output, item) + "\n")

        return receive

    def close(self, complete: bool) -> None:
        """The run is over; see :meth:`JsonLinesFile.close`."""
        sys.stdout.flush()


class JsonLinesFile:
    """Results, or other descriptions, as a file of JSON lines.

    :param option: the option that names the file, for messages
    :param at_once: others can read each line as soon as it is written
    :raises UsageError: the file cannot be written
    """

    def __init__(self, path: Path, option: str = "--results", *, at_once: bool = False) -> None:
        self._option, self._at_once = option, at_once
        try:
            self.output = OutputFile(path)
        except OSError as error:
            raise UsageError(f"{option} {path}: cannot be written: {error.strerror}") from None

    def take(self, pe: str, output: str) -> Receive:
        from d4pcwl.streams.json_lines import to_json_line

        write = self.output.file.write

        def receive(item: Any) -> None:
            try:
                write((to_json_line(pe, output, item) + "\n").encode())
            except (OSError, ValueError) as error:
                raise self._failed(error) from error

        return receive

    def write(self, line: str) -> None:
        """Append a line.

        :raises OutputError: it cannot be written
        """
        try:
            self.output.file.write(line.encode("utf-8", "backslashreplace") + b"\n")
            if self._at_once:
                self.output.file.flush()
        except (OSError, ValueError) as error:
            raise self._failed(error) from error

    def close(self, complete: bool) -> None:
        """The run is over. The results so far are ``complete``, or only a part.

        :raises OutputError: the rest cannot be written
        """
        try:
            if complete:
                self.output.finish()
            else:
                self.output.keep()
        except OSError as error:
            cut_torn_line(self.output)
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> OutputError:
        why = getattr(error, "strerror", None) or error
        return OutputError(f"{self._option} {self.output.place}: cannot be written: {why}")


def cut_torn_line(output: OutputFile) -> None:
    """Remove an incomplete last line from a partial file; a full disk leaves such a line."""
    if not output.is_partial:
        return
    with suppress(OSError), output.place.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _TAIL_BYTES)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                start += newline + 1
                break
            end = start
        file.truncate(start if end else 0)


class StreamFileSink:
    """Results as a stream file, which keeps the exact items.

    :param marked: items come with their marks, as pairs, and both are written
    """

    def __init__(
        self,
        path: Path,
        ports: Sequence[tuple[str, str]],
        *,
        allow_pickle: bool | None = False,
        metadata: Mapping[str, Any] | None = None,
        marked: bool = False,
    ) -> None:
        from d4pcwl.streams.format import MARKS
        from d4pcwl.streams.writer import StreamWriter

        self._ports = {port: number for number, port in enumerate(ports)}
        self._marked = marked
        told = {**(metadata or {}), **({MARKS: True} if marked else {})}
        self._writer = StreamWriter(path, list(ports), allow_pickle=allow_pickle, metadata=told)
        self.output = self._writer.output

    def take(self, pe: str, output: str) -> Receive:
        number, write, write_marked = (
            self._ports[(pe, output)],
            self._writer.write,
            self._writer.write_marked,
        )

        def receive(item: Any) -> None:
            try:
                write(number, item)
            except StreamFileError as error:
                raise OutputError(str(error)) from error

        def receive_marked(pair: tuple[Sequence[int], Any]) -> None:
            try:
                write_marked(number, *pair)
            except StreamFileError as error:
                raise OutputError(str(error)) from error

        return receive_marked if self._marked else receive

    def close(self, complete: bool) -> None:
        """The run is over; see :meth:`JsonLinesFile.close`.

        :raises OutputError: the rest cannot be written
        """
        try:
            if complete:
                self._writer.close()
            else:
                self._writer.abort()
        except StreamFileError as error:
            raise OutputError(str(error)) from error


class Named:
    """A sink that gets the names of PEs that users see, instead of ids.

    :param names: by PE id
    """

    def __init__(self, sink: Sink, names: Mapping[str, str]) -> None:
        self._sink, self._names = sink, names

    def take(self, pe: str, output: str) -> Receive:
        return self._sink.take(self._names.get(pe, pe), output)


class SinkByPort:
    """Sends the items of each output to the sinks of that output."""

    def __init__(self, sinks: Mapping[tuple[str, str], Sequence[Sink]]) -> None:
        self._sinks = sinks

    def take(self, pe: str, output: str) -> Receive:
        return fan_out([sink.take(pe, output) for sink in self._sinks[pe, output]])


class WithErrors:
    """Sends the descriptions of items that were left out to ``tell``, and results to ``sink``."""

    def __init__(self, sink: Sink, tell: Receive) -> None:
        self._sink, self._tell = sink, tell

    def take(self, pe: str, output: str) -> Receive:
        return self._tell if (pe, output) == ERRORS else self._sink.take(pe, output)


class ErrorLines(JsonLinesFile):
    """The error stream as a file of JSON lines, one for each item that was left out."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "--errors", at_once=True)

    def tell(self, description: dict[str, Any]) -> None:
        """Append a line.

        :raises OutputError: it cannot be written
        """
        import json

        self.write(json.dumps(description, ensure_ascii=False))


ResultFile = JsonLinesFile | StreamFileSink | JsonLinesPrinted
"""A sink that is to be closed by who has opened it."""

JSON_LINES_SUFFIXES = (".jsonl", ".ndjson", ".json")
STREAM_SUFFIXES = (".d4ps", ".stream")


def file_sink(
    path: Path, ports: Iterable[tuple[str, str]], *, allow_pickle: bool = False
) -> ResultFile:
    """The sink for ``--results``: JSON lines or a stream file, by the file's suffix.

    A pipe or a device needs no suffix. Standard output is recognised by its path.

    :raises UsageError: another suffix, or the file cannot be written
    """
    form = form_of(path)
    if form == "printed":
        return JsonLinesPrinted()
    if form == "lines":
        return JsonLinesFile(path)
    try:
        return StreamFileSink(path, list(ports), allow_pickle=allow_pickle)
    except StreamFileError as error:
        raise UsageError(f"--results {path}: {error}") from None


def form_of(path: Path) -> Literal["stream", "lines", "printed"]:
    """How results are written to a file.

    :raises UsageError: its suffix is not known
    """
    if path.suffix in STREAM_SUFFIXES:
        return "stream"
    if is_standard_output(path):
        return "printed"
    if path.suffix in JSON_LINES_SUFFIXES or (path.exists() and not path.is_file()):
        return "lines"
    raise UsageError(
        f"--results {path}: unknown suffix; use {', '.join(JSON_LINES_SUFFIXES)} for JSON lines, "
        f"{', '.join(STREAM_SUFFIXES)} for a stream file"
    )
