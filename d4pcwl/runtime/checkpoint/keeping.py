"""What is kept of one instance, and how it is set again."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from d4pcwl.errors import PEError
from d4pcwl.runtime.checkpoint.kept import Kept, Spot
from d4pcwl.runtime.checkpoint.sources import Pauses, Source
from d4pcwl.runtime.checkpoint.state import State
from d4pcwl.workflow.pe import has_preprocess
from d4pcwl.workflow.state import keeps_state


class Keeping:
    """One instance in a run with snapshots.

    :param earlier: what was kept of it, if the run is resumed
    :param is_source: it is given inputs
    :param divides: it may wait inside its work on one of them
    :ivar source: how far it is, if it is given inputs
    :ivar taken: by input, how many items it had taken
    """

    def __init__(
        self,
        pe: Any,
        title: str,
        pauses: Pauses,
        earlier: Kept | None,
        *,
        is_source: bool,
        divides: bool,
    ) -> None:
        self._pe, self._title, self._earlier = pe, title, earlier
        self._state: State | None = None
        self._is_silent = False
        self.taken: Mapping[str, int] = earlier.counts if earlier is not None else {}
        self.source: Source | None = None
        if is_source:
            spot = earlier.spot if earlier is not None and earlier.spot is not None else Spot()
            self.source = Source(pe, title, pauses, divides=divides, spot=spot)
            if divides:  # it has only these inputs, and begins with the first again
                self.taken = dict.fromkeys(self.taken, spot.first)

    def unless_silent(self, emit: Callable[[Any], None]) -> Callable[[Any], None]:
        """``emit``, but not for what ``preprocess`` writes a second time."""
        if self._earlier is None or not has_preprocess(self._pe):
            return emit

        def send(item: Any) -> None:
            if not self._is_silent:
                emit(item)

        return send

    def prepare(self, preprocess: Callable[[], None]) -> None:
        """Run ``preprocess``, and set what was kept. What it writes was written before the
        snapshot.

        :raises PEError: the state cannot be kept
        """
        self._is_silent = self._earlier is not None
        preprocess()
        self._is_silent = False
        if keeps_state(self._pe) is not None:
            self._state = State(self._pe, self._title)
            if self._earlier is not None and self._earlier.state is not None:
                with self._telling("restore its state"):
                    self._state.restore(self._earlier.state)
            self._state.keep()
        if self.source is not None:
            with self._telling("continue at its position"):
                self.source.begin(self._state)

    def keep(self) -> tuple[bytes | None, Spot | None]:
        """Its state, and how far it is if it is a source.

        :raises PEError: the state cannot be kept
        """
        if self.source is not None:
            with self._telling("give its position"):
                spot, state = self.source.keep()
            return state, spot
        return self._state.keep() if self._state is not None else None, None

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Errors of the PE's own methods name it."""
        try:
            yield
        except PEError:
            raise
        except Exception as error:
            raise PEError(
                f"PE {self._title} cannot {what}: {type(error).__name__}: {error}",
                "".join(traceback.format_exception(error)),
            ) from error
