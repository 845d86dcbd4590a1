"""PEs and helpers for tests that run under every mapping.

The PEs are small and have one purpose each; :class:`FaultySource` and :class:`FaultyPE` raise, die,
exit or stall at an item of the test's choice. What a test has to learn from another process, it
learns from files (:class:`Trail`), never from the clock.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import select
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import d4pcwl
from d4pcwl import ConsumerPE, GenericPE, IterativePE, ProducerPE, WorkflowGraph
from d4pcwl.errors import D4pcwlError
from d4pcwl.runtime.job import Job
from d4pcwl.runtime.mappings.registry import find_mapping, run_job
from d4pcwl.runtime.results import Results
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.inputs import root_inputs

# --- running --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mapping:
    """One mapping with one number of processes, as the fixture ``mapping`` gives it to tests.

    :param options: of the mapping
    """

    name: str
    processes: int
    options: dict[str, Any] | None = None

    @property
    def pools(self) -> bool:
        """Whether PEs without state run anywhere, rather than as instances of their own."""
        return find_mapping(self.name).pooled and self.processes > 1

    def run(self, graph: Any, inputs: Any = None, iterations: int = 1) -> Results:
        return d4pcwl.run(graph, inputs, iterations=iterations, **self._how())

    def stream(
        self, graph: Any, inputs: Any = None, iterations: int = 1
    ) -> Iterator[d4pcwl.Result]:
        return d4pcwl.stream(graph, inputs, iterations=iterations, **self._how())

    def _how(self) -> dict[str, Any]:
        return {"mapping": self.name, "processes": self.processes, "options": self.options}

    def run_partly(self, graph: Any, inputs: Any = None) -> tuple[Results, D4pcwlError | None]:
        """What there is of results, and the error that ended the run, if one did."""
        flat = flatten(graph)
        results = Results({pe.id: pe.name for pe in flat.pes})
        job = Job(flat, root_inputs(flat, inputs), results, processes=self.processes)
        try:
            run_job(find_mapping(self.name), job)
        except D4pcwlError as error:
            return results, error
        return results, None

    def items(
        self, graph: Any, pe: Any = None, output: str = "output", inputs: Any = None
    ) -> list[Any]:
        """The items of one output; of the only PE with results where none is given."""
        results = self.run(graph, inputs)
        if pe is None:
            ((_, outputs),) = results.items() if results else (("", {}),)
            return outputs.get(output, [])
        return results[pe].get(output, [])


def chain(*pes: Any) -> WorkflowGraph:
    """A graph of PEs joined ``output`` to ``input``."""
    graph = WorkflowGraph()
    graph.add(pes[0])
    for source, target in itertools.pairwise(pes):
        graph.connect(source, "output", target, "input")
    return graph


def join(*edges: tuple[Any, str, Any, str]) -> WorkflowGraph:
    """A graph of the given edges."""
    graph = WorkflowGraph()
    for edge in edges:
        graph.connect(*edge)
    return graph


def named(pe: Any, name: str) -> Any:
    pe.name = name
    return pe


def frozen(items: Iterable[Any]) -> Counter[str]:
    """Items as a multiset, whatever they are."""
    return Counter(map(repr, items))


# --- sources --------------------------------------------------------------------------------------


class Source(ProducerPE):
    """Writes the given items."""

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__()
        self.items = items

    def _process(self, inputs: Any) -> None:
        for item in self.items:
            self.write("output", item)


class OneShot(ProducerPE):
    """Returns what a function gives for the number of the iteration."""

    def __init__(self, make: Callable[[int], Any] = lambda number: number) -> None:
        super().__init__()
        self.make, self.number = make, 0

    def _process(self, inputs: Any) -> Any:
        self.number += 1
        return self.make(self.number - 1)


class FaultySource(ProducerPE):
    """Counts up to ``n`` and commits ``fault`` before item ``at``; see :func:`commit`."""

    def __init__(self, fault: str, at: int, n: int = 10) -> None:
        super().__init__()
        self.fault, self.at, self.n = fault, at, n

    def _process(self, inputs: Any) -> None:
        for number in range(self.n):
            if number == self.at:
                commit(self.fault)
            self.write("output", number)


# --- PEs in the middle ----------------------------------------------------------------------------


class Identity(IterativePE):
    def _process(self, data: Any) -> Any:
        return data


class Plus(IterativePE):
    """Adds a number."""

    def __init__(self, number: int = 1) -> None:
        super().__init__()
        self.number = number

    def _process(self, data: int) -> int:
        return data + self.number


class Tag(IterativePE):
    """Gives (rank of the instance, item)."""

    def __init__(self, grouping: Any = None, numprocesses: int = 1) -> None:
        super().__init__()
        self._add_input("input", grouping=grouping)
        self.numprocesses = numprocesses

    def _process(self, data: Any) -> Any:
        return (self.rank, data)


class CountKeys(IterativePE):
    """Counts items by key, and writes (key, count) at the end: keyed state."""

    def __init__(self, grouping: Any = (0,), key: Any = 0, numprocesses: int = 1) -> None:
        super().__init__()
        self._add_input("input", grouping=grouping)
        self.numprocesses = numprocesses
        self.key = key
        self.counts: Counter[Any] = Counter()

    def _process(self, data: Any) -> None:
        self.counts[data[self.key]] += 1

    def _postprocess(self) -> None:
        for entry in self.counts.items():
            self.write("output", entry)


class Total(IterativePE):
    """Adds up all items, and writes the sum at the end: state that is not keyed."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def _process(self, data: int) -> None:
        self.total += data

    def _postprocess(self) -> None:
        self.write("output", self.total)


class Ports(GenericPE):
    """Passes every input on to the output of the same place: in0 to out0, in1 to out1, …"""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        for number in range(inputs):
            self._add_input(f"in{number}")
        for number in range(outputs):
            self._add_output(f"out{number}")

    def _process(self, inputs: dict[str, Any]) -> Any:
        return {name.replace("in", "out"): item for name, item in inputs.items()}


class FaultyPE(IterativePE):
    """Passes items on, and commits ``fault`` on item number ``at``, counted from 1."""

    def __init__(self, fault: str, at: int = 1) -> None:
        super().__init__()
        self.fault, self.at, self.seen = fault, at, 0

    def _process(self, data: Any) -> Any:
        self.seen += 1
        if self.seen == self.at:
            commit(self.fault)
        return data


def commit(fault: str) -> None:
    """``raise``, ``exit``, ``interrupt`` (as if Ctrl-C had come), ``die`` (as by kill -9), or
    ``stall`` until the process is stopped."""
    if fault == "raise":
        raise ValueError("a fault was asked for")
    if fault == "exit":
        sys.exit(3)
    if fault == "interrupt":
        raise KeyboardInterrupt
    if fault == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "stall":
        threading.Event().wait()
    raise AssertionError(f"no fault is called {fault}")


class Homed(Source):
    """A source that lets the PEs below know whether they are in its process, as they may be in a
    dynamic mapping: a process that dies there takes the source with it."""

    home: ClassVar[int | None] = None

    @classmethod
    def here(cls) -> bool:
        return cls.home == os.getpid()

    def _process(self, inputs: Any) -> None:
        Homed.home = os.getpid()
        super()._process(inputs)


class DiesOnce(IterativePE):
    """Passes numbers on; one process dies over one of them, and not that of a :class:`Homed`.

    :param mark: a file that is made before
    """

    def __init__(self, mark: Path) -> None:
        super().__init__()
        self.mark = mark

    def _process(self, data: int) -> int:
        if data % 10 != 5:
            return data
        if Homed.here():
            wait_until(self.mark.exists)
            return data
        with contextlib.suppress(FileExistsError):
            self.mark.open("x").close()
            commit("die")
        return data


class DiesAlways(IterativePE):
    """Every process dies over one of ten numbers, but that of a :class:`Homed` only stalls."""

    def _process(self, data: int) -> int:
        if data % 10 == 5:
            commit("stall" if Homed.here() else "die")
        return data


# --- learning from other processes ----------------------------------------------------------------


def wait_until(true: Callable[[], Any]) -> None:
    """Wait for something that comes about, however busy the machine is; else the test fails."""
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.01)


class Trail:
    """A file in which processes leave lines, each in one piece."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def leave(self, *words: object) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, (" ".join(map(str, words)) + "\n").encode())
        finally:
            os.close(fd)

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()


class Gate:
    """A named pipe: :meth:`wait` returns when another process has called :meth:`open`.

    ``wait`` gives up after a minute, so that a fault makes a test fail rather than hang. The test's
    own process keeps the pipe open: one that nobody holds forgets its bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._held = os.open(path, os.O_RDWR)

    def open(self) -> None:
        fd = os.open(self.path, os.O_RDWR)
        os.write(fd, b".")
        os.close(fd)

    def wait(self) -> None:
        fd = os.open(self.path, os.O_RDWR)
        try:
            ready, _, _ = select.select([fd], [], [], 60)
            if not ready:
                raise TimeoutError("nobody opened the gate")
        finally:
            os.close(fd)

    def close(self) -> None:
        os.close(self._held)


class TrailConsumer(ConsumerPE):
    """Leaves its items on a trail."""

    def __init__(self, trail: Trail) -> None:
        super().__init__()
        self.trail = trail

    def _process(self, data: Any) -> None:
        self.trail.leave(data)


# --- what a run must not leave behind -------------------------------------------------------------


def children(pid: int | None = None) -> set[int]:
    """The process ids of the children of a process, those of all its threads."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid or os.getpid()}/task").iterdir():
        try:
            found.update(map(int, (task / "children").read_text().split()))
        except FileNotFoundError:  # the thread has ended
            continue
    return found


def is_alive(pid: int) -> bool:
    """Whether there is such a process; one that init has yet to take note of has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def have_ended(pids: Iterable[int]) -> None:
    """Wait until there are no such processes; those that were killed may take a moment."""
    left = set(pids)
    wait_until(lambda: not any(map(is_alive, left)))


def has_ended_with_all(group: int) -> None:
    """The same, of the processes of a group."""

    def is_empty() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    wait_until(is_empty)


def open_fds() -> dict[str, str]:
    fds = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            fds[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return fds


@contextmanager
def nothing_left(tmp: Path | None = None) -> Iterator[None]:
    """Check that the block leaves no process, descriptor, thread or file in ``tmp`` behind."""

    def state() -> tuple[Any, ...]:
        files = sorted(os.listdir(tmp)) if tmp else []
        return children(), open_fds(), set(threading.enumerate()), files

    before = state()
    yield
    after = state()
    assert after == before


# --- bytes in flight ------------------------------------------------------------------------------


MOST_UNDER_WAY = 100_000
"""Small items between two PEs: what queues hold (QUEUE_BATCHES), or what a pipe does, in batches,
and the batches in hand at both ends."""


class Flight:
    """Counts the bytes (or items, each as one) that have been written and not yet taken up, over
    all processes.

    The first to take something up waits until those who write have come to a stop: then as much is
    under way as ever will be.
    """

    _WRITTEN, _TAKEN, _MOST = range(3)

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")

    def write(self, size: int) -> None:
        """One process does."""
        self._cells[self._WRITTEN] += size

    def take(self, size: int) -> None:
        """One process does."""
        if not self._cells[self._TAKEN]:
            self._wait_for_a_stop()
            self._cells[self._MOST] = self._cells[self._WRITTEN]
        self._cells[self._TAKEN] += size

    def _wait_for_a_stop(self) -> None:
        before, still = -1, 0
        while still < 25:  # half a second; stopping earlier can but miss a fault
            now = self._cells[self._WRITTEN]
            still = still + 1 if now == before else 0
            before = now
            time.sleep(0.02)

    @property
    def most(self) -> int:
        return self._cells[self._MOST]

    @property
    def taken(self) -> int:
        return self._cells[self._TAKEN]

    def __deepcopy__(self, memo: Any) -> Flight:
        return self  # PEs are copied for each instance, and count together


class FlightSource(ProducerPE):
    """Writes ``count`` items made of ``size`` bytes each, and counts them."""

    def __init__(self, flight: Flight, make: Callable[[int], Any], size: int, count: int) -> None:
        super().__init__()
        self.flight, self.make, self.size, self.count = flight, make, size, count

    def _process(self, inputs: Any) -> None:
        for number in range(self.count):
            self.flight.write(self.size)
            self.write("output", self.make(number))


class FlightConsumer(ConsumerPE):
    """Takes items of ``size`` bytes, one instance of it all."""

    stateful = True

    def __init__(self, flight: Flight, size: int) -> None:
        super().__init__()
        self.flight, self.size = flight, size

    def _process(self, data: Any) -> None:
        self.flight.take(self.size)
