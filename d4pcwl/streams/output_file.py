"""Output files of a run: written under another name, and renamed at the end, when they are
complete.

While a file is written, and after its producer failed, its name is ``NAME.partial``. If several
runs write the same file, each has its own name (``NAME.2.partial``, …), so that they never mix. The
run that ends last replaces the file. A lock (``flock``) shows that a partial file is being written.
It ends with the process that holds it. So the file of a killed run differs from one that is still
written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from itertools import count
from pathlib import Path

from d4pcwl.streams.live import is_awaited

PARTIAL = ".partial"
_STANDARD_STREAMS = (1, 2)


class OutputFile:
    """An output file. A pipe or a device is written to directly, and so is a file that standard
    output or error goes to, or a file with a waiting reader. A link is followed.

    :param path: the file; a relative path starts from the present folder of the process
    :param buffering: as for :func:`open`
    :param may_be_awaited: see :mod:`~d4pcwl.streams.live`
    :raises OSError: it cannot be written

    ``file`` takes the bytes; ``place`` is their path: that of the partial file, and at the end that
    of the file itself. ``contended`` says that another run was writing the same file at the
    beginning; ``overtook`` says that another run had replaced the file before this run did.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        buffering: int = -1,
        *,
        may_be_awaited: bool = False,
    ) -> None:
        self.path = Path(path)
        self.contended = self.overtook = self.awaited = False
        self._target: Path | None = None
        fd, self.place = self._open(may_be_awaited)
        try:
            self.file = open(fd, "wb", buffering=buffering)  # noqa: SIM115 - closed by finish or keep
        except BaseException:
            os.close(fd)
            raise

    def _open(self, may_be_awaited: bool) -> tuple[int, Path]:
        there = _status(self.path)
        self._before = _identity(there)
        if there is not None:
            if stat.S_ISDIR(there.st_mode):
                raise _os_error(errno.EISDIR, self.path)
            for fd in _STANDARD_STREAMS:
                if self._before == _identity(_descriptor_status(fd)):
                    return os.dup(fd), self.path  # a socket, for one, cannot be opened by its name
            if not stat.S_ISREG(there.st_mode):
                return os.open(self.path, os.O_WRONLY | os.O_CLOEXEC), self.path
            # A file that another run has just renamed may still be locked, but it is not empty.
            self.awaited = may_be_awaited and not there.st_size and _is_awaited(self.path)
            if self.awaited:
                return os.open(self.path, os.O_WRONLY | os.O_CLOEXEC), self.path
            if not os.access(self.path, os.W_OK):
                raise _os_error(errno.EACCES, self.path)
        self._target = Path(os.path.realpath(self.path))
        return self._claim(self._target, there)

    def _claim(self, target: Path, there: os.stat_result | None) -> tuple[int, Path]:
        """A partial file that only this run uses."""
        usual = target.with_name(target.name + PARTIAL)
        fd = self._take(usual)
        place, numbers = usual, count(2)
        while fd is None:
            place = target.with_name(f"{target.name}.{next(numbers)}{PARTIAL}")
            try:
                fd = os.open(place, _FLAGS | os.O_EXCL, 0o666)
            except FileExistsError:
                continue
            _lock(fd)
        if there is not None:
            with suppress(PermissionError):  # some file systems have no modes
                os.fchmod(fd, stat.S_IMODE(there.st_mode))
        return fd, place

    def _take(self, place: Path) -> int | None:
        """The usual partial file, except if another run uses it, or may use it."""
        while True:
            is_new = True
            try:
                fd = os.open(place, _FLAGS | os.O_EXCL, 0o666)
            except FileExistsError:
                is_new = False
                try:
                    fd = os.open(place, _FLAGS & ~os.O_CREAT)
                except FileNotFoundError:
                    continue
                except OSError:
                    return None
            locked = _lock(fd)
            if locked is None and is_new:
                return fd
            there = os.fstat(fd)
            self.contended = locked is False
            if not locked or not stat.S_ISREG(there.st_mode) or there.st_uid != os.geteuid():
                os.close(fd)
                return None
            if _identity(there) == _identity(_status(place)):
                os.ftruncate(fd, 0)
                return fd
            os.close(fd)  # its run has just renamed it

    @property
    def is_partial(self) -> bool:
        """Whether the bytes are written to a partial file."""
        return self._target is not None

    @property
    def is_in_place(self) -> bool:
        """Whether the file has been renamed to its final name."""
        return self.place == self._target

    def finish(self) -> None:
        """Rename the file to its final name, and replace an existing one.

        :raises OSError: that is not possible; the partial file stays
        """
        try:
            self.file.flush()
            os.close(os.dup(self.file.fileno()))  # some file systems report errors only now
            if self._target is not None:
                self.overtook = self._before != _identity(_status(self._target))
                os.replace(self.place, self._target)
                self.place = self._target
        finally:
            self._close()

    def keep(self) -> None:
        """Keep the partial file.

        :raises OSError: not all of it could be written
        """
        if not self.file.closed:
            try:
                self.file.flush()
            finally:
                self._close()

    def drop(self) -> None:
        """Remove the partial file, if the file was not renamed already."""
        if not self.file.closed:
            if self.is_partial:
                self.place.unlink(missing_ok=True)
            self._close()

    def _close(self) -> None:
        """Close the file and unlock it, because a forked process may still have it open."""
        with suppress(OSError):
            fcntl.flock(self.file.fileno(), fcntl.LOCK_UN)
        with suppress(OSError):  # the failed write was already reported
            self.file.close()


# Do not follow a link, and do not wait for the reader of a pipe: another user may have put one
# there.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def _lock(fd: int) -> bool | None:
    """Lock a file; False if another process holds the lock, None if the file system has no
    locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _descriptor_status(fd: int) -> os.stat_result | None:
    try:
        return os.fstat(fd)
    except OSError:
        return None


def is_standard_output(path: Path) -> bool:
    """Whether a path is the file of standard output."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(1))
    except OSError:
        return False


def _os_error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def _identity(status: os.stat_result | None) -> tuple[int, int] | None:
    return (status.st_dev, status.st_ino) if status else None


def _is_awaited(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return is_awaited(fd)
    finally:
        os.close(fd)
