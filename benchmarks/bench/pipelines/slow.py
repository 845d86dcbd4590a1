"""Integers to a consumer that is slower than their source by far."""

import time

from dispel4py.base import ConsumerPE
from dispel4py.workflow_graph import WorkflowGraph
from ints import Numbers, Pass
from marks import tally

TOGETHER = 1000
SECONDS = 0.004


class Slow(ConsumerPE):
    def __init__(self):
        ConsumerPE.__init__(self)
        self.count = 0
        self.total = 0

    def _process(self, data):
        self.count += 1
        self.total += data
        if self.count % TOGETHER == 0:
            tally(self.count, self.total)
            time.sleep(SECONDS)

    def _postprocess(self):
        tally(self.count, self.total)


graph = WorkflowGraph()
numbers, passing, slow = Numbers(), Pass(), Slow()
graph.connect(numbers, "output", passing, "input")
graph.connect(passing, "output", slow, "input")
