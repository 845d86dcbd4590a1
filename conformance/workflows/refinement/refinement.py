"""Refinement in a cycle

A guess goes round between two elements until it is good enough: the cycle lies inside a stage, and
what leaves it crosses the cut.
"""

from dispel4py.base import GenericPE, IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Squares(ProducerPE):
    """Numbers whose roots are looked for, with a first guess."""

    def _process(self, inputs):
        for number in (2, 9, 30, 1000, 123456, 10**12):
            self.write("output", {"number": number, "guess": number, "rounds": 0})


class Judge(GenericPE):
    """Sends a guess round again, or lets it out."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("first")
        self._add_input("again")
        self._add_output("rough")
        self._add_output("fine")

    def process(self, inputs):
        for item in inputs.values():
            good = item["guess"] ** 2 <= item["number"] < (item["guess"] + 1) ** 2
            self.write("fine" if good else "rough", item)


class Improve(IterativePE):
    """A step of Newton's method, in whole numbers."""

    def _process(self, item):
        guess = (item["guess"] + item["number"] // item["guess"]) // 2
        return {**item, "guess": guess, "rounds": item["rounds"] + 1}


class Show(IterativePE):
    """Makes a text of a result."""

    def _process(self, item):
        return "root of {number}: {guess} after {rounds}".format(**item)


squares, judge, improve, show = Squares(), Judge(), Improve(), Show()
squares.name, judge.name, improve.name, show.name = "squares", "judge", "improve", "show"

graph = WorkflowGraph()
graph.connect(squares, "output", judge, "first")
graph.connect(judge, "rough", improve, "input")
graph.connect(improve, "output", judge, "again")
graph.connect(judge, "fine", show, "input")
