"""Unequal keys, and streams without items

Nearly all items have one key, so nearly all go to one instance and others get none. A second branch
gets no items at all, and still says so at its end.
"""

from itertools import pairwise

from dispel4py.base import GenericPE, IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Packets(ProducerPE):
    """A busy station, and one with a single packet."""

    def _process(self, inputs):
        for number in range(60):
            self.write("output", ["BUSY" if number != 31 else "QUIET", number])


class Split(GenericPE):
    """Sorts packets by whether they are whole; all are."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("packet")
        self._add_output("whole")
        self._add_output("torn")

    def _process(self, inputs):
        station, number = inputs["packet"]
        self.write("whole" if number >= 0 else "torn", [station, number])


class Gaps(GenericPE):
    """The largest step between the numbers of each station's packets."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("packet", grouping=[0])
        self._add_output("output")
        self.numbers = {}

    def _process(self, inputs):
        station, number = inputs["packet"]
        self.numbers.setdefault(station, []).append(number)

    def _postprocess(self):
        for station, numbers in self.numbers.items():
            steps = [after - before for before, after in pairwise(sorted(numbers))]
            self.write("output", (station, max(steps, default=0)))


class Repair(IterativePE):
    """Mends torn packets, of which there are none."""

    def _process(self, packet):
        return [packet[0], -packet[1]]


class Mended(GenericPE):
    """How many packets of each station were mended."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("packet", grouping=[0])
        self._add_output("output")
        self.counts = {}

    def _process(self, inputs):
        station = inputs["packet"][0]
        self.counts[station] = self.counts.get(station, 0) + 1

    def _postprocess(self):
        for entry in self.counts.items():
            self.write("output", entry)


class NothingMended(IterativePE):
    """Counts what was mended, all stations together, and says the number though it be none."""

    def __init__(self):
        IterativePE.__init__(self)
        self.inputconnections["input"]["grouping"] = "global"
        self.count = 0

    def _process(self, entry):
        self.count += entry[1]

    def _postprocess(self):
        self.write("output", f"{self.count} mended")


packets, split, gaps = Packets(), Split(), Gaps()
repair, mended, nothing = Repair(), Mended(), NothingMended()
packets.name, split.name, gaps.name = "packets", "split", "gaps"
repair.name, mended.name, nothing.name = "repair", "mended", "nothing"

graph = WorkflowGraph()
graph.connect(packets, "output", split, "packet")
graph.connect(split, "whole", gaps, "packet")
graph.connect(split, "torn", repair, "input")
graph.connect(repair, "output", mended, "packet")
graph.connect(mended, "output", nothing, "input")
