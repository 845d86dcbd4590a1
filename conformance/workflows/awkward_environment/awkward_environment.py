"""An awkward text in the environment

What an environment variable has must reach the PEs of every step as it is, with its quotes and
dollars.
"""

import os

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Characters(ProducerPE):
    """The characters of the variable MOTTO."""

    cwl = {"env": {"MOTTO": {"default": "", "doc": "a text with many characters"}}}

    def _process(self, inputs):
        for character in os.environ.get("MOTTO", ""):
            self.write("output", character)


class Compare(IterativePE):
    """Says whether a character stands in the variable here, too."""

    def _process(self, character):
        return [character, character in os.environ.get("MOTTO", "")]


characters, compare = Characters(), Compare()
characters.name, compare.name = "characters", "compare"

graph = WorkflowGraph()
graph.connect(characters, "output", compare, "input")
