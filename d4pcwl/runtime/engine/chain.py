"""Chains of PEs in one process: each PE is the only one that takes the items of the PE before it.

Most PEs have one input and one output, and most items are numbers and texts, which need no copy.
One loop passes such an item along a chain, instead of a call from each PE to the next. Any other
object that a PE returns is sent like one that it writes.

Where a chain ends at the border of the process, numbers are put into the *lane* of the outbox
without a call, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import NoneType
from typing import Any, Protocol, cast

from d4pcwl.runtime.engine.values import BIG_INT, IMMUTABLE, SMALL, is_plain_tuple
from d4pcwl.workflow.load import is_an_order

Receive = Callable[[Any], None]
"""Takes one item."""

Take = Callable[[Iterable[Any]], None]
"""Takes items, and works through each of them to the end before the next."""

Work = Callable[[Any], Any]

PLAIN = IMMUTABLE - {NoneType}
"""Types of items that need no copy, and nothing else."""


class Lane(Protocol):
    """Where items wait for another process.

    What is of a type in :data:`NUMBERS`, and no integer beyond ``BIG_INT``, may be put into
    ``entries`` as it is. Who does so calls ``settle`` where the lane is not ``listed``, or has as
    many entries as ``most``.
    """

    entries: list[Any]
    listed: bool
    most: int
    settle: Callable[[], None]


class Outlet(Protocol):
    """A :data:`Receive` that puts items into a lane."""

    lane: Lane

    def __call__(self, item: Any, /) -> None: ...


NUMBERS = SMALL - {NoneType}

_ENCODED = frozenset({str, bytes, tuple, list, dict})
"""Other types whose items an outlet is given as they are."""


def outlet_of(emit: Receive | None) -> Outlet | None:
    """What takes items, if that puts them into a lane."""
    return cast(Outlet, emit) if hasattr(emit, "lane") else None


def each(receive: Receive) -> Take:
    """A function that takes several items, made from one that takes a single item."""

    def take(items: Iterable[Any]) -> None:
        for item in items:
            receive(item)

    return take


class Step:
    """A PE's place in a chain.

    :param work: its work on one item
    :param emit: takes what ``work`` returns; None if it returns nothing
    :param following: the only step that takes it, in this process
    :param hand_on: takes objects that do not go along the chain, such as a generator
    :param fail: ends the run after an error on an item
    :param stay_halted: what happens with further items after that, if a PE catches the error and
        goes on
    """

    def __init__(
        self,
        work: Work,
        emit: Receive | None,
        following: Step | None,
        *,
        hand_on: Receive,
        fail: Callable[[BaseException, Any], None],
        stay_halted: Receive,
    ) -> None:
        self._work, self._emit, self._hand_on = work, emit, hand_on
        self._fail, self._stay_halted = fail, stay_halted
        self._before: list[Step] = []
        self._left = 0
        self._taken: list[Callable[[], int]] = []
        self._in_chains: list[Callable[[], None]] = []
        self._chain: list[Step] = [self]
        if following:
            following._before.append(self)
            self._chain += following._chain
        self._works: list[Work] = []
        for place, step in enumerate(self._chain):
            known = any(work is step._work for work in self._works)  # PEs may share a function
            self._works.append(partial(step._work) if known else step._work)
            step._in_chains.append(partial(self._works.insert, place, step._stay_halted))
        self._step_of = dict(zip(map(id, self._works), self._chain, strict=True))
        last = self._chain[-1]
        self._outlet = outlet_of(last._emit)
        end = None if self._outlet else last._emit
        self._end = end or self._works.pop()
        self._step_of.setdefault(id(self._end), self._chain[-1])
        self.take = self._make_taker()

    @property
    def count(self) -> int:
        """How many items it has finished."""
        taken = sum(count() for count in self._taken)
        return taken + sum(step.count - step._left for step in self._before)

    def _make_taker(self) -> Take:
        works, end, step_of, through = self._works, self._end, self._step_of, 0
        self._taken.append(lambda: through)
        lane, append, send, numbers, encoded = self._way_out()

        def run_along(items: Iterable[Any]) -> None:
            nonlocal through
            for item in items:
                try:
                    for work in works:
                        item = work(item)
                        if type(item) not in PLAIN and not is_plain_tuple(item):
                            step_of[id(work)]._leave(item)
                            break
                    else:
                        work = end
                        item = end(item)
                        if item is not None:
                            kind = type(item)
                            if kind in numbers and (kind is not int or -BIG_INT < item < BIG_INT):
                                append(item)
                                if not lane.listed or len(lane.entries) >= lane.most:
                                    lane.settle()
                            elif kind in encoded:
                                send(item)
                            else:
                                step_of[id(end)]._hand_on(item)
                except BaseException as error:
                    if is_an_order(error):
                        raise
                    step_of[id(work)]._halt(error, item)
                through += 1

        return run_along

    def writer(self, output: str, otherwise: Callable[..., None]) -> Callable[..., None]:
        """``write`` for the PE before, if only this step takes the items of its output. It repeats
        the loop of ``take``, because it runs for every item of a source.

        :param otherwise: writes to other outputs, and writes objects that are not plain values
        """
        works, end, step_of, through = self._works, self._end, self._step_of, 0
        self._taken.append(lambda: through)
        lane, append, send, numbers, encoded = self._way_out()

        def write(name: str, data: Any, **kwargs: Any) -> None:
            nonlocal through
            if name != output or (type(data) not in PLAIN and not is_plain_tuple(data)):
                otherwise(name, data)
                return
            try:
                for work in works:
                    data = work(data)
                    if type(data) not in PLAIN and not is_plain_tuple(data):
                        step_of[id(work)]._leave(data)
                        break
                else:
                    work = end
                    data = end(data)
                    if data is not None:
                        kind = type(data)
                        if kind in numbers and (kind is not int or -BIG_INT < data < BIG_INT):
                            append(data)
                            if not lane.listed or len(lane.entries) >= lane.most:
                                lane.settle()
                        elif kind in encoded:
                            send(data)
                        else:
                            step_of[id(end)]._hand_on(data)
            except BaseException as error:
                if is_an_order(error):
                    raise
                step_of[id(work)]._halt(error, data)
            through += 1

        return write

    def _way_out(
        self,
    ) -> tuple[Lane, Receive, Receive, frozenset[type], frozenset[type]]:
        """How the chain puts items into a lane; the types are none where it does not."""
        outlet = self._outlet
        if outlet is None:
            return cast(Lane, None), _nowhere, _nowhere, frozenset(), frozenset()
        return outlet.lane, outlet.lane.entries.append, outlet, NUMBERS, _ENCODED

    def _leave(self, result: Any) -> None:
        self._hand_on(result)
        self._left += 1

    def _halt(self, error: BaseException, item: Any) -> None:
        for halt in self._in_chains:
            halt()
        self._fail(error, item)


def _nowhere(item: Any) -> None:
    """For chains that end in this process."""


def lane_writer(output: str, outlet: Outlet, otherwise: Callable[..., None]) -> Callable[..., None]:
    """``write`` for a PE whose output goes to another process.

    :param otherwise: writes to other outputs, and values that are not plain
    """
    lane, append = outlet.lane, outlet.lane.entries.append

    def write(name: str, data: Any, **kwargs: Any) -> None:
        kind = type(data)
        if name != output:
            otherwise(name, data)
        elif kind in NUMBERS and (kind is not int or -BIG_INT < data < BIG_INT):
            append(data)
            if not lane.listed or len(lane.entries) >= lane.most:
                lane.settle()
        elif kind in _ENCODED:
            outlet(data)
        else:
            otherwise(name, data)

    return write
