"""What a snapshot has: of each instance, and of the whole run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Spot:
    """How far a source is.

    :param first: how many of its inputs are done, without being needed any more
    :param done: how many are done at all
    :param written: how many items it has written since the first ones were done
    :param sought: what its ``position`` returned, pickled, if it has one
    """

    first: int = 0
    done: int = 0
    written: int = 0
    sought: bytes | None = None


@dataclass(frozen=True)
class Kept:
    """What is kept of one instance.

    :param state: of its PE, pickled; None if it keeps none. That of a source is from before the
        input after :attr:`Spot.first`
    :param counts: by input, how many items it has taken
    :param number: its number in the order of items (``Position.count``)
    :param turns: where it is in each distribution in turn
    :param held: by input, the marked items that it holds back until others have come
    :param spot: of a source
    :param place: of a source, among those of its process: the first of them is fed next
    """

    state: bytes | None
    counts: Mapping[str, int] = field(default_factory=dict)
    number: int = 0
    turns: tuple[int, ...] = ()
    held: Mapping[str, list[Any]] = field(default_factory=dict)
    spot: Spot | None = None
    place: int = 0


@dataclass(frozen=True)
class Snapshot:
    """What is kept of a run between two items.

    :param processes: by number of the process in the plan, what ``Worker.keep`` returned there
    :param ended: the instances that have ended
    :param held: the marked results that are held back until others have come, by their slot
    :param queued: of a dynamic run, the batches that wait, and those that workers have in hand
    """

    processes: Mapping[int, bytes] = field(default_factory=dict)
    ended: frozenset[int] = frozenset()
    held: Mapping[int, list[Any]] = field(default_factory=dict)
    queued: Sequence[Any] = ()
