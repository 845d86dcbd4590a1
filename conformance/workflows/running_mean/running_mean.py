"""A running mean

Each item is the mean of the last five, so the element that computes it must see the whole stream,
and in order: it comes right behind the source.
"""

from collections import deque

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Samples(ProducerPE):
    """Eighty samples."""

    def _process(self, inputs):
        for number in range(80):
            self.write("output", number * 7919 % 1009)


class RunningMean(IterativePE):
    """The mean of the last five samples."""

    def __init__(self):
        IterativePE.__init__(self)
        self._add_output("means")
        self.last = deque(maxlen=5)

    def _process(self, sample):
        self.last.append(sample)
        mean = sum(self.last) / len(self.last)
        self.write("means", mean)
        return mean


class Distance(IterativePE):
    """How far a mean is from the middle."""

    def _process(self, mean):
        return abs(mean - 504)


samples, mean, distance = Samples(), RunningMean(), Distance()
samples.name, mean.name, distance.name = "samples", "mean", "distance"

graph = WorkflowGraph()
graph.connect(samples, "output", mean, "input")
graph.connect(mean, "output", distance, "input")
