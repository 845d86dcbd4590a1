"""Calibrate readings

The calibration goes to every instance that calibrates; readings go to any of them, and wait there
until the calibration has come.
"""

from dispel4py.base import GenericPE, IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Calibration(ProducerPE):
    """Gain and offset of the instrument."""

    def _process(self, inputs):
        return {"gain": 4, "offset": -11}


class Readings(ProducerPE):
    """Fifty readings of the instrument, in counts."""

    def _process(self, inputs):
        for number in range(50):
            self.write("output", {"number": number, "counts": number * 31 % 64})


class Calibrate(GenericPE):
    """Turns counts into physical units."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("calibration", grouping="all")
        self._add_input("reading")
        self._add_output("output")
        self.calibration = None
        self.waiting = []

    def _process(self, inputs):
        if "calibration" in inputs:
            self.calibration = inputs["calibration"]
        if "reading" in inputs:
            self.waiting.append(inputs["reading"])
        if self.calibration is not None:
            for reading in self.waiting:
                value = self.calibration["gain"] * reading["counts"] + self.calibration["offset"]
                self.write("output", [reading["number"], value])
            self.waiting = []


class Positive(IterativePE):
    """Drops what is negative."""

    def _process(self, reading):
        return reading if reading[1] >= 0 else None


source, readings, calibrate, positive = Calibration(), Readings(), Calibrate(), Positive()
source.name, readings.name = "calibration", "readings"
calibrate.name, positive.name = "calibrate", "positive"

graph = WorkflowGraph()
graph.connect(source, "output", calibrate, "calibration")
graph.connect(readings, "output", calibrate, "reading")
graph.connect(calibrate, "output", positive, "input")
