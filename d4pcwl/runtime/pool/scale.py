"""How many workers a dynamic run has, and how often it makes up for one that dies."""

from __future__ import annotations

from dataclasses import dataclass

ATTEMPTS = 3
"""Workers that a task may kill before it is held to be its fault."""

THRESHOLD = 10
"""Upstream's default: with so many batches waiting for each worker one more is started."""

IDLE_SECONDS = 1.0
"""Upstream's default: how long a worker has nothing to do before it is let go."""


@dataclass(frozen=True)
class Scale:
    """How many workers run at a time.

    :param least: when there is little to do
    :param most: at the most
    :param threshold: with that many batches waiting for each worker one more is started; where
        items are much work, with any that waits
    :param idle_seconds: a worker that has had nothing to do for so long is let go
    :param at_first: at the start, where it is known how many are of use; else as many as at least
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
    """Always so many workers."""
    return Scale(processes, processes)
