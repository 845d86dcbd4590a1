"""The folders of a run of a CWL document, and the processes in them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d4pcwl.cwl.importing.cwltool.settings import make_folder

if TYPE_CHECKING:
    import psutil


class Workplace:
    """The folders of a run, and its processes: all are removed at the end, also after an error.

    :param prefix: of the folder for intermediate outputs, as ``--tmp-outdir-prefix`` says
    :param scratch_prefix: of the tools' temporary folder, as ``--tmpdir-prefix`` says
    """

    def __init__(self, prefix: str | None, scratch_prefix: str | None) -> None:
        self._prefixes = prefix, scratch_prefix
        self._kept: set[str] = set()

    def __enter__(self) -> Workplace:
        prefix, scratch = self._prefixes
        self.folder = make_folder(prefix or scratch)
        try:
            self.scratch = make_folder(scratch) if scratch else os.path.join(self.folder, "tmp")
            os.makedirs(self.scratch, exist_ok=True)
        except OSError:
            remove_folder(self.folder)
            raise
        adopt_orphans(True)
        return self

    def keep(self) -> None:
        """Keep the folder, because final outputs are in it."""
        self._kept.add(self.folder)

    def keep_all(self) -> None:
        """Keep the tools' temporary folders as well."""
        self._kept |= {self.folder, self.scratch}

    def __exit__(self, *ended: object) -> None:
        end_descendants()
        for folder in {self.folder, self.scratch} - self._kept:
            if os.path.isdir(folder):
                remove_folder(folder)


def remove_folder(folder: str) -> None:
    """Remove a folder and everything in it, with any permissions that tools left."""

    def allow(function: Any, path: str, error: Any) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            os.chmod(path, 0o700)
            function(path)

    shutil.rmtree(folder, onerror=allow)


_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans(adopt: bool) -> None:
    """Choose whether tools whose worker was killed become our children, so that we can end them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def end_descendants() -> None:
    """Kill all processes that are left below this one: tools, evaluators of JavaScript."""
    import psutil

    def below() -> list[psutil.Process]:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        return psutil.Process().children(recursive=True)

    _end_all(below)


def end_processes_in(folder: str) -> None:
    """Kill processes of tools that are still running: a stopped worker leaves its tool running."""
    import psutil

    inside = os.path.join(folder, "")

    def working_there() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                where = [process.environ().get("HOME", ""), process.cwd()]
                if any(os.path.join(place, "").startswith(inside) for place in where):
                    found.append(process)
        return found

    _end_all(working_there)


def _end_all(find: Callable[[], list[psutil.Process]]) -> None:
    """Kill processes, and the containers that they are the clients of, until there are none."""
    import psutil

    for _ in range(20):  # one that is killed may have started another, or leave orphans to us
        found = find()
        for process in found:
            with contextlib.suppress(psutil.Error):
                _end_container(process.cmdline())
                process.kill()
        if not found:
            return
        psutil.wait_procs(found, timeout=0.5)


def _end_container(command: list[str]) -> None:
    """End the container of a ``docker run`` or ``podman run``: killing the client does not."""
    files = [part.partition("=")[2] for part in command if part.startswith("--cidfile=")]
    if "run" not in command or not files:
        return
    engine = command[command.index("run") - 1]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        identifier = Path(files[0]).read_text(encoding="utf-8").strip()
        end = [engine, "kill", identifier]
        subprocess.run(end, check=False, timeout=10, capture_output=True)
