"""Standard output shared by processes: whole lines, never torn."""

from __future__ import annotations

import io
import os
import tempfile
import threading
from typing import IO

from d4pcwl.errors import OutputError

_FLUSH_BYTES = 1 << 13


class LineLock:
    """A lock between processes that the system releases when its holder dies."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()

    def close(self) -> None:
        """Nobody is to take it any more."""
        self._file.close()

    def __enter__(self) -> None:
        import fcntl

        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def __exit__(self, *error: object) -> None:
        import fcntl

        fcntl.lockf(self._file, fcntl.LOCK_UN)


class LineWriter(io.TextIOBase):
    """A text stream that hands on only whole lines, each run of them in one go.

    Lines are held back until there are 8 KiB of them, or :meth:`flush` is called.

    :param fd: where they go
    :param lock: shared by all that write there
    """

    def __init__(self, fd: int, lock: LineLock) -> None:
        self._fd, self._lock = fd, lock
        self._text: list[str] = []
        self._size = 0
        self._guard = threading.RLock()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8."""
        return "utf-8"

    def writable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        """The descriptor below, for those who write to it directly."""
        return self._fd

    def isatty(self) -> bool:
        """Whether a person is looking."""
        return os.isatty(self._fd)

    def write(self, text: str, /) -> int:
        """Take text; complete lines go out in time."""
        with self._guard:
            self._text.append(text)
            self._size += len(text)
            if self._size >= _FLUSH_BYTES or (self.isatty() and "\n" in text):
                self.flush()
        return len(text)

    def flush(self) -> None:
        """Hand on the lines that are complete."""
        with self._guard:
            lines, newline, rest = "".join(self._text).rpartition("\n")
            self._text, self._size = ([rest] if rest else []), 0
            if newline:
                self._put(lines + newline)

    def finish(self) -> None:
        """Hand on everything; a last line that has no end gets one."""
        with self._guard:
            if self._text and not "".join(self._text).endswith("\n"):
                self.write("\n")
            self.flush()

    def _put(self, text: str) -> None:
        data = memoryview(text.encode("utf-8", "surrogateescape"))
        try:
            with self._lock:
                while data:
                    data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            self._text, self._size = [], 0
            raise OutputError(f"standard output: cannot be written: {error.strerror}") from error
