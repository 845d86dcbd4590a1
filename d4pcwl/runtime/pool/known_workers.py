"""What the scheduler knows about the workers, and about a pause of their sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from d4pcwl.runtime.pool.exchange import Queue
from d4pcwl.runtime.pool.queues import Batch


@dataclass
class KnownWorker:
    """What the scheduler knows about a worker.

    :param guest: it has joined by itself, and does not count among the workers of the scale
    :param in_hand: by instance, the number of private batches that it has not finished
    :param owed: by the instance that writes (or ``marks.RESULTS``), the queues that parcels of it
        went to, parcel by parcel, for which there was to be room again
    :param has_written: its task has written something before it is done (``GenericPE.hand_on``)
    :param sent: how many messages it was sent; ``waits_after`` how many it had when it last said
        that it waits, and ``settled`` whether nothing was left with it then
    """

    number: int
    pinned: int | None
    guest: bool = False
    tasks: dict[int, Batch] = field(default_factory=dict)
    in_hand: dict[int, int] = field(default_factory=dict)
    owed: dict[int | None, list[set[Queue]]] = field(default_factory=dict)
    ended_to_tell: dict[int, None] = field(default_factory=dict)
    has_written: bool = False
    sent: int = 0
    waits_after: int = -1
    settled: bool = False
    leaving: bool = False
    idle_since: float | None = None

    @property
    def waits(self) -> bool:
        """Whether it has reported that it waits, and got no message since then."""
        return self.waits_after == self.sent


@dataclass
class Pause:
    """A pause of the sources.

    :param begun: they have been told
    :param asked: the workers that have not said yet what they keep; None before they are asked
    :param kept: what the others said, by the process that is pinned to them
    """

    begun: bool = False
    asked: set[int] | None = None
    kept: dict[int, Any] = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        """Whether all have said it. Then only tasks that have written something are waited for."""
        return self.asked is not None and not self.asked

    def note(self, worker: KnownWorker, kept: Any) -> None:
        """Take what a worker said."""
        assert self.asked is not None
        assert worker.pinned is not None
        self.asked.remove(worker.number)
        self.kept[worker.pinned] = kept

    def forget(self, number: int) -> None:
        """A worker has ended: all its instances have ended, too, or the run fails."""
        if self.asked is not None:
            self.asked.discard(number)
