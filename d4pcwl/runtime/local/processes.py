"""The worker processes that mappings fork: how they are started, handle signals, and are ended."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

from d4pcwl.errors import UsageError

GRACE_SECONDS = 1.0
"""How long a process may take to end after it was asked to."""

_LEAST_GRACE_SECONDS = 0.1
_HELD_BACK = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until after the block, in which a process is started and noted."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start(work: Callable[..., None], *arguments: Any, name: str | None = None) -> BaseProcess:
    """Fork a process that does ``work``, which begins with :func:`hear_signals`.

    Until then SIGINT and SIGTERM are held back: the handlers that it inherits are the parent's.

    :raises UsageError: this system cannot fork
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise UsageError("this mapping needs a system that can fork; use simple")
    context = multiprocessing.get_context("fork")
    process = context.Process(target=work, args=arguments, name=name)
    with signals_held_back(), warnings.catch_warnings():
        # Python warns of forks beside threads; those of numerical libraries are idle.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    return process


def hear_signals(terminated: Any = signal.SIG_DFL) -> None:
    """In a worker process: from now on SIGTERM ends it; on Ctrl-C the parent decides.

    :param terminated: the handler of SIGTERM
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, terminated)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)


def is_orphan() -> bool:
    """In a worker process: whether its parent has ended, also before the worker began."""
    parent = multiprocessing.parent_process()
    return parent is not None and os.getppid() != parent.pid


def end_with_parent(signum: int) -> Callable[[], None] | None:
    """A ``preexec_fn`` that makes a program end when its parent ends; None if the system has no way
    to do so.

    :param signum: the signal that ends it
    """
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()
    set_parent_death_signal = 1

    def prepare() -> None:
        prctl(set_parent_death_signal, int(signum))
        if os.getppid() != parent:  # it was killed before this
            os._exit(1)

    return prepare


def end(processes: Sequence[BaseProcess]) -> None:
    """End the processes that have not ended by themselves, and forget all of them."""
    for process in processes:
        if process.is_alive():
            process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        process.join(max(_LEAST_GRACE_SECONDS, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
        release(process)


def release(process: BaseProcess) -> None:
    """Close the descriptors that are kept for a process that has ended. ``process.close()`` does
    so, too, but it also removes attributes of the object, which another thread that starts
    processes may use at the same time.
    """
    popen: Any = getattr(process, "_popen", None)
    if popen is not None:
        popen.close()
