"""Large graphs: BENCH_SHAPE says of which form, BENCH_PES how large."""

import os

from dispel4py.base import GenericPE, IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph

SHAPE, NUMBER = os.environ.get("BENCH_SHAPE", "chain"), int(os.environ.get("BENCH_PES", "1000"))


class One(ProducerPE):
    def _process(self, inputs):
        return 1


class Next(IterativePE):
    def _process(self, data):
        return data + 1


class Sum(IterativePE):
    def __init__(self):
        super().__init__()
        self.total = 0

    def _process(self, data):
        self.total += data

    def _postprocess(self):
        self.write("output", self.total)


class Outputs(GenericPE):
    def __init__(self):
        super().__init__()
        self._add_input("input")
        for number in range(NUMBER):
            self._add_output(f"output{number}")

    def _process(self, inputs):
        return dict.fromkeys(self.outputconnections, inputs["input"])


def chain():
    last = One()
    for _ in range(NUMBER):
        source, last = last, Next()
        graph.connect(source, "output", last, "input")


def fan():
    source, total = One(), Sum()
    for _ in range(NUMBER):
        one = Next()
        graph.connect(source, "output", one, "input")
        graph.connect(one, "output", total, "input")


def pairs():
    for _ in range(NUMBER):
        graph.connect(One(), "output", Sum(), "input")


def outputs():
    graph.connect(One(), "output", Outputs(), "input")


graph = WorkflowGraph()
{"chain": chain, "fan": fan, "pairs": pairs, "outputs": outputs}[SHAPE]()
