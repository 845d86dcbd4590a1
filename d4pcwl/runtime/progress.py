"""Progress of a run in a notebook: one block of text, which is updated as results come."""

from __future__ import annotations

import time
from typing import Any

from d4pcwl.runtime.engine.instance import Receive
from d4pcwl.runtime.results import Sink
from d4pcwl.workflow.cells import running_shell

_EVERY = 0.5
"""Seconds between two updates of the block."""


def notebook() -> Any:
    """The shell of the notebook in which we run, or None."""
    shell = running_shell()
    return shell if hasattr(shell, "kernel") else None


class Progress:
    """A sink that counts results and items, and passes results on to another sink.

    :param sink: where the results go
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._results: dict[tuple[str, str], int] = {}
        self._done: dict[str, int] = {}
        self._handle: Any = None
        self._next = 0.0

    def take(self, pe: str, output: str) -> Receive:
        take, key = self._sink.take(pe, output), (pe, output)

        def receive(item: Any) -> None:
            take(item)
            self._results[key] = self._results.get(key, 0) + 1
            if time.monotonic() >= self._next:
                self.show()

        return receive

    def close(self, complete: bool) -> None:
        self._sink.close(complete)

    def worked(self, title: str, count: int) -> None:
        """Take how many items an instance has worked on."""
        self._done[title] = count
        self.show()

    def show(self) -> None:
        """Show the progress of the run."""
        from importlib import import_module

        lines = [f"{name}: worked on {count} items" for name, count in self._done.items()]
        for (pe, output), count in self._results.items():
            what = f"results of {pe}.{output}" if pe else "items left out"
            lines.append(f"{what}: {count}")
        shown = {"text/plain": "\n".join(lines)}
        if self._handle is None:
            display = import_module("IPython.display").display
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)
        self._next = time.monotonic() + _EVERY
