"""Join two streams by time window

Ground motion and temperature arrive by two ports, each cut into windows of ten seconds. The join
waits until it has both sides of a window, and says at the end which windows lack one.
"""

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.core import GenericPE
from dispel4py.workflow_graph import WorkflowGraph

WINDOW = 10


class Motion(ProducerPE):
    """A sample of ground motion each second, for two minutes."""

    def _process(self, inputs):
        for second in range(120):
            yield second, (second * 37) % 29


class Temperature(ProducerPE):
    """A temperature every four seconds, beginning half a minute later and ending later."""

    def _process(self, inputs):
        for second in range(30, 150, 4):
            yield second, 15 + second % 7


class ByWindow(IterativePE):
    """Gives the samples of each window together, as (window, samples)."""

    def __init__(self):
        IterativePE.__init__(self)
        self.window, self.samples = None, []

    def _process(self, data):
        second, value = data
        window = second // WINDOW
        if self.samples and window != self.window:
            self.write("output", (self.window, self.samples))
            self.samples = []
        self.window = window
        self.samples.append(value)

    def _postprocess(self):
        if self.samples:
            self.write("output", (self.window, self.samples))


class Join(GenericPE):
    """Joins what came by the two ports for the same window."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("motion", grouping=[0])
        self._add_input("temperature", grouping=[0])
        self._add_output("joined")
        self._add_output("alone")
        self.waiting = {}

    def process(self, inputs):
        for port, (window, samples) in inputs.items():
            sides = self.waiting.setdefault(window, {})
            sides[port] = samples
            if len(sides) == 2:
                del self.waiting[window]
                self.write(
                    "joined",
                    {
                        "window": window,
                        "peak": max(sides["motion"]),
                        "temperatures": sides["temperature"],
                    },
                )

    def _postprocess(self):
        for window, sides in self.waiting.items():
            self.write("alone", [window, *sides])


motion, temperature = Motion(), Temperature()
motion.name, temperature.name = "motion", "temperature"
motion_windows, temperature_windows = ByWindow(), ByWindow()
motion_windows.name, temperature_windows.name = "motion_windows", "temperature_windows"
# Each window needs the samples around it: the two that cut are not to be copied, nor sharded.
for windows in (motion_windows, temperature_windows):
    windows.inputconnections["input"]["grouping"] = "global"
join = Join()
join.name = "join"

graph = WorkflowGraph()
graph.connect(motion, "output", motion_windows, "input")
graph.connect(temperature, "output", temperature_windows, "input")
graph.connect(motion_windows, "output", join, "motion")
graph.connect(temperature_windows, "output", join, "temperature")
