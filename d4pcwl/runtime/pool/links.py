"""Dynamic runs: written items are gathered, and sent in parcels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from d4pcwl.runtime.engine.instance import Receive
from d4pcwl.runtime.engine.marks import NO_MORE, LevelOf, Mark, NewLevels
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.engine.policy import ERRORS
from d4pcwl.runtime.engine.routing import counting
from d4pcwl.runtime.pool.exchange import Exchange, Lot, Parcel, Queue, packed
from d4pcwl.runtime.transport.outbox import Outbox, Run, places
from d4pcwl.trace.observer import Way

PARCEL_BYTES = 1 << 20
"""With this many bytes, written items are sent."""

_SINGLES = 64


class Writer:
    """Gathers the items that PEs write, as values, until they are made a parcel.

    :param pinned: instances that are waited for one by one: what each writes is gathered apart, so
        that a parcel of one has nothing for the full queues of another
    """

    def __init__(self, plan: Plan, exchange: Exchange, pinned: Iterable[int] = ()) -> None:
        self.exchange, self.heavy = exchange, plan.heavy
        self._plan = plan
        self._marked: set[Queue | int] = {plan.slots[port] for port in plan.order.results}
        self._marked.update(*plan.marked_after.values())
        self._waiting: dict[int | None, None] = {}  # in whose outboxes is something
        self._outboxes: dict[int | None, Outbox] = {
            index: Outbox(
                PARCEL_BYTES, exchange.memory, partial(self._waiting.__setitem__, index, None)
            )
            for index in (None, *pinned)
        }
        self.outbox = self._outboxes[None]
        for outbox in self._outboxes.values():
            outbox.measured = plan.measured
        self._ways = _only_ways(plan)
        self._counts: dict[Queue, dict[Way, list[Callable[[], int]]]] = {}
        self._new_levels: dict[int | None, NewLevels] = {}
        self._lock = threading.RLock()

    def outlet(
        self,
        source: tuple[str, str],
        key: Queue | int,
        full: Callable[[], None],
        writer: int | None = None,
    ) -> Receive:
        """What takes the items of an output.

        :param key: the queue that they are for, or the number of the result
        :param full: called when there is enough for a batch
        :param writer: the pinned instance, where it is waited for
        """
        name = self._plan.port(*source)
        outbox = self._outboxes[writer]
        take = outbox.outlet(key, name, full, marked=key in self._marked)
        if not self._plan.measured or isinstance(key, int) or key in self._ways:
            return take
        take, count = counting(take)
        counts = self._counts.setdefault(key, {})
        counts.setdefault(self._way(source, key), []).append(count)
        return take

    def _way(self, source: tuple[str, str], queue: Queue) -> Way:
        return (*source, self._plan.instances[queue[0]].pe, queue[1])

    def sent(
        self, source: tuple[str, str], queue: Queue, writer: int | None = None
    ) -> Callable[[], int]:
        """The function that counts the items of an output for a queue."""
        if queue in self._ways:
            return partial(self._outboxes[writer].count, queue)
        counts = self._counts[queue][self._way(source, queue)]
        return lambda: sum(count() for count in counts)

    def traffic(self) -> dict[Way, tuple[int, int]]:
        """By edge, the items that were written and their bytes. If edges share a queue, each has
        the part of the bytes that it has of the items."""
        sent: dict[Any, tuple[int, int]] = {}
        for outbox in self._outboxes.values():
            for key, (items, size) in outbox.sent().items():
                before = sent.get(key, (0, 0))
                sent[key] = before[0] + items, before[1] + size
        found = {way: sent[queue] for queue, way in self._ways.items() if queue in sent}
        for queue, ways in self._counts.items():
            numbers = {way: sum(count() for count in counts) for way, counts in ways.items()}
            size, whole = sent[queue][1], max(1, sum(numbers.values()))
            found.update((way, (n, size * n // whole)) for way, n in numbers.items())
        return found

    def tell_levels(self, wanted: Iterable[tuple[int, int]], level: LevelOf) -> None:
        """Have parcels say how far pinned instances are, too.

        :param wanted: instance and origin of each level
        """
        of_writer: dict[int | None, list[tuple[int, int]]] = {}
        for index, origin in wanted:
            of_writer.setdefault(index, []).append((index, origin))
        self._new_levels = {index: NewLevels(w, level) for index, w in of_writer.items()}

    @property
    def waiting(self) -> tuple[int | None, ...]:
        """Those of whom something has been gathered."""
        return tuple(self._waiting)

    def hand_on(self, *writers: int | None, charged: int | None = None) -> None:
        """Hand on what has been gathered, of these or, without any, all; if there is room.

        :param charged: the pinned instance whose queues have to have room; all those here, where
            it is None
        :raises Halt: an item was refused before
        """
        with self._lock:
            self._check(writers or self.waiting)
            if self.exchange.may_stream(charged) and (parcel := self.parcel(*writers)):
                self.exchange.stream(parcel, charged)

    def end(self, instance: int) -> None:
        """Hand on that a pinned instance has ended, behind what it has written."""
        with self._lock:  # what another thread is just handing on goes first
            self.exchange.end(instance)

    def parcel(self, *writers: int | None) -> Parcel:
        """What has been gathered so far, of these or, without any, all.

        :raises Halt: an item was refused before
        """
        with self._lock:
            telling = writers or tuple(self._new_levels)
            told = [self._new_levels[writer]() for writer in telling if writer in self._new_levels]
            # What the levels speak of has been written by now.
            of = writers or self.waiting
            self._check(of)
            parcel = self._pack(self._drained(of))
            parcel.levels = list(chain.from_iterable(told))
            return parcel

    def _check(self, writers: Iterable[int | None]) -> None:
        for writer in writers:
            self._outboxes[writer].check()

    def _drained(self, writers: Iterable[int | None]) -> Iterator[Run]:
        for writer in writers:
            self._waiting.pop(writer, None)
            yield from self._outboxes[writer].drain_rest()

    def results_so_far(self) -> list[Lot]:
        """The results among it; the rest is dropped."""
        with self._lock:
            runs = list(self._drained(self.waiting))
        return self._pack(run for run in runs if isinstance(run.key, int)).results

    def _pack(self, runs: Iterable[Run]) -> Parcel:
        parcel, results = Parcel(), list[Run]()
        for run in runs:
            if isinstance(run.key, int):
                results.append(run)
                continue
            size = 1 if run.key[0] in self.heavy else self.exchange.batch_size(run.key)
            parcel.batches += self.lots(run, size)
        if results:
            # All in one piece: there may be more outputs than items.
            first = next((run for run in results if run.marks is not None), results[0])
            parcel.results.append(self._lot(first.key, results, results))
        return parcel

    def lots(self, run: Run, size: int) -> list[Lot]:
        """Entries for a queue, in batches.

        :param size: of a batch; 0 where none is known
        """
        parts = [run.part(start, stop) for start, stop in _portions(len(run.entries), size)]
        return [self._lot(run.key, [part], part) for part in parts]

    def _lot(self, to: Queue | int, runs: Sequence[Run], content: Any) -> Lot:
        for run in runs:
            self.exchange.memory.hand_over(places(run.entries))
        lows = _lows(mark for run in runs for mark in run.marks or ())
        return Lot(to, sum(len(run.entries) for run in runs), packed(content, runs), lows)


def _lows(marks: Iterable[Mark]) -> dict[int, int]:
    """By origin, the lowest number of marked items."""
    lows: dict[int, int] = {}
    for mark in marks:
        origin, number = mark[0], mark[1]
        if number < lows.get(origin, NO_MORE):
            lows[origin] = number
    return lows


def _portions(count: int, size: int) -> list[tuple[int, int]]:
    """How to divide items into batches. If no size is known, each item may take long. So there are
    first batches of one item, one for every worker, and then growing batches.
    """
    portions, start, step = [], 0, size or 1
    while start < count:
        portions.append((start, min(count, start + step)))
        start += step
        step = size or (1 if start < _SINGLES else 2 * step)
    return portions


def _only_ways(plan: Plan) -> dict[Queue, Way]:
    """By queue its edge, where it is one."""
    found: dict[Queue, set[Way]] = {}
    for (pe, output), routes in plan.routes.items():
        for route in routes:
            for target in route.targets:
                way = (pe, output, plan.instances[target].pe, route.input)
                found.setdefault((target, route.input), set()).add(way)
    return {queue: ways.pop() for queue, ways in found.items() if len(ways) == 1}


class PoolLink:
    """The link of pooled PEs: everything waits for the commit."""

    def __init__(self, writer: Writer, plan: Plan) -> None:
        self.writer, self.plan = writer, plan

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Receive:
        return self.writer.outlet(source, (target, input), _not_yet)

    def result(self, pe: str, output: str) -> Receive:
        return self.writer.outlet((pe, output), self.plan.slots[pe, output], _not_yet)

    def end(self, instance: int) -> None:
        """The exchange ends pooled PEs."""

    def sent(self, source: tuple[str, str], target: int, input: str) -> Callable[[], int]:
        return self.writer.sent(source, (target, input))


def _not_yet() -> None:
    """A task's output waits for its commit, also if it is large."""


class PinnedLink:
    """The link of pinned instances: their items are sent as they come; if the exchange is full, it
    waits."""

    def __init__(
        self,
        plan: Plan,
        process: int | None,
        exchange: Exchange,
        help_out: Callable[[int], None],
    ) -> None:
        self.plan, self.exchange, self.help_out = plan, exchange, help_out
        mine = plan.processes[process] if process is not None else ()
        self._here = {plan.instances[index].pe: index for index in mine}
        self.writer = Writer(plan, exchange, self._here.values())

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Receive:
        return self._outlet(source, (target, input))

    def result(self, pe: str, output: str) -> Receive:
        return self._outlet((pe, output), self.plan.slots[pe, output])

    def _outlet(self, source: tuple[str, str], key: Queue | int) -> Receive:
        # Descriptions of items that are left out belong to no instance, and wait for none.
        full = self.flush if source == ERRORS else partial(self._flush_of, source[0])
        return self.writer.outlet(source, key, full, self._here.get(source[0]))

    def _flush_of(self, pe: str) -> None:
        """Hand on what an instance has written, when there is room for it."""
        last, here = self.plan.of(pe)[-1].index, self._here[pe]
        while not self.exchange.may_stream(here):
            self.help_out(last)
        self.writer.hand_on(here, charged=here)

    def sent(self, source: tuple[str, str], target: int, input: str) -> Callable[[], int]:
        return self.writer.sent(source, (target, input), self._here.get(source[0]))

    def flush(self) -> None:
        """Hand on what was written, if there is room: all in one where all have it.

        :raises Halt: an item was refused before
        """
        if self.exchange.may_stream():
            self.writer.hand_on()
        else:
            for writer in self.writer.waiting:
                self.writer.hand_on(writer, charged=writer)

    def end(self, instance: int) -> None:
        self.flush()
        pe = self.plan.instances[instance].pe
        while self._here[pe] in self.writer.waiting:
            self._flush_of(pe)
        self.writer.end(instance)
