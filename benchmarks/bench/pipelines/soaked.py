"""The graph that is soaked: a source, a pool of two PEs without state, and one that collects.

What passes the pool is also a result by itself, so that both ways out are looked at.
"""

import os
import time

from d4pcwl import GenericPE, IterativePE, ProducerPE, WorkflowGraph

ITEMS = int(os.environ.get("SOAK_ITEMS", "2000"))
SECONDS = float(os.environ.get("SOAK_SECONDS_PER_ITEM", "0.0004"))


def note(what: str) -> None:
    """Leave word of what a process does: ``pinned`` holds state, ``begun`` has come so far."""
    folder = os.environ.get("SOAK_NOTES")
    if folder:
        with open(os.path.join(folder, f"{what}-{os.getpid()}"), "w"):
            pass


class Numbers(ProducerPE):
    def preprocess(self) -> None:
        note("pinned")

    def _process(self, inputs: object) -> None:
        for number in range(ITEMS):
            self.write("output", number)


class Work(IterativePE):
    def preprocess(self) -> None:
        note("begun")

    def _process(self, data: int) -> int:
        time.sleep(SECONDS)
        return data


class Branch(GenericPE):
    def __init__(self) -> None:
        super().__init__()
        self._add_input("input")
        self._add_output("output")
        self._add_output("seen")

    def _process(self, inputs: dict[str, int]) -> None:
        self.write("output", inputs["input"])
        self.write("seen", inputs["input"])


class Collect(IterativePE):
    def __init__(self) -> None:
        super().__init__()
        self.items: list[int] = []

    def preprocess(self) -> None:
        note("pinned")

    def _process(self, data: int) -> None:
        self.items.append(data)

    def _postprocess(self) -> None:
        self.write("output", self.items)


def make_graph() -> WorkflowGraph:
    numbers, work, branch, collect = Numbers(), Work(), Branch(), Collect()
    branch.name, collect.name = "Branch", "Collect"
    graph = WorkflowGraph()
    graph.connect(numbers, "output", work, "input")
    graph.connect(work, "output", branch, "input")
    graph.connect(branch, "output", collect, "input")
    return graph


graph = make_graph()
