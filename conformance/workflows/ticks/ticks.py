"""Iterations

Roots without inputs run as often as -i says; each counts its own rounds.
"""

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Clock(ProducerPE):
    """Gives the number of its round, times a step."""

    def __init__(self, step):
        ProducerPE.__init__(self)
        self.step, self.round = step, 0

    def _process(self, inputs):
        self.round += 1
        return {"step": self.step, "at": self.round * self.step}


class Say(IterativePE):
    """Says the time, and passes it on."""

    def _process(self, tick):
        print("tick", tick["step"], tick["at"])
        return tick["at"]


fast, slow, say = Clock(1), Clock(60), Say()
fast.name, slow.name, say.name = "fast", "slow", "say"

graph = WorkflowGraph()
graph.connect(fast, "output", say, "input")
graph.connect(slow, "output", say, "input")
