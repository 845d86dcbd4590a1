"""Plans for the next run, as reports show them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class Suggestion:
    """A plan for the same work.

    :ivar how: ``default``, or the algorithm that has made it
    :ivar seconds: how long it would take, as predicted
    :ivar processes: what runs in each: names of instances
    """

    how: str
    seconds: float
    processes: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        """What shares a process, and in how many it runs.

        >>> print(Suggestion("best", 1.0, (("read",), ("parse", "sum"), ("parse", "sum"))))
        read | parse, sum (2 times)
        """
        found = ((", ".join(names), len(list(equal))) for names, equal in groupby(self.processes))
        return " | ".join(text if n == 1 else f"{text} ({n} times)" for text, n in found)
