"""Dynamic runs through a Redis server, the worker: :class:`RedisExchange`.

Every change is one script on the server (``runtime/redis/scripts.py``), so it happens completely or
not at all. A commit, with all outputs of the task, counts once. It does not count if another worker
has done the task in the meantime. A worker with nothing to do waits for an entry in its *wake*
stream.
"""

from __future__ import annotations

import itertools
import json
import pickle
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from d4pcwl.errors import PEError
from d4pcwl.runtime.engine.instance import Halt
from d4pcwl.runtime.engine.marks import NO_MORE, Level
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.pool.exchange import (
    QUEUE_BATCHES,
    SLOW_SECONDS,
    TASK_SECONDS,
    Packed,
    Parcel,
    Queue,
    Stopped,
    Task,
    Told,
    packed,
    queue_bytes,
)
from d4pcwl.runtime.redis.client import Address, Client, ServerLost
from d4pcwl.runtime.redis.scripts import TTL_SECONDS, Scripts
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.arena import Memory
from d4pcwl.runtime.transport.outbox import BATCH, Run

WINDOW = 4
"""The number of private batches of an instance that a worker fetches at a time."""

LARGE = 1 << 14
"""Batches of this size are kept outside of the streams, because scripts copy their data."""

MOST_BYTES = 256 << 20
"""Larger batches are split; a server takes values of up to 512 MiB."""

_MOST_ITEM_BYTES = 500 << 20
_LOOK_SECONDS = 0.002
"""How often a worker that has work looks for more."""

_WAIT_MILLISECONDS = 2000
"""How long a worker waits to be woken before it checks by itself."""


def scripts(run: str, lanes: int) -> Scripts:
    """The scripts of a run.

    :param lanes: how many there are
    """
    return Scripts(
        f"d4p:{run}:",
        batches=QUEUE_BATCHES,
        bytes=queue_bytes(lanes),
        window=WINDOW,
        seconds=TASK_SECONDS,
        slow=SLOW_SECONDS,
    )


@dataclass(frozen=True)
class Work(Task):
    """A task, or a private batch, from the server.

    :param size: of the batch, in bytes, with those in shared memory
    :param count: of its items
    :param blob: where it is kept, if apart
    :param lows: of marked items, as it was found
    """

    size: int = 0
    count: int = 0
    blob: str = ""
    lows: str = ""

    @property
    def is_shared(self) -> bool:
        """Whether some of it is in memory that the coordinator shares with the workers that it has
        forked."""
        return self.items.shared > 0


class RedisExchange:
    """The exchange of one worker process.

    :param name: of the worker, unique in the run
    :param process: the number of its pinned process; None for a worker of the pool only
    :param memory: shared with the coordinator; None for a worker from elsewhere
    """

    def __init__(
        self,
        address: Address,
        run: str,
        plan: Plan,
        name: str,
        process: int | None,
        memory: Memory | None = None,
    ) -> None:
        self.memory, self._from_elsewhere = memory or Memory(0), memory is None
        self._asked_for: dict[str, bytes] = {}
        self.plan, self.name, self.process = plan, name, process
        self.client, self._waiter = Client(address), Client(address)
        self.scripts = scripts(run, len(plan.instances) + 1)
        self.sizes: dict[int, int] = {}
        self._key = self.scripts.prefix
        self._blocked: frozenset[int] = frozenset()
        self._stopped = False
        self._found: deque[Work | Told | int] = deque()
        self._in_hand = Counter[int]()
        self._looked = 0.0
        self._woken = "0-0"
        self._numbers = itertools.count()
        self.sending = threading.RLock()
        self._pool = plan.pooled
        self._sink = len(plan.instances)
        self._inputs = inputs_of(plan)
        self._listeners = _listeners(plan, self._inputs)
        mine = frozenset(plan.processes[process] if process is not None else ())
        # The end of a sender is sent to every lane that it may have written to.
        self._told = Counter(
            sender for index in mine for sender in plan.upstream[index] if sender not in mine
        )

    # --- what a DynamicWorker calls -------------------------------------------------------------

    def receive(self, wait: bool, settled: bool = False) -> Task | Told | int | None:
        """See :class:`~d4pcwl.runtime.pool.exchange.Exchange`."""
        if not self._found:
            now = time.monotonic()
            if not wait and now - self._looked < _LOOK_SECONDS:
                return None
            self._looked = now
            was_blocked = self._blocked
            self._step(want=2 if wait else 1, wait=wait)
            if self._stopped:
                raise Stopped
            if wait and not self._found and self._blocked == was_blocked:
                self._wait()
        return self._next()

    def commit(self, task: Task, parcel: Parcel, items: int, seconds: float) -> None:
        """See :class:`~d4pcwl.runtime.pool.exchange.Exchange`."""
        assert isinstance(task, Work)
        done = {
            "lane": str(task.queue[0]),
            "id": task.key,
            "items": items,
            "bytes": task.size,
            "seconds": seconds,
            "blob": task.blob,
            "lows": task.lows,
        }
        # A worker without pinned instances takes its next task in the same call.
        committed = self._step(parcel, task=done, want=2 if self.process is None else 0)
        asked_for = self._asked_for.pop(task.key, None)
        if asked_for is not None and committed:
            self.report("free", asked_for)

    def taken(self, task: Task) -> None:
        """See :class:`~d4pcwl.runtime.pool.exchange.Exchange`."""
        self._in_hand[task.queue[0]] -= 1

    def stream(self, parcel: Parcel, writer: int | None = None) -> None:
        """See :class:`~d4pcwl.runtime.pool.exchange.Exchange`."""
        self._step(parcel)

    def may_stream(self, writer: int | None = None) -> bool:
        """See :class:`~d4pcwl.runtime.pool.exchange.Exchange`."""
        return not self._blocked if writer is None else writer not in self._blocked

    def end(self, instance: int) -> None:
        """See :class:`~d4pcwl.runtime.pool.exchange.Exchange`."""
        order = self.plan.order
        origins = self.plan.origins_of(instance) if order else ()
        levels = [(instance, origin, NO_MORE) for origin in origins]
        self._step(Parcel(levels=levels), ends=[str(instance)])

    def batch_size(self, queue: Queue) -> int:
        """See :class:`~d4pcwl.runtime.pool.exchange.Exchange`; what is pinned is not shared out."""
        return self.sizes.get(queue[0], 0) if queue[0] in self._pool else BATCH

    # --- beside it ------------------------------------------------------------------------------

    def look(self) -> None:
        """Find out whether there is room again. Another thread may call this."""
        self._step()

    def report(self, kind: str, content: Any) -> None:
        """Report to the coordinator how it ended."""
        with self.sending:
            self.scripts.call(self.client, "event", kind, pickle.dumps((self.name, content)))

    def close(self) -> None:
        """Close the connection."""
        self.client.close()
        self._waiter.close()

    # --- inside ---------------------------------------------------------------------------------

    def _step(
        self,
        parcel: Parcel | None = None,
        *,
        task: dict[str, Any] | None = None,
        ends: list[str] | None = None,
        want: int = 0,
        wait: bool = False,
    ) -> bool:
        """Run the script once; :meth:`receive` takes what it finds.

        :returns: whether the written data count

        :param want: 0 nothing, 1 what is pinned here, 2 a task of the pool as well
        :param wait: wake me when there is a task
        """
        with self.sending:
            batches, data, blobs = self._batches(parcel or Parcel())
            head: dict[str, Any] = {
                "worker": self.name,
                "process": "" if self.process is None else str(self.process),
                "rank": 0 if self.process is None else 1,
                "batches": batches,
                "blobs": [name for name, _ in blobs],
                "levels": [(str(i), o, n) for i, o, n in parcel.levels] if parcel else [],
                "told": self._to_tell(parcel.levels) if parcel else [],
                "ends": ends or [],
                "closed": [str(lane) for lane, n in self._in_hand.items() if n >= WINDOW],
                "want": want,
                "wait": wait,
            }
            if task is not None:
                head["task"] = task
            key = self._key + "blobs"
            before: list[tuple[Any, ...]] = [("HSET", key, *blob) for blob in blobs]
            if blobs:
                before.append(("EXPIRE", key, TTL_SECONDS))
            answer = self.scripts.calls(self.client, before, "step", json.dumps(head), *data)
            if blobs and answer[0] == b"gone":
                self.client.call("DEL", key)
            return self._take_answer(answer)

    def _take_answer(self, answer: list[Any]) -> bool:
        if len(answer) == 1:
            self._stopped = True
            return False
        verdict, committed, blocked, sizes, found = answer
        self._blocked = frozenset(map(int, blocked))
        for lane, size in zip(sizes[::2], sizes[1::2], strict=True):
            self.sizes[int(lane)] = size
        for lane, id_, fields in found:
            self._take_entry(int(lane), id_.decode(), fields)
        self._stopped = verdict == b"stop"
        return bool(committed)

    def _take_entry(self, lane: int, id_: str, fields: list[bytes]) -> None:
        if fields[0] == b"e":
            sender = int(fields[1])
            self._told[sender] -= 1
            if not self._told[sender]:
                self._found.append(sender)
            return
        queue = (lane, self._inputs[lane][int(fields[1])])
        if fields[0] == b"l":
            self._found.append(Told(queue, [(i, o, n) for i, o, n in json.loads(fields[3])]))
            return
        _, _, _, count, _, size, form, data, _, lows = fields
        form, shared = form[:1], form[1:] or b"0"
        blob = data.decode() if form == b"k" else ""
        items = Packed(b"" if blob else data, int(shared))
        work = Work(id_ or None, queue, items, int(size), int(count), blob, lows.decode())
        self._found.append(work)
        if not id_:
            self._in_hand[lane] += 1

    def _to_tell(self, levels: Iterable[Level]) -> list[tuple[str, int, str]]:
        """Lane, input, and levels for those who take marked items from instances here."""
        told: dict[tuple[int, int], list[Level]] = {}
        for level in levels:
            for lane, number in self._listeners.get(level[0], ()):
                told.setdefault((lane, number), []).append(level)
        return [(str(lane), number, json.dumps(found)) for (lane, number), found in told.items()]

    def _next(self) -> Work | Told | int | None:
        if not self._found:
            return None
        found: Work | Told | int | None = self._found.popleft()
        if isinstance(found, Work) and found.blob:
            found = self._with_blob(found)
        if isinstance(found, Work) and found.is_shared and self._from_elsewhere:
            found = self._asked(found)
        return found

    def _with_blob(self, found: Work) -> Work | None:
        key = self._key + "blobs"
        commands: list[tuple[Any, ...]] = [("HGET", key, found.blob)]
        if found.key is None:
            commands.append(("HDEL", key, found.blob))
        with self.sending:
            data = self.client.calls(commands)[0]
        if data is None:
            # The run is over, or another worker has just done the task.
            self._step()
            if self._stopped:
                raise Stopped
            if found.key is None:
                raise ServerLost(
                    f"items have disappeared from the Redis server at {self.client.address}"
                )
            return None
        return replace(found, items=Packed(data, found.items.shared))

    def _asked(self, found: Work) -> Work | None:
        """A task whose buffers are in memory that this worker does not share: the coordinator is
        asked to bring them to the server."""
        blobs, name = self._key + "blobs", f"{self.name}-{found.key}"
        self.report("want", (name, found.items.data))
        while (data := self._fetched(blobs, name)) is None:
            self._step()
            if self._stopped:
                raise Stopped
            time.sleep(_LOOK_SECONDS)
        lane = f"{self._key}lane:{found.queue[0]}"
        with self.sending:
            still = self.client.calls([("XRANGE", lane, found.key, found.key)])[0]
        if not still:
            return None  # another worker has just done the task: look for another one
        self._asked_for[found.key] = found.items.data
        return replace(found, items=Packed(data))

    def _fetched(self, key: str, name: str) -> bytes | None:
        with self.sending:
            data, _ = self.client.calls([("HGET", key, name), ("HDEL", key, name)])
        return data  # type: ignore[no-any-return]

    def _wait(self) -> None:
        """Wait until woken."""
        key = self._key + "wake:" + self.name
        answer = self._waiter.call(
            "XREAD", "BLOCK", _WAIT_MILLISECONDS, "STREAMS", key, self._woken
        )
        if answer:
            self._woken = answer[0][1][-1][0].decode()

    def _batches(
        self, parcel: Parcel
    ) -> tuple[list[list[Any]], list[bytes], list[tuple[str, bytes]]]:
        """The contents of a parcel: a description of each batch, its data, and data that are kept
        outside of the streams."""
        batches: list[list[Any]] = []
        data: list[bytes] = []
        blobs: list[tuple[str, bytes]] = []
        parts = [
            (lane, self._inputs[lane].index(input_), lows, part)
            for (lane, input_), count, items, lows in parcel.batches
            for part in self._split(items, count, f"{self.plan.instances[lane].pe}.{input_}")
        ]
        parts += [
            (self._sink, first, lows, (count, part))
            for first, count, results, lows in parcel.results
            for part in self._split_results(results)
        ]
        for lane, number, lows, (count, items) in parts:
            form, content = "d", items.data
            if len(content) >= LARGE:
                blob = f"{self.name}-{next(self._numbers)}"
                blobs.append((blob, content))
                form, content = "k", blob.encode()
            if items.shared:
                form += str(items.shared)
            low = json.dumps(lows) if lows else ""
            batches.append([str(lane), number, count, len(items), form, low])
            data.append(content)
        return batches, data, blobs

    def _split(self, items: Packed, count: int, port: str) -> list[tuple[int, Packed]]:
        """A batch, in parts that the server takes.

        :raises Halt: a single item is too large
        """
        if len(items.data) <= MOST_BYTES:
            return [(count, items)]
        run: Run = frames.loads(items.data)
        if count == 1:
            if len(items.data) <= _MOST_ITEM_BYTES:
                return [(count, items)]
            raise Halt(
                PEError(
                    f"{port}: an item of {len(items.data) >> 20} MiB cannot be sent through a "
                    f"Redis server, which takes at most {_MOST_ITEM_BYTES >> 20} MiB; write a "
                    "file and send its name, or use the mapping multi"
                )
            )
        half, parts = count // 2, list[tuple[int, Packed]]()
        for part in (run.part(0, half), run.part(half)):
            parts += self._split(packed(part, [part]), len(part.entries), port)
        return parts

    def _split_results(self, results: Packed) -> list[Packed]:
        """Results, in parts that the server takes.

        :raises Halt: a single item is too large
        """
        if len(results.data) <= MOST_BYTES:
            return [results]
        return [
            packed([part_run := frames.loads(part.data)], [part_run])
            for run in frames.loads(results.data)
            for _, part in self._split(
                packed(run, [run]), len(run.entries), self.plan.port(*self.plan.results[run.key])
            )
        ]


def _listeners(plan: Plan, inputs: dict[int, list[str]]) -> dict[int, list[tuple[int, int]]]:
    """By instance, the lanes and inputs that get its levels: those of pinned instances that take
    marked items from it, and the results."""
    pool = plan.pooled
    listeners: dict[int, list[tuple[int, int]]] = {}
    for sender, receivers in plan.marked_after.items():
        lanes = [(to, inputs[to].index(name)) for to, name in receivers if to not in pool]
        if lanes:
            listeners[sender] = lanes
    for pe in {pe for pe, _ in plan.order.results}:
        for instance in plan.of(pe):
            listeners.setdefault(instance.index, []).append((len(plan.instances), 0))
    return listeners


def inputs_of(plan: Plan) -> dict[int, list[str]]:
    """The inputs of every instance that items are sent to, in a fixed order."""
    found: dict[int, set[str]] = {}
    for routes in plan.routes.values():
        for route in routes:
            for target in route.targets:
                found.setdefault(target, set()).add(route.input)
    return {target: sorted(names) for target, names in found.items()}
