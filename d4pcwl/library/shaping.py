"""PEs that put items together, in order, or in order again. They keep state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Any

from d4pcwl.errors import GraphError
from d4pcwl.library.keys import Keys, checked_number, group_input, key_reader
from d4pcwl.workflow.pe import IterativePE


class Batch(IterativePE):
    """Gathers items into lists of equal length; the last may be shorter.

    :param size: how many items a list has

    Input: any items, in order. Output: lists of items. State: one list.
    """

    stateful = True

    def __init__(self, size: int) -> None:
        super().__init__()
        checked_number(size, "size", self)
        self.size = size
        self.items: list[Any] = []

    def _process(self, data: Any) -> None:
        self.items.append(data)
        if len(self.items) == self.size:
            self._give()

    def _postprocess(self) -> None:
        if self.items:
            self._give()

    def _give(self) -> None:
        items, self.items = self.items, []
        self.write("output", items)


class Window(IterativePE):
    """Writes the last items as a list, again and again.

    :param size: how many items a list has
    :param step: after how many more items the next list is written; a list is always full
    :param by: keys; each key has windows of its own, and instances share the keys

    Input: any items, in order. Output: lists of ``size`` items. State: ``size`` items for each key.
    """

    stateful = True

    def __init__(self, size: int, step: int = 1, by: Keys = None) -> None:
        super().__init__()
        checked_number(size, "size", self)
        checked_number(step, "step", self)
        self.size, self.step = size, step
        group_input(self, "input", by)
        self.key = None if by is None else by
        self.last: dict[Hashable, list[tuple[Any, bytes | None]]] = {}
        self.skipped: dict[Hashable, int] = {}

    def _preprocess(self) -> None:
        self.read = _single if self.key is None else key_reader(self.key, self.name)

    def _process(self, data: Any) -> None:
        key = self.read(data)
        if self.skipped.get(key):  # between two windows, where they do not touch
            self.skipped[key] -= 1
            return
        items = self.last.setdefault(key, [])
        items.append((data, self.item_id()))
        if len(items) == self.size:
            found, known = zip(*items, strict=True)
            self.write("output", list(found), derived_from=known)
            del items[: self.step]
            self.skipped[key] = max(0, self.step - self.size)


class TimeWindow(IterativePE):
    """Gathers the items of each time window.

    :param length: of a window, in the unit of the items' times
    :param time: the key or index of an item's time, a number
    :param step: from the start of a window to the start of the next; None: the length. Windows
        start at whole multiples of it
    :param by: keys; each key has windows of its own, and instances share the keys
    :raises ValueError: while it runs, an item is earlier than the one before it

    Input: items in the order of their times. Output: dictionaries ``{"start", "end", "items"}``,
    where start <= time < end; windows without items are not written. State: the items of the
    windows that are open, for each key.
    """

    stateful = True

    def __init__(
        self,
        length: float,
        time: str | int = "time",
        step: float | None = None,
        by: Keys = None,
    ) -> None:
        super().__init__()
        self.length, self.step = length, length if step is None else step
        if not min(length, self.step) > 0:
            raise GraphError(
                f"TimeWindow: length and step must be more than 0, not {length} and {step}"
            )
        group_input(self, "input", by)
        self.time, self.by = time, by
        self.open: dict[Hashable, dict[int, list[tuple[Any, bytes | None]]]] = {}
        self.latest: dict[Hashable, float] = {}

    def _preprocess(self) -> None:
        self.read = _single if self.by is None else key_reader(self.by, self.name)

    def _process(self, data: Any) -> None:
        key, time = self.read(data), data[self.time]
        if time < self.latest.get(key, time):
            raise ValueError(f"time {time} comes after {self.latest[key]}: sort the items first")
        self.latest[key] = time
        open_ = self.open.setdefault(key, {})
        for number in [n for n in open_ if n * self.step + self.length <= time]:
            self._give(number, open_.pop(number))
        for number in windows_of(time, self.length, self.step):
            open_.setdefault(number, []).append((data, self.item_id()))

    def _postprocess(self) -> None:
        for open_ in self.open.values():
            for number, items in open_.items():
                self._give(number, items)

    def _give(self, number: int, found: list[tuple[Any, bytes | None]]) -> None:
        start, items = number * self.step, [item for item, _ in found]
        window = {"start": start, "end": start + self.length, "items": items}
        self.write("output", window, derived_from=[known for _, known in found])


def windows_of(time: float, length: float, step: float) -> Iterator[int]:
    """The numbers n of the windows that a time is in: n step <= time < n step + length."""
    last = int(time // step) + 1  # one more, since quotients and products are rounded
    first = last
    while (first - 1) * step + length > time:
        first -= 1
    for number in range(first, last + 1):
        if number * step <= time < number * step + length:
            yield number


class Sort(IterativePE):
    """Sorts all items, and writes them at the end.

    :param by: the keys to sort by; None: the items themselves. Items with equal keys stay in the
        order in which they came
    :param reverse: the largest first

    Input: any items. Output: the same items. State: all items.
    """

    stateful = True

    def __init__(self, by: Keys = None, reverse: bool = False) -> None:
        super().__init__()
        self._add_input("input", grouping="global")
        if by is not None:
            key_reader(by, self.name)
        self.by, self.reverse = by, reverse
        self.items: list[tuple[Any, bytes | None]] = []

    def _process(self, data: Any) -> None:
        self.items.append((data, self.item_id()))

    def _postprocess(self) -> None:
        key = None if self.by is None else key_reader(self.by, self.name)

        def place(found: tuple[Any, bytes | None]) -> Any:
            return found[0] if key is None else key(found[0])

        for item, known in sorted(self.items, key=place, reverse=self.reverse):
            self.write("output", item, derived_from=[known])


class Deduplicate(IterativePE):
    """Writes the first of equal items.

    :param by: the keys that are compared; None: the whole items
    :param memory: how many of the last different items it remembers; None: all. With keys and no
        limit, instances share the keys

    Input: any items. Output: some of them, unchanged. State: the keys that it remembers.
    """

    stateful = True

    def __init__(self, by: Keys = None, memory: int | None = None) -> None:
        super().__init__()
        group_input(self, "input", by if memory is None else None)
        self.by, self.memory = by, checked_number(memory, "memory", self)
        self.seen: OrderedDict[Hashable, None] = OrderedDict()

    def _preprocess(self) -> None:
        self.read = key_reader(self.by, self.name)

    def _process(self, data: Any) -> None:
        key = self.read(data)
        known = key in self.seen
        self.seen[key] = None
        self.seen.move_to_end(key)
        if self.memory is not None and len(self.seen) > self.memory:
            self.seen.popitem(last=False)
        if not known:
            self.write("output", data, derived_from=[self.item_id()])


def _single(item: Any) -> Hashable:
    """The key of all items where there are no keys."""
    return None
