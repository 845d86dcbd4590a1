"""The terminal of the command that starts the ranks: rank 0 writes to it, too.

mpiexec gives ranks pipes, which show neither a table nor how wide it may be. If rank 0 is on the
machine of the command, it opens the terminal by its name, in place of these pipes.
"""

from __future__ import annotations

import contextlib
import os

from d4pcwl.runtime.mpi.memory import machine

TERMINAL = "D4PCWL_TERMINAL"
"""An environment variable of ranks whose command has a terminal, until they use that."""


def told() -> dict[str, str]:
    """What the environment tells ranks of the terminal on standard output and standard error."""
    import json

    names = {fd: os.ttyname(fd) for fd in (1, 2) if os.isatty(fd)}
    return {TERMINAL: json.dumps([machine(), names])} if names else {}


def use() -> None:
    """Write to the terminal from now on, if it is one of this machine."""
    import json

    there, names = json.loads(os.environ.get(TERMINAL, "[null, {}]"))
    if not there or there != machine():
        return
    with contextlib.suppress(OSError):
        for fd, name in names.items():
            terminal = os.open(name, os.O_RDWR | os.O_NOCTTY)
            os.dup(int(fd))  # the pipe stays open: mpiexec may wait for its end
            os.dup2(terminal, int(fd))
            os.close(terminal)
        del os.environ[TERMINAL]
