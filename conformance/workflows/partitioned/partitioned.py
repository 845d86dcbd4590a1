"""A graph with partitions

The elements are put into three partitions by the script, one of them of two elements that are not
neighbours of the source.
"""

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Frequencies(ProducerPE):
    """Frequencies in mHz."""

    def _process(self, inputs):
        for number in range(1, 31):
            self.write("output", 50 * number)


class Period(IterativePE):
    """From a frequency in mHz to a period in µs."""

    def _process(self, frequency):
        return {"frequency": frequency, "period": 1_000_000_000 // frequency}


class Band(IterativePE):
    """Adds the name of the band."""

    def _process(self, wave):
        if wave["frequency"] < 100:
            return {**wave, "band": "long"}
        return {**wave, "band": "broad" if wave["frequency"] < 1000 else "short"}


class Keep(IterativePE):
    """Keeps what is not of the long band."""

    def _process(self, wave):
        return wave if wave["band"] != "long" else None


frequencies, period, band, keep = Frequencies(), Period(), Band(), Keep()
frequencies.name, period.name, band.name, keep.name = "frequencies", "period", "band", "keep"

graph = WorkflowGraph()
graph.connect(frequencies, "output", period, "input")
graph.connect(period, "output", band, "input")
graph.connect(band, "output", keep, "input")
graph.partitions = [[frequencies], [period, band], [keep]]
