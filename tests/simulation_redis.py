"""Schedules of the scripts on a Redis server: the same graphs, workers and promises as those of
the scheduler (``simulation_kit.py``), on a real server, but without processes.

Workers are simulated, their exchanges and the scripts are the real ones. One that waits moves again
when it is woken, not by the time: a wake-up that is lost is found.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
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

from d4pcwl.errors import WorkerDied
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.pool.exchange import (
    Lot,
    Packed,
    Parcel,
    Queue,
    Stopped,
    Task,
    Told,
    packed,
)
from d4pcwl.runtime.pool.scale import Scale
from d4pcwl.runtime.redis import exchange, scripts
from d4pcwl.runtime.redis.client import Address
from d4pcwl.runtime.redis.coordinator import Coordinator
from d4pcwl.runtime.redis.exchange import RedisExchange
from d4pcwl.runtime.redis.server import OwnServer
from d4pcwl.runtime.transport import frames
from d4pcwl.runtime.transport.outbox import Run


class _Exchange(RedisExchange):
    """An exchange that notes that it waits, and waits for nobody."""

    waits = False

    def _wait(self) -> None:
        self.waits = True

    def is_woken(self) -> bool:
        """Whether something has woken it."""
        key = self._key + "wake:" + self.name
        answer = self.client.call("XREAD", "STREAMS", key, self._woken)
        if answer:
            self._woken = answer[0][1][-1][0].decode()
        return bool(answer)


class _Worker(SimulatedWorker):
    run: RedisSchedule

    def __init__(self, run: RedisSchedule, number: int, pinned: int | None) -> None:
        super().__init__(run, number, pinned)
        made = run.coordinator
        self.name = f"p{pinned}" if pinned is not None else f"w{number}"
        run.client.call("SADD", made.key + "workers", self.name)
        self.exchange = _Exchange(made.address, made.run_id, made.plan, self.name, pinned)

    def _receive(self, wait: bool = False) -> tuple[str, Any] | None:
        if not wait and self.run.random.random() < 0.2:
            return None
        self.exchange._looked = 0.0
        try:
            found = self.exchange.receive(wait)
        except Stopped:
            raise WorkerStopped from None
        if found is None or isinstance(found, int):
            return None if found is None else ("ended", found)
        if isinstance(found, Told):
            return "told", (found.queue, [tuple(level) for level in found.levels])
        items = list(frames.loads(found.items.data).items())
        if found.key is not None:
            return "task", (found, found.queue, {}, items)
        return "private", (found.queue, items)

    def _await(self) -> Generator[None, None, tuple[str, Any] | None]:
        yield
        found = self._receive(wait=True)
        while self.exchange.waits:
            yield
        return found

    def may_stream(self, writer: int | None = None) -> bool:
        return self.exchange.may_stream(writer)

    def _flush(self) -> None:
        if not self.may_stream():
            self.exchange.look()
        super()._flush()

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
    """One schedule, with a plan that puts no PE of a cycle into the pool."""

    command = "simulation_redis.py"

    def __init__(self, seed: int, address: Address) -> None:
        super().__init__(seed, flow_of(seed // SCHEDULES_OF_A_FLOW, loops=False))
        self.address = address
        self.failure: Exception | None = None
        self.numbers = 0
        self.marked = Outgoing(self.flow.plan).marked

    def _run(self) -> None:
        job = Job(self.flow.graph, self.flow.inputs, _Sink(self.flow, self.results))
        with (
            patch.object(exchange, "QUEUE_BATCHES", self.limits.batches),
            patch.object(exchange, "queue_bytes", lambda lanes: 10 * self.limits.bytes),
            patch.object(scripts, "MOST_AHEAD_BYTES", self.limits.ahead),
        ):
            number = self.flow.processes
            self.coordinator = made = Coordinator(
                job, self.flow.plan, Scale(number, number), self.address
            )
            self.client = made.client
            made.keys.prepare(self.client, job)
            try:
                self._start_all(number)
                self._go_round()
            finally:
                for worker in self.moving:
                    worker.exchange.close()
                made.keys.clear_up()
                made.results.give_up()
                made.client.close()
                made.lock.close()

    def _start_all(self, number: int) -> None:
        plan = self.flow.plan
        pinned = [n for n in range(len(plan.processes)) if n != plan.pool]
        for _ in range(max(0, number - len(pinned)) if plan.pool is not None else 0):
            self._start(None)
        for process in pinned:
            self._start(process)

    def _start(self, pinned: int | None) -> None:
        self.enable(_Worker(self, self.numbers, pinned))
        self.numbers += 1

    def _go_round(self) -> None:
        """Move workers until all have been let go."""
        chance, most = self.random.random, 20000 + 2000 * self.flow.items
        while self.moving and self.failure is None:
            self.steps += 1
            if self.steps > most:
                raise self._broken("it does not end")
            worker = self.random.choice(self.moving)
            if self.may_die and worker.pinned is None and chance() < 0.02:
                self.may_die -= 1
                self._lose(worker)
            elif worker.exchange.waits:
                self._wake()
            elif next(worker.moves, worker) is worker:
                self._disable(worker)
                worker.exchange.close()
            if chance() < 0.2:
                self.coordinator._take(0)
        while self.coordinator._take(0):
            pass
        if self.failure is None and not self.coordinator.over:
            raise self._broken("all workers have ended before the run")

    def _wake(self) -> None:
        """Let those move on that have been woken."""
        waiting = [worker for worker in self.moving if worker.exchange.waits]
        woken = [worker for worker in waiting if worker.exchange.is_woken()]
        waits = len(waiting) == len(self.moving)
        if waits and not woken and not self.coordinator._take(0):
            raise self._broken("all wait, nobody is woken, and it has not ended")
        for worker in woken:
            worker.exchange.waits = False

    def _lose(self, worker: _Worker) -> None:
        """A worker dies; or it is only held to be dead, and goes on."""
        self.note("worker", worker.number, "is lost")
        self.deaths["free"] += 1
        try:
            self.coordinator.workers.reassign(worker.name, "it was killed")
        except WorkerDied as error:
            self.failure = error
            return
        if self.random.random() < 0.5:
            self._disable(worker)
            worker.exchange.close()
            self._start(None)
        else:
            self.client.call("SADD", self.coordinator.key + "workers", worker.name)
            worker.exchange.waits = False  # after a while it looks by itself


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
