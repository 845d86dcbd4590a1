"""Schedules of runs through a Redis server: those of the scheduler (``simulation_kit.py``), with a
real transport: that of the coordinator, a server, and the lines of workers.

Workers are simulated. Some join by themselves. Such a worker may be considered dead while it goes
on. In some schedules, all batches are stored on the server.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any
from unittest.mock import patch

from simulation_flows import Flow, Item, flow_of
from simulation_kit import (
    SCHEDULES_OF_A_FLOW,
    Outgoing,
    Schedule,
    SimulatedWorker,
    WorkerStopped,
    replay,
)

from d4pcwl.runtime.job import Job
from d4pcwl.runtime.pool.exchange import (
    Exchange,
    Lot,
    Packed,
    Parcel,
    Queue,
    QueueLevels,
    Stopped,
    Task,
    packed,
)
from d4pcwl.runtime.pool.parent import Broker, WorkerProcesses
from d4pcwl.runtime.pool.scale import Scale
from d4pcwl.runtime.pool.scheduler import Scheduler
from d4pcwl.runtime.redis import line
from d4pcwl.runtime.redis.client import Address, Client
from d4pcwl.runtime.redis.line import RedisLine
from d4pcwl.runtime.redis.server import OwnServer
from d4pcwl.runtime.redis.transport import RedisTransport
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.arena import Memory
from d4pcwl.runtime.transport.channel import Disconnected
from d4pcwl.runtime.transport.outbox import Run

GUEST = 1000
"""The numbers of workers that join begin here, in the schedule."""


class _Processes(WorkerProcesses):
    """None: workers are simulated, and ``killed`` has the numbers of those that have died."""

    def __init__(self, job: Job, run: RedisSchedule) -> None:
        super().__init__(job, run.flow.plan, run.scale)
        self.killed: set[int] = set()

    def dead(self) -> list[int]:
        return list(self.killed)

    def note_end(self, number: int) -> str:
        self.killed.discard(number)
        return "was killed"


class _Transport(RedisTransport):
    def __init__(self, processes: _Processes, client: Client, run: RedisSchedule) -> None:
        super().__init__(processes, client, owned=False)
        self.run = run

    def start(self, number: int, pinned: int | None) -> None:
        self._let_in(number, str(number))
        self.run.enable(_Worker(self.run, number, pinned))

    def send(self, number: int, kind: str, content: Any) -> None:
        self.run.note("→", number, kind, content)
        super().send(number, kind, content)

    def _look_around(self, broker: Broker) -> None:
        self._next_look = self._next_far_look = 0.0
        for name in self.run.dead_guests:  # their time is over
            self.client.call("DEL", self.keys.alive(name))
        super()._look_around(broker)


class _Worker(SimulatedWorker):
    run: RedisSchedule

    def __init__(self, run: RedisSchedule, number: int, pinned: int | None) -> None:
        super().__init__(run, number, pinned)
        made, self.is_guest = run.transport, number >= GUEST
        self.name = f"guest{number}" if self.is_guest else str(number)
        known = None if self.is_guest else number
        self.line = RedisLine(
            made.address, made.run_id, run.flow.plan, self.name, known, looks=True
        )
        self.exchange = Exchange(self.line, run.flow.plan, pinned, Memory(0))
        run.lines.append(self.line)

    def _receive(self, wait: bool = False) -> tuple[str, Any] | None:
        if not wait and self.run.random.random() < 0.2:
            return None
        self.line._looked = 0.0
        try:
            found = self.exchange.receive(wait=False)
        except Stopped:
            raise WorkerStopped from None
        if found is None or isinstance(found, int):
            return None if found is None else ("ended", found)
        if isinstance(found, QueueLevels):
            return "told", (found.queue, [tuple(level) for level in found.levels])
        items = list(frames.loads(found.items.data).items())
        if found.key is not None:
            return "task", (found, found.queue, {}, items)
        return "private", (found.queue, found.levels, items)

    def _await(self) -> Generator[None, None, tuple[str, Any] | None]:
        yield
        if self.exchange._tells_idle and not self._has_message():
            self.line.send("idle", (self.exchange._received, not self.out.items))
        while not self._has_message():
            self.waits = True
            yield
        self.waits = False
        return self._receive(wait=True)

    def _has_message(self) -> bool:
        self.line._looked = 0.0
        return bool(self.exchange._inbox) or self.line.has_message()

    def _take_in(self) -> None:
        self.line._looked = 0.0
        self.exchange.take_in()

    def may_stream(self, writer: int | None = None) -> bool:
        return self.exchange.may_stream(writer)

    def _size(self, queue: Queue) -> int:
        heavy = queue[0] in self.run.flow.plan.heavy
        return 1 if heavy else self.exchange.batch_size(queue) or 1

    def send(self, kind: str, content: Any) -> None:
        self.run.note("worker", self.number, kind, content)
        if kind == "commit":
            task, parcel, items, seconds = content
            self.exchange.commit(task, self._packed(parcel), items, seconds)
        elif kind == "stream":
            writer, parcel = content
            self.exchange.stream(self._packed(parcel), writer)
        elif kind == "taken":
            self.exchange.taken(Task(None, (content, ""), Packed(b"")))
        elif kind == "end":
            self.exchange.end(content)
        else:
            self.exchange.report(kind, content)

    def _packed(self, parcel: Parcel) -> Parcel:
        """What is handed on, as exchanges have it."""
        batches, results = list[Lot](), list[Lot]()
        for lot in parcel.batches:
            run = self._run_of(lot.to, list(lot.data))
            batches.append(lot._replace(data=packed(run, [run])))
        for lot in parcel.results:
            runs = [self._run_of(slot, items) for slot, items in list(lot.data)]
            results.append(lot._replace(data=packed(runs, runs)))
        return Parcel(batches, results, parcel.levels)

    def _run_of(self, key: Queue | int, items: list[Any]) -> Run:
        if key not in self.run.marked:
            return Run(key, items, None)
        return Run(key, [item for _, item in items], [mark for mark, _ in items])


class _Sink:
    def __init__(self, flow: Flow, results: list[list[Item]]) -> None:
        self.flow, self.results = flow, results

    def take(self, pe: str, output: str) -> Callable[[Any], None]:
        return self.results[self.flow.plan.slots[pe, output]].append

    def close(self, complete: bool) -> None:
        """Nothing is held open."""


class RedisSchedule(Schedule):
    """One schedule, on a server."""

    command = "simulation_redis.py"

    def __init__(
        self, seed: int, address: Address, scheduler: Callable[..., Scheduler] = Scheduler
    ) -> None:
        super().__init__(seed, flow_of(seed // SCHEDULES_OF_A_FLOW))
        self.address, self.lines = address, list[RedisLine]()
        self.scale = Scale(self.flow.processes, self.flow.processes)
        self.scheduler = scheduler(self.flow.plan, self.scale, self.limits)
        self.marked = Outgoing(self.flow.plan).marked
        self.large = self.random.choice((1, 100, line.LARGE))
        self.dead_guests = list[str]()
        self.guests = self.random.choice((0, 1, 2)) if self.flow.plan.pool is not None else 0

    @property
    def failure(self) -> Exception | None:  # type: ignore[override]
        """Why it has failed, if it has."""
        return self.scheduler.failure

    def _run(self) -> None:
        job = Job(self.flow.graph, self.flow.inputs, _Sink(self.flow, self.results))
        self.processes = _Processes(job, self)
        client = Client(self.address)
        self.transport = _Transport(self.processes, client, self)
        with patch.object(line, "LARGE", self.large), closing(self.transport):
            self.transport.prepare()
            self.broker = Broker(job, self.flow.plan, self.scale, self.transport)
            self.broker.scheduler = self.scheduler
            try:
                self._go_round()
            except Disconnected as error:
                raise self._broken(str(error)) from error
            finally:
                self.broker.results.give_up()
                for opened in self.lines:
                    opened.close()

    def _go_round(self) -> None:
        self.broker._act()
        for number in range(self.guests):
            self.enable(_Worker(self, GUEST + number, None))
        chance, most, idle = self.random.random, 20000 + 2000 * self.flow.items, 0
        while not self.scheduler.is_over:
            self.steps += 1
            if self.steps > most:
                raise self._broken("it does not end")
            before = self.transport._last
            if chance() < 0.3 or idle:
                self.transport.receive(self.broker, 0)
                self.broker._act()
                idle = idle + 1 if self.transport._last == before and self._all_wait() else 0
                if idle > 3:
                    raise self._broken("nobody moves any more, and it has not ended")
            elif self.moving:
                self._step(self.random.choice(self.moving))
            else:
                idle = 1

    def _all_wait(self) -> bool:
        return all(
            worker.waits and not worker._has_message() and not worker.line._outgoing
            for worker in self.moving
        )

    def _step(self, worker: _Worker) -> None:
        chance = self.random.random
        if self.may_die and worker.pinned is None and chance() < 0.02:
            self.may_die -= 1
            self._lose(worker)
        elif worker.is_guest and chance() < 0.05:
            worker.line.beat()
        elif next(worker.moves, worker) is worker:
            self._disable(worker)
            self.processes.killed.discard(worker.number)

    def _lose(self, worker: _Worker) -> None:
        """A worker dies; or it is only held to be dead, and goes on."""
        self.note("worker", worker.number, "is lost")
        self.deaths["free"] += 1
        if worker.is_guest:
            if self.random.random() < 0.5:
                self.transport.client.call("DEL", self.transport.keys.alive(worker.name))
                return
            self.dead_guests.append(worker.name)
        else:
            self.processes.killed.add(worker.number)
        self._disable(worker)


def main() -> int:
    """Run the schedules that the command line names."""
    own = OwnServer()
    try:
        address = own.wait()
        return replay("Replay schedules on a server.", lambda seed, _: RedisSchedule(seed, address))
    finally:
        own.stop()


if __name__ == "__main__":
    sys.exit(main())
