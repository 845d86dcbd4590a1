"""Fan out and in, over several ports

One output feeds three elements, one element has three outputs, two outputs meet at one input, and
two elements are joined by two edges.
"""

from dispel4py.base import BasePE, GenericPE, IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Traces(ProducerPE):
    """Three components of ten traces."""

    def _process(self, inputs):
        for number in range(10):
            self.write("output", {"number": number, "E": number, "N": 2 * number, "Z": -number})


class Components(BasePE):
    """Writes the components of a trace to outputs of their own."""

    def __init__(self):
        BasePE.__init__(self, inputs=["trace"], outputs=["E", "N", "Z"])

    def _process(self, inputs):
        trace = inputs["trace"]
        return {name: (trace["number"], trace[name]) for name in ("E", "N", "Z")}


class Shift(IterativePE):
    """Adds a constant to the component."""

    def __init__(self, amount):
        IterativePE.__init__(self)
        self.amount = amount

    def _process(self, data):
        number, value = data
        return number, value + self.amount


class Label(GenericPE):
    """Says by which port something came."""

    def __init__(self):
        GenericPE.__init__(self)
        for port in ("horizontal", "vertical", "whole"):
            self._add_input(port)
        self._add_output("labelled")

    def process(self, inputs):
        for port, item in inputs.items():
            self.write("labelled", [port, item])


class Count(IterativePE):
    """The number of the components of a trace."""

    def _process(self, trace):
        return len(trace) - 1


traces, components, east, north, label = Traces(), Components(), Shift(100), Shift(200), Label()
traces.name, components.name, label.name = "traces", "components", "label"
east.name, north.name = "east", "north"
count = Count()
count.name = "count"

graph = WorkflowGraph()
graph.connect(traces, "output", components, "trace")
graph.connect(traces, "output", count, "input")
graph.connect(traces, "output", label, "whole")
graph.connect(components, "E", east, "input")
graph.connect(components, "N", north, "input")
graph.connect(east, "output", label, "horizontal")
graph.connect(north, "output", label, "horizontal")
graph.connect(components, "Z", label, "vertical")
graph.connect(components, "E", label, "vertical")
