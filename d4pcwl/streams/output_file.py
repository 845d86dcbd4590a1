"""Files that a run leaves: written beside their place, and put there, whole, at the end.

While it is written, and when its producer fails, a file is called ``NAME.partial``. Of several runs
that are given the same file each has a name of its own (``NAME.2.partial``, …), so that they never
mix; whichever ends last has the file. A lock (``flock``) says that a partial file is being written;
it ends with the process that holds it, however that ends, so that what a killed run left can be
told from what another still writes.
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
    """A file to be written.

    A pipe or a device is written to directly, and so is a file that standard output or error goes
    to, or that somebody awaits. A link is followed.

    :param path: the file; a relative path is relative to where the process is now
    :param buffering: as for :func:`open`
    :param may_be_awaited: see :mod:`~d4pcwl.streams.live`
    :raises OSError: it cannot be written

    ``file`` takes the bytes; ``place`` is where they are: the partial file's name, at last the
    file's own. ``contended`` says that another run was writing to the same file in the beginning,
    ``overtook`` that one has put its own there before we did.
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
            # What another run has just put there may still be locked, but it is not empty.
            self.awaited = may_be_awaited and not there.st_size and _is_awaited(self.path)
            if self.awaited:
                return os.open(self.path, os.O_WRONLY | os.O_CLOEXEC), self.path
            if not os.access(self.path, os.W_OK):
                raise _os_error(errno.EACCES, self.path)
        self._target = Path(os.path.realpath(self.path))
        return self._claim(self._target, there)

    def _claim(self, target: Path, there: os.stat_result | None) -> tuple[int, Path]:
        """A partial file that is ours alone."""
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
        """The usual partial file, unless it is another run's, or may be."""
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
            os.close(fd)  # its run has just put it into its place

    @property
    def is_partial(self) -> bool:
        """Whether what is written is beside the file's place."""
        return self._target is not None

    @property
    def is_in_place(self) -> bool:
        """Whether the file has been put into its place."""
        return self.place == self._target

    def finish(self) -> None:
        """Put the file into its place, in the place of what is there.

        :raises OSError: that cannot be done; what was written stays beside
        """
        try:
            self.file.flush()
            os.close(os.dup(self.file.fileno()))  # some file systems tell only now what failed
            if self._target is not None:
                self.overtook = self._before != _identity(_status(self._target))
                os.replace(self.place, self._target)
                self.place = self._target
        finally:
            self._close()

    def keep(self) -> None:
        """Leave what was written beside the place.

        :raises OSError: not all of it could be written
        """
        if not self.file.closed:
            try:
                self.file.flush()
            finally:
                self._close()

    def drop(self) -> None:
        """Leave nothing of what was written, unless it is in its place already."""
        if not self.file.closed:
            if self.is_partial:
                self.place.unlink(missing_ok=True)
            self._close()

    def _close(self) -> None:
        """Close the file and unlock it: a process that was forked may have it open for longer."""
        with suppress(OSError):
            fcntl.flock(self.file.fileno(), fcntl.LOCK_UN)
        with suppress(OSError):  # what could not be written has been reported
            self.file.close()


# Not by a link, and without waiting for the reader of a pipe, that somebody may have put there.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def _lock(fd: int) -> bool | None:
    """Lock a file; False where another has done so, None where the file system has no locks."""
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
    """Whether a path leads to where standard output goes."""
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
