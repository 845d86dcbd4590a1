"""Runs that are killed as a whole, and go on; and the PEs that they are made of."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from mapping_kit import wait_until

from d4pcwl import GenericPE, IterativePE, ProducerPE, WorkflowGraph

EVERY_SECONDS = 0.05


class Readings(ProducerPE):
    """Writes several readings for each input. It keeps state, and draws random numbers."""

    def __init__(self, seconds: float = 0.004) -> None:
        super().__init__()
        self.seconds, self.number = seconds, 0

    def _process(self, inputs: dict[str, int]) -> None:
        for _ in range(inputs["count"]):
            time.sleep(self.seconds)
            self.number += 1
            self.write("output", (self.number % 5, self.number, int(self.rng.integers(1000))))


class Replicated(IterativePE):
    """Has no state; several instances take its stream in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.numprocesses = 2

    def _process(self, data: tuple[int, int, int]) -> tuple[int, int, int]:
        return data[0], 10 * data[1], data[2]


class Choosy(IterativePE):
    """Fails on some items, which are left out."""

    on_error = "retry:1,skip"
    stateful = True  # so its items have an order in all mappings, and their numbers are the same

    def _process(self, data: tuple[int, int, int]) -> tuple[int, int, int]:
        if data[1] % 70 == 0:
            raise ValueError("not this one")
        return data


class Sums(IterativePE):
    """Running sums by key; all of them at the end. Several instances share the keys."""

    def __init__(self) -> None:
        super().__init__()
        self._add_input("input", grouping=[0])
        self.numprocesses = 2
        self.sums: dict[int, int] = {}

    def _process(self, data: tuple[int, int, int]) -> tuple[int, int]:
        self.sums[data[0]] = self.sums.get(data[0], 0) + data[1] + data[2]
        return data[0], self.sums[data[0]]

    def _postprocess(self) -> None:
        for key in sorted(self.sums):
            self.write("output", ("in all", key, self.sums[key]))


class Steps(GenericPE):
    """The difference of each item to the one before it: its result shows the order. It writes
    before the first item, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self._add_input("input")
        self._add_output("output")
        self.before, self.words = 0, ["begun"]

    def _preprocess(self) -> None:
        self.write("output", "the first")

    def _process(self, inputs: dict[str, Any]) -> dict[str, Any]:
        _, number, _ = inputs["input"]
        step, self.before = number - self.before, number
        self.words.append(str(step))
        return {"output": (step, len(self.words), int(self.rng.integers(1000)))}


class Shares(IterativePE):
    """Adds up what each of two instances gets in turn."""

    stateful = True

    def __init__(self) -> None:
        super().__init__()
        self.numprocesses, self.total = 2, 0

    def _process(self, data: tuple[int, int, int]) -> None:
        self.total += data[1]

    def _postprocess(self) -> None:
        self.write("output", self.total)


class Lingering(GenericPE):
    """A root that keeps the run going until a file is there."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def process(self, inputs: dict[str, Any]) -> None:
        if not self.file.exists():
            time.sleep(0.02)


def make_graph(may_end: Path, seconds: float = 0.004) -> tuple[WorkflowGraph, dict[Any, Any]]:
    """A graph of all of these, and its inputs.

    :param may_end: the file without which the run does not end
    :param seconds: between two readings
    """
    graph = WorkflowGraph()
    readings, replicated, choosy = Readings(seconds), Replicated(), Choosy()
    sums, steps, shares, lingering = Sums(), Steps(), Shares(), Lingering(may_end)
    graph.connect(readings, "output", replicated, "input")
    graph.connect(replicated, "output", choosy, "input")
    graph.connect(choosy, "output", sums, "input")
    graph.connect(choosy, "output", steps, "input")
    graph.connect(readings, "output", shares, "input")
    graph.add(lingering)
    return graph, {readings: [{"count": n} for n in (30, 1, 60, 5, 54)], lingering: 3000}


def newest(folder: Path) -> int:
    """The number of the newest snapshot."""
    names = (path.name.removeprefix("snapshot-") for path in folder.glob("snapshot-*"))
    return max((int(name) for name in names if name.isdecimal()), default=0)


def told(results: Any) -> dict[str, Any]:
    """Results in a form that can be compared: in order where that is promised."""
    found = {
        f"{pe}.{output}": items for pe, ports in results.items() for output, items in ports.items()
    }
    found["errors"] = [(e["pe"], e["number"], e["item"], e["error"]) for e in results.errors]
    return found


class Life:
    """A process with a session of its own, and all that it starts.

    :param work: what it does; what that returns is the :attr:`answer`
    """

    def __init__(self, work: Callable[[], Any], folder: Path) -> None:
        self._answer = folder / "answer"
        self._answer.unlink(missing_ok=True)
        self._process = get_context("fork").Process(target=self._live, args=(work,))
        self._process.start()

    def _live(self, work: Callable[[], Any]) -> None:
        os.setsid()
        answer = work()
        partial = self._answer.with_suffix(".partial")
        partial.write_bytes(pickle.dumps(answer))
        partial.replace(self._answer)

    @property
    def ended(self) -> bool:
        return not self._process.is_alive()

    def kill(self) -> None:
        """Kill all of it."""
        wait_until(lambda: os.getpgid(self._process.pid or 0) == self._process.pid)
        os.killpg(self._process.pid or 0, signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        self._process.join()
        self._process.close()

    def answer(self) -> Any:
        self.wait()
        return pickle.loads(self._answer.read_bytes())
