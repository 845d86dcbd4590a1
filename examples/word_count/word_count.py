"""Count the words of a text

Lines are split into words, and every word is counted. Equal words meet in the same instance of the
counting element, so it may run in several processes.
"""

from collections import Counter

from dispel4py.base import GenericPE, IterativePE
from dispel4py.workflow_graph import WorkflowGraph


class ReadLines(IterativePE):
    """Reads a text file, one item for each line."""

    cwl = {"inputs": {"input": {"type": "File", "doc": "the text"}}}

    def _process(self, path):
        with open(path) as text:
            for line in text:
                self.write("output", line)


class SplitWords(IterativePE):
    """Splits a line into words, each with the number 1."""

    def _process(self, line):
        for word in line.split():
            self.write("output", (word, 1))


class CountWords(GenericPE):
    """Adds up the numbers of each word."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("input", grouping=[0])
        self._add_output("output")
        self.counts = Counter()

    def _process(self, inputs):
        word, number = inputs["input"]
        self.counts[word] += number

    def _postprocess(self):
        for word in sorted(self.counts):
            self.write("output", (word, self.counts[word]))


read = ReadLines()
read.name = "read"
split = SplitWords()
split.name = "split"
count = CountWords()
count.name = "count"

graph = WorkflowGraph()
graph.connect(read, "output", split, "input")
graph.connect(split, "output", count, "input")
