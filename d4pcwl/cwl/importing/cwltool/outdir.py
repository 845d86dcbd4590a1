"""The folder for output files: several runs may use the same one, and never mix their files. A lock
(``flock``) on the folder shows that a run uses it. While one run puts its files there, the others
wait.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from d4pcwl.cwl.files import uri_path
from d4pcwl.cwl.importing.cwltool.settings import Settings
from d4pcwl.errors import OutputError, RunError, UsageError

_LOCK = ".d4pcwl-placing"


def check_outdir(path: str) -> None:
    """Check that files can be put into a folder, or that it can be made; make nothing.

    :raises UsageError: they cannot
    """
    there = os.path.abspath(path)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise _cannot_write(path, os.strerror(errno.ENOTDIR))
    if not os.access(there, os.W_OK | os.X_OK):
        raise _cannot_write(path, os.strerror(errno.EACCES))


def _cannot_write(path: str, why: str | None) -> UsageError:
    return UsageError(f"--outdir {os.path.abspath(path)}: cannot be written: {why}")


class NotPlaced(OutputError):
    """Output files cannot be put into their folder."""


class OutputFolder:
    """The folder during a run. At the end it is removed if it is empty.

    :param path: the folder, which is made where it is not there

    ``contended`` says that another run used the folder at the beginning.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self.contended = False

    def __enter__(self) -> OutputFolder:
        """Begin.

        :raises UsageError: nothing can be written there
        """
        self._made = not os.path.isdir(self._path)
        try:
            os.makedirs(self._path, exist_ok=True)
            if not os.access(self._path, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _cannot_write(self._path, error.strerror) from None
        with suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.contended = True
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return self

    def __exit__(self, *ended: object) -> None:
        with suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # also where a process that was forked has it
        os.close(self._fd)
        if self._made:
            with suppress(OSError):
                os.rmdir(self._path)


@contextmanager
def placing(folder: str) -> Iterator[None]:
    """Put files into a folder, in the block, while no other run does so.

    :param folder: the folder, which is made where it is not there
    :raises NotPlaced: that cannot be done
    """
    path = os.path.join(folder, _LOCK)
    try:
        os.makedirs(folder, exist_ok=True)
        fd = _lock(path)
        try:
            yield
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)
            os.close(fd)
    except OSError as error:
        raise _not_placed(folder, error) from error


def _not_placed(folder: str, error: OSError) -> NotPlaced:
    which, why = error.filename2 or error.filename, error.strerror or str(error)
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        _, which, why = error.args[0][0]  # a folder, of which this entry could not be copied
    return NotPlaced(f"{which or folder}: cannot be written: {why}")


def _lock(path: str) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:
            pass  # the run that used it is done, and has removed it
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def relocated(
    outputs: dict[str, Any], outdir: str, action: str, settings: Settings
) -> dict[str, Any]:
    """An output object with its files in their final places. No other run puts files there
    meanwhile.

    :param action: what happens to the files: ``move``, ``copy`` or ``leave``
    :raises RunError: one cannot be put there
    """
    from cwltool.errors import WorkflowException
    from cwltool.mutation import MutationManager
    from cwltool.process import relocateOutputs
    from cwltool.stdfsaccess import StdFsAccess
    from cwltool.utils import visit_directories, visit_files, visit_files_directories
    from schema_salad.exceptions import SchemaSaladException

    from d4pcwl.cwl.importing.cwltool.confine import (
        ConfinedMapper,
        check_names,
        is_inside,
        stand_alone,
    )

    def make_stand_alone(item: Any) -> None:
        if item["location"].startswith("file://"):
            path = uri_path(item["location"])
            if is_inside(path, settings.folder):
                stand_alone(path)

    try:
        check_names(outputs)
        with nullcontext() if action == "leave" else placing(outdir):
            if action != "leave":
                visit_directories(outputs, make_stand_alone)
            final: Any = relocateOutputs(
                outputs,
                os.path.abspath(outdir),
                {settings.folder},
                action,
                StdFsAccess(""),
                settings.compute_checksum,
                ConfinedMapper,
            )
    except (WorkflowException, SchemaSaladException) as error:
        raise RunError(f"the outputs cannot be put into {outdir}: {error}") from error
    visit_files_directories(final, _location_to_path)
    visit_files(final, MutationManager().unset_generation)
    return dict(final)


def _location_to_path(item: Any) -> None:
    from schema_salad.ref_resolver import uri_file_path

    for name in ("path", "nameext", "nameroot", "dirname"):
        item.pop(name, None)
    if item["location"].startswith("file://"):
        item["path"] = uri_file_path(item["location"])
