"""Dynamic runs: how what PEs write is gathered, and handed over in parcels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from d4pcwl.errors import ItemError, PEError
from d4pcwl.runtime.engine.instance import Halt, Receive
from d4pcwl.runtime.engine.marks import NO_MORE, Level, Mark
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.engine.policy import ERRORS
from d4pcwl.runtime.engine.values import BIG_INT, SMALL, snapshot, weight
from d4pcwl.runtime.pool.exchange import Exchange, Lot, Parcel, Queue
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.channel import BATCH

PARCEL_BYTES = 1 << 20
"""Bytes, estimated, after which what was written is handed on."""

_SINGLES = 64


class Writer:
    """Gathers what PEs write, as values, until it is made a parcel."""

    def __init__(self, plan: Plan, exchange: Exchange) -> None:
        self.exchange, self.heavy = exchange, plan.heavy
        self.slots, self.port = plan.slots, plan.port
        self.marked: set[Queue | int] = {plan.slots[port] for port in plan.order.results}
        self.marked.update(*plan.marked_after.values())
        self.new_levels: Callable[[], list[Level]] = list
        self.items: dict[tuple[Queue | int, str], list[Any]] = {}
        self.count = 0
        self.bytes = 0
        self.refused: Halt | None = None
        self.lock = threading.RLock()

    def add(self, key: Queue | int, name: str, sent: Any, full: Callable[[], None]) -> None:
        item = sent[1] if key in self.marked else sent
        kind, size = type(item), 0
        if kind not in SMALL or (kind is int and not -BIG_INT < item < BIG_INT):
            try:
                item = snapshot(item)
            except Exception as error:
                raise self._refuse(PEError(frames.refusal(name, item, error))) from error
            size = weight(item)
            sent = (sent[0], item) if key in self.marked else item
        with self.lock:
            self.items.setdefault((key, name), []).append(sent)
            self.count += 1
            self.bytes += size
        if self.count >= BATCH or self.bytes >= PARCEL_BYTES:
            full()

    def parcel(self) -> Parcel:
        """Everything gathered so far.

        :raises Halt: an item cannot be pickled, or was refused before, which a bare ``except:`` in
            a PE may have caught; names the output that it comes from
        """
        if self.refused is not None:
            raise self.refused
        with self.lock:
            gathered, self.items = self.items, {}
            self.count = self.bytes = 0
        try:
            return self.pack(gathered)
        except ItemError as error:
            raise self._refuse(PEError(str(error))) from error

    def _refuse(self, error: PEError) -> Halt:
        self.refused = Halt(error)
        return self.refused

    def pack(self, gathered: dict[tuple[Queue | int, str], list[Any]]) -> Parcel:
        """Make a parcel.

        :raises ItemError: an item cannot be pickled
        """
        parcel = Parcel()
        results: dict[int, tuple[list[Any], str]] = {}
        for (key, name), items in gathered.items():
            if isinstance(key, int):
                results[key] = items, name
                continue
            size = 1 if key[0] in self.heavy else self.exchange.batch_size(key)
            parcel.batches += self.lots(key, items, size, name)
        if results:
            parcel.results.append(self._lot_of_results(results))
        return parcel

    def lots(self, to: Queue, items: list[Any], size: int, name: str) -> list[Lot]:
        """Items for a queue, in batches.

        :param size: of a batch; 0 where none is known
        :param name: the output that they come from
        :raises ItemError: an item cannot be pickled
        """
        marked = to in self.marked
        parts = [items[start:stop] for start, stop in _portions(len(items), size)]
        return [
            Lot(to, len(part), _pickled(part, name, marked), _lows(part) if marked else {})
            for part in parts
        ]

    def _lot_of_results(self, results: dict[int, tuple[list[Any], str]]) -> Lot:
        """All results in one piece: there may be more outputs than items."""
        count = sum(len(items) for items, _ in results.values())
        marked = [slot for slot in results if slot in self.marked]
        lows = _lows(pair for slot in marked for pair in results[slot][0])
        first = marked[0] if marked else next(iter(results))
        try:
            data = frames.dumps([(slot, items) for slot, (items, _) in results.items()])
        except Exception:
            for slot, (items, name) in results.items():
                _pickled(items, name, slot in self.marked)
            raise
        return Lot(first, count, data, lows)


def _lows(pairs: Iterable[tuple[Mark, Any]]) -> dict[int, int]:
    """By origin, the lowest number of marked items."""
    lows: dict[int, int] = {}
    for mark, _ in pairs:
        origin, number = mark[0], mark[1]
        if number < lows.get(origin, NO_MORE):
            lows[origin] = number
    return lows


def _portions(count: int, size: int) -> list[tuple[int, int]]:
    """How to part so many items into batches.

    Where no size is known each may take long: they are parted singly, so that every worker gets
    one, and into growing batches beyond that.
    """
    portions, start, step = [], 0, size or 1
    while start < count:
        portions.append((start, min(count, start + step)))
        start += step
        step = size or (1 if start < _SINGLES else 2 * step)
    return portions


def _pickled(items: list[Any], name: str, marked: bool) -> bytes:
    try:
        return frames.dumps(items)
    except Exception as error:
        for item in (pair[1] for pair in items) if marked else items:
            try:
                frames.dumps(item)
            except Exception as blame:
                raise ItemError(frames.refusal(name, item, blame)) from blame
        raise ItemError(f"{name}: {error}") from error


class PoolLink:
    """The link of pooled PEs: everything waits for the commit."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Receive:
        name, key = self.writer.port(*source), (target, input)
        return lambda item: self.writer.add(key, name, item, _not_yet)

    def result(self, pe: str, output: str) -> Receive:
        name, slot = self.writer.port(pe, output), self.writer.slots[pe, output]
        return lambda item: self.writer.add(slot, name, item, _not_yet)

    def end(self, instance: int) -> None:
        """Pooled PEs end when the exchange says so."""


def _not_yet() -> None:
    """A task's output waits for its commit, however much it is."""


class PinnedLink:
    """The link of pinned instances: what they write is streamed; a full exchange makes it wait."""

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
        name, key = self.writer.port(*source), (target, input)
        flush = self._flush_of(source[0])
        return lambda item: self.writer.add(key, name, item, flush)

    def result(self, pe: str, output: str) -> Receive:
        name, slot = self.writer.port(pe, output), self.writer.slots[pe, output]
        # Descriptions of items that are left out belong to no instance, and wait for none.
        flush = self.flush if (pe, output) == ERRORS else self._flush_of(pe)
        return lambda item: self.writer.add(slot, name, item, flush)

    def _flush_of(self, pe: str) -> Callable[[], None]:
        last, here = self.plan.of(pe)[-1].index, self._here[pe]

        def flush() -> None:
            while not self.exchange.may_stream(here):
                self.help_out(last)
            self._hand_on(here)

        return flush

    def flush(self) -> None:
        """Hand on what was written, if there is room.

        :raises Halt: an item cannot be pickled
        """
        self._hand_on(None)

    def _hand_on(self, writer: int | None) -> None:
        with self.writer.lock:
            if self.writer.refused is not None:
                raise self.writer.refused
            if not self.exchange.may_stream(writer):
                return
            levels = self.writer.new_levels()  # what they speak of has been written
            if self.writer.items or levels:
                parcel = self.writer.parcel()
                parcel.levels = levels
                self.exchange.stream(parcel, writer)

    def end(self, instance: int) -> None:
        flush = self._flush_of(self.plan.instances[instance].pe)
        while self.writer.items or self.writer.refused:
            flush()
        with self.writer.lock:  # what another thread is just handing on goes first
            self.exchange.end(instance)
