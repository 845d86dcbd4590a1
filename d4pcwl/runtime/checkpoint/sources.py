"""Sources of a run with snapshots: how far they are, and where they wait.

A source is an instance that is given inputs. It waits between two of them. A PE that no edge feeds
also waits inside its work on one, after an item that it writes or yields (but not if it has a
policy, because the items of an attempt are held back).

After a resume, the inputs that are done are left out. The source works again on the one that it was
working on, and what it had written is dropped, by number. So it must write the same items again.
For that it begins with its state of before that input. To take a copy before each input could be
slow. So there is one copy after each snapshot, and a source that keeps state works on all inputs
again since that copy.

A source that has ``position()`` and ``seek(position)`` says itself where it is, and nothing is
dropped.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import GeneratorType
from typing import Any

from d4pcwl.errors import PEError
from d4pcwl.runtime.checkpoint.kept import Spot
from d4pcwl.runtime.checkpoint.state import State
from d4pcwl.streams.pickles import dumps


@dataclass
class Pauses:
    """How the instances of a process take part in snapshots.

    :param asked: whether sources have to wait
    :param wait: returns when they may go on; until then it lets other instances work
    :param kept: what ``Worker.keep`` returned in this process in an earlier run; empty if there is
        no earlier run
    :param ended: the instances, of all processes, that had ended
    """

    asked: Callable[[], bool]
    wait: Callable[[], None]
    kept: bytes = b""
    ended: frozenset[int] = field(default=frozenset())


class Source:
    """One instance that is given inputs.

    :param divides: whether it may wait inside its work on an input
    :param spot: where it was, if the run is resumed
    :ivar inside: whether it is working on an input
    """

    def __init__(self, pe: Any, title: str, pauses: Pauses, *, divides: bool, spot: Spot) -> None:
        self._pe, self._title, self._pauses = pe, title, pauses
        self.divides = divides
        self.inside = False
        self.seeks = callable(getattr(pe, "seek", None)) and callable(getattr(pe, "position", None))
        self._state: State | None = None
        self._first, self._done, self._ends_at = spot.first, spot.first, spot.done
        self._written, self._earlier = 0, spot.written
        self._sought = spot.sought
        self._copy: bytes | None = None
        self._is_old = False

    @property
    def first(self) -> int:
        """How many of its inputs must not be given to it any more."""
        return self._first

    @property
    def behind(self) -> int:
        """How many it is given again although it was done with them."""
        return max(0, self._ends_at - self._done)

    def begin(self, state: State | None) -> None:
        """It has been prepared, and has its state.

        :param state: None if it keeps none
        """
        self._state = state
        self._copy = state.keep() if state is not None else None
        if self._sought is not None:
            self._pe.seek(pickle.loads(self._sought))

    def invocation(self, work: Callable[[Iterable[Any]], None]) -> Callable[[Iterable[Any]], None]:
        """``work`` on one input."""

        def enter(given: Iterable[Any]) -> None:
            if (self._is_old or self._state is None) and self._written >= self._earlier:
                self._renew()
            self.inside = True
            work(given)
            self.inside = False
            self._done += 1
            if self._written < self._earlier and self._done > self._ends_at:
                raise PEError(
                    f"PE {self._title} cannot go on: it wrote {self._earlier} items before the "
                    f"snapshot, and {self._written} when it did the same work again. Let it write "
                    "the same items each time, or define position and seek"
                )

        return enter

    def counted(
        self, emit: Callable[[Any], None], drop: Callable[[], None]
    ) -> Callable[[Any], None]:
        """``emit``, for the items that were not written before the snapshot.

        :param drop: called instead, for one that was
        """

        def send(item: Any) -> None:
            if self.inside:
                self._written += 1
                if self._written <= self._earlier:
                    drop()
                    return
            emit(item)

        return send

    def pausing(self, send: Callable[[Any], None]) -> Callable[[Any], None]:
        """``send``, after which it may have to wait."""
        asked, wait = self._pauses.asked, self._pauses.wait

        def send_and_wait(item: Any) -> None:
            send(item)
            if asked() and self.inside:
                wait()

        return send_and_wait

    def writing(
        self, write: Callable[..., None], drops: Mapping[str, Callable[[], None]]
    ) -> Callable[..., None]:
        """``write`` of the PE for single items, counted, after which it may have to wait.

        :param drops: by output, what is called instead for an item that was written before
        """
        asked, wait = self._pauses.asked, self._pauses.wait

        def send(name: str, data: Any, **told: Any) -> None:
            if type(data) is GeneratorType:
                for part in data:
                    send(name, part)
                return
            if self.inside:
                self._written += 1
                if self._written <= self._earlier:
                    drops[name]()
                    return
            write(name, data)
            if asked() and self.inside:
                wait()

        return send

    def keep(self) -> tuple[Spot, bytes | None]:
        """Where it is, and the state with which it goes on from there."""
        if not self.seeks and (self.inside or self._written < self._earlier):
            self._is_old = True
            done, written = max(self._done, self._ends_at), max(self._written, self._earlier)
            return Spot(self._first, done, written), self._copy
        self._renew()
        sought = dumps(self._pe.position()) if self.seeks else None
        return Spot(self._done, self._done, 0, sought), self._copy

    def _renew(self) -> None:
        """From now on, its work begins here."""
        self._first, self._written, self._earlier, self._is_old = self._done, 0, 0, False
        self._copy = self._state.keep() if self._state is not None else None
