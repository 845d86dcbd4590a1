"""Channels: items from one process to another, in batches.

Written items wait in an outbox (``runtime/transport/outbox.py``). They are sent when a batch is
full (by number or by bytes), when the sender has nothing else to do, and by another thread a few
milliseconds after they were written (``runtime/local/attended.py``). So a fast stream is sent in
large batches, and a slow one without delay. The :class:`Sender` of a mapping sends the frames. If
it has no room, the channel waits, so no queue grows.

A frame is ``("items", [(slot, entries), …], levels)``, a slot being an input of an instance, or it
is a message of the mapping, a tuple that begins with its kind. ``levels`` are those of the senders
(``runtime/engine/order.py``); they are valid after the frame's items have been taken.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from d4pcwl.runtime.engine.instance import Receive
from d4pcwl.runtime.engine.marks import Level
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.outbox import Outbox

BATCH_BYTES = 1 << 18
"""Bytes in a full batch."""

PROMPT_SECONDS = 0.005
"""How long an item waits for other items while its sender is busy."""


class Sender(Protocol):
    """The mapping's part of a channel: sending to another process."""

    def send(self, data: bytes, buffers: Sequence[memoryview]) -> None:
        """Send a pickle and its buffers, waiting where there is no room.

        On return the buffers are the caller's again.

        :raises OSError: the receiver is gone
        """


class Disconnected(BaseException):
    """The process at the other end has ended. It is not an Exception, so that no PE catches it."""


class Channel:
    """The sending end. Its items are values: later changes are not seen by the receiver.

    :param sender: sends the frames
    :param names: for each slot, the output that its items come from, for messages

    ``new_levels`` returns the levels that the receiver does not know yet. ``sending`` is held while
    a frame is sent.
    """

    def __init__(self, sender: Sender, names: Sequence[str]) -> None:
        self._sender = sender
        self._names = names
        self._outbox = Outbox(BATCH_BYTES)
        self.sending = threading.RLock()
        self.new_levels: Callable[[], list[Level]] = list

    def outlet(self, slot: int, *, marked: bool = False) -> Receive:
        """The function that takes the items for one slot.

        :param marked: they come with their marks, as pairs
        """
        return self._outbox.outlet(slot, self._names[slot], self.flush, marked=marked)

    @property
    def outbox(self) -> Outbox:
        """What waits, and what has been sent, by slot."""
        return self._outbox

    def flush(self) -> None:
        """Send what is waiting.

        :raises Halt: an item was refused before
        :raises Disconnected: the receiver is gone
        """
        with self.sending:
            levels = self.new_levels()  # their items wait by now, or have been sent
            runs = self._outbox.drain()
            if runs or levels:
                self._write(("items", runs, levels))

    def _write(self, message: tuple[Any, ...]) -> None:
        try:
            self._sender.send(*frames.pickled(message))
        except OSError as error:
            raise Disconnected(str(error)) from error

    def send(self, *message: Any) -> None:
        """Send a message, after all items written before it."""
        with self.sending:
            self.flush()
            self._write(message)

    def send_last(self, *message: Any) -> None:
        """Send a message, after all items written before it, also if one of them was refused."""
        with self.sending:
            if runs := self._outbox.drain_rest():
                self._write(("items", runs, []))
            self._write(message)


@contextmanager
def between_frames(channels: Iterable[Channel]) -> Iterator[None]:
    """Wait until none of them is sending in another thread; none begins to within the block."""
    with ExitStack() as held:
        for channel in channels:
            held.enter_context(channel.sending)
        yield
