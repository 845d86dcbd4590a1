"""The meter of a process: what each instance does, and where the time goes.

Nothing is added to the path of an item. The items are counted anyway. The times are found by
sampling: many times a second, another thread looks at the stack of the thread that works. The
innermost frame that it knows says what happens: a PE works, or the process waits for items, waits
until its output is taken, or encodes. Each sample stands for the time since the last one.
(Statistical profilers do the same; Graham et al., "gprof", SIGPLAN 1982,
doi:10.1145/800230.806987.)

Such samples are biased: Python gives the other thread its turn when the working thread waits for
the system. The system knows how long a thread was on a processor. So if items have moved since the
last sample, a sample of a waiting thread stands only for the time off the processor. The rest is
shared among the instances that other samples have seen at work. Time in which other programs had
the processors is not counted.

The results are sent in *laps*, short ones first.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from operator import sub
from types import CodeType, FrameType
from typing import Any

from d4pcwl.runtime.engine.chain import Step
from d4pcwl.runtime.engine.instance import RunningPE
from d4pcwl.runtime.engine.worker import Worker
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.compression import compressed, decompressed
from d4pcwl.runtime.transport.outbox import Outbox
from d4pcwl.trace.observer import EdgeTraffic, InstanceLap, Lap, Sent, Way, resident_bytes

FIRST_LAP, USUAL_LAP, LONGEST_LAP = 0.05, 1.0, 60.0
_LAPS = 600
"""After this number of laps, they become longer, so that a run of hours gives a small file."""

_FIRST_PAUSE, _USUAL_PAUSE, _LONGEST_PAUSE = 0.002, 0.01, 0.1
"""Seconds between two samples: short at first, for short runs, and longer if sampling takes too
much time."""

_GIVEN_SECONDS, _GIVEN_OF_CPU, _GIVEN_OF_TIME = 0.002, 0.01, 0.0005
"""The processor time for sampling: at first, for each second of the worker's processor time, and
for each second of the run."""

_LAPS_SHARE = 0.02
"""The most time for sending laps; with many instances, laps are longer."""

_MANY = 100
"""From this number of instances in a process on, laps leave out those that did nothing."""

_TURN = 2e-3
"""Seconds after which the working thread gives another thread its turn."""

_MOST_SPANS = 12
"""The most calls in one lap."""

_PE, _CHAIN, _WAITING, _BLOCKED, _ENCODING, _DECODING = range(6)


class Meter:
    """Measures the thread that makes it; see :func:`d4pcwl.runtime.local.measured.measured`."""

    def __init__(
        self,
        workers: Sequence[Worker],
        tell: Callable[[Lap], None],
        sent: Sent,
        waits: Iterable[Callable[..., Any]],
        sends: Iterable[Callable[..., Any]],
    ) -> None:
        self._workers, self._tell, self._sent = workers, tell, sent
        self._worker = threading.get_ident()
        self._kinds = _kinds(waits, sends)
        self._host, self._pid = os.uname().nodename, os.getpid()
        self._offset = time.time() - time.monotonic()
        self._over = threading.Lock()
        self._over.acquire()
        self._thread = threading.Thread(target=self._watch, name="d4pcwl-meter", daemon=True)
        self._running = {
            index: running for worker in workers for index, running in worker.running.items()
        }
        self._written = {
            index: counts for worker in workers for index, counts in worker.written.items()
        }
        self._told = dict.fromkeys(self._running, (0, 0, 0, 0))
        self._told_sent: dict[Way, EdgeTraffic] = {}
        self._known: set[int] = set()
        self._began = self._looked = self._lap_began = time.monotonic()
        self._cpu = time.process_time()
        self._clock = _ThreadClock()
        self._on_cpu, self._off_cpu = self._clock.read()
        self._cpu_at_first = self._on_cpu
        self._items = 0
        self._turn = sys.getswitchinterval()
        self._cost = 0.0  # of the last lap, in seconds of this thread
        self._call: tuple[int, int, int] | None = None
        self._call_began = 0.0
        self._call_looks = 0
        self._fresh()

    def _fresh(self) -> None:
        """A lap begins."""
        self._did = {
            index: InstanceLap(worker.plan.instances[index].pe, self._copy(worker, index))
            for worker in self._workers
            for index in worker.running
        }
        self._idle = self._stuck = self._unseen = self._ready = 0.0
        self._spans: list[tuple[int, float, float, int]] = []

    def _copy(self, worker: Worker, index: int) -> int | None:
        pooled = index in worker.plan.pooled
        return None if pooled else worker.plan.instances[index].number

    def start(self) -> None:
        """Begin."""
        sys.setswitchinterval(min(_TURN, self._turn))
        self._thread.start()

    def stop(self) -> None:
        """Tell what is left."""
        self._over.release()
        self._thread.join()
        sys.setswitchinterval(self._turn)
        self._end_call(time.monotonic())
        with contextlib.suppress(BaseException):  # the end of the work is reported in another way
            self._end_lap(time.monotonic())
        self._clock.close()

    # --- looking --------------------------------------------------------------------------------

    def _watch(self) -> None:
        pause = _FIRST_PAUSE
        while not self._over.acquire(timeout=pause):
            now = time.monotonic()
            self._look(now)
            pause = self._next_pause(now, pause)
            if now - self._lap_began >= self._lap_seconds(now):
                began = time.thread_time()
                try:
                    self._end_lap(now)
                    self._cost = time.thread_time() - began
                except BaseException:  # noqa: BLE001 - nobody listens any more
                    return

    def _next_pause(self, now: float, pause: float) -> float:
        ran, worked = now - self._began, self._on_cpu - self._cpu_at_first
        given = _GIVEN_SECONDS + _GIVEN_OF_CPU * worked + _GIVEN_OF_TIME * ran
        if time.thread_time() > given:
            return min(2 * pause, _LONGEST_PAUSE)
        return min(_FIRST_PAUSE + ran / 50, _USUAL_PAUSE)

    def _lap_seconds(self, now: float) -> float:
        ran = now - self._began
        usual = max(min(FIRST_LAP + ran / 2, USUAL_LAP), min(ran / _LAPS, LONGEST_LAP))
        return max(usual, self._cost / _LAPS_SHARE)

    def _look(self, now: float) -> None:
        """See what the worker does, and count the time since the last look for that."""
        before, (on_cpu, off_cpu) = self._looked, self._clock.read()
        ready = off_cpu - self._off_cpu
        seconds = max(0.0, now - before - ready)
        worked = min(seconds, on_cpu - self._on_cpu)
        self._looked, self._on_cpu, self._off_cpu = now, on_cpu, off_cpu
        kind, index = self._doing()
        if kind in (_WAITING, _BLOCKED):
            items = sum(running.count for running in self._running.values())
            if items != self._items:  # else it has waited all the time, perhaps by looking
                self._unseen += worked
                seconds -= worked
            self._items = items
        else:
            self._ready += ready
        if index is None:
            if kind == _WAITING:
                self._idle += seconds
            elif kind == _BLOCKED:
                self._stuck += seconds
        else:
            did = self._did[index]
            if kind == _PE:
                did.busy += seconds
            elif kind == _ENCODING:
                did.encoding += seconds
            elif kind != _DECODING:
                did.blocked += seconds
        call = None
        if index is not None and kind == _PE:
            call = (index, self._running[index].count, self._count_written(index))
        if call is None or call != self._call:
            middle = (before + now) / 2
            self._end_call(middle)
            self._call, self._call_began, self._call_looks = call, middle, 0
        self._call_looks += 1

    def _end_call(self, now: float) -> None:
        """The call that was seen is over; one that was seen twice is reported."""
        if self._call is not None and self._call_looks > 1 and len(self._spans) < _MOST_SPANS:
            index, number, _ = self._call
            # A chain counts an item when it is through with it, else it is counted at first.
            in_chain = self._running[index].own_step is not None
            before = number if in_chain else max(0, number - 1)
            times = self._call_began + self._offset, now + self._offset
            self._spans.append((index, *times, before))
        self._call = None

    def _doing(self) -> tuple[int | None, int | None]:
        """What is being done, and by which instance, as far as can be told."""
        frame: FrameType | None = sys._current_frames().get(self._worker)
        state = None
        while frame is not None:
            kind = self._kinds.get(id(frame.f_code))
            if kind is not None:
                index = self._instance(frame, kind)
                if index is not None:
                    return (_PE if state is None else state), index
                if kind > _CHAIN and state is None:
                    state = kind
            frame = frame.f_back
        return state, None

    def _instance(self, frame: FrameType, kind: int) -> int | None:
        """The instance at work in a frame of the engine."""
        if kind == _PE:
            running = frame.f_locals.get("self")
            rank: int | None = getattr(running, "rank", None)
            return rank if rank in self._running else None
        if kind == _CHAIN:
            found = frame.f_locals
            step = found.get("step_of", {}).get(id(found.get("work")))
            if step is not None:
                return next((i for i, r in self._running.items() if r.own_step is step), None)
        return None

    def _count_written(self, index: int) -> int:
        return sum(count() for count in self._written.get(index, ()))

    # --- telling --------------------------------------------------------------------------------

    def _end_lap(self, now: float) -> None:
        """Tell what was done since the last lap."""
        start, self._lap_began = self._lap_began, now
        cpu, self._cpu = self._cpu, time.process_time()
        did, spans, idle, stuck = self._did, self._spans, self._idle, self._stuck
        unseen, ready = self._unseen, self._ready
        self._fresh()
        lap = Lap(
            self._host,
            self._pid,
            start + self._offset,
            now + self._offset,
            self._cpu - cpu,
            resident_bytes(),
            idle,
            ready,
            spans=spans,
        )
        for index, amounts in did.items():
            running = self._running[index]
            told = self._told[index]
            counts = (
                running.count,
                self._count_written(index),
                running.attempts.retried,
                running.attempts.skipped,
            )
            counts = tuple(map(max, counts, told))  # type: ignore[assignment]
            self._told[index] = counts
            amounts.taken, amounts.written = counts[0] - told[0], counts[1] - told[1]
            for what, number in (("retry", counts[2] - told[2]), ("skip", counts[3] - told[3])):
                if number:
                    lap.events.append((index, what, running.attempts.why, number))
            if self._is_told_of(index, amounts):
                self._known.add(index)
                amounts.waiting, amounts.blocked = idle, amounts.blocked + stuck
                lap.did[index] = amounts
        _share_out(unseen, lap.did.values())
        for way, carried in self._sent().items():
            before = self._told_sent.get(way, EdgeTraffic())
            now_sent = EdgeTraffic(*map(max, carried, before))
            self._told_sent[way] = now_sent
            if now_sent != before:
                lap.sent[way] = EdgeTraffic(*map(sub, now_sent, before))
        self._tell(lap)

    def _is_told_of(self, index: int, did: InstanceLap) -> bool:
        """Whether a lap has an instance that did this: one of a pool may never do anything here."""
        if did or len(self._running) >= _MANY:
            return bool(did)
        return did.copy is not None or index in self._known


def _share_out(seconds: float, all_did: Collection[InstanceLap]) -> None:
    """Share out time of work that nobody has seen: by what was seen of each instance, or else by
    its items."""
    seen = [did for did in all_did if did.busy or did.encoding]
    whole = sum(did.busy + did.encoding for did in seen)
    for did in seen:
        factor = 1 + seconds / whole
        did.busy, did.encoding = did.busy * factor, did.encoding * factor
    items = sum(did.taken for did in all_did)
    for did in all_did if not seen else ():
        did.busy += seconds * did.taken / max(1, items)


class _ThreadClock:
    """For the thread that makes it, to be read by others."""

    def __init__(self) -> None:
        self._file = -1
        with contextlib.suppress(OSError):
            path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
            self._file = os.open(path, os.O_RDONLY)

    def read(self) -> tuple[float, float]:
        """The seconds in which it was on a processor, and those in which it had to wait for one;
        always 0 if the system does not tell."""
        if self._file < 0:
            return 0.0, 0.0
        on, off, _ = os.pread(self._file, 100, 0).split()
        return int(on) / 1e9, int(off) / 1e9

    def close(self) -> None:
        """Close it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _kinds(
    waits: Iterable[Callable[..., Any]], sends: Iterable[Callable[..., Any]]
) -> dict[int, int]:
    """By the ``id`` of its code, what a function does."""
    kinds: dict[int, int] = {}
    for functions, kind in (
        (vars(RunningPE).values(), _PE),
        ((Step._make_taker, Step.writer), _CHAIN),
        (waits, _WAITING),
        (sends, _BLOCKED),
        ((frames.pickled, frames.dumps, Outbox.outlet, Outbox._pack, compressed), _ENCODING),
        ((frames.decode, frames.loads, decompressed), _DECODING),
    ):
        for function in functions:
            code = getattr(function, "__code__", None)
            if code is not None:
                kinds.update((id(inner), kind) for inner in _codes(code))
    return kinds


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of the functions that it makes."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)
