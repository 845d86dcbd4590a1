"""Texts that shells and formats find awkward

A root is given a text with quotes, dollars and backslashes: no character of it may be lost, or be
taken for something else.
"""

from dispel4py.base import IterativePE
from dispel4py.workflow_graph import WorkflowGraph


class Characters(IterativePE):
    """The characters of a text."""

    cwl = {"inputs": {"input": "string"}}

    def _process(self, text):
        for place, character in enumerate(text):
            self.write("output", [place, character])


class Name(IterativePE):
    """Numbers them as Unicode does."""

    def _process(self, item):
        return [*item, ord(item[1])]


characters, name = Characters(), Name()
characters.name, name.name = "text", "name"

graph = WorkflowGraph()
graph.connect(characters, "output", name, "input")
