"""Integers through 4 PEs."""

from dispel4py.base import ConsumerPE, IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph
from marks import EACH, ITEMS, arrived, began, tally


class Numbers(ProducerPE):
    def _process(self, inputs):
        began()
        for number in range(ITEMS):
            self.write("output", number)


class Pass(IterativePE):
    def _process(self, data):
        return data


class Last(ConsumerPE):
    def __init__(self):
        ConsumerPE.__init__(self)
        self.count = 0
        self.total = 0

    def _process(self, data):
        self.count += 1
        self.total += data
        if EACH:
            arrived(data)
        elif self.count == ITEMS:
            tally(self.count, self.total)


graph = WorkflowGraph()
numbers, first, second, last = Numbers(), Pass(), Pass(), Last()
graph.connect(numbers, "output", first, "input")
graph.connect(first, "output", second, "input")
graph.connect(second, "output", last, "input")
