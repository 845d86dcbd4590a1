"""Reading a crate. It may be a stranger's: its names must be of files inside it."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from d4pcwl.errors import LineageError
from d4pcwl.lineage.run_record import sha256_of
from d4pcwl.workflow.texts import read_file

METADATA = "ro-crate-metadata.json"

Entity = Mapping[str, Any]


class Crate:
    """An RO-Crate in a folder.

    :ivar entities: by their ``@id``
    :raises LineageError: it cannot be read, or a name in it leaves it
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        metadata = read_file(folder / METADATA)
        graph = metadata.get("@graph") if isinstance(metadata, Mapping) else None
        if not isinstance(graph, list) or not all(_is_entity(entry) for entry in graph):
            raise LineageError(f"{folder / METADATA} is not the metadata of an RO-Crate")
        self.entities: dict[str, Entity] = {entry["@id"]: entry for entry in graph}

    def of_type(self, kind: str) -> list[Entity]:
        """All entities of a type."""
        return [entity for entity in self.entities.values() if kind in _several(entity, "@type")]

    def linked(self, entity: Entity, name: str) -> list[Entity]:
        """The entities that a property has, so far as the crate describes them."""
        ids = (value.get("@id") for value in _several(entity, name) if isinstance(value, Mapping))
        return [self.entities[found] for found in ids if found in self.entities]

    @property
    def main(self) -> Entity:
        """The main entity: the workflow.

        :raises LineageError: there is none
        """
        found = self.linked(self.entities.get("./", {}), "mainEntity")
        if not found:
            raise LineageError(f"{self.folder}: the crate has no main workflow")
        return found[0]

    def path(self, entity: Entity) -> Path | None:
        """Where the bytes of a file or folder are; None if they are not in the crate.

        :raises LineageError: it is a name that leaves the crate
        """
        name = unquote(str(entity["@id"]))
        if "://" in name or name.startswith("#"):
            return None
        path = self.folder / name
        if not self.has(path):
            raise LineageError(f"{self.folder / METADATA}: {name} is outside of the crate")
        return path if path.exists() else None

    def has(self, path: str | os.PathLike[str]) -> bool:
        """Whether a path, and what it links to, is inside of the crate."""
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.folder))

    def check(self) -> None:
        """Check the bytes of all files.

        :raises LineageError: some have changed since the crate was made, or are gone
        """
        told = [entity for entity in self.of_type("File") if "sha256" in entity]
        changed = [
            str(entity["@id"])
            for entity in told
            if sha256_of(self.path(entity) or "") != entity["sha256"]
        ]
        if changed:
            raise LineageError(
                f"{self.folder}: files have changed since the crate was made: {', '.join(changed)}"
            )

    def digest(self, entity: Entity) -> bytes | None:
        """The SHA-256 of a file: of its bytes, if they are there; else as the crate says."""
        path = self.path(entity)
        found = sha256_of(path) if path is not None else None
        try:
            return bytes.fromhex(found or str(entity["sha256"]))
        except (KeyError, ValueError):
            return None

    @cached_property
    def files(self) -> dict[bytes, Path]:
        """Where the files are, by their SHA-256."""
        found: dict[bytes, Path] = {}
        for entity in self.of_type("File"):
            path, digest = self.path(entity), self.digest(entity)
            if path is not None and digest is not None:
                found.setdefault(digest, path)
        return found


@contextmanager
def opened(place: Path) -> Iterator[Path]:
    """A crate as a folder: one in a zip file is unpacked for as long as it is needed.

    :raises LineageError: the file cannot be read, or a name in it leaves it
    """
    if not place.is_file():
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="d4pcwl-crate-") as work:
        try:
            with zipfile.ZipFile(place) as archive:
                for name in archive.namelist():
                    if not Path(os.path.normpath(Path(work, name))).is_relative_to(work):
                        raise LineageError(f"{place}: {name} is outside of the crate")
                archive.extractall(work)
        except (OSError, zipfile.BadZipFile) as error:
            raise LineageError(f"{place}: it cannot be unpacked: {error}") from None
        yield _top(Path(work))


def _top(folder: Path) -> Path:
    """The folder of the crate: some archives have a single folder at their top."""
    inside = list(folder.iterdir())
    alone = len(inside) == 1 and inside[0].is_dir()
    return inside[0] if alone and not (folder / METADATA).exists() else folder


def is_crate(place: Path) -> bool:
    """Whether something is a crate, or may be one in a zip file."""
    return (place / METADATA).is_file() or (place.is_file() and zipfile.is_zipfile(place))


def _is_entity(entry: Any) -> bool:
    return isinstance(entry, Mapping) and isinstance(entry.get("@id"), str)


def _several(entity: Entity, name: str) -> list[Any]:
    value = entity.get(name, [])
    return value if isinstance(value, list) else [value]
