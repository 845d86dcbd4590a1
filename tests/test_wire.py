"""Frames and channels: what goes in comes out, in order, whole, or an error says whose it is."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4pcwl.errors import ItemError
from d4pcwl.runtime.engine.instance import Halt
from d4pcwl.runtime.local.attended import Attended
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.channel import BATCH, BATCH_BYTES, Channel, Disconnected
from d4pcwl.runtime.transport.pipes import Pipe


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def through(message: Any) -> Any:
    """Send a frame through a pipe, from another thread, as it may be larger than the pipe."""
    pipe = Pipe()
    parts = frames.encode(message)
    sender = threading.Thread(target=frames.write_frame, args=(pipe.write_fd, parts))
    sender.start()
    try:
        return frames.read_frame(pipe.read_fd)
    finally:
        sender.join()
        pipe.close()


@pytest.mark.parametrize("message", [None, (), ("end", 3), "é\ud800", {"a": [1, {2}]}, 2**70])
def test_messages(message: Any) -> None:
    assert through(message) == message


@pytest.mark.parametrize(
    "array",
    [
        np.arange(10.0),
        np.arange(3_000_000),
        np.zeros((0, 3)),
        np.arange(12).reshape(3, 4).T,
        np.arange(12).reshape(3, 4)[:, ::2],
        np.array([[1], "a"], dtype=object),
    ],
)
def test_arrays(array: Any) -> None:
    received = through([array, {"again": array}])
    assert np.array_equal(received[0], array)
    assert received[0].dtype == array.dtype
    assert received[0] is received[1]["again"]
    assert received[0].flags.writeable


def test_large_buffers_are_not_copied_into_the_pickle() -> None:
    array = np.arange(100_000)
    head, buffer = frames.encode(array)
    assert len(head) < 1000
    assert np.shares_memory(np.frombuffer(buffer, array.dtype), array)


def test_very_many_buffers() -> None:
    """More than the system takes in one call."""
    arrays = [np.full(2, number) for number in range(3000)]
    assert all(np.array_equal(a, b) for a, b in zip(through(arrays), arrays, strict=True))


@given(st.lists(st.binary(max_size=40) | st.integers() | st.lists(st.text()), max_size=20))
def test_frames_follow_each_other(messages: list[Any]) -> None:
    pipe = Pipe()
    try:
        for message in messages:
            frames.write_frame(pipe.write_fd, frames.encode(message))
        assert [frames.read_frame(pipe.read_fd) for _ in messages] == messages
        pipe.close(keep_read=True)
        with pytest.raises(EOFError):
            frames.read_frame(pipe.read_fd)
    finally:
        pipe.close()


@pytest.mark.parametrize("cut", [1, 7, 9, -1])
def test_a_frame_that_is_cut_short(pipe: Pipe, cut: int) -> None:
    whole = b"".join(bytes(part) for part in frames.encode([np.arange(10), "a"]))
    os.write(pipe.write_fd, whole[:cut])
    pipe.close(keep_read=True)
    with pytest.raises(ConnectionError, match="closed within a frame"):
        frames.read_frame(pipe.read_fd)


def test_what_cannot_be_pickled() -> None:
    with pytest.raises(ItemError, match="TypeError: cannot pickle"):
        frames.encode([threading.Lock()])


def test_nobody_reads(pipe: Pipe) -> None:
    pipe.close(keep_write=True)
    with pytest.raises(BrokenPipeError):
        frames.write_frame(pipe.write_fd, frames.encode(1))


# --- channels -------------------------------------------------------------------------------------


def channel(pipe: Pipe) -> Channel:
    return Channel(pipe, ["a.out", "b.out"])


def test_items_are_sent_in_runs_and_in_order(pipe: Pipe) -> None:
    sender = channel(pipe)
    first, second = sender.outlet(0), sender.outlet(1)
    for take, item in [(first, 1), (first, "two"), (second, [3]), (first, None)]:
        take(item)
    sender.send("end", 7)
    assert frames.read_frame(pipe.read_fd) == (
        "items",
        [(0, [1, "two"]), (1, [[3]]), (0, [None])],
        [],
    )
    assert frames.read_frame(pipe.read_fd) == ("end", 7)


def test_full_batches_are_sent_at_once(pipe: Pipe) -> None:
    take = channel(pipe).outlet(0)
    for number in range(BATCH + 1):
        take(number)
    assert frames.read_frame(pipe.read_fd) == ("items", [(0, list(range(BATCH)))], [])
    os.set_blocking(pipe.read_fd, False)
    with pytest.raises(BlockingIOError):
        os.read(pipe.read_fd, 1)


def test_heavy_items_are_sent_before_take_returns(pipe: Pipe) -> None:
    sender, received = channel(pipe), list[Any]()
    reader = threading.Thread(target=lambda: received.append(frames.read_frame(pipe.read_fd)))
    reader.start()
    array = np.zeros(BATCH_BYTES // 8)
    sender.outlet(0)(array)
    array[:] = 1
    reader.join()
    assert received[0][1][0][1][0].max() == 0


def test_light_items_are_copied_when_they_are_taken(pipe: Pipe) -> None:
    sender, item = channel(pipe), [np.zeros(3), {"a": []}]
    sender.outlet(0)(item)
    item[0][:] = 1
    item[1]["a"].append(1)
    sender.flush()
    ((_, ((array, mapping),)),) = frames.read_frame(pipe.read_fd)[1]
    assert (array.max(), mapping) == (0, {"a": []})


@pytest.mark.parametrize("item", [lambda: None, np.array([lambda: None] * 40_000)])
def test_refused_item_is_named_and_not_forgotten(pipe: Pipe, item: Any) -> None:
    sender = channel(pipe)
    sender.outlet(0)("good")
    with contextlib.suppress(Halt):  # where it is large enough to be sent at once
        sender.outlet(1)(item)
    for send in (sender.flush, sender.flush, lambda: sender.send("end", 1)):
        with pytest.raises(ItemError, match=r"^b\.out: an item of type "):
            send()
    sender.send_last("failed", "reason")
    assert frames.read_frame(pipe.read_fd) == ("failed", "reason")


def test_disconnected(pipe: Pipe) -> None:
    sender = channel(pipe)
    sender.outlet(0)(1)
    pipe.close(keep_write=True)
    with pytest.raises(Disconnected):
        sender.flush()


def test_two_threads_lose_nothing(pipe: Pipe) -> None:
    sender, number = channel(pipe), 20_000

    def fill() -> None:
        take = sender.outlet(0)
        for item in range(number):
            take(item if item % 3 else [item])

    def fill_attended() -> None:
        assert Attended().run(fill, sender.flush) is None
        sender.send("end", 0)

    filler = threading.Thread(target=fill_attended)
    filler.start()
    received: list[Any] = []
    while (frame := frames.read_frame(pipe.read_fd))[0] == "items":
        received += [item for _, items in frame[1] for item in items]
    filler.join()
    assert received == [item if item % 3 else [item] for item in range(number)]
