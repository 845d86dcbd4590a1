"""The record of a run, in the process that started it."""

from __future__ import annotations

import fcntl
import getpass
import os
import platform
import socket
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from d4pcwl.errors import LineageError, OutputError, UsageError, presentable
from d4pcwl.lineage.record import (
    FORMAT,
    HEAD,
    NAME,
    PARTS,
    RESULT,
    VERSION,
    Record,
    merge,
    packed,
    plain,
)
from d4pcwl.lineage.recorder import Recording
from d4pcwl.lineage.selection import RUN_ID, Selection, parse_selection, read_config

_MOST_IN_PROV = 50_000


def _silent(message: str) -> None:
    """Show no messages."""


class RunRecord:
    """The record of one run, as a context: at its end, all parts become one file, and PROV is
    written.

    :param folder: for the record; it must have none yet
    :param config: which items are recorded; see :mod:`d4pcwl.lineage.selection`. A text is JSON,
        or the path of a file
    :param script: the file with the graph, if there is one
    :param arguments: of the command, or the parameters of the workflow
    :param results: the file with the results, if there is one
    :param files: others that the run reads, such as that of its inputs
    :param say: takes messages
    :raises UsageError: the folder has a record, or cannot be made; the configuration is not valid;
        or the package prov is missing
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        script: str | None = None,
        arguments: Iterable[str] = (),
        parameters: Mapping[str, Any] | None = None,
        results: str | os.PathLike[str] | None = None,
        files: Iterable[str | os.PathLike[str]] = (),
        say: Callable[[str], None] = _silent,
    ) -> None:
        self.folder = Path(os.path.abspath(folder))
        self.selection: Selection = parse_selection(read_config(config))
        self._script = script
        self._arguments = [presentable(argument) for argument in arguments]
        self._parameters = {
            name: presentable(value) if isinstance(value, str) else plain(value)
            for name, value in (parameters or {}).items()
        }
        self._results = None if results is None else os.path.abspath(results)
        self._inputs = [os.path.abspath(path) for path in files]
        self._say = say
        self._streams: list[str] = []
        self._went_to: list[int] = []
        self._head: IO[bytes] | None = None
        self._parts: IO[bytes] | None = None
        self.run = str(self.selection.about.get(RUN_ID) or uuid.uuid4())
        _needs_prov()
        if any((self.folder / name).exists() for name in (NAME, PARTS)):
            raise UsageError(
                f"--provenance {folder}: the record of another run is there; name a new folder"
            )
        self._made = not self.folder.exists()
        try:
            (self.folder / PARTS).mkdir(parents=True)
        except OSError as error:
            raise UsageError(f"--provenance {folder}: cannot be made: {error.strerror}") from None

    def stream(self, path: str | os.PathLike[str]) -> Callable[[], None]:
        """A stream file that the run is going to write.

        :returns: to be called for each item that goes into it
        """
        self._streams.append(os.path.abspath(path))
        return partial(self._went_to.append, len(self._streams) - 1)

    def begin(
        self,
        names: Mapping[str, str],
        stateful: Collection[str],
        twice: Collection[str],
        told: Mapping[str, Any],
        readers: Collection[str] = (),
    ) -> Recording:
        """The run begins.

        :param names: by id of each PE, its name
        :param stateful: ids of the PEs that keep state
        :param twice: ids of the PEs that take an item by several inputs
        :param told: of the run
        :param readers: ids of the PEs that read the streams of other stages: their items are always
            recorded, because what they come from is known there
        :returns: what the workers must know
        :raises UsageError: the configuration names a PE that is not there, or chooses one item in n
            of a stage
        """
        selection = self.selection.of_ids(names)
        if readers:
            selection.check_for_stage()
        if selection.pes is not None:
            selection = replace(selection, pes=selection.pes.union(readers))
        stateful = {pe for pe in stateful if selection.patterns.get(pe, True)}
        stateful |= {pe for pe, stays in selection.patterns.items() if stays}
        head = {
            "format": FORMAT,
            "version": VERSION,
            "run": self.run,
            "began": time.time(),
            "host": socket.gethostname(),
            "user": _user(),
            "folder": os.getcwd(),
            "script": None if self._script is None else os.path.abspath(self._script),
            "code": {path: sha256_of(path) for path in _code(self._script)},
            "arguments": self._arguments,
            "parameters": self._parameters,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": installed_packages(),
            "about": plain(selection.about),
            "clusters": dict(selection.clusters),
            "activities": selection.activities,
            "one_in": selection.one_in,
            "recorded": sorted(selection.pes) if selection.pes is not None else None,
            "streams": self._streams,
            "stateful": sorted(stateful),
            **told,
        }
        try:
            self._head = (self.folder / PARTS / HEAD).open("wb")
            fcntl.flock(self._head, fcntl.LOCK_EX)  # as long as the run lasts
            self._head.write(packed(head))
            self._head.flush()
            self._parts = (self.folder / PARTS / "results").open("wb")
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written: {error.strerror}") from None
        return Recording(
            str(self.folder), self.run, selection, frozenset(stateful), frozenset(twice)
        )

    def note_result(self, pe: str, output: str, trace: bytes) -> None:
        """The next result has come, and has gone to a file.

        :raises OutputError: it cannot be written
        """
        assert self._parts is not None
        try:
            self._parts.write(packed([RESULT, pe, output, trace, self._went_to]))
        except OSError as error:
            raise OutputError(f"{self._parts.name}: cannot be written: {error.strerror}") from None
        self._went_to.clear()

    def __enter__(self) -> RunRecord:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._head is None or self._parts is None:  # nothing has run
            (self.folder / PARTS).rmdir()
            if self._made:
                self.folder.rmdir()
            return
        try:
            self._finish(error)
        except OSError as failure:
            if error is None:
                raise OutputError(
                    f"{self.folder}: the record cannot be written: {failure.strerror}"
                ) from None
        except LineageError:
            if error is None:
                raise

    def _finish(self, error: BaseException | None) -> None:
        assert self._head is not None
        assert self._parts is not None
        self._parts.close()
        failed = None
        if error is not None:
            ordinary = isinstance(error, Exception)
            failed = presentable(str(error)) if ordinary else "interrupted"

        def end(roles: Mapping[str, str]) -> dict[str, Any]:
            return {
                "ended": time.time(),
                "complete": error is None,
                "failed": failed,
                "files": self._files(roles),
            }

        count = merge(self.folder, end)
        self._head.close()
        if count <= _MOST_IN_PROV:
            from d4pcwl.lineage.prov import write_prov

            write_prov(Record(self.folder))
            return
        self._say(
            f"note: {count} items and invocations were recorded, so PROV is not written now; "
            f"d4pcwl lineage {self.folder} --prov writes it"
        )

    def _files(self, roles: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """By path, what is known of the files of the run.

        :param roles: of those that PEs have opened
        """
        more = dict.fromkeys(self._inputs, "input") | dict.fromkeys(self._streams, "stream")
        if self._results is not None:
            more[self._results] = "results"
        found = {}
        for path, role in sorted({**roles, **more}.items()):
            told: dict[str, Any] = {"role": role, "sha256": sha256_of(path)}
            if told["sha256"] is not None:
                told["bytes"] = os.path.getsize(path)
            found[path] = told
        return found


def sha256_of(path: str | os.PathLike[str]) -> str | None:
    """The SHA-256 of a file; None if it cannot be read, or is a pipe or a device."""
    from d4pcwl.library.files import checksum

    try:
        return checksum(path) if os.path.isfile(path) else None
    except OSError:
        return None


def _needs_prov() -> None:
    try:
        import prov  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        raise UsageError(
            "--provenance needs the package prov: pip install 'd4pcwl[provenance]'"
        ) from None


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _code(script: str | None) -> list[str]:
    """The script, and the modules beside it that it has imported."""
    if script is None or not os.path.exists(script):
        return []
    folder = os.path.dirname(os.path.abspath(script)) + os.sep
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    beside = {path for path in files if path and path.startswith(folder)}
    return sorted({os.path.abspath(script), *beside} - _installed(beside))


def _installed(paths: Iterable[str]) -> set[str]:
    prefixes = (sys.prefix + os.sep, sys.base_prefix + os.sep)
    return {path for path in paths if path.startswith(prefixes)}


def installed_packages() -> dict[str, str]:
    """The versions of the packages that are installed, from the names of their folders (PyPA,
    "Recording installed projects"); to read what is in these would take half a second."""
    found: dict[str, str] = {}
    for folder in sys.path:
        for path in Path(folder or ".").glob("*.dist-info"):
            name, _, version = path.name.removesuffix(".dist-info").rpartition("-")
            found.setdefault(name, version)
    return dict(sorted(found.items(), key=lambda pair: pair[0].lower()))
