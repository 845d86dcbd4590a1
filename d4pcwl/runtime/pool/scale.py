"""How many workers a dynamic run has, and how often a worker that dies is replaced."""

from __future__ import annotations

from dataclasses import dataclass

ATTEMPTS = 3
"""After this number of workers died over a task, the task counts as the cause."""

THRESHOLD = 10
"""Upstream's default: if this many batches wait for each worker, one more worker is started."""

IDLE_SECONDS = 1.0
"""Upstream's default: a worker that has nothing to do for this long is stopped."""


@dataclass(frozen=True)
class Scale:
    """How many workers run at a time.

    :param least: when there is little to do
    :param most: at the most
    :param threshold: if this many batches wait for each worker, one more is started; for heavy
        items, if any batch waits
    :param idle_seconds: a worker that had nothing to do for this long is stopped
    :param at_first: the number at the start, if it is known how many have work; else ``least``
    """

    least: int
    most: int
    threshold: int = THRESHOLD
    idle_seconds: float = IDLE_SECONDS
    at_first: int = 0

    @property
    def first(self) -> int:
        """At the start."""
        return min(max(self.least, self.at_first), self.most)


def fixed(processes: int) -> Scale:
    """A fixed number of workers."""
    return Scale(processes, processes)
