"""Runs that questions are about, with a record or without: their files, and where these are now."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from d4pcwl.lineage.record import NAME, PARTS, Record


@dataclass(frozen=True)
class StepFile:
    """A file that went into a step, or came out of it.

    :param name: its name, with the folders around it that are of the step's input or output
    :param digest: its SHA-256
    """

    name: str
    digest: bytes


@dataclass(frozen=True)
class Step:
    """A run of a step of a workflow, as an engine describes it, or of a whole graph.

    :param name: what people call it; empty: as the script of its record
    :param record: which items each item comes from, if that is known
    :param used: the files that went in
    :param made: the files that came out
    :param values: what else went in, by the names of the inputs
    """

    name: str
    record: Record | None = None
    used: Sequence[StepFile] = ()
    made: Sequence[StepFile] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunSet:
    """The runs in a folder.

    :param folder: where the index is kept
    :param told_by: the files that describe the runs; if they change, the index is made again
    :param read: reads them: the steps, and where files are now, by their SHA-256
    """

    folder: Path
    told_by: Sequence[Path]
    read: Callable[[], tuple[Sequence[Step], Mapping[bytes, Path]]]

    @property
    def key(self) -> str:
        """It is different if something has changed.

        :raises OSError: a file cannot be found
        """
        found = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in self.told_by]
        return sha256(repr(found).encode()).hexdigest()


def is_record(folder: Path) -> bool:
    """Whether a folder is that of a record."""
    return (folder / NAME).is_file() or (folder / PARTS).is_dir()


def of_records(folder: Path) -> RunSet | None:
    """The records in a folder, or in folders below it; None if there is none.

    :raises LineageError: one of them cannot be read
    """
    records = [Record(found) for found in _records_below(folder)]
    if not records:
        return None
    steps = [Step("", record) for record in records]
    return RunSet(folder, [record.path for record in records], lambda: (steps, {}))


def _records_below(folder: Path) -> Iterator[Path]:
    if is_record(folder):
        yield folder
        return
    for above, folders, _ in os.walk(folder):
        folders.sort()
        for name in list(folders):
            if is_record(Path(above, name)):
                folders.remove(name)
                yield Path(above, name)
