"""Totals by station and channel

Keys of two fields: every reading of a station's channel meets in one instance.
"""

from dispel4py.base import GenericPE, IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph

STATIONS = ["AQU", "CERT", "FAGN"]
CHANNELS = ["HHE", "HHN", "HHZ"]


class Readings(ProducerPE):
    """Makes up 90 readings of three channels at three stations."""

    def _process(self, inputs):
        for number in range(90):
            self.write(
                "output",
                {
                    "station": STATIONS[number % 3],
                    "channel": CHANNELS[(number // 3 + number % 2) % 3],
                    "value": number * number % 101,
                },
            )


class InCounts(IterativePE):
    """Turns a reading into whole counts."""

    def _process(self, reading):
        return {**reading, "value": 7 * reading["value"] - 3}


class Totals(GenericPE):
    """Adds up the readings of each station and channel."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("input", grouping=["station", "channel"])
        self._add_output("output")
        self.totals = {}

    def _process(self, inputs):
        reading = inputs["input"]
        key = reading["station"], reading["channel"]
        number, total = self.totals.get(key, (0, 0))
        self.totals[key] = number + 1, total + reading["value"]

    def _postprocess(self):
        for key, (number, total) in self.totals.items():
            self.write("output", [*key, number, total])


class Name(IterativePE):
    """Puts station and channel into one name."""

    def _process(self, row):
        station, channel, number, total = row
        return {"channel": f"IV.{station}..{channel}", "number": number, "total": total}


readings, counts, totals, name = Readings(), InCounts(), Totals(), Name()
readings.name = "readings"
counts.name = "counts"
totals.name = "totals"
name.name = "name"

graph = WorkflowGraph()
graph.connect(readings, "output", counts, "input")
graph.connect(counts, "output", totals, "input")
graph.connect(totals, "output", name, "input")
