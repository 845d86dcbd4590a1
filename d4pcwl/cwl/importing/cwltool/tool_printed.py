"""The text that a tool prints: passed on while it runs; the end is kept for the message of a
failure. A tool may print without limit. Then the beginning and the end are shown, and the size of
the rest.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

TAIL_LINES = 20
"""How many of the last lines of a tool's standard error are shown when it fails."""

HEAD_BYTES = 1 << 20
TAIL_BYTES = 1 << 16
_LONGEST_LINE = 1000
_PIECE = 1 << 16


class Printed:
    """The text of one execution of a tool. The memory, and the part that is shown, are bounded."""

    def __init__(self) -> None:
        self._taken = 0
        self._shown = 0
        self._last = b""
        self._rest = b""

    def take(self, data: bytes) -> None:
        """Take printed text, and show it in whole lines until there is too much."""
        room = HEAD_BYTES - self._shown - len(self._rest)
        self._taken += len(data)
        self._last = (self._last + data)[-TAIL_BYTES:]
        if room > 0:
            self._rest += data[:room]
            lines = self._rest.rfind(b"\n") + 1
            if not lines and (len(self._rest) > _PIECE or len(data) >= room):
                lines = len(self._rest)  # a line that is too long to wait for
            self._show(self._rest[:lines])
            self._rest = self._rest[lines:]

    def end(self) -> None:
        """Show the end, after a line about the part that is left out."""
        kept = self._last[-(self._taken - self._shown) :] if self._taken > self._shown else b""
        left_out = self._taken - self._shown - len(kept)
        if left_out:
            begin = kept.find(b"\n", 0, -1) + 1
            left_out, kept = left_out + begin, kept[begin:]
            sys.stderr.write(f"[{left_out:,} bytes of what it printed are left out here]\n")
        self._show(kept)

    def tail(self) -> list[str]:
        """The last lines."""
        return last_lines(self._last)

    def _show(self, data: bytes) -> None:
        if data:
            self._shown += len(data)
            text = data.decode("utf-8", errors="replace")
            sys.stderr.write(text if text.endswith("\n") else text + "\n")
            sys.stderr.flush()


def last_lines(data: bytes) -> list[str]:
    """The last lines in data that are not empty, none of them too long to be read."""
    lines = [line for line in data.decode("utf-8", errors="replace").splitlines() if line.strip()]
    return [
        line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} …"
        for line in lines[-TAIL_LINES:]
    ]


def end_of_file(path: str) -> list[str]:
    """The last lines of a file, of which only the end is read; none where it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return last_lines(file.read(TAIL_BYTES))
    except OSError:
        return []


@contextmanager
def passed_on(tail: list[str]) -> Iterator[IO[bytes]]:
    """A file whose contents are passed on to our standard error.

    :param tail: gets the last lines at the end of the block
    """
    read_end, write_end = os.pipe()
    printed = Printed()

    def pass_on() -> None:
        with open(read_end, "rb", buffering=0) as source:
            while data := source.read(_PIECE):
                printed.take(data)
        printed.end()

    reader = threading.Thread(target=pass_on, daemon=True)
    reader.start()
    with open(write_end, "wb", buffering=0) as sink:
        yield sink
    # A tool may leave child processes that keep the pipe open.
    reader.join(1.0)
    tail += printed.tail()
