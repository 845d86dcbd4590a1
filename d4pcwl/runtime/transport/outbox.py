"""The outbox: written items, encoded and with known size, until they are sent to another process in
batches. All transports use it. A written item waits in the *lane* of its key, as an *entry*:

- None, a number or a text is its own entry, and is encoded with the others of its batch; so is a
  copy of a small array. Integers are weighed together, some at a time;
- any other item is encoded when it is written. So its size is known exactly, receivers do not see
  later changes, and an item that cannot be encoded fails at the line that wrote it. Its entry is a
  pickle, with the item's buffers if it has any. For a small tuple, list or dictionary of only
  numbers and texts, :mod:`marshal` makes the entry: the receiver gets the same value, in half the
  time.

A large buffer is never copied into a pickle. Either it is put into shared memory at once, and the
entry has its place; or it stays where it is, and the item is sent before ``write`` returns.
"""

from __future__ import annotations

import marshal
import pickle
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from sys import getsizeof
from typing import Any, NamedTuple, NoReturn, Protocol

from d4pcwl.errors import ITEM_LETTERS, PEError, brief
from d4pcwl.runtime.engine.chain import Receive, Take
from d4pcwl.runtime.engine.instance import Halt
from d4pcwl.runtime.engine.marks import Mark, packed
from d4pcwl.runtime.engine.marks import unpacked as unpacked_marks
from d4pcwl.runtime.engine.values import SMALL, is_plain_array
from d4pcwl.runtime.transport import frames
from d4pcwl.workflow.load import fault_of_writer

BATCH = 1000
"""Entries of a lane in a full batch."""

LARGE = frames.LARGE
"""The size from which on a buffer, or an item, is large."""

_SHARED_IN_PLACE_OF_ONE = 4
"""A batch may be this many times larger if its buffers are in shared memory and stay there."""

_LOOK = 50
"""How many numbers are weighed together, after the first of a batch, and while they are light."""

_LIGHT = 64
"""Bytes of an entry that weighs no more than a number does: how many there are is bound enough.
Also letters of such a text."""

_LEAVES = frozenset({bool, bytes, complex, float, int, str, type(None)})
_MARSHAL = 2
"""The version of its format, which all Pythons know. Later ones refer to a value that comes again:
they take longer, and many entries could not be read in one go."""
_MOST_LEAVES = 100
"""A container of more may have a large value many times, which a pickle has once."""

_WEIGHED = 4
"""Entries of a batch that are weighed, where it is measured what is sent."""

_NUMBER_BYTES = 5
"""What a number takes in a pickle, about."""

_LIST_OF = struct.Struct("<ci")
"""The beginning of a list in marshal's format; the values follow."""


class Shared(Protocol):
    """Memory that sender and receivers share."""

    def put(self, buffer: memoryview) -> int:
        """Copy a buffer there; its place, or 0 where there is no room."""


Fetch = Callable[[int, int], Any]
"""From the place and the size of a buffer in shared memory to the buffer."""


class Apart(NamedTuple):
    """A pickle, and the buffers that are not in it: bytes, or place and size in shared memory."""

    data: bytes
    buffers: list[Any]


_PACKED = frozenset({bytes, bytearray, Apart})
"""The types of encoded entries: from marshal, and from pickle without and with buffers.

No item of these types is its own entry."""


class Run(NamedTuple):
    """Entries of one lane, in order.

    :param marks: of each of them, where the lane has marked items
    :param plain: they are all numbers and short texts
    """

    key: Any
    entries: list[Any]
    marks: list[Mark] | None
    plain: bool = False

    def items(self, fetch: Fetch | None = None) -> Iterable[Any]:
        """The items, marked ones as pairs. Items that take time are decoded when they are used.

        :param fetch: finds buffers in shared memory
        """
        items = self.entries if self.plain else unpacked(self.entries, fetch)
        return items if self.marks is None else zip(self.marks, items, strict=True)

    def __reduce__(self) -> Any:
        entries = marshal.dumps(self.entries, _MARSHAL) if self.plain else self.entries
        marks = None if self.marks is None else packed(self.marks)
        return _run, (self.key, entries, marks, self.plain)

    def part(self, start: int, stop: int | None = None) -> Run:
        """Some of it."""
        marks = None if self.marks is None else self.marks[start:stop]
        return Run(self.key, self.entries[start:stop], marks, self.plain)


def _run(key: Any, entries: Any, marks: tuple[int, Sequence[Any]] | None, plain: bool) -> Run:
    entries = marshal.loads(entries) if plain else entries
    return Run(key, entries, None if marks is None else unpacked_marks(*marks), plain)


class _Lane:
    """The entries for one key: a :class:`~d4pcwl.runtime.engine.chain.Lane`.

    ``listed`` says whether emptying the outbox finds them, ``plain`` whether all that it ever had
    are numbers and short texts, and ``weighed`` how many of the entries were weighed. ``items`` and
    ``bytes`` are those that were taken out.
    """

    __slots__ = (
        "bytes",
        "due",
        "entries",
        "items",
        "listed",
        "marks",
        "plain",
        "settle",
        "weighed",
    )

    def __init__(self, marked: bool) -> None:
        self.listed, self.plain = False, True
        self.weighed = self.due = 0
        self.settle: Callable[[], None]
        self.items = self.bytes = 0
        self.entries: list[Any] = []
        self.marks: list[Mark] | None = [] if marked else None

    def drain(self) -> tuple[list[Any], list[Mark] | None]:
        """Take out all entries. Another thread that writes meanwhile lists the lane again."""
        self.listed = False
        self.weighed = self.due = 0
        count = len(self.entries)
        marks = None if self.marks is None else _cut(self.marks, count)
        self.items += count
        return _cut(self.entries, count), marks


def _cut(values: list[Any], count: int) -> list[Any]:
    """Take the first values out of a list. Another thread may append to it meanwhile."""
    first = values[:count]
    del values[:count]
    return first


class _Bytes:
    """Replaces ``bytes`` in a pickle, so that they are kept outside of it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __reduce__(self) -> Any:
        return bytes, (pickle.PickleBuffer(self._data),)


def _is_flat(item: Any, kind: type) -> bool:
    """Whether an item is a small container, with only values that marshal returns unchanged."""
    if kind is dict and not _LEAVES.issuperset(map(type, item.values())):
        return False
    return (
        kind in (tuple, list, dict)
        and len(item) <= _MOST_LEAVES
        and _LEAVES.issuperset(map(type, item))
    )


class Outbox:
    """See the module.

    :param most: bytes with which it is full
    :param shared: where large buffers are put; without it, they stay where they are

    ``bytes`` is the size of all items since it was last emptied. ``traced`` says that items are
    pairs of a trace and an item.
    """

    def __init__(self, most: int, shared: Shared | None = None) -> None:
        self.bytes = 0
        self.measured = self.traced = False
        self._most, self._shared = most, shared
        self._lanes: dict[Any, _Lane] = {}
        self._ready: deque[Any] = deque()  # the keys of lanes that have something
        self._refused: Halt | None = None

    def __bool__(self) -> bool:
        return bool(self._ready)

    def outlet(
        self, key: Any, name: str, full: Callable[[], None], *, marked: bool = False
    ) -> Receive:
        """The function that takes the items for one lane.

        :param name: the output that they come from, for messages
        :param full: called when there is enough for a batch
        :param marked: they come with their marks, as pairs
        """
        lane = self._lanes.setdefault(key, _Lane(marked))
        entries, append, ready = lane.entries, lane.entries.append, self._ready.append
        pack, most, dumps = self._pack, self._most, marshal.dumps
        leaves, are_leaves = _LEAVES, _LEAVES.issuperset

        def settle() -> None:
            if not lane.listed:
                lane.listed = True
                ready(key)
            if len(entries) >= BATCH or self.bytes >= most:
                full()

        def weigh() -> None:
            start, count = lane.weighed, len(entries)
            lane.weighed = count
            size = _size_of_integers(entries[start:])
            self.bytes += size
            # If another thread empties the lane meanwhile, it is not listed when this is set.
            lane.due = count + (1 if size else _LOOK - count % _LOOK)
            settle()

        lane.settle = weigh

        def take(item: Any) -> None:
            kind = type(item)
            if kind in SMALL or (kind is str and len(item) <= _LIGHT):
                append(item)
                if len(entries) >= lane.due:
                    weigh()
                return
            if kind is tuple and len(item) == 2:  # most have a key and a value
                first, second = item
                flat = type(first) in leaves and type(second) in leaves
            elif kind is dict:
                flat = len(item) <= _MOST_LEAVES
                for key, value in item.items():
                    if type(value) not in leaves or type(key) not in leaves:
                        flat = False
                        break
            else:
                flat = kind is tuple and len(item) <= _MOST_LEAVES and are_leaves(map(type, item))
            if flat:
                entry = dumps(item, _MARSHAL)
                if len(entry) > _LIGHT:
                    self.bytes += len(entry)
            else:
                entry = pack(item, name)
            lane.plain = False
            append(entry)
            if not lane.listed or len(entries) >= BATCH or self.bytes >= most:
                settle()

        if not marked:
            take.lane = lane  # type: ignore[attr-defined]
            return take
        assert lane.marks is not None
        append_mark = lane.marks.append

        def take_pair(pair: tuple[Mark, Any]) -> None:
            mark, item = pair
            if type(item) in SMALL:
                append_mark(mark)
                append(item)
                if len(entries) >= lane.due:
                    weigh()
                return
            entry = pack(item, name)
            lane.plain = False
            append_mark(mark)
            append(entry)
            if not lane.listed or len(entries) >= BATCH or self.bytes >= most:
                settle()

        return take_pair

    def _pack(self, item: Any, name: str) -> Any:
        """The entry of an item; its bytes are counted.

        :raises Halt: it cannot be pickled
        """
        kind = type(item)
        if kind is str:
            self.bytes += getsizeof(item)
            return item
        if _is_flat(item, kind):
            flat = marshal.dumps(item, _MARSHAL)
            self.bytes += len(flat)
            return flat
        if is_plain_array(item) and item.nbytes < LARGE:
            self.bytes += item.nbytes
            return item.copy(order="K")
        buffers: list[Any] = []
        try:
            large = kind is bytes and len(item) >= LARGE
            # Without numpy there is no need to ask for buffers, which takes its time.
            apart = buffers.append if large or "numpy" in sys.modules else None
            data = frames.dumps(_Bytes(item) if large else item, apart)
            self.bytes += len(data)
            if not buffers:
                return bytearray(data)
            return Apart(data, [self._kept(buffer.raw()) for buffer in buffers])
        except Exception as error:  # noqa: BLE001 - users' objects
            self._refuse(item, name, error)

    def _kept(self, buffer: memoryview) -> Any:
        """The replacement of a buffer: its place and size, a copy, or, without shared memory,
        itself."""
        if self._shared is not None and buffer.nbytes >= LARGE:
            place = self._shared.put(buffer)
            if place:
                self.bytes += buffer.nbytes // _SHARED_IN_PLACE_OF_ONE
                return place, buffer.nbytes
        self.bytes += buffer.nbytes
        if self._shared is not None or buffer.nbytes < LARGE:
            return bytearray(buffer)
        self.bytes += self._most  # it is to be sent at once
        return pickle.PickleBuffer(buffer)

    def _refuse(self, item: Any, name: str, error: Exception) -> NoReturn:
        item = item[1] if self.traced else item
        place = fault_of_writer(f"{type(error).__name__}: {error}")
        message = (
            f"{name}: an item of type {type(item).__qualname__} cannot be sent to another process"
            f"\n{place}\nitem: {brief(item, ITEM_LETTERS)}\nSend numbers, texts, lists, "
            "dictionaries, arrays, or objects of classes that are at the top level of a module"
        )
        self._refused = Halt(PEError(message))
        raise self._refused from error

    def sent(self) -> dict[Any, tuple[int, int]]:
        """By key, the items that have been taken out, and their bytes if that is ``measured``."""
        return {key: (lane.items, lane.bytes) for key, lane in list(self._lanes.items())}

    def count(self, key: Any) -> int:
        """How many items a lane was given."""
        lane = self._lanes[key]
        return lane.items + len(lane.entries)

    def check(self) -> None:
        """Whether an item was refused.

        :raises Halt: one was, and a bare ``except:`` in a PE may have caught that
        """
        if self._refused is not None:
            raise self._refused

    def drain(self) -> list[Run]:
        """Take out everything.

        :raises Halt: see :meth:`check`
        """
        self.check()
        return self.drain_rest()

    def drain_rest(self) -> list[Run]:
        """The same, whatever was refused."""
        self.bytes = 0
        found = (self._take_out(self._ready.popleft()) for _ in range(len(self._ready)))
        return [run for run in found if run.entries]

    def drain_some(self, kind: type) -> list[Run]:
        """Take out the lanes whose keys are of a type, whatever was refused. Meanwhile the outbox
        has the others, and their bytes still count."""
        runs = []
        for key in self._ready.copy():
            if type(key) is kind:
                self._ready.remove(key)
                runs.append(self._take_out(key))
        return [run for run in runs if run.entries]

    def _take_out(self, key: Any) -> Run:
        lane = self._lanes[key]
        entries, marks = lane.drain()
        if self.measured:
            lane.bytes += _size(entries)
        return Run(key, entries, marks, lane.plain)


def _size_of_integers(entries: list[Any]) -> int:
    """The bytes of those integers among entries that are not light."""
    try:
        if len(marshal.dumps(entries, _MARSHAL)) <= _LIGHT * len(entries):  # one call for all
            return 0
    except ValueError:  # not all are numbers or texts
        pass
    sizes = (entry.bit_length() // 8 for entry in entries if type(entry) is int)
    return sum(size for size in sizes if size > _LIGHT)


def _size(entries: Sequence[Any]) -> int:
    """About how many bytes entries have: of many, some are weighed."""
    step = 1 + len(entries) // _WEIGHED
    weighed = [_weight(entry) for entry in entries[::step]]
    return sum(weighed) * len(entries) // max(1, len(weighed))


def _weight(entry: Any) -> int:
    kind = type(entry)
    if kind is bytes or kind is bytearray or kind is str:
        return len(entry)
    if kind is Apart:
        sizes = (kept[1] if type(kept) is tuple else _nbytes(kept) for kept in entry.buffers)
        return len(entry.data) + sum(sizes)
    if kind is int:
        return max(_NUMBER_BYTES, int(entry.bit_length() // 8))
    return int(getattr(entry, "nbytes", _NUMBER_BYTES))


def _nbytes(kept: Any) -> int:
    raw = kept.raw() if isinstance(kept, pickle.PickleBuffer) else memoryview(kept)
    return int(raw.nbytes)


def unpacked(entries: Sequence[Any], fetch: Fetch | None = None) -> Iterable[Any]:
    """The items of entries. Items that take time are decoded when they are used.

    :param fetch: finds buffers in shared memory
    """
    kinds = set(map(type, entries))
    if kinds.isdisjoint(_PACKED):
        return entries
    if kinds == {bytes}:
        loaded: list[Any] = marshal.loads(_LIST_OF.pack(b"[", len(entries)) + b"".join(entries))
        return loaded
    if kinds == {bytearray}:
        return map(pickle.loads, entries)
    return _unpack(entries, fetch)


def _unpack(entries: Iterable[Any], fetch: Fetch | None) -> Iterator[Any]:
    for entry in entries:
        kind = type(entry)
        if kind is bytes:
            yield marshal.loads(entry)
        elif kind is bytearray:
            yield pickle.loads(entry)
        elif kind is Apart:
            buffers = [_buffer(kept, fetch) for kept in entry.buffers]
            yield pickle.loads(entry.data, buffers=buffers)
        else:
            yield entry


def _buffer(kept: Any, fetch: Fetch | None) -> Any:
    if type(kept) is not tuple:
        return kept
    if fetch is None:
        raise ConnectionError("an item was left in memory that is not shared with this process")
    return fetch(*kept)


def places(run: Run) -> Iterator[tuple[int, int]]:
    """The places and sizes of the buffers of a run's entries that are in shared memory."""
    for entry in () if run.plain else run.entries:
        if type(entry) is Apart:
            yield from (kept for kept in entry.buffers if type(kept) is tuple)


def with_buffers(run: Run, fetch: Fetch) -> Run:
    """The same run for processes that do not share the memory."""
    entries = [
        Apart(entry.data, [_buffer(kept, fetch) for kept in entry.buffers])
        if type(entry) is Apart
        else entry
        for entry in run.entries
    ]
    return run._replace(entries=entries)


def deliver(
    takers: Sequence[Take] | Mapping[Any, Take], runs: Iterable[Run], fetch: Fetch | None = None
) -> None:
    """Pass the items of a batch to the functions that take their lanes.

    :param takers: by lane
    :param fetch: finds buffers in shared memory
    """
    for run in runs:
        takers[run.key](run.items(fetch))
