"""Standard input, output and error, which may be closed or full."""

from __future__ import annotations

import contextlib
import io
import os
import sys


def prepare() -> None:
    """Replace standard streams that are closed, and make sure that errors are reported. Otherwise
    the next file that is opened would get the number of the closed stream, and prints and messages
    would go into that file.
    """
    for fd, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            _open_as(fd, flags)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    elif sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        from d4pcwl.runtime.local.console import LineWriter

        sys.stdout.flush()
        sys.stdout = LineWriter(1)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115


def _open_as(fd: int, flags: int) -> None:
    nowhere = os.open(os.devnull, flags)
    if nowhere != fd:
        os.dup2(nowhere, fd)
        os.close(nowhere)
    os.set_inheritable(fd, True)  # as standard streams are


def is_closed() -> bool:
    """Whether the command was started with standard output closed."""
    return sys.__stdout__ is None


def require_output(instead: str) -> None:
    """Raise an error if standard output is closed.

    :param instead: what the user can do
    :raises UsageError: it is closed
    """
    if is_closed():
        from d4pcwl.errors import UsageError

        raise UsageError(f"standard output is closed: {instead}")


def give_up_output() -> None:
    """Standard output cannot be written: drop the rest of it, without an error."""
    from d4pcwl.errors import OutputError

    _open_as(1, os.O_WRONLY)
    with contextlib.suppress(OutputError):  # of what was written before
        sys.stdout.flush()
