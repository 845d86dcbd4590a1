"""A grand total

Squares are computed anywhere; all of them come to one place, which adds them up.
"""

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Numbers(ProducerPE):
    """The numbers from 0 to 99."""

    def _process(self, inputs):
        for number in range(100):
            self.write("output", number)


class Square(IterativePE):
    """The square of a number."""

    def _process(self, number):
        return number * number


class Total(IterativePE):
    """Adds up all items, wherever they come from."""

    def __init__(self):
        IterativePE.__init__(self)
        self.inputconnections["input"]["grouping"] = "global"
        self.number = self.total = 0

    def _process(self, square):
        self.number += 1
        self.total += square

    def _postprocess(self):
        self.write("output", {"number": self.number, "total": self.total})


class Mean(IterativePE):
    """The mean, from number and total."""

    def _process(self, result):
        return result["total"] / result["number"]


numbers, square, total, mean = Numbers(), Square(), Total(), Mean()
numbers.name, square.name, total.name, mean.name = "numbers", "square", "total", "mean"

graph = WorkflowGraph()
graph.connect(numbers, "output", square, "input")
graph.connect(square, "output", total, "input")
graph.connect(total, "output", mean, "input")
