"""The folder of a run's snapshots.

::

    lock          held by the run that uses the folder
    results.log   all results, in order: for each, the length of a pickle, and the pickle
    snapshot-N    the newest two

A snapshot is a line of JSON, which says how long the log was, and a pickle. It is written under
another name, and renamed when it is on the disk. So a snapshot is there as a whole, or not at all.
Its line has the SHA-256 of the pickle, and of the log up to there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, NamedTuple

from d4pcwl.errors import CheckpointError, OutputError, UsageError
from d4pcwl.runtime.checkpoint.kept import Snapshot
from d4pcwl.streams.pickles import dumps

FORMAT = 1
LOCK, LOG, SNAPSHOT = "lock", "results.log", "snapshot-"

_LENGTH = struct.Struct("<Q")
_KEPT = 2
_READ_BYTES = 1 << 20


class Found(NamedTuple):
    """A snapshot in a folder.

    :param number: the higher, the newer
    :param facts: what the run was
    :param length: of the log, in bytes
    """

    number: int
    facts: dict[str, Any]
    length: int
    snapshot: Snapshot


class Store:
    """See the module.

    :param folder: is made, if it is not there
    :raises UsageError: it cannot be used, or another run uses it
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._log: IO[bytes] | None = None
        self._digest = sha256()
        self._number = 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # A lock of this kind is not inherited by workers, which may outlive a killed parent.
            self._lock = (self.folder / LOCK).open("ab")
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UsageError(f"--checkpoint {folder}: another run uses this folder") from None
        except OSError as error:
            raise UsageError(f"--checkpoint {folder}: {error.strerror}") from None

    @property
    def is_used(self) -> bool:
        """Whether a run has been here."""
        return (self.folder / LOG).exists() or bool(self._numbers())

    @property
    def has_snapshots(self) -> bool:
        """Whether a run could go on."""
        return bool(self._numbers())

    def newest(self, say: Callable[[str], None]) -> Found | None:
        """The newest snapshot that is whole; None if there is none, and none was damaged.

        :param say: takes warnings
        :raises CheckpointError: all are damaged
        """
        faults = []
        for number in self._numbers():
            try:
                return self._read(number)
            except (CheckpointError, OSError) as error:
                faults.append(f"{self._path(number)}: {error}")
                if number != self._numbers()[-1]:
                    say(f"{faults[-1]}; the snapshot before it is used")
        if faults:
            raise CheckpointError(
                f"{faults[-1]}; no snapshot can be used: remove {self.folder} to begin again"
            )
        return None

    def begin(self, found: Found | None, take: Callable[[Any], None]) -> None:
        """Begin to write: after a snapshot, or at the beginning.

        :param take: takes the results that are in the log
        :raises OutputError: the log cannot be written
        """
        with self._telling():
            self._log = open(self.folder / LOG, "r+b" if found else "wb")  # noqa: SIM115
            if found is not None:
                self._number = found.number
                self._log.truncate(found.length)
                for data in _records(self._log):
                    self._digest.update(_LENGTH.pack(len(data)) + data)
                    take(pickle.loads(data))

    def add(self, result: Any) -> None:
        """Write a result to the log.

        :raises OutputError: that is not possible
        """
        assert self._log is not None
        data = dumps(result)
        record = _LENGTH.pack(len(data)) + data
        with self._telling():
            self._log.write(record)
        self._digest.update(record)

    def save(self, snapshot: Snapshot, facts: Mapping[str, Any]) -> None:
        """Write a snapshot, and remove the oldest.

        :raises OutputError: that is not possible
        """
        assert self._log is not None
        data = dumps(snapshot)
        with self._telling():
            self._log.flush()
            os.fsync(self._log.fileno())
            self._number += 1
            head = {
                "format": FORMAT,
                "log": self._log.tell(),
                "log_sha256": self._digest.hexdigest(),
                "bytes": len(data),
                "sha256": sha256(data).hexdigest(),
                "run": facts,
            }
            path = self._path(self._number)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                file.write(json.dumps(head).encode() + b"\n" + data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            self._sync_folder()
            for number in self._numbers()[_KEPT:]:
                self._path(number).unlink()

    def close(self) -> None:
        """Let others use the folder."""
        with contextlib.suppress(OSError):
            if self._log is not None:
                self._log.close()
        self._lock.close()

    def _sync_folder(self) -> None:
        fd = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _path(self, number: int) -> Path:
        return self.folder / f"{SNAPSHOT}{number}"

    def _numbers(self) -> list[int]:
        """The numbers of all snapshots, the newest first."""
        names = (path.name.removeprefix(SNAPSHOT) for path in self.folder.glob(f"{SNAPSHOT}*"))
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def _read(self, number: int) -> Found:
        """A snapshot.

        :raises CheckpointError: it, or the log, is damaged
        """
        with self._path(number).open("rb") as file:
            try:
                head = json.loads(file.readline())
            except ValueError:
                raise CheckpointError("it is incomplete or damaged") from None
            if not isinstance(head, dict) or head.get("format") != FORMAT:
                raise CheckpointError("it is not a snapshot of this version of d4pcwl")
            data = file.read()
        if sha256(data).hexdigest() != head["sha256"]:
            raise CheckpointError("it is incomplete or damaged")
        digest, left = sha256(), head["log"]
        with (self.folder / LOG).open("rb") as file:
            while left and (part := file.read(min(left, _READ_BYTES))):
                digest.update(part)
                left -= len(part)
        if digest.hexdigest() != head["log_sha256"]:
            raise CheckpointError(f"{LOG} is incomplete or damaged")
        return Found(number, head["run"], head["log"], pickle.loads(data))

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"--checkpoint {self.folder}: cannot be written: {error.strerror}"
            ) from error


def _records(file: IO[bytes]) -> Iterator[bytes]:
    while head := file.read(_LENGTH.size):
        yield file.read(*_LENGTH.unpack(head))
