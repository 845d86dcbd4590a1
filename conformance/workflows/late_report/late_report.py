"""A report at the end

Elements write when the stream is over: one per channel, one for everything. What they write then
passes through two further elements, of which the last writes at its end as well.
"""

from dispel4py.base import GenericPE, IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Picks(ProducerPE):
    """Arrival times in ms, picked on four channels."""

    def _process(self, inputs):
        for number in range(40):
            self.write("output", (f"HH{'ENZX'[number % 4]}", 1000 + 13 * number % 211))

    def _postprocess(self):
        self.write("output", ("HHE", 5000))


class First(GenericPE):
    """The first pick of each channel, told at the end."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("input", grouping=[0])
        self._add_output("output")
        self.first = {}

    def _process(self, inputs):
        channel, time = inputs["input"]
        self.first[channel] = min(time, self.first.get(channel, time))

    def _postprocess(self):
        for channel in sorted(self.first):
            self.write("output", {"channel": channel, "first": self.first[channel]})


class Format(IterativePE):
    """A line of the report."""

    def _process(self, row):
        return f"{row['channel']} {row['first']}"


class Report(IterativePE):
    """Numbers the lines, sorted, and adds a last one."""

    def __init__(self):
        IterativePE.__init__(self)
        self.inputconnections["input"]["grouping"] = "global"
        self.lines = []

    def _process(self, line):
        self.lines.append(line)

    def _postprocess(self):
        for number, line in enumerate(sorted(self.lines), 1):
            self.write("output", f"{number}. {line}")
        self.write("output", f"{len(self.lines)} channels")


picks, first, line, report = Picks(), First(), Format(), Report()
picks.name, first.name, line.name, report.name = "picks", "first", "line", "report"

graph = WorkflowGraph()
graph.connect(picks, "output", first, "input")
graph.connect(first, "output", line, "input")
graph.connect(line, "output", report, "input")
