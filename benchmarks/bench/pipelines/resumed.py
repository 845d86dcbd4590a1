"""The graph whose runs are killed as a whole and resumed: replicas, keyed state, and order.

A source in two iterations; a PE without state in two instances; running sums by key in two
instances, with the totals at the end; and a PE whose results show the order of its items.
"""

import os
import time

from d4pcwl import IterativePE, ProducerPE, WorkflowGraph

ITEMS = int(os.environ.get("SOAK_ITEMS", "2000"))
SECONDS = float(os.environ.get("SOAK_SECONDS_PER_ITEM", "0.001"))
KEYS = 7


class Numbers(ProducerPE):
    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def _process(self, inputs: object) -> None:
        for _ in range(ITEMS // 2):
            if SECONDS:
                time.sleep(SECONDS)
            self.write("output", self.number)
            self.number += 1


class Work(IterativePE):
    def __init__(self) -> None:
        super().__init__()
        self.numprocesses = 2

    def _process(self, data: int) -> tuple[int, int]:
        return data % KEYS, data


class Sums(IterativePE):
    def __init__(self) -> None:
        super().__init__()
        self._add_input("input", grouping=[0])
        self.numprocesses = 2
        self.sums: dict[int, int] = {}

    def _process(self, data: tuple[int, int]) -> tuple[int, int]:
        key, number = data
        self.sums[key] = self.sums.get(key, 0) + number
        return key, self.sums[key]

    def _postprocess(self) -> None:
        for key in sorted(self.sums):
            self.write("output", ("in all", key, self.sums[key]))


class Steps(IterativePE):
    def __init__(self) -> None:
        super().__init__()
        self.before = 0

    def _process(self, data: tuple[int, int]) -> tuple[int, int]:
        step, self.before = data[1] - self.before, data[1]
        return data[1], step


graph = WorkflowGraph()
numbers, work, sums, steps = Numbers(), Work(), Sums(), Steps()
graph.connect(numbers, "output", work, "input")
graph.connect(work, "output", sums, "input")
graph.connect(work, "output", steps, "input")
