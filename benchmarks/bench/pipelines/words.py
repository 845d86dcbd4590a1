"""Word count: lines of 10 words, split up, and counted by two instances that share the words."""

from dispel4py.base import ConsumerPE, IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph
from marks import ITEMS, began, tally
from text import lines, weigh


class Lines(ProducerPE):
    def _process(self, inputs):
        began()
        for line in lines(ITEMS):
            self.write("output", line)


class Split(IterativePE):
    def _process(self, data):
        for word in data.split():
            self.write("output", (word, 1))


class Count(ConsumerPE):
    def __init__(self):
        ConsumerPE.__init__(self)
        self._add_input("input", grouping=[0])
        self.numprocesses = 2
        self.counts = {}

    def _process(self, data):
        word, number = data
        self.counts[word] = self.counts.get(word, 0) + number

    def _postprocess(self):
        tally(sum(self.counts.values()), weigh(self.counts), id(self))


graph = WorkflowGraph()
source, split, count = Lines(), Split(), Count()
graph.connect(source, "output", split, "input")
graph.connect(split, "output", count, "input")
