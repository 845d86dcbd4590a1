"""``multi``: the processes of the plan as processes of this machine, joined by pipes.

The parent starts one worker process for each process of the plan and from then on only watches:
it takes the results, and it notices a failure, a dead worker, and an interrupt, on which it stops
all workers. Workers are forked, so that PEs and items need no more than the pipes to be pickled.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterable
from multiprocessing.process import BaseProcess
from typing import Any

from d4pcwl.errors import D4pcwlError, PEError, UsageError, WorkerDied
from d4pcwl.runtime import wire
from d4pcwl.runtime.channel import Channel, Disconnected, Flusher, Pipe
from d4pcwl.runtime.console import LineLock, LineWriter
from d4pcwl.runtime.instance import Halt, Receive
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.plan import Plan
from d4pcwl.runtime.worker import Worker

_GRACE_SECONDS = 1.0
_WATCH = -1
"""The number of the watching parent, among the numbers of processes."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Upstream's options."""
    parser.add_argument(
        "-n",
        "--num",
        type=int,
        metavar="PROCESSES",
        help="number of processes (default: the usable cores); any number will do: PEs share "
        "processes, or are replicated, to fit",
    )
    parser.add_argument(
        "-s",
        "--simple",
        action="store_true",
        help="fuse PEs into the graph's partitions, or into roots and the rest",
    )


def run(job: Job) -> None:
    """Run the job.

    :raises RunError: a PE failed, or a worker died
    :raises UsageError: this system cannot fork
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise UsageError("the mapping multi needs a system that can fork; use simple")
    plan = job.plan()
    job.say(str(plan))
    _Watch(job, plan).run()


def _joined(plan: Plan) -> set[tuple[int, int]]:
    """The pairs of different processes, sender and receiver, that items go between."""
    pairs = {
        (plan.instances[sender].process, receiver.process)
        for receiver in plan.instances
        for sender in plan.upstream[receiver.index]
    }
    return {(sender, receiver) for sender, receiver in pairs if sender != receiver}


class _Watch:
    """The parent's side."""

    def __init__(self, job: Job, plan: Plan) -> None:
        self.job, self.plan = job, plan
        self.takers = [job.sink.take(pe, output) for pe, output in plan.results]
        self.failure: D4pcwlError | None = None
        self.counts: dict[int, int] = {}

    def run(self) -> None:
        processes = range(len(self.plan.processes))
        pipes = {pair: Pipe() for pair in sorted(_joined(self.plan))}
        pipes.update({(number, _WATCH): Pipe() for number in processes})
        context = multiprocessing.get_context("fork")
        workers: list[BaseProcess] = []
        sys.stdout.flush()
        sys.stderr.flush()
        lock = LineLock()
        try:
            gc.freeze()  # what exists now is not copied page by page when workers collect garbage
            for number in processes:
                worker = context.Process(
                    target=_work, args=(self.job, self.plan, number, pipes, lock)
                )
                with warnings.catch_warnings():
                    # Python warns of forks beside threads; those of numerical libraries are idle.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    worker.start()
                workers.append(worker)
            gc.unfreeze()
            for pair, pipe in pipes.items():
                pipe.close(keep_read=pair[1] == _WATCH)
            self._watch(workers, [pipes[number, _WATCH].read_fd for number in processes])
        finally:
            _stop(workers)
            for pipe in pipes.values():
                pipe.close()
            lock.close()
        if self.failure is not None:
            raise self.failure
        for index, count in sorted(self.counts.items()):
            self.job.say(f"{self.plan.instances[index].pe} (rank {index}): processed {count} items")

    def _watch(self, workers: list[BaseProcess], fds: list[int]) -> None:
        """Take results and reports until all workers have reported, or one has failed."""
        number_of = dict(zip(fds, range(len(fds)), strict=True))
        open_fds, lost = set(fds), []
        while open_fds and self.failure is None:
            ready = _readable(open_fds, _GRACE_SECONDS)
            if not ready:
                self.job.check()
                # A process that a PE started may hold its dead worker's pipe open.
                dead = [fd for fd in open_fds if not workers[number_of[fd]].is_alive()]
                for fd in set(dead) - set(_readable(dead, 0)):
                    self._mourn(workers[number_of[fd]], number_of[fd])
            for fd in ready:
                try:
                    kind, content = wire.read_frame(fd)
                except (EOFError, ConnectionError):
                    # A worker's pipe closes when it has ended, however that came.
                    open_fds.discard(fd)
                    self._mourn(workers[number_of[fd]], number_of[fd])
                    break
                if kind == "items":
                    self._take(content)
                    continue
                open_fds.discard(fd)
                if kind == "done":
                    self.counts.update(content)
                elif kind == "failed":
                    self.failure = content
                    break
                else:  # "lost": somebody else has died, and will be found dead
                    lost.append(number_of[fd])
        if lost and self.failure is None:
            self.failure = WorkerDied(f"worker process {lost[0]} lost those that it was joined to")
        if self.failure is not None:
            for worker in workers:
                worker.terminate()
            self._take_the_rest(open_fds)

    def _take(self, runs: list[tuple[int, list[Any]]]) -> None:
        for slot, items in runs:
            take = self.takers[slot]
            for item in items:
                take(item)

    def _take_the_rest(self, open_fds: set[int]) -> None:
        """Take the results that were under way when the run failed: they are kept."""
        deadline = time.monotonic() + _GRACE_SECONDS
        while open_fds and time.monotonic() < deadline:
            for fd in _readable(open_fds, _GRACE_SECONDS):
                try:
                    kind, content = wire.read_frame(fd)
                except (EOFError, ConnectionError):
                    open_fds.discard(fd)
                    continue
                if kind == "items":
                    self._take(content)

    def _mourn(self, worker: BaseProcess, number: int) -> None:
        """A worker has ended without a report: that is a failure."""
        worker.join(_GRACE_SECONDS)
        code = worker.exitcode
        if code is not None and code < 0:
            how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
            how += " - out of memory?" if code == -signal.SIGKILL else ""
        else:
            how = f"exited with code {code}"
        names = ", ".join(self.plan.instances[i].pe for i in self.plan.processes[number])
        self.failure = WorkerDied(
            f"the worker process of {names} {how}; items that it held are lost"
        )


def _readable(fds: Iterable[int], timeout: float | None = None) -> list[int]:
    return [fd for fd in multiprocessing.connection.wait(list(fds), timeout) if isinstance(fd, int)]


def _stop(workers: list[BaseProcess]) -> None:
    """End those workers that have not ended."""
    for worker in workers:
        if worker.is_alive():
            worker.terminate()
    deadline = _GRACE_SECONDS
    for worker in workers:
        worker.join(deadline)
        if worker.is_alive():
            deadline = 0.1
            worker.kill()
            worker.join()
        # A thread that starts processes of its own may be reaping ours at this very moment.
        with contextlib.suppress(ValueError):
            worker.close()


# --- in the worker process ------------------------------------------------------------------------


class _Terminated(BaseException):
    """The parent told this worker to end."""


class _Pipes:
    """A worker's link: channels to the processes that it sends to, and to the parent."""

    def __init__(self, plan: Plan, number: int, pipes: dict[tuple[int, int], Pipe]) -> None:
        self.plan, self.number = plan, number
        self.channels: dict[int, Channel] = {}
        self.in_fds: dict[int, int] = {}  # each with the process that sends there
        self.slots = _slots(plan)
        names = [f"{pe}.{output}" for pe, output, _, _ in self.slots]
        result_names = [f"{pe}.{output}" for pe, output in plan.results]
        for (sender, receiver), pipe in pipes.items():
            pipe.close(keep_read=receiver == number, keep_write=sender == number)
            if sender == number:
                to_parent = receiver == _WATCH
                self.channels[receiver] = Channel(
                    pipe.write_fd, result_names if to_parent else names
                )
            elif receiver == number:
                self.in_fds[pipe.read_fd] = sender
        self.result_slots = {port: slot for slot, port in enumerate(plan.results)}
        self.parent = self.channels[_WATCH]

    def outlet(self, source: tuple[str, str], target: int, input: str) -> Receive:
        channel = self.channels[self.plan.instances[target].process]
        return channel.outlet(self.slots[(*source, target, input)])

    def result(self, pe: str, output: str) -> Receive:
        return self.parent.outlet(self.result_slots[pe, output])

    def end(self, instance: int) -> None:
        receivers = {
            target.process
            for target in self.plan.instances
            if instance in self.plan.upstream[target.index]
        }
        for process in receivers - {self.number}:
            self.channels[process].send("end", instance)

    def flush(self) -> None:
        for channel in self.channels.values():
            channel.flush()


def _slots(plan: Plan) -> dict[tuple[str, str, int, str], int]:
    """A number for every way from an output to an input of an instance, equal in all processes."""
    ways = (
        (pe, output, target, route.input)
        for (pe, output), routes in plan.routes.items()
        for route in routes
        for target in route.targets
    )
    return {way: slot for slot, way in enumerate(sorted(ways))}


def _work(
    job: Job, plan: Plan, number: int, pipes: dict[tuple[int, int], Pipe], lock: LineLock
) -> None:
    """A worker process, from its fork to its end."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides on Ctrl-C
        signal.signal(signal.SIGTERM, _terminate)
        _work_to_the_end(job, plan, number, pipes, lock)
    finally:
        os._exit(0)  # what the parent has registered to be done at its exit is not ours to do


def _work_to_the_end(
    job: Job, plan: Plan, number: int, pipes: dict[tuple[int, int], Pipe], lock: LineLock
) -> None:
    link = _Pipes(plan, number, pipes)
    out = LineWriter(1, lock)
    sys.stdout = out
    parent = os.getppid()

    def flush_failed(error: BaseException) -> None:
        _report(link, error)
        os.kill(os.getpid(), signal.SIGTERM)

    def look_for_parent() -> None:
        if os.getppid() != parent:
            os._exit(1)

    flusher = Flusher(link.channels.values(), flush_failed, look_for_parent)
    try:
        flusher.start()
        worker = Worker(job.graph, plan, number, job.inputs, link)
        _loop(worker, link, out)
        flusher.stop()
        link.flush()
        out.finish()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        link.parent.send("done", worker.counts)
    except _Terminated:
        pass
    except BaseException as error:  # noqa: BLE001 - the parent is told, whatever it is
        with contextlib.suppress(OSError):
            out.finish()
        _report(link, error)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with contextlib.suppress(OSError):
            out.finish()
        sys.stderr.flush()


def _terminate(signum: int, frame: Any) -> None:
    raise _Terminated


def _report(link: _Pipes, error: BaseException) -> None:
    """Tell the parent why the run is over, after all results that went before."""
    if isinstance(error, Disconnected):
        kind, content = "lost", None
    else:
        kind, content = "failed", _explained(error)
    with contextlib.suppress(Disconnected):
        link.parent.send_last(kind, content)


def _explained(error: BaseException) -> D4pcwlError:
    if isinstance(error, Halt):
        return error.error
    if isinstance(error, D4pcwlError):
        return error
    text = "".join(traceback.format_exception(error))
    return PEError(f"a worker process failed: {type(error).__name__}: {error}", text)


def _loop(worker: Worker, link: _Pipes, out: LineWriter) -> None:
    """Feed the roots and take up what other processes send, until all instances have ended."""
    receivers = {
        slot: worker.receiver(target, input)
        for (_, _, target, input), slot in link.slots.items()
        if target in worker.running
    }
    worker.start()
    poll = select.poll()
    for fd in link.in_fds:
        poll.register(fd, select.POLLIN)
    while not worker.done:
        if not worker.hungry:
            ready = poll.poll(0)
            if not ready:
                link.flush()
                out.flush()
                ready = poll.poll()
        else:
            ready = poll.poll(0) if link.in_fds else []
            if not ready:
                worker.feed(times=1)
        for fd, _ in ready:
            if not _take(fd, worker, receivers):
                if worker.awaits(link.in_fds[fd]):
                    raise Disconnected("a sender has gone")
                poll.unregister(fd)


def _take(fd: int, worker: Worker, receivers: dict[int, Receive]) -> bool:
    """Take up one frame; False where the sender has closed its end."""
    try:
        kind, content = wire.read_frame(fd)
    except EOFError:
        return False
    except ConnectionError:
        raise Disconnected("a sender has gone") from None
    if kind == "items":
        for slot, items in content:
            receive = receivers[slot]
            for item in items:
                receive(item)
    else:
        worker.upstream_ended(content)
    return True
