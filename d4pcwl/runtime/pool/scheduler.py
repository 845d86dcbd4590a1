"""The rules for distributing the work of a pool of workers: events come in, messages go out.

A :class:`Scheduler` knows no process, no pipe and no clock, and never looks into a batch. It knows
only the queue of a batch, its number of items and its size. The code that runs it passes on
messages of workers (:meth:`Scheduler.hear`), reports that a worker has joined by itself
(:meth:`Scheduler.join`) or has died (:meth:`Scheduler.lost`), asks what is done next
(:meth:`Scheduler.decide`), and moves the bytes. So the rules can be tested without any of these.

It remembers each task until its commit comes. When a worker dies, its tasks go back to the head of
their queues, and another worker is started. The run ends only if instances were pinned to that
worker that had not ended.

A worker gets a task when it has nothing else to do. It gets a second task in advance only if both
are fast: a slow task would wait behind another one, while another worker may have nothing to do.

For a snapshot of the run (:meth:`Scheduler.pause`) the sources wait, and pinned instances get
nothing more. When they have finished what they had, their workers report their states. Meanwhile
the pool continues: its tasks have an effect only when their commit comes. So a snapshot has the
states of pinned instances, the batches that wait, and the batches of all tasks that are not done,
which are done again after a resume.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

from d4pcwl.errors import D4pcwlError, WorkerDied
from d4pcwl.runtime.checkpoint.kept import Snapshot
from d4pcwl.runtime.engine.marks import NO_MORE, RESULTS, Level
from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.pool.exchange import WINDOW, Lot, Parcel, Queue
from d4pcwl.runtime.pool.known_workers import KnownWorker, Pause
from d4pcwl.runtime.pool.queues import Batch, Limits, Queues
from d4pcwl.runtime.pool.scale import ATTEMPTS, Scale
from d4pcwl.runtime.pool.ways import PoolOrder

PARENT = -1
"""Used as the number of a worker, for the process that runs the scheduler."""


class Message(NamedTuple):
    """A message: what must be done. To a worker: ``task`` (number, queue, sizes, data), ``private``
    (queue, levels after it, data), ``told`` (queue, levels), ``ended`` (instance), ``go`` (writer,
    parcels, sizes),
    ``pause`` (its sources wait), ``keep`` (it says what its instances keep), ``proceed`` (its
    sources go on) and ``stop``. To the :data:`PARENT`: ``start`` (worker, process that is pinned to
    it or None), ``results`` (data), ``levels`` of what results come from, behind those,
    ``snapshot`` (by process, what it keeps; batches) and ``event`` (what, text, number).
    """

    to: int
    kind: str
    content: Any


class Scheduler:
    """See the module.

    :param scale: how many workers there are
    :param limits: the most that queues, and receivers that put items in order, may hold
    :param paces: by PE id, seconds for one item, if a run is known
    :param begun: what the run goes on with, if it is resumed

    ``failure`` is the reason why the run cannot go on; ``counts`` has the number of items of each
    instance.
    """

    def __init__(
        self,
        plan: Plan,
        scale: Scale,
        limits: Limits | None = None,
        paces: Mapping[str, float] | None = None,
        begun: Snapshot | None = None,
    ) -> None:
        self.plan, self.scale = plan, scale
        limits = limits or Limits.of(plan)
        self.order = PoolOrder(plan, limits.ahead)
        self.queues = Queues(plan, limits, paces)
        self.pool = self.queues.pool
        self.workers: dict[int, KnownWorker] = {}
        self.ended: set[int] = set()
        self.failure: D4pcwlError | None = None
        self.counts: dict[int, int] = {}
        self._host: dict[int, KnownWorker] = {}
        self._pinned: dict[int, KnownWorker] = {}  # workers to which something is pinned
        self._guests = 0
        self._pause: Pause | None = None
        self._is_pause_due = False
        self._ahead: list[tuple[KnownWorker, int | None]] = []  # of the queues, by the last pause
        # The others that stay, by how many tasks they have.
        self._free: tuple[dict[int, KnownWorker], ...] = tuple({} for _ in range(WINDOW + 1))
        self._owing: dict[int, KnownWorker] = {}
        self._awaited = [set(senders) for senders in plan.upstream]
        self._may_end = set(self.pool)
        self._loops = _pooled_loops(plan, self.pool)
        self._names, self._tasks = count(), count()
        self._out: list[Message] = []
        pinned = [number for number in range(len(plan.processes)) if number != plan.pool]
        for number in pinned:
            self._start(number)
        for _ in range(max(0, scale.first - len(pinned)) if self.pool else 0):
            self._start(None)
        if begun is not None:
            self._deliver(Parcel(list(begun.queued)))
            for index in begun.ended:
                self._end(index)

    # --- events ---------------------------------------------------------------------------------

    def hear(self, number: int, kind: str, content: Any) -> None:
        """Take a message of a worker.

        :param kind: and content: ``commit`` (task, parcel, items worked on, seconds), ``stream``
            (writer, parcel), ``taken`` (instance that has finished a private batch), ``idle``
            (messages that it has had, whether nothing is left with it), ``end`` (instance),
            ``kept`` (what its instances keep), ``failed`` (error) and ``done`` (by instance, items
            taken)
        """
        worker = self.workers[number]
        if kind == "commit":
            task, parcel, items, seconds = content
            self._leave_place(worker)
            batch = worker.tasks.pop(task)
            worker.has_written = False
            self._take_place(worker)
            self._commit(batch, parcel, items, seconds)
        elif kind == "stream":
            writer, parcel = content
            worker.has_written = worker.pinned is None
            worker.owed.setdefault(writer, []).append({lot.to for lot in parcel.batches})
            self._owing[number] = worker
            self._deliver(parcel)
        elif kind == "idle":
            worker.waits_after, worker.settled = content
        elif kind == "taken":
            worker.in_hand[content] -= 1
        elif kind == "end":
            self._end(content)
        elif kind == "kept":
            assert self._pause is not None
            self._pause.note(worker, content)
        elif kind == "failed":
            self.failure = self.failure or content
        elif kind == "done":
            for index, items in content.items():
                self.counts[index] = self.counts.get(index, 0) + items

    def join(self) -> int:
        """Take a worker that joins by itself, and that nothing replaces if it dies.

        :returns: its number
        """
        self._guests += 1
        return self._add(None, guest=True).number

    def lost(self, number: int, how: str) -> None:
        """Note that a worker has ended, properly or not.

        :param how: how it ended, for messages
        """
        worker = self.workers.pop(number)
        self._leave_place(worker)
        self._owing.pop(number, None)
        self._pinned.pop(number, None)
        self._guests -= worker.guest
        if self._pause is not None:
            self._pause.forget(number)
        if worker.leaving or self._all_ended or self.failure is not None:
            return
        held = [i for i, host in self._host.items() if host is worker and i not in self.ended]
        if held:
            names = ", ".join(sorted(set(map(self.plan.name, held))))
            self.failure = WorkerDied(
                f"the worker process that held the state of {names} {how}; what it held cannot be "
                "recovered"
            )
            return
        for batch in reversed(worker.tasks.values()):
            if batch.attempts + 1 >= ATTEMPTS:
                pe = self.plan.name(batch.queue[0])
                self.failure = WorkerDied(
                    f"PE {pe}: {ATTEMPTS} worker processes died over the same items; the last one "
                    f"{how}"
                )
                return
            self.queues.put_back(replace(batch, attempts=batch.attempts + 1))
        if count := len(worker.tasks):
            how += (
                f"; its {count} tasks go to others" if count > 1 else "; its task goes to another"
            )
        self._say("death", f"a worker {how}")
        if not worker.guest:
            self._start(None)

    def pause(self) -> None:
        """Have the sources wait, for a snapshot, if they do not do so already. If the run ends
        first, there is none. In a pause, all that was written is sent, also to full queues; so the
        next pause begins when there has been room in these again."""
        self._is_pause_due = self._pause is None

    def decide(self, now: float) -> list[Message]:
        """Decide what is done now.

        :param now: the time in seconds, from any start
        """
        if self.failure is None:
            self._settle()
            if self._all_ended:
                for worker in self.workers.values():
                    self._let_go(worker)
            else:
                if self._pause is None:
                    self._look_for_pause()
                self._share_out()
                self._scale_up()
                self._scale_down(now)
                if self._pause is not None:
                    self._take_snapshot(self._pause)
        out, self._out = self._out, []
        return out

    @property
    def is_over(self) -> bool:
        """Whether all work is done and all workers have ended, or the run has failed."""
        return self.failure is not None or (self._all_ended and not self.workers)

    @property
    def _all_ended(self) -> bool:
        return len(self.ended) == len(self.plan.instances)

    # --- what workers have written --------------------------------------------------------------

    def _commit(self, batch: Batch, parcel: Parcel, items: int, seconds: float) -> None:
        """Note that a task is done, and take its outputs."""
        self.queues.done(batch, items, seconds)
        self._may_end.add(batch.queue[0])
        self._deliver(parcel)
        if batch.lows:
            self.order.done(batch.queue[0], batch.lows)
            self._tell_order([batch.queue[0]])

    def _deliver(self, parcel: Parcel) -> None:
        for queue, items, data, lows in parcel.batches:
            self.queues.put(Batch(queue, items, data, lows))
            if queue[0] in self.pool:
                self.order.put(queue[0], lows)
            else:
                self.order.deliver(queue, lows, items, len(data))
        for first, items, data, lows in parcel.results:
            if lows:
                sender = self.plan.of(self.plan.results[first][0])[0].index
                self.order.deliver((sender, ""), lows, items, len(data))
            self._send(PARENT, "results", data)
        if parcel.levels:
            self._note_levels(parcel.levels)

    def _note_levels(self, levels: Sequence[Level]) -> None:
        """Note the levels of pinned instances, and tell the receivers that put their items in
        order."""
        self.order.note(levels)
        by_instance: dict[int, list[Level]] = {}
        for level in levels:
            by_instance.setdefault(level[0], []).append(level)
        for index, told in by_instance.items():
            for queue in self.plan.marked_after.get(index, ()):
                if queue[0] not in self.pool:
                    self.queues.tell(queue, told)
        self._send(PARENT, "levels", levels)
        self._tell_order(by_instance)

    def _tell_order(self, changed: Iterable[int]) -> None:
        """Tell the receivers that put items of the pool in order the levels of the pool."""
        for (index, name), levels in self.order.new_levels(changed):
            if name:
                self.queues.tell((index, name), levels)
            else:
                self._send(PARENT, "levels", levels)

    # --- the end --------------------------------------------------------------------------------

    def _end(self, index: int) -> None:
        self.ended.add(index)
        if self.plan.order and index not in self.pool:
            origins = self.plan.origins_of(index)
            self._note_levels([(index, origin, NO_MORE) for origin in origins])
        for target in self.plan.downstream[index]:
            self._awaited[target].discard(index)
            if target in self.pool:
                self._may_end.add(target)
            else:
                self._host[target].ended_to_tell[index] = None

    def _settle(self) -> None:
        """End the pooled PEs that no item can reach any more."""
        while self._may_end:
            index = self._may_end.pop()
            if index not in self.ended and not self._awaited[index] and self.queues.is_idle(index):
                self._end(index)
        for loop in [loop for loop in self._loops if self._has_run_out(loop)]:
            self._loops.remove(loop)
            for index in loop & self.pool:
                self._end(index)

    def _has_run_out(self, loop: frozenset[int]) -> bool:
        """Whether no item comes into a cycle any more, and none is inside it."""
        if any(self._awaited[index] - loop for index in loop) or self.queues.waits_for(loop):
            return False
        hosts = {self._host[index].number: self._host[index] for index in loop - self.pool}
        return all(self.queues.is_idle(index) for index in loop & self.pool) and all(
            host.settled and host.waits for host in hosts.values()
        )

    # --- sharing out ----------------------------------------------------------------------------

    def _share_out(self) -> None:
        for worker in self._pinned.values() if self._pause is None else ():
            assert worker.pinned is not None
            self._give_private(worker, worker.pinned)
        for worker in list(self._owing.values()):
            for writer, parcels in list(worker.owed.items()):
                must_wait = self._must_wait(worker, writer)
                if must_wait and self._pause is not None:  # who must give it room may wait
                    self._ahead.append((worker, writer))
                if not must_wait or self._pause is not None:
                    sizes = self.queues.sizes(set().union(*parcels))
                    self._send(worker.number, "go", (writer, len(parcels), sizes))
                    del worker.owed[writer]
            if not worker.owed:
                del self._owing[worker.number]
        self._give_tasks()

    def _must_wait(self, worker: KnownWorker, writer: int | None) -> bool:
        if writer == RESULTS:
            return False
        if writer is not None:
            return self.queues.full_after(writer) or self.order.is_far_ahead((writer,))
        return worker.pinned is not None and (
            self.queues.full_after_process(worker.pinned)
            or self.order.is_far_ahead(self.plan.processes[worker.pinned])
        )

    def _give_private(self, worker: KnownWorker, process: int) -> None:
        """Send a worker the batches for its pinned instances, then which senders have ended."""
        for queue in self.queues.of(process):
            while self.queues.has(queue) and worker.in_hand.get(queue[0], 0) < WINDOW:
                batch = self.queues.take(queue)
                if batch.levels:
                    self._send(worker.number, "told", (queue, batch.levels))
                    continue
                worker.in_hand[queue[0]] = worker.in_hand.get(queue[0], 0) + 1
                levels = self.queues.take_levels(queue)
                self._send(worker.number, "private", (queue, levels, batch.data))
        if worker.ended_to_tell and not self.queues.of(process):
            for index in worker.ended_to_tell:
                self._send(worker.number, "ended", index)
            worker.ended_to_tell.clear()

    def _give_tasks(self) -> None:
        """Give out tasks in rounds: each worker gets one task before any gets a second one. Heavy
        items do not go to workers with pinned PEs, which would have to wait.
        """
        if self.queues.next() is None or (self._pause is not None and self._pause.answered):
            return
        alone = len(self._pinned) == len(self.workers)
        for round_ in range(WINDOW):
            # Workers without pinned PEs come first.
            for worker in [*self._free[round_].values(), *self._pinned.values()]:
                queue = self.queues.next(heavy=worker.pinned is None or alone)
                if queue is None or (round_ and not self.queues.is_quick(queue)):
                    break
                if self._has_time(worker):
                    self._give_task(worker, queue)

    def _give_task(self, worker: KnownWorker, queue: Queue) -> None:
        batch, number = self.queues.take(queue), next(self._tasks)
        self._leave_place(worker)
        worker.tasks[number] = batch
        self._take_place(worker)
        sizes = self.queues.sizes_after(queue[0])
        self._send(worker.number, "task", (number, queue, sizes, batch.data))

    def _take_place(self, worker: KnownWorker) -> None:
        """Put a worker behind the others with the same number of tasks."""
        if worker.pinned is None and not worker.leaving:
            self._free[len(worker.tasks)][worker.number] = worker

    def _leave_place(self, worker: KnownWorker) -> None:
        self._free[len(worker.tasks)].pop(worker.number, None)

    def _has_time(self, worker: KnownWorker) -> bool:
        """Whether a worker can take a task, or another one in advance."""
        if worker.pinned is not None:
            return not worker.tasks and worker.waits and self._pause is None
        in_hand = worker.tasks.values()
        return all(self.queues.is_quick(batch.queue) for batch in in_hand)

    # --- snapshots ------------------------------------------------------------------------------

    def _look_for_pause(self) -> None:
        """Begin a pause that is due, if there was room again for all that the last one let in."""
        self._ahead = [who for who in self._ahead if self._must_wait(*who)]
        if self._is_pause_due and not self._ahead:
            self._pause, self._is_pause_due = Pause(), False

    def _take_snapshot(self, pause: Pause) -> None:
        """Go on with a snapshot, as far as that is possible now."""
        if not pause.begun:
            pause.begun = True
            self._tell_pinned("pause")
        elif pause.asked is None and self._is_quiet:
            pause.asked = set(self._pinned)
            self._tell_pinned("keep")
        elif pause.answered and not any(worker.has_written for worker in self.workers.values()):
            self._pause = None
            self._send(PARENT, "snapshot", (pause.kept, self._queued()))
            self._tell_pinned("proceed")

    def _tell_pinned(self, kind: str) -> None:
        for number in self._pinned:
            self._send(number, kind, None)

    @property
    def _is_quiet(self) -> bool:
        """Whether pinned instances have nothing left."""
        return all(worker.waits and worker.settled for worker in self._pinned.values())

    def _queued(self) -> list[Lot]:
        """All batches that are to be worked on, the tasks of workers first."""
        tasks = dict[int, Batch]()
        for worker in self.workers.values():
            tasks |= worker.tasks
        batches = [*(tasks[number] for number in sorted(tasks)), *self.queues.batches]
        return [Lot(batch.queue, batch.items, batch.data, batch.lows) for batch in batches]

    # --- workers --------------------------------------------------------------------------------

    def _start(self, pinned: int | None) -> None:
        worker = self._add(pinned)
        if pinned is not None:
            self._pinned[worker.number] = worker
            self._host.update(dict.fromkeys(self.plan.processes[pinned], worker))
        self._send(PARENT, "start", (worker.number, pinned))

    def _add(self, pinned: int | None, guest: bool = False) -> KnownWorker:
        worker = KnownWorker(next(self._names), pinned, guest)
        self.workers[worker.number] = worker
        self._take_place(worker)
        return worker

    def _scale_up(self) -> None:
        """Start a worker if more batches wait than the present workers can take soon."""
        waiting = self.queues.pooled_batches()
        if not waiting or len(self.workers) - self._guests >= self.scale.most:
            return
        staying = self._staying
        if self.queues.heavy_waits() or waiting >= self.scale.threshold * staying:
            why = f"scale up to {staying + 1} workers: {waiting} batches wait"
            self._say("scale", why, staying + 1)
            self._start(None)

    def _scale_down(self, now: float) -> None:
        """Stop a worker that had nothing to do for a while."""
        if self.scale.least == self.scale.most:
            return
        staying = self._staying
        for worker in self.workers.values():
            if worker.tasks or worker.pinned is not None or worker.leaving or worker.guest:
                worker.idle_since = None
            elif worker.idle_since is None:
                worker.idle_since = now
            elif now - worker.idle_since > self.scale.idle_seconds and staying > self.scale.least:
                self._say(
                    "scale",
                    f"scale down to {staying - 1} workers: one was idle for "
                    f"{now - worker.idle_since:.1f} s",
                    staying - 1,
                )
                self._let_go(worker)
                return

    @property
    def _staying(self) -> int:
        return len(self._pinned) + sum(map(len, self._free)) - self._guests

    def _let_go(self, worker: KnownWorker) -> None:
        if not worker.leaving:
            worker.leaving = True
            self._leave_place(worker)
            self._send(worker.number, "stop", None)

    def _send(self, to: int, kind: str, content: Any) -> None:
        if to != PARENT:
            self.workers[to].sent += 1
        self._out.append(Message(to, kind, content))

    def _say(self, what: str, text: str, number: int | None = None) -> None:
        self._send(PARENT, "event", (what, text, number))


def _pooled_loops(plan: Plan, pool: frozenset[int]) -> list[frozenset[int]]:
    """The cycles, as indices of instances, of which some are pooled: they end together."""
    loops = [frozenset(i.index for i in plan.instances if i.pe in cycle) for cycle in plan.cycles]
    return [loop for loop in loops if loop & pool]
