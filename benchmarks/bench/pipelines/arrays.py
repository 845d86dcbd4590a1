"""Arrays of 1 MB through 3 PEs; the source makes each anew, the last looks at both its ends."""

import numpy as np
from dispel4py.base import ConsumerPE, IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph
from marks import EACH, ITEMS, arrived, began, tally

FLOATS = 125_000


class Arrays(ProducerPE):
    def _process(self, inputs):
        began()
        for number in range(ITEMS):
            self.write("output", np.full(FLOATS, float(number)))


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
        value = int(data[0] + data[-1]) // 2 if data.shape == (FLOATS,) else -1
        self.total += value
        if EACH:
            arrived(value)
        elif self.count == ITEMS:
            tally(self.count, self.total)


graph = WorkflowGraph()
arrays, between, last = Arrays(), Pass(), Last()
graph.connect(arrays, "output", between, "input")
graph.connect(between, "output", last, "input")
