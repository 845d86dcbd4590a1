"""Standard output of one or several processes: lines are always whole, and come soon."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import time
import weakref
from _thread import RLock  # threading is imported when there is something to print
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from d4pcwl.errors import OutputError, ReaderGone

if TYPE_CHECKING:
    import threading

    from _typeshed import ReadableBuffer

Put = Callable[[bytes], None]

_FLUSH_BYTES = 1 << 13
_PROMPT_SECONDS = 0.1
"""How long a line waits for other lines while its writer is busy."""


_ERASE = b"\x1b[J"
"""Tells a terminal to clear all from the cursor on."""

_MOST_BELOW = 1 << 16

_ESCAPED = "d4pcwl-escaped"
"""The name of :func:`_escaped` among the error handlers of codecs."""


class LineLock:
    """A lock between processes. The system releases it when its holder dies. Until it is closed,
    standard output and standard error of this process use it, too, if they are of the class
    :class:`LineWriter`. Its file has what is shown below all lines.

    :ivar is_below: whether something is
    """

    def __init__(self) -> None:
        import tempfile

        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        streams = (sys.stdout, sys.stderr)
        self._own = [stream.lines for stream in streams if isinstance(stream, LineWriter)]
        self.is_below = any(lines.is_below for lines in self._own)
        for lines in self._own:
            lines.lock = self

    def close(self) -> None:
        """Close it: no process uses it any more."""
        for lines in self._own:
            lines.lock = None
        self._file.close()

    def show(self, picture: bytes) -> None:
        """Keep what is shown below all lines."""
        os.ftruncate(self._file.fileno(), 0)
        os.pwrite(self._file.fileno(), picture, 0)

    def shown(self) -> bytes:
        """What is shown below all lines."""
        return os.pread(self._file.fileno(), _MOST_BELOW, 0)

    def __enter__(self) -> None:
        import fcntl

        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def __exit__(self, *error: object) -> None:
        import fcntl

        fcntl.lockf(self._file, fcntl.LOCK_UN)


class Lines(io.BufferedIOBase):
    """The lower part of a :class:`LineWriter`; its own thread writes lines that wait.

    :ivar is_below: whether something is shown below the lines (:meth:`draw`)
    """

    def __init__(self, fd: int, lock: LineLock | None, put: Put | None) -> None:
        self._fd, self.lock, self._at_once = fd, lock, os.isatty(fd)
        self._put, self._ticks = put or self._write_out, put is None
        self.is_below: bool = lock is not None and lock.is_below and os.isatty(fd)
        self._below = b""
        self._renew()
        renew = weakref.WeakMethod(self._renew)
        os.register_at_fork(after_in_child=lambda: (method := renew()) and method())

    def _renew(self) -> None:
        """Begin; also in a forked process, where thread and text are those of the parent."""
        self._guard = RLock()
        self._waits: threading.Event | None = None
        self._lines: list[bytes] = []
        self._rest: list[bytes] = []
        self._size = 0
        self._torn = False  # the last line has gone out without its end
        self._failure: OutputError | None = None

    @property
    def name(self) -> int:
        """The name, as for files that are opened by number."""
        return self._fd

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def write(self, data: ReadableBuffer, /) -> int:
        """Take text; complete lines are written soon."""
        text = data if isinstance(data, bytes) else bytes(data)
        if b"\n" not in text:
            self._rest.append(text)
            return len(text)
        self._raise_failure()
        with self._guard:
            whole, _, rest = b"".join([*self._rest, text]).rpartition(b"\n")
            self._rest, self._torn = [rest] if rest else [], False
            self._add(whole + b"\n")
        return len(text)

    def put_lines(self, text: bytes) -> None:
        """See :meth:`LineWriter.put_lines`."""
        self._raise_failure()
        with self._guard:
            if self._torn:
                text, self._torn = b"\n" + text, False
            self._add(text)

    def _raise_failure(self) -> None:
        """Raise the error of the other thread, once."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _add(self, lines: bytes) -> None:
        self._lines.append(lines)
        self._size += len(lines)
        if self._at_once or self._size >= _FLUSH_BYTES:
            self._put_waiting()
        elif self._ticks:
            if self._waits is None:
                self._waits = self._start_ticker()
            if not self._waits.is_set():
                self._waits.set()

    def _start_ticker(self) -> threading.Event:
        import threading

        waits = threading.Event()
        threading.Thread(
            target=self._tick, args=(waits,), name="d4pcwl-output", daemon=True
        ).start()
        return waits

    def _tick(self, waits: threading.Event) -> None:
        while waits.wait():
            time.sleep(_PROMPT_SECONDS)
            with self._guard:
                waits.clear()
                try:
                    self._put_waiting()
                except OutputError as failure:  # it is raised where the next text is written
                    self._failure = failure

    def flush(self) -> None:
        """Write the complete lines; if lines may be split, also one without an end."""
        self._raise_failure()
        with self._guard:
            if self._rest and self._ticks and self.lock is None:
                self._lines += self._rest
                self._rest, self._torn = [], True
            self._put_waiting()

    def finish(self) -> None:
        """Hand on everything; a last line that has no end gets one."""
        if self._rest:
            self.write(b"\n")
        self.flush()

    def _put_waiting(self) -> None:
        waiting, self._lines, self._size = self._lines, [], 0
        if waiting:
            self._put(b"".join(waiting))

    def draw(self, picture: bytes) -> None:
        """Show something below all lines: whoever writes lines puts it there again.

        :param picture: for a terminal; it leaves the cursor where it was
        """
        with self._guard, contextlib.suppress(OutputError):
            self._below, self.is_below = picture, True
            if self.lock is not None:
                with self.lock:
                    self.lock.show(picture)
            self._put_waiting()
            if not self._torn:
                self._write_out(b"")

    def _with_below(self, text: bytes) -> bytes:
        """Text, and what is shown below it, in place of what was there."""
        if self._torn:
            return _ERASE + text
        return _ERASE + text + (self.lock.shown() if self.lock is not None else self._below)

    def _write_out(self, text: bytes) -> None:
        try:
            with self.lock or contextlib.nullcontext():
                data = memoryview(self._with_below(text) if self.is_below else text)
                while data:
                    data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            raise ReaderGone("standard output: the program that reads it has ended") from None
        except OSError as error:
            raise OutputError(f"standard output: cannot be written: {error.strerror}") from error


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    """What is written of characters that an encoding does not have: the bytes of a file's name as
    they are, others as escapes."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)


class LineWriter(io.TextIOWrapper):
    """A text stream that writes only whole lines, several at a time. Lines are held back until
    there are 8 KiB of them, or :meth:`flush` is called, or a tenth of a second has passed.

    A file or a pipe gets UTF-8, whatever the locale is, so programs can read it. A terminal gets
    its own encoding, with escapes for the characters that it does not have.

    :param fd: where they go; 1 or 2
    :param lock: shared by all processes that write there; without it, :meth:`flush` also writes a
        line without an end
    :param put: takes the lines instead, and only when it is called
    """

    def __init__(
        self,
        fd: int,
        lock: LineLock | None = None,
        *,
        put: Put | None = None,
    ) -> None:
        self.lines = Lines(fd, lock, put)
        python = sys.__stdout__ if fd == 1 else sys.__stderr__  # knows the encoding
        encoding = python.encoding if python is not None and os.isatty(fd) else "utf-8"
        codecs.register_error(_ESCAPED, _escaped)
        super().__init__(self.lines, encoding, _ESCAPED, newline="", write_through=True)

    def put_lines(self, text: str) -> None:
        """Take whole lines of another source, but not into the middle of a line."""
        self.lines.put_lines(text.encode(self.encoding, _ESCAPED))

    def finish(self) -> None:
        """Hand on everything; a last line that has no end gets one."""
        self.lines.finish()
