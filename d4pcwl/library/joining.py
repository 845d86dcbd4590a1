"""Joins: items of several inputs that belong together."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any, Literal

from d4pcwl.errors import GraphError
from d4pcwl.library.keys import Keys, checked_number, grouped_by, key_reader
from d4pcwl.workflow.pe import GenericPE


class Match(GenericPE):
    """Joins the items of several inputs that have the same key.

    :param by: the keys, the same in all inputs, as for a grouping
    :param inputs: the names of the inputs, two or more
    :param alone: what happens to items without a partner: ``"error"`` ends the run, ``"emit"``
        writes them to ``output``, ``"port"`` writes them to the output ``alone``
    :param window: the largest difference between the times of items that belong together; None:
        any. The items of a key must come in the order of their times
    :param time: with ``window``, the key or index of an item's time
    :param most: how many items of one instance may wait for partners
    :raises ValueError: while it runs, more items wait, items of a key are not in the order of their
        times, or an item has no partner and ``alone`` is ``"error"``

    Inputs: items with these keys; instances share the keys. Outputs: ``output``, dictionaries from
    input to item; ``alone``, the same with the items that were there. The first items of a key
    belong together, then the second ones, and so on: so it does not matter which input is faster.
    State: the items that wait.
    """

    stateful = True

    def __init__(
        self,
        by: Keys,
        inputs: Sequence[str] = ("left", "right"),
        alone: Literal["error", "emit", "port"] = "error",
        window: float | None = None,
        time: str | int = "time",
        most: int = 1_000_000,
    ) -> None:
        super().__init__()
        if len(set(inputs)) < 2 or len(set(inputs)) < len(inputs):
            raise GraphError(f"Match: inputs must be two or more different names, not {inputs!r}")
        if alone not in ("error", "emit", "port"):
            raise GraphError(f"Match: alone must be error, emit or port, not {alone!r}")
        if window is not None and not window >= 0:
            raise GraphError(f"Match: window is {window}; it must be at least 0")
        checked_number(most, "most", self)
        for name in inputs:
            self._add_input(name, grouping=list(grouped_by(by, f"Match.{name}").keys))
        self._add_output("output")
        if alone == "port":
            self._add_output("alone")
        self.by, self.alone, self.window, self.time, self.most = by, alone, window, time, most
        self.waiting: dict[Hashable, dict[str, deque[tuple[Any, bytes | None]]]] = {}
        self.latest: dict[tuple[Hashable, str], float] = {}
        self.count = 0

    def _preprocess(self) -> None:
        self.key = key_reader(self.by, self.name)

    def _process(self, inputs: dict[str, Any]) -> None:
        for port, item in inputs.items():
            key = self.key(item)
            if self.window is not None:
                self._check_time(key, port, item)
            queues = self.waiting.setdefault(key, {name: deque() for name in self.inputconnections})
            queues[port].append((item, self.item_id()))
            self.count += 1
            while all(queues.values()):
                self._settle(queues)
            if not any(queues.values()):
                del self.waiting[key]
            if self.count > self.most:
                raise ValueError(
                    f"{self.count} items wait for partners; at most {self.most} may wait (most)"
                )

    def _check_time(self, key: Hashable, port: str, item: Any) -> None:
        time = item[self.time]
        if time < self.latest.get((key, port), time):
            raise ValueError(
                f"key {key!r}: time {time} comes after {self.latest[key, port]}: sort them first"
            )
        self.latest[key, port] = time

    def _settle(self, queues: dict[str, deque[Any]]) -> None:
        """Take the first items of all inputs, or the earliest of them if they are too far apart."""
        heads = {name: queue[0] for name, queue in queues.items()}
        if self.window is not None:
            times = {name: item[self.time] for name, (item, _) in heads.items()}
            earliest = min(times, key=times.__getitem__)
            if max(times.values()) - times[earliest] > self.window:
                self.count -= 1
                self._leave({earliest: queues[earliest].popleft()})
                return
        for queue in queues.values():
            queue.popleft()
        self.count -= len(heads)
        self._give("output", heads)

    def _postprocess(self) -> None:
        left = self.waiting
        for key in sorted(left, key=repr):
            queues = left[key]
            while any(queues.values()):
                there = [name for name, queue in queues.items() if queue]
                if self.window is not None:  # they may be too far apart
                    there = there[:1]
                self._leave({name: queues[name].popleft() for name in there})

    def _leave(self, found: dict[str, tuple[Any, bytes | None]]) -> None:
        if self.alone == "error":
            (item, _), *_ = found.values()
            missing = sorted(self.inputconnections.keys() - found.keys()) or ["the time window"]
            raise ValueError(
                f"the item with the key {self.key(item)!r} in {' and '.join(found)} has no partner "
                f"in {' and '.join(missing)}"
            )
        self._give("output" if self.alone == "emit" else "alone", found)

    def _give(self, output: str, found: dict[str, tuple[Any, bytes | None]]) -> None:
        items = {name: item for name, (item, _) in found.items()}
        self.write(output, items, derived_from=[known for _, known in found.values()])
