"""The parent's control of the workers of a run through a Redis server.

It forks the workers of this machine, notices which have died, gives their tasks to others, and
starts or stops workers as needed. Workers of other hosts join by themselves; it checks their
heartbeats.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from multiprocessing.process import BaseProcess

from d4pcwl.errors import WorkerDied
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.local.processes import end, release, signals_held_back, start
from d4pcwl.runtime.local.reports import cause_of_death
from d4pcwl.runtime.pool.scale import ATTEMPTS, Scale
from d4pcwl.runtime.redis.client import Client
from d4pcwl.runtime.redis.keys import RunKeys
from d4pcwl.runtime.redis.scripts import TTL_SECONDS
from d4pcwl.runtime.redis.worker import Post, work
from d4pcwl.runtime.transport.arena import lowest_free


@dataclass
class LocalWorker:
    """A worker process of this machine."""

    name: str
    pinned: int | None
    process: BaseProcess
    arena: int
    reported: bool = False
    leaving: bool = False
    idle_since: float | None = None

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return not self.process.is_alive()


class Workers:
    """The workers: ``local`` has those of this machine by name, ``remote`` the names of the others.

    :param post: makes the work of a worker: from its name, its pinned process or None, and the
        number of its part of the shared memory
    """

    def __init__(
        self,
        job: Job,
        plan: Plan,
        scale: Scale,
        client: Client,
        keys: RunKeys,
        post: Callable[[str, int | None, int], Post],
    ) -> None:
        self.local: dict[str, LocalWorker] = {}
        self.remote: set[str] = set()
        self._job, self._plan, self._scale = job, plan, scale
        self._client, self._scripts, self._key = client, keys.scripts, keys.prefix
        self._post = post
        self._pool = plan.processes[plan.pool] if plan.pool is not None else ()
        self._numbers = count()

    def start_all(self) -> None:
        """Start the workers that a run begins with.

        Workers of the pool come first: the others leave heavy items to them.
        """
        pinned = [n for n in range(len(self._plan.processes)) if n != self._plan.pool]
        if self._pool:
            for _ in range(max(0, self._scale.first - len(pinned))):
                self._start(None)
        for number in pinned:
            self._start(number)

    def _start(self, pinned: int | None) -> None:
        name = f"p{pinned}" if pinned is not None else f"w{next(self._numbers)}"
        key = self._key + "workers"
        self._client.calls([("SADD", key, name), ("EXPIRE", key, TTL_SECONDS)])
        arena = lowest_free(worker.arena for worker in self.local.values())
        with signals_held_back():
            process = start(work, self._post(name, pinned, arena))
            self.local[name] = LocalWorker(name, pinned, process, arena)

    def end(self) -> None:
        """End all processes."""
        end([worker.process for worker in self.local.values()])
        self.local.clear()

    # --- who is there ---------------------------------------------------------------------------

    def note_death(self, worker: LocalWorker) -> None:
        """Handle the end of a worker's process, properly or not.

        :raises WorkerDied: what it held cannot be recovered
        """
        worker.process.join()
        code = worker.process.exitcode
        release(worker.process)
        del self.local[worker.name]
        if worker.leaving and worker.reported:
            return
        if worker.pinned is not None:
            ended = {int(i) for i in self._client.call("SMEMBERS", self._key + "ended")}
            held = [i for i in self._plan.processes[worker.pinned] if i not in ended]
            if held:
                names = ", ".join(sorted(set(map(self._plan.name, held))))
                raise WorkerDied(
                    f"the worker process that held the state of {names} {cause_of_death(code)}; "
                    "what it held cannot be recovered"
                )
        self.reassign(worker.name, f"a worker {cause_of_death(code)}")
        if self._pool:
            self._start(None)

    def reassign(self, name: str, how: str) -> None:
        """Give a dead worker's tasks to others.

        :raises WorkerDied: several workers died over them
        """
        answer = self._scripts.call(self._client, "reassign", name, ATTEMPTS, *self._pool)
        if answer[0] == b"worn":
            pe = self._plan.name(int(answer[1]))
            raise WorkerDied(
                f"PE {pe}: {ATTEMPTS} worker processes died over the same items; the last one: "
                f"{how}"
            )
        if answer[0] == b"on":
            self._tell("death", f"{how}; its {answer[1]} tasks go to others")

    def _tell(self, what: str, text: str, number: int | None = None) -> None:
        self._job.say(text)
        self._job.note(what, text, number)

    def look_for_remote(self) -> None:
        """Find workers of other hosts that have joined, and those that send no heartbeat any more.

        :raises WorkerDied: as :meth:`reassign`
        """
        found = {name.decode() for name in self._client.call("SMEMBERS", self._key + "remote")}
        for name in sorted(found - self.remote):
            self._job.say(f"worker {name} has joined")
        for name in sorted(self.remote - found):
            self._job.say(f"worker {name} has left")
        self.remote = found
        for name in sorted(found):
            if not self._client.call("EXISTS", f"{self._key}alive:{name}"):
                self.reassign(name, f"worker {name} sent no heartbeat")
                self.remote.discard(name)

    # --- how many are there ---------------------------------------------------------------------

    def fit(self) -> None:
        """Start a worker if more batches wait than the present workers can take soon; stop one that
        had nothing to do for a while."""
        if self._scale.least == self._scale.most:
            return
        lanes, idle = self._client.calls(
            [("HGETALL", self._key + "fresh"), ("ZRANGE", self._key + "idle", 0, -1)]
        )
        fresh = dict(zip(lanes[::2], map(int, lanes[1::2]), strict=True))
        waiting = sum(fresh.values())
        heavy_waits = any(fresh.get(str(lane).encode()) for lane in self._plan.heavy)
        working = [worker for worker in self.local.values() if not worker.leaving]
        may_grow = bool(self._pool) and len(working) < self._scale.most
        enough = heavy_waits or waiting >= self._scale.threshold * len(working)
        if may_grow and enough:
            why = f"scale up to {len(working) + 1} workers: {waiting} batches wait"
            self._tell("scale", why, len(working) + 1)
            self._start(None)
            return
        names = {name.decode() for name in idle}
        for worker in working:
            if worker.name not in names or worker.pinned is not None:
                worker.idle_since = None
            elif worker.idle_since is None:
                worker.idle_since = time.monotonic()
            elif len(working) > self._scale.least:
                seconds = time.monotonic() - worker.idle_since
                if seconds > self._scale.idle_seconds:
                    self._tell(
                        "scale",
                        f"scale down to {len(working) - 1} workers: one was idle for "
                        f"{seconds:.1f} s",
                        len(working) - 1,
                    )
                    self._let_go(worker)
                    return

    def _let_go(self, worker: LocalWorker) -> None:
        worker.leaving = True
        wake, leaving = self._key + "wake:" + worker.name, self._key + "leaving"
        self._client.calls(
            [
                ("SADD", leaving, worker.name),
                ("EXPIRE", leaving, TTL_SECONDS),
                ("XADD", wake, "MAXLEN", 1, "*", "r", 1),
                ("EXPIRE", wake, TTL_SECONDS),
            ]
        )
