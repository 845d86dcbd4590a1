"""Schedules of the pool, simulated: the scheduler and workers without processes, pipes or clocks.

A seed makes a random graph and plan, and a random *schedule*: who moves next, which worker stalls
or has a slow link, which one dies. Links between a worker and the scheduler are in order; between
workers everything may overtake everything. What PEs do, and how items are put in order, is done by
the code that runs everywhere else (``runtime/engine/worker.py``); only pipes and processes are
not there. After a schedule every promise is checked against a run of ``simple``.

A schedule that breaks a promise raises :class:`Broken`, whose text has the command that replays it
with all that happens::

    python tests/simulation_kit.py SEED
"""

from __future__ import annotations

import argparse
import sys
from abc import ABC, abstractmethod
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from simulation_flows import KEYS, Flow, Item, Keeper, flow_of

from d4pcwl.errors import WorkerDied
from d4pcwl.runtime.checkpoint.kept import Snapshot
from d4pcwl.runtime.checkpoint.sources import Pauses
from d4pcwl.runtime.engine.marks import NO_MORE, RESULTS, SortedResults
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.engine.worker import Worker
from d4pcwl.runtime.pool.exchange import WINDOW, Lot, Parcel, Queue
from d4pcwl.runtime.pool.links import new_levels
from d4pcwl.runtime.pool.queues import Limits
from d4pcwl.runtime.pool.scale import ATTEMPTS, Scale
from d4pcwl.runtime.pool.scheduler import PARENT, Scheduler
from d4pcwl.runtime.transport.outbox import Run
from d4pcwl.runtime.transport.portions import levels_before

SCHEDULES_OF_A_FLOW = 25
"""So many seeds in a row have the same graph."""

ITEM_BYTES = 10


class Broken(AssertionError):
    """A schedule has broken a promise."""


# --- workers --------------------------------------------------------------------------------------


class _Data(list[Any]):
    """A batch on its way. Its length is its size in bytes, as the scheduler asks for it."""

    def __len__(self) -> int:
        return ITEM_BYTES * super().__len__()

    @property
    def count(self) -> int:  # type: ignore[override]
        """How many items it holds."""
        return super().__len__()


class Outgoing:
    """The ways out of a worker: what its PEs write waits here."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.marked: set[Queue | int] = {plan.slots[port] for port in plan.order.results}
        self.marked.update(*plan.marked_after.values())
        self.items: dict[Queue | int, list[Any]] = {}
        self.count = self.written = 0
        self.writer = 0
        self.ends: list[int] = []

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Callable[[Any], None]:
        return self._adder((target, input), source[0])

    def result(self, pe: str, output: str) -> Callable[[Any], None]:
        return self._adder(self.plan.slots[pe, output], pe)

    def _adder(self, key: Queue | int, pe: str) -> Callable[[Any], None]:
        instances = self.plan.of(pe)

        def add(item: Any) -> None:
            self.items.setdefault(key, []).append(item)
            self.count += 1
            self.written += 1
            self.writer = instances[0].index

        return add

    def end(self, instance: int) -> None:
        self.ends.append(instance)

    def parcel(self, size_of: Callable[[Queue], int], *, only_results: bool = False) -> Parcel:
        """What waits."""
        parcel = Parcel()
        for key in [key for key in self.items if isinstance(key, int) or not only_results]:
            items = self.items.pop(key)
            self.count -= len(items)
            if isinstance(key, int):
                data = _Data([(key, items)])
                parcel.results.append(Lot(key, len(items), data, self.lows(key, items)))
            else:
                parcel.batches += self.lots(key, items, size_of(key))
        return parcel

    def lots(self, to: Queue, items: list[Any], size: int) -> list[Lot]:
        """Items for a queue, in batches."""
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        return [Lot(to, len(part), _Data(part), self.lows(to, part)) for part in parts]

    def lows(self, to: Queue | int, items: list[Any]) -> dict[int, int]:
        """By origin, the lowest number."""
        lows: dict[int, int] = {}
        for mark, _ in items if to in self.marked else ():
            lows[mark[0]] = min(mark[1], lows.get(mark[0], NO_MORE))
        return lows


class WorkerStopped(Exception):
    """The scheduler has let a worker go."""


class SimulatedWorker:
    """One worker: :class:`~d4pcwl.runtime.pool.worker.DynamicWorker` and its exchange, as a state
    machine that moves when it is told to.

    :param capacity: items that wait in it before they are handed on
    :param reluctance: how often it does not move when it could
    """

    def __init__(self, run: Schedule, number: int, pinned: int | None) -> None:
        random, plan = run.random, run.flow.plan
        self.run, self.number, self.pinned = run, number, pinned
        self.inbox: deque[tuple[str, Any]] = deque()
        self.link: deque[tuple[str, Any]] = deque()
        self.capacity = random.choice((1, 2, 4))
        self.reluctance = random.choice((0.0, 0.0, 0.0, 0.5, 0.97))
        self.received = 0
        self.credits: defaultdict[int | None, int] = defaultdict(lambda: WINDOW)
        self.sizes: dict[Queue, int] = {}
        self.waits = False
        self.paused = False
        self.deferred: deque[tuple[str, Any]] = deque()
        self.tasks: set[int] = set()
        self.engine: Worker | None = None
        if pinned is not None:
            self.out = Outgoing(plan)
            graph, inputs, pauses = run.flow.graph, run.flow.inputs, run.pauses_of(pinned)
            self.engine = Worker(graph, plan, pinned, inputs, self.out, own=False, pauses=pauses)
            run.engines.append(self.engine)
            self.new_levels, self.new_levels_of_last = new_levels(plan, pinned, self.engine.level)
        self.moves = self._work()

    @property
    def can_move(self) -> bool:
        """Whether it has something to do, other than to wait."""
        return bool(self.inbox) or not self.waits

    # --- as a DynamicWorker ---

    def _work(self) -> Iterator[None]:
        try:
            if self.engine is not None:
                self.engine.start()
                yield from self._hand_on_ends()
            while True:
                yield from self._step()
        except WorkerStopped:
            self.send("done", {})

    def _step(self) -> Iterator[None]:
        if self.deferred:
            yield from self._handle(*self.deferred.popleft())
            return
        message = self._receive()
        if message is None:
            if self.engine is not None:
                if self.engine.hungry and not self.paused:
                    before = self.out.written
                    self.engine.feed()
                    yield
                    yield from self._hand_on(before)
                    return
                self._flush()
            message = yield from self._await()
        if message is not None:
            yield from self._handle(*message)

    def _receive(self, wait: bool = False) -> tuple[str, Any] | None:
        """What has come. The link may be slow: then nothing has."""
        if not self.inbox or (not wait and self.run.random.random() < 0.2):
            return None
        kind, content = self.inbox.popleft()
        if kind == "room":
            return None
        self.received += 1
        if kind == "stop":
            raise WorkerStopped
        if kind == "go":
            self._note_room(*content)
            return None
        if kind in ("pause", "proceed"):
            self.paused = kind == "pause"
            return None
        return kind, content

    def _take_in(self) -> None:
        """Note where there is room again, though it is busy; what waits for that looks again."""
        others = [(kind, content) for kind, content in self.inbox if kind != "go"]
        room = [content for kind, content in self.inbox if kind == "go"]
        for content in room:
            self.received += 1
            self._note_room(*content)
        self.inbox = deque([*others, ("room", None)] if room else others)

    def _note_room(self, writer: int | None, parcels: int, sizes: dict[Queue, int]) -> None:
        self.sizes.update(sizes)
        self.credits[writer] += parcels

    def _await(self) -> Generator[None, None, tuple[str, Any] | None]:
        """Wait for what comes next."""
        if self.pinned is not None and (not self.inbox or self.run.random.random() < 0.1):
            self.send("idle", (self.received, not self.out.items))
        self.waits = True
        yield
        while not self.inbox:
            yield
        self.waits = False
        return self._receive(wait=True)

    def _help(self, instance: int) -> Iterator[None]:
        """Do what is downstream of an instance that cannot write on, or free."""
        for place, message in enumerate(self.deferred):
            if self._may_handle(message, instance):
                del self.deferred[place]
                yield from self._handle(*message)
                return
        found = yield from self._await()
        if found is None:
            return
        if self._may_handle(found, instance):
            yield from self._handle(*found)
        else:
            self.deferred.append(found)

    @staticmethod
    def _may_handle(message: tuple[str, Any], instance: int) -> bool:
        kind, content = message
        return kind == "task" or (kind in ("private", "told") and content[0][0] > instance)

    def _handle(self, kind: str, content: Any) -> Iterator[None]:
        if kind == "task":
            yield from self._run_task(*content)
            return
        assert self.engine is not None
        if kind == "keep":
            self.send("kept", self.engine.keep())
            return
        before = self.out.written
        if kind == "ended":
            self.engine.upstream_ended(content)
        elif kind == "told":
            queue, levels = content
            self.engine.note(levels, queue)
        else:
            queue, levels, data = content
            items, take = list(data), self.engine.receiver(*queue)
            if levels:  # as Portions does
                done = self.run.random.randint(0, len(items))
                take(items[:done])
                del items[:done]
                rest = Run(queue, items, [mark for mark, _ in items])
                self.engine.note(levels_before([rest], levels), queue)
                yield
                yield from self._hand_on(before)
                before = self.out.written
            take(items)
            self.engine.note(levels, queue)
            yield
        yield from self._hand_on(before)
        if kind == "private":
            self.send("taken", queue[0])

    def _run_task(self, number: int, queue: Queue, sizes: dict[Queue, int], data: _Data) -> Any:
        run = self.run
        self.sizes.update(sizes)
        self.tasks.add(number)
        while run.random.random() < 0.3:
            yield
        take, items = run.pool.receiver(*queue), list(data)
        done = run.random.randint(1, len(items)) if run.random.random() < 0.1 else len(items)
        take(items[:done])
        parcel = run.pool_out.parcel(self._size)
        parcel.batches += run.pool_out.lots(queue, items[done:], 1)
        seconds = done * run.random.choice((1e-5, 1e-3, 5e-3, 1e-2))
        self.tasks.discard(number)
        self.send("commit", (number, parcel, done, seconds))

    def _size(self, queue: Queue) -> int:
        if queue[0] in self.run.flow.plan.heavy:
            return 1
        return self.sizes.get(queue, 1) if queue[0] in self.run.flow.plan.pooled else 1000

    # --- as its link ---

    def _hand_on(self, before: int) -> Iterator[None]:
        """Hand on what has been written, if it is enough, and who has ended.

        :param before: how much had been written by then
        """
        if self.out.count >= self.capacity and self.out.written > before:
            yield from self._flush_as(self.out.writer)
        elif self.run.random.random() < 0.2:
            self._flush()  # by the thread that watches the time
        yield from self._hand_on_ends()

    def _hand_on_ends(self) -> Iterator[None]:
        while self.out.ends:
            index = self.out.ends.pop(0)
            while self.out.items:
                yield from self._flush_as(index)
            self.send("end", index)

    def _flush_as(self, index: int) -> Iterator[None]:
        plan = self.run.flow.plan
        last = plan.of(plan.instances[index].pe)[-1].index
        while not self.may_stream(index):
            yield from self._help(last)
        self._stream(index)

    def _flush(self) -> None:
        if not self.may_stream():
            self._take_in()
        if self.may_stream():
            self._stream(None)
        elif self.may_stream(RESULTS):
            parcel = self.out.parcel(self._size, only_results=True)
            parcel.levels = self.new_levels_of_last()
            self._send_parcel(parcel, RESULTS)

    def may_stream(self, writer: int | None = None) -> bool:
        """Whether there is room for what an instance writes."""
        return self.credits[writer] > 0

    def _stream(self, writer: int | None) -> None:
        parcel = self.out.parcel(self._size)
        parcel.levels = self.new_levels() + self.new_levels_of_last()
        self._send_parcel(parcel, writer)

    def _send_parcel(self, parcel: Parcel, writer: int | None) -> None:
        if parcel:
            self.credits[writer] -= 1
            self.send("stream", (writer, parcel))

    def send(self, kind: str, content: Any) -> None:
        """Send to the scheduler."""
        self.link.append((kind, content))
        self.run.enable(self)


# --- a schedule -----------------------------------------------------------------------------------


class Schedule(ABC):
    """What all schedules have: a graph, workers, what came of it, and the promises.

    :param limits: what queues, and receivers that put items in order, hold at the most

    ``trace`` takes what happens, line by line.
    """

    failure: Exception | None
    command = "simulation_kit.py"
    options = ""

    def __init__(self, seed: int, flow: Flow, limits: Limits | None = None) -> None:
        self.random = random = Random(seed)
        self.flow, self.seed = flow, seed
        self.trace: Callable[[str], None] | None = None
        self.limits = limits or Limits(
            random.choice((2, 3, 64)), random.choice((40, 10000)), random.choice((200, 1 << 20))
        )
        self.engines: list[Worker] = []
        self.results: list[list[Item]] = [[] for _ in flow.plan.results]
        self.moving: list[SimulatedWorker] = []
        self._place: dict[int, int] = {}
        self.may_die = random.choice((0, 0, 1, 2, 4))
        self.deaths = Counter[str]()
        self.steps = 0
        if flow.plan.pool is not None:
            self.pool_out = Outgoing(flow.plan)
            self.pool = Worker(
                flow.graph, flow.plan, flow.plan.pool, {}, self.pool_out, direct=False
            )

    def run(self) -> None:
        """Run it to its end, and check what was promised.

        :raises Broken: a promise does not hold
        """
        try:
            self._run()
            self._check()
        except Broken:
            raise
        except Exception as error:
            raise self._broken(f"{type(error).__name__}: {error}") from error

    @abstractmethod
    def _run(self) -> None:
        """Have workers move until the run is over."""

    def pauses_of(self, process: int) -> Pauses | None:
        """The pauses of the sources in a process, if there are snapshots."""
        return None

    def enable(self, worker: SimulatedWorker) -> None:
        """It may move."""
        if worker.number not in self._place:
            self._place[worker.number] = len(self.moving)
            self.moving.append(worker)

    def _disable(self, worker: SimulatedWorker) -> None:
        place = self._place.pop(worker.number, None)
        if place is not None:
            last = self.moving.pop()
            if last is not worker:
                self.moving[place] = last
                self._place[last.number] = place

    # --- promises ---

    def _check(self) -> None:
        flow, failure = self.flow, self.failure
        if failure is not None:
            self._check_failure(failure)
        for slot, expected in enumerate(flow.results):
            pe, output = flow.plan.results[slot]
            where = f"results of {pe}.{output}"
            self._compare(where, pe, self.results[slot], expected, partly=failure is not None)
        if failure is None:
            self._check_seen()

    def _check_failure(self, failure: Exception) -> None:
        if not isinstance(failure, WorkerDied):
            raise self._broken(f"it failed: {failure}")
        if "held the state" in str(failure):
            justified = self.deaths["pinned"] > 0
        else:
            justified = self.deaths.total() >= ATTEMPTS
        if not justified:
            raise self._broken(f"it failed: {failure}; but {dict(self.deaths)} died")

    def _check_seen(self) -> None:
        flow, plan = self.flow, self.flow.plan
        seen_by = self.seen_by()
        for (pe, name), expected in flow.seen.items():
            found = [seen_by[i.index].get(name, []) for i in plan.of(pe)]
            grouping = next(
                r.grouping
                for routes in plan.routes.values()
                for r in routes
                if r.input == name and plan.instances[r.targets[0]].pe == pe
            )
            where = f"{pe}.{name}"
            if len(found) == 1 or str(grouping) == "global":
                self._compare_input(where, pe, found[0], expected)
            elif str(grouping) == "all":
                for items in found:
                    self._compare_input(where, pe, items, expected)
            else:
                for key in range(KEYS):
                    of_key = [i for items in found for i in items if i[0] == key]
                    wanted = [i for i in expected if i[0] == key]
                    self._compare_input(f"{where}, key {key}", pe, of_key, wanted)

    def seen_by(self) -> dict[int, dict[str, list[Item]]]:
        """What each instance that keeps state has seen."""
        return {
            index: running.pe.seen
            for engine in self.engines
            for index, running in engine.running.items()
            if isinstance(running.pe, Keeper) and hasattr(running.pe, "seen")
        }

    def _compare_input(self, where: str, pe: str, found: list[Item], expected: list[Item]) -> None:
        """What an instance saw: of each sender in order, what there was."""
        for edge in {item[1][-1][0] // 100 for item in (*found, *expected)}:
            sender = self.flow.ids[edge]
            mine, wanted = (
                [item for item in items if item[1][-1][0] // 100 == edge]
                for items in (found, expected)
            )
            self._compare(f"{where} from {sender}", sender, mine, wanted)

    def _compare(
        self, where: str, sender: str, found: list[Item], expected: list[Item], partly: bool = False
    ) -> None:
        """
        :param partly: some may be missing
        """
        if found == expected:
            return
        missing, more = Counter(expected), Counter(found)
        missing, more = missing - more, more - missing
        if more or (missing and not partly):
            raise self._broken(f"{where}: lost {list(missing)}; too much {list(more)}")
        if sender in self.flow.steady and not partly:
            raise self._broken(f"{where}: {found} in place of {expected}")
        if sender in self.flow.rings:
            return
        by_way: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for _, way in found:
            edges, places = zip(*way, strict=True)
            by_way.setdefault(edges, []).append(places)
        for places in by_way.values():
            if places != sorted(places):
                raise self._broken(f"{where}: out of order: {places}")

    def note(self, *what: Any) -> None:
        if self.trace is not None:
            self.trace(" ".join(map(str, what)))

    def _broken(self, what: str) -> Broken:
        return Broken(f"{what}\nTo see it: python tests/{self.command} {self.seed}{self.options}")


@dataclass
class Saved:
    """A snapshot, the results up to then, and what was seen by instances that had ended."""

    snapshot: Snapshot
    results: list[list[Item]]
    seen: dict[int, dict[str, list[Item]]]


class Simulation(Schedule):
    """One schedule of a scheduler.

    :param large: with many items and a thousand workers
    :param flow: what runs, if it is not one by the seed
    :param freezes: whether the worker that gets the first task moves only when nobody else can;
        ``held`` says how many items are held back then
    """

    def __init__(
        self,
        seed: int,
        scheduler: Callable[..., Scheduler] = Scheduler,
        large: bool = False,
        flow: Flow | None = None,
        limits: Limits | None = None,
        freezes: bool = False,
    ) -> None:
        flow = flow or flow_of(seed // SCHEDULES_OF_A_FLOW, large)
        super().__init__(seed, flow, limits)
        self.options = " --large" if large else ""
        random, number = self.random, flow.processes
        self.scale = Scale(number, number)
        if random.random() < 0.3:
            self.scale = Scale(min(2, number), number, random.choice((0, 1, 3)), 1.0)
        self.rules = scheduler
        self.saved = Saved(Snapshot(), [[] for _ in self.results], {})
        self.largest = 1
        self.now = 0.0
        self.freezes = freezes
        self.frozen: SimulatedWorker | None = None
        self.held = 0
        if large or freezes:
            self.may_die = 0 if freezes else 40
        self.pinned_may_die = random.random() < 0.03
        self.has_snapshots = not freezes and random.random() < 0.1
        self.pauses = 4 if self.has_snapshots else 0
        self.crashes = random.choice((0, 1, 1, 2)) if self.has_snapshots else 0
        self.snapshots = 0
        self._begin()

    def _begin(self) -> None:
        """Begin, or go on after the last snapshot."""
        plan, saved = self.flow.plan, self.saved
        self.waiting = Counter[Queue]()
        self.workers: dict[int, SimulatedWorker] = {}
        self.engines.clear()
        self.moving.clear()
        self._place.clear()
        for found, earlier in zip(self.results, saved.results, strict=True):
            found[:] = earlier
        self.sorted = SortedResults(plan, [found.append for found in self.results])
        self.sorted.hold(saved.snapshot.held)
        self.scheduler = self.rules(plan, self.scale, self.limits, begun=saved.snapshot)

    @property
    def failure(self) -> Exception | None:  # type: ignore[override]
        """Why it has failed, if it has."""
        return self.scheduler.failure

    # --- moving ---

    def _run(self) -> None:
        self._decide()
        most_steps, idle = 20000 + 2000 * self.flow.items, 0
        while not self.scheduler.is_over or self._crash():
            self.steps += 1
            if self.steps > most_steps:
                raise self._broken("it does not end")
            if self.moving:
                self.now += 1e-3
                if self.pauses and self.random.random() < 0.1:
                    self.pauses -= 1
                    self.scheduler.pause()
                if self.crashes and self.random.random() < (0.05 if self.snapshots else 0.002):
                    self._crash()
                self._step(self.random.choice(self.moving))
            elif self._decide():
                idle = 0
            else:
                idle += 1
                self.now += 2.0
                if idle > 3:
                    raise self._broken("nobody moves any more, and it has not ended")
        self.sorted.give_up()

    def _step(self, worker: SimulatedWorker) -> None:
        """A worker moves, or what it has sent arrives."""
        chance = self.random.random
        if worker is self.frozen:
            if len(self.moving) == 1 and not self._decide():
                self.held = sum(g.waiting for e in self.engines for g in e._gathers.values())
                self.frozen = None
        elif self.may_die and chance() < 0.02:
            self._kill(worker)
        elif worker.reluctance and chance() < worker.reluctance:
            if chance() < 0.02:
                worker.reluctance = 0.0
        elif worker.link and (not worker.can_move or chance() < 0.5):
            self._hear(worker)
            if chance() < 0.8:
                self._decide()
        else:
            self._move(worker)

    def _move(self, worker: SimulatedWorker) -> None:
        if next(worker.moves, worker) is worker:
            worker.inbox.clear()
            worker.waits = True
            worker.send("closed", "ended")
            return
        if not worker.can_move and not worker.link:
            self._disable(worker)

    def _hear(self, worker: SimulatedWorker) -> None:
        kind, content = worker.link.popleft()
        if not worker.link and not worker.can_move:
            self._disable(worker)
        self.note("worker", worker.number, kind, content)
        if kind == "closed":
            self._disable(worker)
            del self.workers[worker.number]
            tasks = self.scheduler.workers[worker.number].tasks.values()
            self.waiting.update(batch.queue for batch in tasks)  # they will wait again
            self.scheduler.lost(worker.number, content)
            return
        self.scheduler.hear(worker.number, kind, content)
        if kind in ("stream", "commit"):
            self._check_room(content[1])

    def _kill(self, worker: SimulatedWorker) -> None:
        if worker.pinned is not None and not self.pinned_may_die:
            return
        self.may_die -= 1
        self.note("worker", worker.number, "dies")
        self.deaths["pinned" if worker.pinned is not None else "free"] += 1
        worker.moves = iter(())
        worker.inbox.clear()
        worker.waits = True
        worker.send("closed", "was killed")

    def _decide(self) -> bool:
        """Have the scheduler decide; whether anything is to be done."""
        done = False
        for to, kind, content in self.scheduler.decide(self.now):
            done = True
            self.note("→", to, kind, content)
            if to != PARENT:
                worker = self.workers[to]
                if not (worker.link and worker.link[-1][0] == "closed"):
                    worker.inbox.append((kind, content))
                    self.enable(worker)
                if kind == "task" and self.freezes and worker.pinned is None:
                    self.frozen, self.freezes = worker, False
                if kind in ("task", "private"):
                    queue = content[1] if kind == "task" else content[0]
                    self.waiting[queue] -= 1
            elif kind == "start":
                self._start(*content)
            elif kind == "results":
                for slot, items in list(content):
                    self.sorted.takers[slot](items)
            elif kind == "levels":
                self.sorted.note(content)
            elif kind == "snapshot":
                self._check_snapshot()
                self._save(*content)
        return done

    def _crash(self) -> bool:
        """All is killed, and the run goes on after the last snapshot; whether that is so."""
        if self.crashes and (self.scheduler.failure is not None or not self.scheduler.is_over):
            self.note("all is killed")
            self.crashes -= 1
            self._begin()
            self._decide()
            return True
        return False

    def pauses_of(self, process: int) -> Pauses | None:
        if not self.has_snapshots:
            return None
        kept = self.saved.snapshot.processes.get(process, b"")
        ended = self.saved.snapshot.ended.intersection(self.flow.plan.processes[process])
        return Pauses(lambda: False, lambda: None, kept, ended)

    def seen_by(self) -> dict[int, dict[str, list[Item]]]:
        return {**super().seen_by(), **self.saved.seen}

    def _save(self, kept: dict[int, bytes], queued: list[Lot]) -> None:
        ended = frozenset(self.scheduler.ended)
        seen = {index: seen for index, seen in self.seen_by().items() if index in ended}
        results = [list(found) for found in self.results]
        self.saved = Saved(Snapshot(kept, ended, self.sorted.held, queued), results, seen)

    def _check_snapshot(self) -> None:
        """Workers with pinned instances have worked off all, so that the snapshot has it."""
        self.snapshots += 1
        for worker in self.workers.values():
            if worker.pinned is not None:
                left = [message for message in worker.inbox if message[0] != "room"]
                left += [*worker.deferred, *worker.tasks, *worker.out.ends]
                left += [sent for sent in worker.link if sent[0] not in ("idle", "closed")]
                if left or worker.out.count:
                    raise self._broken(f"a snapshot is taken while a worker has {left}")

    def _start(self, number: int, pinned: int | None) -> None:
        self.workers[number] = worker = SimulatedWorker(self, number, pinned)
        self.enable(worker)
        staying = sum(not w.leaving for w in self.scheduler.workers.values())
        pinned_processes = len(self.flow.plan.processes) - (self.flow.plan.pool is not None)
        if staying > max(self.scale.most, pinned_processes):
            raise self._broken(f"{staying} workers where at most {self.scale.most} were asked for")

    def _check_room(self, parcel: Parcel) -> None:
        """Queues are bounded: by the limit, and what those may write who are just at it."""
        parts = Counter(lot.to for lot in parcel.batches)
        self.waiting.update(parts)
        self.largest = max(self.largest, *parts.values(), 1)
        for queue in parts:
            writers = self.flow.writers.get(queue)
            if writers is None:
                continue
            pinned, pooled = writers
            room = 2 * WINDOW * pinned + WINDOW * pooled * len(self.scheduler.workers)
            if self.has_snapshots:  # all is sent then, and what was in hand is done
                room += WINDOW * pinned
            most = self.limits.batches + self.largest * room
            if self.waiting[queue] > most:
                raise self._broken(f"{self.waiting[queue]} batches wait in {queue}, not {most}")


def replay(title: str, make: Callable[[int, bool], Schedule]) -> int:
    """Run the schedules that the command line names, and tell what happens.

    :param make: from a seed, and whether with many workers, to the schedule
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--large", action="store_true", help="with a thousand workers")
    given = parser.parse_args()
    for seed in given.seeds:
        schedule = make(seed, given.large)
        schedule.trace = print
        print(schedule.flow.plan)
        try:
            schedule.run()
        except Broken as error:
            print(error)
            return 1
        print(f"seed {seed}: every promise is kept, in {schedule.steps} steps")
    return 0


if __name__ == "__main__":
    sys.exit(replay("Replay schedules.", lambda seed, large: Simulation(seed, large=large)))
