"""Frames and channels: what goes in comes out, in order, whole, or an error says whose it is."""

from __future__ import annotations

import enum
import os
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4pcwl import IterativePE, ProducerPE, SimpleFunctionPE
from d4pcwl.errors import ItemError
from d4pcwl.runtime.engine.instance import Halt, RunningPE
from d4pcwl.runtime.local.attended import Attended
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport import outbox as outbox_module
from d4pcwl.runtime.transport.channel import BATCH_BYTES, Channel, Disconnected, between_frames
from d4pcwl.runtime.transport.outbox import BATCH, LARGE, Outbox, deliver
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


def received(pipe: Pipe) -> dict[int, list[Any]]:
    """The items of the next frame, by slot."""
    kind, runs, _ = frames.read_frame(pipe.read_fd)
    assert kind == "items"
    found: dict[int, list[Any]] = {run.key: [] for run in runs}
    deliver({key: items.extend for key, items in found.items()}, runs)
    return found


def test_items_of_a_slot_are_sent_in_order(pipe: Pipe) -> None:
    sender = channel(pipe)
    first, second = sender.outlet(0), sender.outlet(1, marked=True)
    for item in (1, "two", ["three"], b"four", (5, [6]), None, np.float64(7)):
        first(item)
    second(((0, 1), "a"))
    second(((0, 2), {"b": 1}))
    sender.send("end", 7)
    assert received(pipe) == {
        0: [1, "two", ["three"], b"four", (5, [6]), None, np.float64(7)],
        1: [((0, 1), "a"), ((0, 2), {"b": 1})],
    }
    assert frames.read_frame(pipe.read_fd) == ("end", 7)


def test_full_batches_are_sent_at_once(pipe: Pipe) -> None:
    take = channel(pipe).outlet(0)
    for number in range(BATCH + 1):
        take(number)
    assert received(pipe) == {0: list(range(BATCH))}
    os.set_blocking(pipe.read_fd, False)
    with pytest.raises(BlockingIOError):
        os.read(pipe.read_fd, 1)


def test_heavy_items_are_sent_before_take_returns(pipe: Pipe) -> None:
    sender, got = channel(pipe), list[Any]()
    reader = threading.Thread(target=lambda: got.append(received(pipe)))
    reader.start()
    array = np.zeros(BATCH_BYTES // 8)
    sender.outlet(0)(array)
    array[:] = 1
    reader.join()
    assert got[0][0][0].max() == 0


def test_light_items_are_copied_when_they_are_taken(pipe: Pipe) -> None:
    sender, item = channel(pipe), [np.zeros(3), {"a": []}]
    sender.outlet(0)(item)
    item[0][:] = 1
    item[1]["a"].append(1)
    sender.flush()
    ((array, mapping),) = received(pipe)[0]
    assert (array.max(), mapping) == (0, {"a": []})


@pytest.mark.parametrize("item", [lambda: None, [lambda: None], np.array([lambda: None] * 40_000)])
def test_what_cannot_be_sent_is_refused_where_it_is_written(pipe: Pipe, item: Any) -> None:
    sender = channel(pipe)
    sender.outlet(0)("good")
    take = sender.outlet(1)
    told = r"b\.out: an item of type \w+ cannot be sent .*\n.*test_wire\.py:\d+: \w+: .*\n +take"
    with pytest.raises(Halt, match=told):
        take(item)
    for send in (sender.flush, sender.flush, lambda: sender.send("end", 1)):
        with pytest.raises(Halt, match=r"b\.out: an item of type "):  # a PE may have caught it
            send()
    sender.send_last("failed", "reason")
    assert received(pipe) == {0: ["good"]}
    assert frames.read_frame(pipe.read_fd) == ("failed", "reason")


class Text(str):
    """A text of a class of its own."""


class Colour(enum.IntEnum):
    RED = 1


ITEMS = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.binary()),
        *(st.complex_numbers(allow_nan=False), st.text(st.characters())),
        *(st.just(np.float64(1.5)), st.just(np.int8(3)), st.just(bytearray(b"a"))),
        *(st.just(frozenset({1})), st.just(1 << 600), st.just(Text("a")), st.just(Colour.RED)),
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


def each_of(take: Callable[[Iterable[Any]], None]) -> Callable[[Any], None]:
    """What takes one item, for what takes some."""
    return lambda item: take((item,))


def described(item: Any) -> Any:
    """An item with the types of all that is in it."""
    if isinstance(item, dict):
        return type(item), [(described(key), described(value)) for key, value in item.items()]
    if isinstance(item, (list, tuple)):
        return type(item), [described(part) for part in item]
    return type(item), item


@given(st.lists(ITEMS, max_size=8))
def test_every_item_arrives_as_what_it_was(items: list[Any]) -> None:
    outbox, got = Outbox(1 << 30), list[Any]()
    take = outbox.outlet("key", "a.out", lambda: None)
    for item in items:
        take(item)
    deliver({"key": got.extend}, pickle.loads(pickle.dumps(outbox.drain())))
    assert described(got) == described(items)


class Memory:
    """Shared memory with room for one buffer."""

    def __init__(self) -> None:
        self.held: bytes | None = None

    def put(self, buffer: memoryview) -> int:
        if self.held is not None:
            return 0
        self.held = bytes(buffer)
        return 7

    def fetch(self, place: int, size: int) -> bytearray:
        assert (place, size, self.held is None) == (7, LARGE, False)
        return bytearray(self.held or b"")


@given(st.lists(ITEMS, max_size=8), st.integers(0, 2), st.booleans())
def test_chains_that_end_in_an_outbox(items: list[Any], length: int, written: bool) -> None:
    """However an item comes into the lane: returned, written, or yielded where it is a list."""
    outbox, got, full = Outbox(1 << 30), list[Any](), list[int]()
    take = outbox.outlet("key", "a.out", lambda: full.append(1))

    class Last(IterativePE):
        def _process(self, item: Any) -> Any:
            return (part for part in item) if type(item) is list else item

    class First(ProducerPE):
        pass

    pes = [*(SimpleFunctionPE(lambda item: item) for _ in range(length)), Last()]
    following, emit = None, take
    for rank, pe in reversed([*enumerate(pes)]):
        running = RunningPE(pe, f"pe{rank}", rank, in_cycle=False)
        running.bind("output", emit, following)
        receiver = running.receiver("input")
        emit, following = each_of(receiver), running.step("input")
    source = First()
    running = RunningPE(source, "source", 9, in_cycle=False)
    running.bind("output", emit, following)
    for item in items:
        if written:
            source.write("output", item)
        else:
            receiver((item,))
    for run in outbox.drain():
        got.extend(run.items())
    expected = [p for i in items for p in (i if type(i) is list else [i]) if p is not None]
    assert list(map(described, got)) == list(map(described, expected))


@pytest.mark.parametrize("item", [1, "a", (1, "a"), [1]])
def test_a_source_fills_batches(pipe: Pipe, item: Any) -> None:
    full = list[int]()
    outbox = Outbox(1 << 30)
    take = outbox.outlet("key", "a.out", lambda: full.append(len(outbox.drain()[0].entries)))
    source = ProducerPE()
    RunningPE(source, "source", 0, in_cycle=False).bind("output", take)
    for _ in range(2 * BATCH + 1):
        source.write("output", item)
    assert full == [BATCH, BATCH]
    assert len(outbox.drain()[0].entries) == 1


@pytest.mark.parametrize("marked", [False, True])
def test_items_that_are_written_while_another_thread_empties_a_lane(
    marked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, items = Outbox(1 << 30), iter(range(4))
    take = outbox.outlet("key", "a.out", lambda: None, marked=marked)

    def write() -> None:
        item = next(items)
        take(((0, item), item) if marked else item)

    cut = outbox_module._cut

    def cut_later(values: list[Any], count: int) -> list[Any]:
        monkeypatch.undo()
        write()
        return cut(values, count)

    write()
    write()
    monkeypatch.setattr(outbox_module, "_cut", cut_later)
    assert [run.entries for run in outbox.drain()] == [[0, 1]]
    write()
    assert [run.entries for run in outbox.drain()] == [[2, 3]]


def test_large_integers_after_small_ones_are_weighed() -> None:
    waiting, source = list[int](), ProducerPE()
    outbox = Outbox(10_000)
    take = outbox.outlet("key", "a.out", lambda: waiting.append(len(outbox.drain()[0].entries)))
    RunningPE(source, "source", 0, in_cycle=False).bind("output", take)
    for item in [1] * 10 + [-(1 << 8000)] * 500:
        source.write("output", item)
    assert waiting[0] <= 50  # numbers that wait for others
    assert set(waiting[1:-1]) == {10}


def test_large_buffers_go_to_shared_memory_while_there_is_room() -> None:
    memory, got = Memory(), list[Any]()
    outbox = Outbox(1 << 30, memory)
    take = outbox.outlet(0, "a.out", lambda: None)
    arrays = [np.full(LARGE // 8, float(number)) for number in range(2)]
    for array in arrays:
        take({"array": array})
        array[:] = -1
    assert LARGE < outbox.bytes < 2 * LARGE  # what is shared counts less
    data = pickle.dumps(outbox.drain())
    assert LARGE < len(data) < 2 * LARGE
    deliver([got.extend], pickle.loads(data), memory.fetch)
    assert [item["array"].max() for item in got] == [0, 1]
    assert got[0]["array"].flags.writeable


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
    got: list[Any] = []
    while (frame := frames.read_frame(pipe.read_fd))[0] == "items":
        deliver([got.extend], frame[1])
    filler.join()
    assert got == [item if item % 3 else [item] for item in range(number)]


def test_no_other_thread_sends_between_frames(pipe: Pipe) -> None:
    """A worker may be interrupted there: no frame is left half sent."""
    channels, free = [channel(pipe), channel(pipe)], list[bool]()

    def look() -> None:
        free.extend(channel.sending.acquire(blocking=False) for channel in channels)

    with between_frames(channels):
        looker = threading.Thread(target=look)
        looker.start()
        looker.join()
        channels[0].send("end", 0)  # this thread may: that of a report
    assert free == [False, False]
    assert frames.read_frame(pipe.read_fd) == ("end", 0)


def test_threads_of_a_pe_lose_nothing() -> None:
    outbox, number, got = Outbox(1 << 30), 5000, list[int]()

    def fill(first: int) -> None:
        take = outbox.outlet(0, "a.out", lambda: None)
        for item in range(first, first + number):
            take(item)

    threads = [threading.Thread(target=fill, args=(place * number,)) for place in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or outbox:
        deliver([got.extend], outbox.drain())
    assert sorted(got) == list(range(4 * number))


@pytest.mark.parametrize("make", [tuple, list, dict])
def test_a_large_value_that_an_item_has_many_times_travels_once(
    make: Callable[[Iterable[Any]], Any],
) -> None:
    text = "x" * 10_000
    many = make((number, text) for number in range(1000)) if make is dict else make([text] * 1000)
    outbox = Outbox(1 << 20)
    outbox.outlet(0, "pe.output", lambda: None)(many)
    assert outbox.bytes < 100_000
    assert [list(run.items()) for run in outbox.drain()] == [[many]]
