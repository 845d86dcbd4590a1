"""Dynamic runs: written items are gathered, and sent in parcels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from d4pcwl.runtime.engine.instance import Receive
from d4pcwl.runtime.engine.marks import (
    RESULTS,
    Level,
    LevelOf,
    NewLevels,
    lowest_numbers,
    wanted_levels,
)
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.engine.policy import ERRORS
from d4pcwl.runtime.engine.routing import counting
from d4pcwl.runtime.pool.exchange import Exchange, Lot, Parcel, Queue, packed
from d4pcwl.runtime.transport.outbox import Outbox, Run, places
from d4pcwl.trace.observer import EdgeTraffic, Way

PARCEL_BYTES = 1 << 20
"""With this many bytes, written items are sent."""

_SINGLES = 64


class Writer:
    """Gathers the items that PEs write, as values, until they are made a parcel.

    ``new_levels`` returns the levels that others do not know yet; ``new_levels_of_last`` those of
    instances whose items are all results.
    """

    def __init__(self, plan: Plan, exchange: Exchange) -> None:
        self.exchange, self.heavy = exchange, plan.heavy
        self._plan = plan
        self._marked: set[Queue | int] = {plan.slots[port] for port in plan.order.results}
        self._marked.update(*plan.marked_after.values())
        self.new_levels: Callable[[], list[Level]] = list
        self.new_levels_of_last: Callable[[], list[Level]] = list
        self.outbox = Outbox(PARCEL_BYTES, exchange.memory)
        self.outbox.measured = plan.measured
        self.outbox.traced = plan.recording is not None
        self._ways = _only_ways(plan)
        self._counts: dict[Queue, dict[Way, list[Callable[[], int]]]] = {}
        self.lock = threading.RLock()

    def outlet(self, source: tuple[str, str], queue: Queue, full: Callable[[], None]) -> Receive:
        """The function that takes the items of an output for a queue.

        :param full: called when there is enough for a batch
        """
        take = self._outlet(source, queue, full)
        if not self._plan.measured or queue in self._ways:
            return take
        take, count = counting(take)
        counts = self._counts.setdefault(queue, {})
        counts.setdefault(self._way(source, queue), []).append(count)
        return take

    def _way(self, source: tuple[str, str], queue: Queue) -> Way:
        return (*source, self._plan.instances[queue[0]].pe, queue[1])

    def result(self, pe: str, output: str, full: Callable[[], None]) -> Receive:
        """The function that takes the results of an output."""
        return self._outlet((pe, output), self._plan.slots[pe, output], full)

    def _outlet(
        self, source: tuple[str, str], key: Queue | int, full: Callable[[], None]
    ) -> Receive:
        name = self._plan.port(*source)
        return self.outbox.outlet(key, name, full, marked=key in self._marked)

    def sent(self, source: tuple[str, str], queue: Queue) -> Callable[[], int]:
        """The function that counts the items of an output for a queue."""
        if queue in self._ways:
            return partial(self.outbox.count, queue)
        counts = self._counts[queue][self._way(source, queue)]
        return lambda: sum(count() for count in counts)

    def traffic(self) -> dict[Way, EdgeTraffic]:
        """By edge, the items that were written and their bytes. If edges share a queue, each has
        the part of the bytes that it has of the items."""
        sent = self.outbox.sent()
        found = {
            way: EdgeTraffic(*sent[queue]) for queue, way in self._ways.items() if queue in sent
        }
        for queue, ways in self._counts.items():
            items = {way: sum(count() for count in counts) for way, counts in ways.items()}
            size, whole = sent[queue][1], max(1, sum(items.values()))
            found |= {way: EdgeTraffic(n, size * n // whole) for way, n in items.items()}
        return found

    def parcel(self) -> Parcel:
        """Everything gathered so far.

        :raises Halt: an item was refused before
        """
        with self.lock:
            return self._pack(self.outbox.drain())

    def results_so_far(self) -> list[Lot]:
        """The results among it, whatever was refused."""
        with self.lock:
            return self._pack(self.outbox.drain_some(int)).results

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
        lows = lowest_numbers(mark for run in runs for mark in run.marks or ())
        return Lot(to, sum(len(run.entries) for run in runs), packed(content, runs), lows)


def new_levels(plan: Plan, process: int, level: LevelOf) -> tuple[NewLevels, NewLevels]:
    """The levels of a process's instances that others have to know; and those of its instances
    whose items are all results."""
    wanted: dict[tuple[int, int], None] = {}
    for receiver, of_receiver in wanted_levels(plan, process).items():
        if receiver != process:
            wanted.update(dict.fromkeys(of_receiver))
    last = [(index, origin) for index, origin in wanted if not plan.downstream[index]]
    others = [(index, origin) for index, origin in wanted if plan.downstream[index]]
    return NewLevels(others, level), NewLevels(last, level)


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

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Receive:
        return self.writer.outlet(source, (target, input), _not_yet)

    def result(self, pe: str, output: str) -> Receive:
        return self.writer.result(pe, output, _not_yet)

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
        writer: Writer,
        plan: Plan,
        process: int | None,
        exchange: Exchange,
        help_out: Callable[[int], None],
    ) -> None:
        self.writer, self.plan, self.exchange, self.help_out = writer, plan, exchange, help_out
        mine = plan.processes[process] if process is not None else ()
        self._here = {plan.instances[index].pe: index for index in mine}

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Receive:
        return self.writer.outlet(source, (target, input), self._flush_of(source[0]))

    def result(self, pe: str, output: str) -> Receive:
        # Descriptions of items that are left out belong to no instance, and do not wait.
        flush = self.flush if (pe, output) == ERRORS else self._flush_of(pe)
        return self.writer.result(pe, output, flush)

    def _flush_of(self, pe: str) -> Callable[[], None]:
        last, here = self.plan.of(pe)[-1].index, self._here[pe]

        def flush() -> None:
            while not self.exchange.may_stream(here):
                self.help_out(last)
            self.hand_on(here)

        return flush

    def sent(self, source: tuple[str, str], target: int, input: str) -> Callable[[], int]:
        return self.writer.sent(source, (target, input))

    def flush(self) -> None:
        """Send what was written, if there is room. Results need no room in a queue.

        :raises Halt: an item was refused before
        """
        with self.writer.lock:  # what another thread is sending now has left afterwards
            if not self.exchange.may_stream():
                self.exchange.take_in()
            if self.exchange.may_stream():
                self.hand_on(None)
            elif self.exchange.may_stream(RESULTS):
                self.writer.outbox.check()
                levels = self.writer.new_levels_of_last()
                parcel = Parcel(results=self.writer.results_so_far(), levels=levels)
                if parcel:
                    self.exchange.stream(parcel, RESULTS)

    def hand_on(self, writer: int | None) -> None:
        """Send what was written, if there is room, in the name of an instance."""
        with self.writer.lock:
            self.writer.outbox.check()
            if not self.exchange.may_stream(writer):
                return
            # The items that they refer to have been written.
            levels = self.writer.new_levels() + self.writer.new_levels_of_last()
            if self.writer.outbox or levels:
                parcel = self.writer.parcel()
                parcel.levels = levels
                self.exchange.stream(parcel, writer)

    def end(self, instance: int) -> None:
        flush = self._flush_of(self.plan.instances[instance].pe)
        self.writer.outbox.check()
        while self.writer.outbox:
            flush()
        with self.writer.lock:  # what another thread is sending now comes first
            self.exchange.end(instance)
