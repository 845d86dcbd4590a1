"""Batches with levels: the receivers further down need not wait until a whole batch is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from d4pcwl.runtime.engine.chain import Take
from d4pcwl.runtime.engine.marks import Level, lowest_numbers
from d4pcwl.runtime.engine.worker import Worker
from d4pcwl.runtime.transport.outbox import BATCH, Fetch, Run

_TELL_SECONDS = 0.05
"""While a worker works on one batch, how often it tells others what they may work on."""


class Portions:
    """Passes on the items of batches with levels, in portions.

    The levels hold after all items of a batch. If the items take long, lower levels are noted in
    between. So receivers further down need not wait for the end of the batch.

    :param taker: from the key of a lane to the function that takes its items
    :param fetch: finds buffers in shared memory
    """

    def __init__(
        self, worker: Worker, taker: Callable[[Any], Take], fetch: Fetch | None = None
    ) -> None:
        self._worker, self._taker, self._fetch = worker, taker, fetch
        self._most = 1

    def take(
        self,
        runs: Sequence[Run],
        levels: Sequence[Level],
        receiver: tuple[int, str] | None = None,
    ) -> None:
        """Take a batch's items, and its levels.

        :param receiver: the instance and input that the levels are for; None: all
        """
        noted = time.monotonic()
        for place, run in enumerate(runs):
            start, count, take = 0, len(run.entries), self._taker(run.key)
            while start < count:
                began = time.monotonic()
                stop = start + self._most
                take(run.part(start, stop).items(self._fetch))
                start, now = stop, time.monotonic()
                fitting = self._most * _TELL_SECONDS / max(now - began, 1e-9)
                self._most = max(1, min(int(fitting), 2 * self._most, BATCH))
                if now - noted > _TELL_SECONDS:
                    rest = [run.part(start), *runs[place + 1 :]]
                    self._worker.note(levels_before(rest, levels), receiver)
                    noted = time.monotonic()
        self._worker.note(levels, receiver)


def levels_before(rest: Iterable[Run], levels: Iterable[Level]) -> list[Level]:
    """The levels that hold already, although the rest of a batch is still to come."""
    lows = lowest_numbers(mark for run in rest for mark in run.marks or ())
    return [
        (sender, origin, min(level, lows.get(origin, level))) for sender, origin, level in levels
    ]
