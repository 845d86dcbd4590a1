"""Composites two deep

A correction is made of two elements, a preparation of two corrections and a scaling.
"""

from dispel4py.base import CompositePE, IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Samples(ProducerPE):
    """Samples with an offset and a trend."""

    def _process(self, inputs):
        for number in range(24):
            self.write("output", [number, 100 + 3 * number + number % 5])


class Subtract(IterativePE):
    """Takes a constant off the value."""

    def __init__(self, amount):
        IterativePE.__init__(self)
        self.amount = amount

    def _process(self, sample):
        number, value = sample
        return [number, value - self.amount]


class SubtractSlope(IterativePE):
    """Takes a slope off the value."""

    def __init__(self, slope):
        IterativePE.__init__(self)
        self.slope = slope

    def _process(self, sample):
        number, value = sample
        return [number, value - self.slope * number]


class Correct(CompositePE):
    """Removes offset and slope."""

    def __init__(self, offset, slope):
        CompositePE.__init__(self)
        level, slant = Subtract(offset), SubtractSlope(slope)
        level.name, slant.name = "level", "slant"
        self.connect(level, "output", slant, "input")
        self._map_input("samples", level, "input")
        self._map_output("corrected", slant, "output")
        self._map_output("levelled", level, "output")


class Prepare(CompositePE):
    """Corrects twice and scales

    The first correction is the instrument's, the second the site's.
    """

    def __init__(self):
        CompositePE.__init__(self)
        instrument, site, scale = Correct(90, 2), Correct(10, 1), Subtract(1)
        instrument.name, site.name, scale.name = "instrument", "site", "scale"
        self.connect(instrument, "corrected", site, "samples")
        self.connect(site, "corrected", scale, "input")
        self._map_input("samples", instrument, "samples")
        self._map_output("prepared", scale, "output")
        self._map_output("raw", instrument, "levelled")


class Show(IterativePE):
    """Makes a text of a sample."""

    def _process(self, sample):
        return "{}: {}".format(*sample)


samples, prepare, show, last = Samples(), Prepare(), Show(), Correct(0, 5)
samples.name, prepare.name, show.name, last.name = "samples", "prepare", "show", "last"

graph = WorkflowGraph()
graph.connect(samples, "output", prepare, "samples")
graph.connect(prepare, "prepared", last, "samples")
graph.connect(prepare, "raw", show, "input")
