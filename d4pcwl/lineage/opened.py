"""The files that a PE opens, as Python's audit events tell (PEP 578)."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from typing import Any

READ, WRITTEN, RENAMED = "r", "w", "m"

Tell = Callable[[str, str, str], None]
"""Takes what was done to a file, its path, and its new path if it was renamed."""

AT_WORK: ContextVar[Tell | None] = ContextVar("AT_WORK", default=None)
"""Takes the files that are opened now, in this thread."""

_CODE = (".py", ".pyc", ".so", ".pth", ".pyi")
_METADATA = (".dist-info", ".egg-info")
"""The ends of the names of folders that describe installed packages."""

_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The folder of d4pcwl itself, wherever it is installed."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@cache
def listen() -> None:
    """Tell :data:`AT_WORK` of files from now on, unless they are to be read and are not there. A
    process cannot stop that; while nobody is at work, it costs very little."""
    installed = [sys.prefix, sys.base_prefix, _OWN, *sysconfig.get_paths().values()]
    system = ("/proc", "/sys", "/dev", *map(os.path.realpath, installed), *installed)
    outside = tuple(folder.rstrip("/") + "/" for folder in system)

    def told(path: Any) -> str | None:
        if isinstance(path, int):
            return None
        try:
            name = os.path.abspath(os.fsdecode(path))
        except (OSError, TypeError, ValueError):  # whoever opens it gets to know
            return None
        if name.startswith(outside) or name.endswith(_CODE):
            return None
        return None if os.path.dirname(name).endswith(_METADATA) else name

    def hear(event: str, args: tuple[Any, ...]) -> None:
        if event != "open" and event != "os.rename":
            return
        tell = AT_WORK.get()
        if tell is None:
            return
        path = told(args[0])
        if path is None:
            return
        if event == "os.rename":
            tell(RENAMED, path, told(args[1]) or path)
        else:
            mode, flags = args[1:3]
            if isinstance(mode, str):
                writes = not set("wax+").isdisjoint(mode)
            else:
                writes = isinstance(flags, int) and bool(flags & _WRITES)
            if writes and not os.path.isdir(path):
                tell(WRITTEN, path, "")
            elif os.path.isfile(path):
                tell(READ, path, "")

    sys.addaudithook(hear)


def is_open(path: str) -> bool:
    """Whether this process has a file open."""
    try:
        there = os.stat(path)
        names = os.listdir("/proc/self/fd")
    except OSError:
        return False
    for name in names:
        try:
            found = os.stat(int(name))
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == (there.st_dev, there.st_ino):
            return True
    return False
