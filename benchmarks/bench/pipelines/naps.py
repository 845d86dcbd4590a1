"""Items that take uneven times at each of three PEs."""

import random
import time

from d4pcwl import IterativePE, ProducerPE, WorkflowGraph

ITEMS = 100


def draw(items: int = ITEMS) -> list[list[float]]:
    """The seconds that each stage takes over each item: the same ones in every process."""
    dice = random.Random(7)
    return [[round(dice.expovariate(1 / 0.05), 3) for _ in range(items)] for _ in range(3)]


class First(ProducerPE):
    """Makes the items."""

    def _process(self, inputs: object) -> None:
        for number, seconds in enumerate(draw()[0]):
            time.sleep(seconds)
            self.write("output", number)


class Nap(IterativePE):
    """Takes its time over each item."""

    def __init__(self, stage: int) -> None:
        super().__init__()
        self.stage = stage
        self.name = f"nap{stage}"

    def _preprocess(self) -> None:
        self.seconds = draw()[self.stage]

    def _process(self, number: int) -> int:
        time.sleep(self.seconds[number])
        return number


graph = WorkflowGraph()
first, second, third = First(), Nap(1), Nap(2)
graph.connect(first, "output", second, "input")
graph.connect(second, "output", third, "input")
