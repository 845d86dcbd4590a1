"""Texts that shells and formats find awkward

A root is given a text with quotes, dollars and backslashes, and so is the environment: no character
of them may be lost, or be taken for something else.
"""

import os

from dispel4py.base import IterativePE
from dispel4py.workflow_graph import WorkflowGraph


class Characters(IterativePE):
    """The characters of a text."""

    cwl = {"inputs": {"input": "string"}}

    def _process(self, text):
        for place, character in enumerate(text):
            self.write("output", [place, character])


class Compare(IterativePE):
    """Says whether a character stands in the environment, too."""

    cwl = {"env": {"MOTTO": {"default": "", "doc": "a text with many characters"}}}

    def _process(self, item):
        return [*item, item[1] in os.environ.get("MOTTO", "")]


characters, compare = Characters(), Compare()
characters.name, compare.name = "text", "compare"

graph = WorkflowGraph()
graph.connect(characters, "output", compare, "input")
