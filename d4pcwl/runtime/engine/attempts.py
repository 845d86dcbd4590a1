"""Attempts at an item: what an attempt writes is held back until the attempt has succeeded. The
policy (``policy.py``) says when an item is tried again, and what happens after that.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from d4pcwl.errors import brief
from d4pcwl.runtime.engine.policy import Policy, time_limit
from d4pcwl.runtime.engine.values import snapshot
from d4pcwl.workflow.load import is_an_order

Work = Callable[[Any], BaseException | None]
"""Works on an item, and returns the error if that fails."""


class Attempts:
    """The attempts of one instance.

    :ivar retried: how many failed and were followed by another
    :ivar skipped: how many items were left out, as whoever leaves them out counts
    :ivar why: the last error
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.retried = self.skipped = 0
        self.why = ""
        self._held: list[tuple[Callable[[Any], None], Any]] | None = None

    def run(self, work: Work, item: Any) -> BaseException | None:
        """Work on an item, as often as the policy says.

        :returns: the last error, if no attempt succeeded; then nothing was written
        """
        for _ in range(self._policy.retries):
            error = self._attempt(work, snapshot(item))
            if error is None:
                return None
            self.retried += 1
            self._note(error)
        error = self._attempt(work, item)
        if error is not None:
            self._note(error)
        return error

    def _note(self, error: BaseException) -> None:
        self.why = "".join(traceback.format_exception_only(error)).strip()

    def _attempt(self, work: Work, item: Any) -> BaseException | None:
        self._held = []
        try:
            with time_limit(self._policy.time_out):
                error = work(item)
        except BaseException as raised:
            if is_an_order(raised):
                raise
            error = raised
        else:
            held, self._held = self._held, None
            for emit, written in held if error is None else ():
                emit(written)
        finally:
            self._held = None
        return error

    def holding(
        self, emit: Callable[[Any], None], complain: Callable[[Exception, Any], None]
    ) -> Callable[[Any], None]:
        """``emit``, but items that are written during an attempt are held back."""

        def hold(item: Any) -> None:
            if self._held is None:
                emit(item)
                return
            try:
                self._held.append((emit, snapshot(item)))
            except Exception as error:  # noqa: BLE001 - users' objects
                complain(error, item)

        return hold


def left_out(
    title: str, name: str, number: int | None, item: Any, error: BaseException
) -> dict[str, Any]:
    """An item that is left out, as plain data for the error stream.

    :param title: of the instance
    :param name: of the input
    :param number: of the item in the stream, where that is known
    """
    return {
        "pe": title,
        "input": name,
        "number": number,
        "item": brief(item, 1000),
        "error": "".join(traceback.format_exception_only(error)).strip(),
        "traceback": "".join(traceback.format_exception(error)),
    }
