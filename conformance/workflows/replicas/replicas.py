"""Elements in several processes

The script itself says how many processes its elements want, and pins one of them.
"""

from dispel4py.base import GenericPE, IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Windows(ProducerPE):
    """Pairs of a channel and a window of samples."""

    def _process(self, inputs):
        for number in range(48):
            samples = [(number * step) % 17 for step in range(1, 9)]
            self.write("output", (f"C{number % 4}", samples))


class Energy(IterativePE):
    """The energy of a window; it wants two processes."""

    numprocesses = 2

    def _process(self, data):
        channel, samples = data
        return channel, sum(sample * sample for sample in samples)


class Strongest(GenericPE):
    """The strongest window of each channel; it wants three processes."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("input", grouping=[0])
        self._add_output("output")
        self.strongest = {}

    def _process(self, inputs):
        channel, energy = inputs["input"]
        self.strongest[channel] = max(energy, self.strongest.get(channel, 0))

    def _postprocess(self):
        for channel, energy in self.strongest.items():
            self.write("output", {"channel": channel, "energy": energy})


class Number(IterativePE):
    """Numbers what comes; there is one of it."""

    single = True

    def __init__(self):
        IterativePE.__init__(self)
        self.number = 0

    def _process(self, item):
        self.number += 1
        return self.number


windows, energy, strongest, number = Windows(), Energy(), Strongest(), Number()
strongest.numprocesses = 3
windows.name, energy.name, strongest.name, number.name = "windows", "energy", "strongest", "number"

graph = WorkflowGraph()
graph.connect(windows, "output", energy, "input")
graph.connect(energy, "output", strongest, "input")
graph.connect(energy, "output", number, "input")
