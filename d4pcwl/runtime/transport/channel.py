"""Channels: items from one process to another, in batches.

Items are gathered and sent when a batch is full (by number or by bytes), when the sender has
nothing else to do, and by another thread a few milliseconds after they were written
(``runtime/local/attended.py``): so that a fast stream moves in large batches and a slow one without
delay. How a frame travels is the :class:`Sender`'s affair, which a mapping provides; one that has
no room makes the channel wait, and so no queue grows.

A frame is ``("items", [(slot, items), …], levels)``, a slot being an input of an instance, or it
is a message of the mapping's own, a tuple that begins with its kind. ``levels`` say how far the
senders are (``runtime/engine/order.py``); they hold once the frame's items have been taken.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from d4pcwl.errors import ItemError, PEError
from d4pcwl.runtime.engine.instance import Halt, Receive
from d4pcwl.runtime.engine.marks import Level, Mark
from d4pcwl.runtime.engine.values import BIG_INT, IMMUTABLE, SMALL, snapshot, weight
from d4pcwl.runtime.transport import frames

BATCH = 1000
"""Items in a full batch."""

BATCH_BYTES = 1 << 18
"""Bytes, estimated, in a full batch."""

LARGE = frames.LARGE
"""Bytes, estimated, of an item that is sent at once."""

PROMPT_SECONDS = 0.005
"""How long an item waits for company while its sender is busy."""


class Sender(Protocol):
    """What a mapping's transport gives a channel: the way to another process."""

    def send(self, data: bytes, buffers: Sequence[memoryview]) -> None:
        """Send a pickle and its buffers, waiting where there is no room.

        On return the buffers are the caller's again.

        :raises OSError: the receiver is gone
        """


class Disconnected(BaseException):
    """The process at the other end is gone; not an Exception, so that no PE swallows it."""


class Channel:
    """The sending end. Its items are values: later changes are not seen by the receiver.

    :param sender: how frames travel
    :param names: for each slot, the output that its items come from, for messages

    ``new_levels`` gives the levels that the receiver does not know yet.
    """

    def __init__(self, sender: Sender, names: Sequence[str]) -> None:
        self._sender = sender
        self._names = names
        self._bytes = 0
        self._waiting: deque[tuple[int, Any]] = deque()
        self._sending = threading.RLock()
        self._refused: ItemError | None = None
        self._marked: set[int] = set()
        self.new_levels: Callable[[], list[Level]] = list

    def outlet(self, slot: int, *, marked: bool = False) -> Receive:
        """What takes the items for one slot.

        :param marked: they come with their marks, as pairs
        """
        if marked:
            return self._marked_outlet(slot)
        waiting, append = self._waiting, self._waiting.append

        def take(item: Any) -> None:
            kind = type(item)
            if kind not in SMALL or (kind is int and not -BIG_INT < item < BIG_INT):
                self._take_large(slot, item)
                return
            append((slot, item))
            if len(waiting) >= BATCH:
                self._flush_for_pe()

        return take

    def _marked_outlet(self, slot: int) -> Receive:
        self._marked.add(slot)
        waiting, append = self._waiting, self._waiting.append

        def take(pair: tuple[Mark, Any]) -> None:
            item = pair[1]
            kind = type(item)
            if kind not in SMALL or (kind is int and not -BIG_INT < item < BIG_INT):
                self._take_large(slot, item, pair[0])
                return
            append((slot, pair))
            if len(waiting) >= BATCH:
                self._flush_for_pe()

        return take

    def _take_large(self, slot: int, item: Any, mark: Mark | None = None) -> None:
        size = weight(item)
        self._bytes += size
        if size < LARGE and type(item) not in IMMUTABLE:
            try:
                item = snapshot(item)
            except Exception as error:
                self._refused = ItemError(self._refusal(slot, item, error))
                raise Halt(PEError(str(self._refused))) from error
        self._waiting.append((slot, item if mark is None else (mark, item)))
        # A large item is encoded before take returns: it needs no copy of its own.
        if size >= LARGE or self._bytes >= BATCH_BYTES or len(self._waiting) >= BATCH:
            self._flush_for_pe()

    def _flush_for_pe(self) -> None:
        """Flush from within a PE's call."""
        try:
            self.flush()
        except ItemError as error:
            raise Halt(PEError(str(error))) from error

    def flush(self) -> None:
        """Send what is waiting.

        :raises ItemError: an item cannot be encoded; names the output that it comes from
        :raises Disconnected: the receiver is gone
        """
        with self._sending:
            levels = self.new_levels()  # what they speak of is waiting by now, or has been sent
            while self._waiting or self._refused or levels:
                if self._refused:  # and not for the first time, where a PE has caught it
                    raise self._refused
                self._bytes = 0
                batch = self._next_batch()
                told, levels = ([], levels) if self._waiting else (levels, [])
                try:
                    data, buffers = frames.pickled(("items", batch, told))
                except ItemError as error:
                    self._refused = self._explained(batch, error)
                    raise self._refused from error
                self._write(data, buffers)

    def _write(self, data: bytes, buffers: Sequence[memoryview]) -> None:
        try:
            self._sender.send(data, buffers)
        except OSError as error:
            raise Disconnected(str(error)) from error

    def _explained(self, batch: list[tuple[int, list[Any]]], error: ItemError) -> ItemError:
        """The error for a batch, about the item that is to blame."""
        for slot, items in batch:
            for item in (pair[1] for pair in items) if slot in self._marked else items:
                try:
                    frames.pickled(item)
                except ItemError as blame:
                    return ItemError(self._refusal(slot, item, blame))
        return error

    def _refusal(self, slot: int, item: Any, error: Exception) -> str:
        return (
            f"{self._names[slot]}: an item of type {type(item).__qualname__} cannot be sent to "
            f"another process: {error}"
        )

    def send(self, *message: Any) -> None:
        """Send a message, after all items written before it."""
        with self._sending:
            self.flush()
            self._write(*frames.pickled(message))

    def send_last(self, *message: Any) -> None:
        """Send a message although items before it were refused; they are dropped."""
        with self._sending:
            with contextlib.suppress(ItemError):
                self.flush()
            self._waiting.clear()
            self._refused = None
            self._write(*frames.pickled(message))

    def _next_batch(self) -> list[tuple[int, list[Any]]]:
        """Up to a batch of waiting items, in order, in runs of one slot."""
        runs: list[tuple[int, list[Any]]] = []
        waiting, last = self._waiting, None
        for _ in range(min(len(waiting), BATCH)):
            slot, item = waiting.popleft()
            if slot != last:
                items: list[Any] = []
                runs.append((slot, items))
                last = slot
            items.append(item)
        return runs


def deliver(receivers: Sequence[Receive] | Mapping[int, Receive], runs: Any) -> None:
    """Hand the items of a batch to the receivers of their slots."""
    for slot, items in runs:
        receive = receivers[slot]
        for item in items:
            receive(item)
