"""The stream files that a stage takes, and the PEs that read them. If several shards have written
the files, they are merged by the marks of their items; see ``runtime/stage.py``.
"""

from __future__ import annotations

import heapq
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from d4pcwl.errors import StreamFileError, brief
from d4pcwl.runtime.engine.order import Entrance, EntrancePE
from d4pcwl.workflow.pe import GenericPE

if TYPE_CHECKING:
    from d4pcwl.streams.reader import StreamReader

SPLIT = "split"
"""The entry of a stream file's metadata that says which part of an output it holds."""

Place = tuple[Path, int]
"""A stream file, and the number of an item in it, from 1."""

_Entry = TypeVar("_Entry")

WRITER = "from"
"""The entry that says which shard has written the file, if its items have marks."""


@dataclass(frozen=True)
class SourceFile:
    """A stream file that a stage takes.

    :param path: the file
    :param port: the ``PE.output`` whose items it has; without it, the file says so itself
    """

    path: Path
    port: str = ""


class StreamFileReader(GenericPE):
    """Replaces the PE of another stage: it writes the items of its stream files, one file after the
    other, or in the order of their marks if they have marks."""

    def __init__(self, name: str, stream: StreamFiles) -> None:
        super().__init__()
        self.name = self.id = name
        self.stream, self.in_shard = stream, bool(stream.shards())
        self._add_output("output")

    def process(self, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        recorded = self.item_id() is not None
        for place, item in self.stream.items():
            if recorded:
                self.write("output", item, location=place_name(place))
            else:
                yield {"output": item}


class MarkedReader(EntrancePE):
    """Replaces the PEs of other stages in a shard whose items have marks: it sends the items with
    their marks, one stream after the other.

    :param streams: by output, the files
    """

    in_shard = True

    def __init__(self, streams: Mapping[str, StreamFiles], entrance: Entrance) -> None:
        super().__init__()
        self.name = self.id = ", ".join(stream.name for stream in streams.values())
        self.streams, self.entrance = dict(streams), entrance
        for output in streams:
            self._add_output(output)

    def process(self, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        recorded = self.item_id() is not None
        for number, (output, stream) in enumerate(self.streams.items()):
            before = (number,) if len(self.streams) > 1 else ()
            for place, (mark, item) in stream.marked_items():
                marked = ((*before, *mark), item)
                if recorded:
                    self.write(output, marked, location=place_name(place))
                else:
                    yield {output: marked}


READERS = (StreamFileReader, MarkedReader)
"""The roots of a stage that are not roots of the graph."""


@dataclass(frozen=True)
class _Head:
    """The information in the head of a stream file.

    :param port: the output whose items it has
    :param split: which split of them, if it is one
    :param marked: whether items have marks
    :param writer: the shard that has written it, and of how many, where items have marks
    """

    port: str
    split: dict[str, Any] | None
    marked: bool
    writer: tuple[int, int] | None


class StreamFiles:
    """The stream files of one output, or of one split of it.

    :param name: of both
    """

    def __init__(self, name: str, allow_pickle: bool) -> None:
        self.name, self.allow_pickle = name, allow_pickle
        self.paths: list[Path] = []
        self.heads: dict[Path, _Head] = {}

    def add(self, path: Path, head: _Head | None) -> None:
        """Add a file, with its head if that can be read before the run."""
        path = Path(os.path.abspath(path))  # PEs may change the folder
        self.paths.append(path)
        if head is not None:
            self.heads[path] = head

    @property
    def marked(self) -> bool:
        """Whether all files are known to have marks."""
        return all(path in self.heads and self.heads[path].marked for path in self.paths)

    def shards(self) -> dict[tuple[int, int], Path]:
        """The shards that these files are for, as number and number of shards; none if they are for
        all.

        :raises StreamFileError: files of some of the shards that have written them are missing
        """
        written = {path: head.writer for path, head in self.heads.items() if head.writer}
        if len(written) == 1 and not any(head.split for head in self.heads.values()):
            return {writer: path for path, writer in written.items()}
        for _, count in list(written.values())[:1]:
            if sorted(number for number, _ in written.values()) != list(range(count)):
                given = (f"{path} of shard {number}" for path, (number, _) in written.items())
                raise StreamFileError(
                    f"--from: {count} shards have written {self.name}, and one file from each is "
                    f"needed; given are {', '.join(given)}"
                )
        found: dict[tuple[int, int], Path] = {}
        for path, head in self.heads.items():
            if head.split and head.split["of"] > 1:
                found.setdefault((head.split["shard"], head.split["of"]), path)
        return found

    def items(self) -> Iterator[tuple[Place, Any]]:
        """The items with their places, in the order of their marks if they have marks, or one file
        after the other."""
        first, *rest = self.paths
        with self._open(first) as reader:
            if reader.marked and rest:
                for place, (_, item) in self._merged(reader, rest):
                    yield place, item
                return
            for place, (_, item) in _placed(reader, reader):
                yield place, item
        for path in rest:
            with self._open(path) as reader:
                for place, (_, item) in _placed(reader, reader):
                    yield place, item

    def marked_items(self) -> Iterator[tuple[Place, tuple[list[int], Any]]]:
        """The items with their marks, and with their places, in the order of the marks.

        :raises StreamFileError: a file has no marks, or is damaged
        """
        first, *rest = self.paths
        with self._open(first) as reader:
            yield from self._merged(reader, rest)

    def _merged(
        self, first: StreamReader, rest: Iterable[Path]
    ) -> Iterator[tuple[Place, tuple[list[int], Any]]]:
        with ExitStack() as stack:
            readers = [first, *(stack.enter_context(self._open(path)) for path in rest)]
            streams = (_placed(reader, reader.marked_items()) for reader in readers)
            yield from heapq.merge(*streams, key=lambda placed: placed[1][0])

    def _open(self, path: Path) -> StreamReader:
        from d4pcwl.streams.reader import StreamReader

        return StreamReader(path, allow_pickle=self.allow_pickle)


def _placed(reader: StreamReader, entries: Iterable[_Entry]) -> Iterator[tuple[Place, _Entry]]:
    """The entries of a file with their places."""
    return zip(zip(itertools.repeat(reader.path), itertools.count(1)), entries)  # noqa: B905 - a place for each entry


def place_name(place: Place) -> str:
    """A place as ``d4pcwl lineage`` takes it."""
    path, number = place
    return f"{path}:{number}"


def split_name(port: str, grouping: object) -> str:
    return f"{port} ({grouping})"


def streams_by_name(sources: Iterable[SourceFile], allow_pickle: bool) -> dict[str, StreamFiles]:
    """The files of each output, or split of one. Their heads are read, so that a wrong file is
    reported before anything runs."""
    streams: dict[str, StreamFiles] = {}

    def add(name: str, path: Path, head: _Head | None) -> None:
        streams.setdefault(name, StreamFiles(name, allow_pickle)).add(path, head)

    for source in sources:
        if source.port and source.path.is_fifo():
            add(source.port, source.path, None)  # what is read from it is gone
            continue
        head = _head(source.path, allow_pickle)
        if source.port not in ("", head.port):
            raise StreamFileError(
                f"--from {source.port}: {source.path} holds the items of {head.port or 'nothing'}"
            )
        name = split_name(head.port, head.split["grouping"]) if head.split else head.port
        add(name, source.path, head)
    return streams


def _head(path: Path, allow_pickle: bool) -> _Head:
    from d4pcwl.streams.reader import StreamReader

    with StreamReader(path, allow_pickle=allow_pickle) as reader:
        metadata = reader.header.get("metadata")
        told = metadata if isinstance(metadata, dict) else {}
        writer = _entry(path, told, WRITER, {"of": int, "shard": int})
        return _Head(
            ", ".join(".".join(port) for port in reader.ports),
            _entry(path, told, SPLIT, {"grouping": str, "of": int, "shard": int}),
            reader.marked,
            (writer["shard"], writer["of"]) if writer else None,
        )


def _entry(
    path: Path, metadata: dict[str, Any], name: str, form: dict[str, type]
) -> dict[str, Any] | None:
    """An entry of a file's metadata, if it is there.

    :raises StreamFileError: it is not one that a stage has written
    """
    entry = metadata.get(name)
    if entry is None:
        return None
    if not isinstance(entry, dict) or {key: type(entry[key]) for key in entry} != form:
        raise StreamFileError(
            f"--from {path}: '{name}' in its metadata is not what a stage writes there, but "
            f"{brief(entry)}"
        )
    return entry
