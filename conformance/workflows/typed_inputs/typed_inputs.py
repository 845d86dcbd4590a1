"""Inputs of every type

Several roots, each with parameters of its own; typed_inputs.d4p.yml beside this script says of
which types, since the script says nothing.
"""

import os

from dispel4py.base import IterativePE
from dispel4py.core import GenericPE
from dispel4py.workflow_graph import WorkflowGraph


class Lines(IterativePE):
    """The lines of a file."""

    def _process(self, path):
        with open(path) as file:
            yield from file.read().splitlines()


class Names(IterativePE):
    """The names of the files in a folder, and how long these are."""

    def _process(self, folder):
        for name in sorted(os.listdir(folder)):
            self.write("output", [name, os.path.getsize(os.path.join(folder, name))])


class Describe(IterativePE):
    """The type of a value, and the value."""

    def _process(self, value):
        return [type(value).__name__, value]


class Limits(GenericPE):
    """Two inputs of one root: a lower limit, and the values above it."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("limit")
        self._add_input("value")
        self._add_output("output")

    def process(self, inputs):
        self.write("output", sorted(inputs.items()))


class Collect(IterativePE):
    """Passes everything on."""

    def _process(self, item):
        return {"item": item}


graph = WorkflowGraph()
collect = Collect()
collect.name = "collect"
roots = [("catalogue", Lines()), ("waveforms", Names()), ("pages", Lines()), ("limits", Limits())]
roots += [(name, Describe()) for name in ("depth", "magnitude", "event", "years", "corners")]
roots += [(name, Describe()) for name in ("networks", "preliminary")]
for name, root in roots:
    root.name = name
    graph.connect(root, "output", collect, "input")
