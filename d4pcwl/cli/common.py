"""What the commands have in common: how they end, and how they tell of errors."""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

from d4pcwl.errors import D4pcwlError, PEError, UsageError


class Terminated(BaseException):
    """The system asked the command to end (SIGTERM)."""


def guarded(command: str, work: Callable[[], int], *, debug: bool) -> int:
    """Do a command's work and return its exit code; errors become one message each.

    :param debug: show tracebacks
    """
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = work()
        sys.stdout.flush()
        return code
    except D4pcwlError as error:
        if "BrokenPipeError" in str(error) and _nobody_reads():
            return _reader_gone()
        if debug:
            told = error.traceback if isinstance(error, PEError) else ""
            sys.stderr.write(told or traceback.format_exc())
        say(f"{command}: error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say_once(f"{command}: interrupted")
        return 128 + signal.SIGINT
    except Terminated:
        _say_once(f"{command}: terminated")
        return 128 + signal.SIGTERM
    except BrokenPipeError:
        return _reader_gone()
    except Exception as error:  # noqa: BLE001 - the last resort, and it shows what it can
        if debug:
            traceback.print_exc()
        say(
            f"{command}: error: {type(error).__name__}: {error}\n"
            "This is a fault of d4pcwl; run again with --debug and report what it shows"
        )
        return 1


def _say_once(message: str) -> None:
    """A message that whoever has launched us, if somebody has, tells itself."""
    from d4pcwl.runtime.rank_launch import LAUNCHED

    if LAUNCHED not in os.environ:
        say(message)


def _nobody_reads() -> bool:
    """Whether standard output is a pipe that has lost its reader."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _reader_gone() -> int:
    """Whoever read our output has gone: give the interpreter somewhere else to flush to."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def say(message: str) -> None:
    """A message of our own, to standard error."""
    sys.stdout.flush()
    sys.stderr.write(message.rstrip("\n") + "\n")
    sys.stderr.flush()


def version() -> str:
    """The version of d4pcwl."""
    import d4pcwl

    return f"d4pcwl {d4pcwl.__version__}"


def stdout_folder() -> str | None:
    """The folder of the file that standard output goes to, where it goes to one."""
    try:
        if stat.S_ISREG(os.fstat(1).st_mode):
            return os.path.dirname(os.readlink("/proc/self/fd/1"))
    except OSError:
        pass
    return None


def write_files(files: Mapping[Path, str], executable: Container[Path] = ()) -> None:
    """Write all files, or none.

    :raises UsageError: one cannot be written
    """
    partial: dict[Path, Path] = {}
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{path.name}.partial")
            partial[beside] = path
            beside.write_text(text, encoding="utf-8")
        for beside, path in partial.items():
            os.replace(beside, path)
            if path in executable:
                path.chmod(path.stat().st_mode | 0o111)
    except OSError as error:
        for beside in partial:
            beside.unlink(missing_ok=True)
        raise UsageError(f"{error.filename}: cannot be written: {error.strerror}") from None


def _terminated(signum: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
