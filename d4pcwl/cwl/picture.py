"""Pictures of CWL documents: steps are nodes, subworkflows boxes around theirs."""

from __future__ import annotations

from typing import Any

from d4pcwl.cwl.importing.cwltool.document import short_name
from d4pcwl.cwl.importing.graph.links import Link
from d4pcwl.cwl.importing.graph.pes import input_origin, origin
from d4pcwl.cwl.importing.graph.steps import CwlStep, CwlSubworkflow, Steps
from d4pcwl.workflow.picture import Arrow, Box, Node, Picture


def picture_of_cwl(location: str) -> Picture:
    """The picture of a document.

    :param location: its path or URI; ``#id`` for one process of a packed document
    :raises D4pcwlError: it is not valid CWL
    """
    from d4pcwl.cwl.importing.cwltool.document import Document
    from d4pcwl.cwl.importing.cwltool.settings import Settings
    from d4pcwl.cwl.importing.graph.cwl_graph import runner_graph

    document = Document(location, Settings(quiet=True))
    drawing = _Drawing()
    if document.process.tool["class"] == "Workflow":
        drawing.add_document(runner_graph(document))
    else:
        tool = document.process.tool
        title = str(tool.get("label", short_name(tool["id"])))
        drawing.nodes.append(Node("tool", title, *_ports(document.process)))
    return Picture(drawing.nodes, drawing.arrows)


_End = tuple[str, str]
"""A node's key and the name of its output."""


class _Drawing:
    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.arrows: list[Arrow] = []
        self._ends: dict[str, list[_End]] = {}
        self._count = 0

    def add_document(self, graph: Steps) -> None:
        """A workflow, with nodes for its inputs and its outputs."""
        self.nodes.append(Node("inputs", "inputs", (), tuple(graph.input_names)))
        for name in graph.input_names:
            self._ends[input_origin((), name)] = [("inputs", name)]
        self._add_steps(graph, ())
        self.nodes.append(Node("outputs", "outputs", tuple(link.name for link in graph.given)))
        for link in graph.given:
            self._add_arrows(link, "outputs")

    def _add_steps(self, steps: Steps, boxes: tuple[Box, ...]) -> None:
        """The steps of a workflow, which come sources first, and the arrows to them."""
        for step in steps.steps.values():
            key = f"step{self._count}"
            self._count += 1
            title = step.name + (" (scattered)" if step.scatter else "")
            if isinstance(step, CwlSubworkflow):
                for link in step.links:
                    self._ends[input_origin(step.path, link.name)] = self._from(link)
                self._add_steps(step, (*boxes, Box(key, title)))
                for link in step.given:
                    self._ends[origin(step.path, link.name)] = self._from(link)
            else:
                self._add_tool(key, title, step, steps.document.at(step.path), boxes)

    def _add_tool(
        self, key: str, title: str, step: CwlStep, process: Any, boxes: tuple[Box, ...]
    ) -> None:
        inputs, outputs = _ports(process)
        self.nodes.append(Node(key, title, inputs, outputs, boxes))
        for name in outputs:
            self._ends[origin(step.path, name)] = [(key, name)]
        for link in step.links:
            if link.name in inputs:
                self._add_arrows(link, key)

    def _add_arrows(self, link: Link, target: str) -> None:
        for source, output in self._from(link):
            self.arrows.append(Arrow(source, output, target, link.name))

    def _from(self, link: Link) -> list[_End]:
        """The outputs of nodes that a value comes from, out of boxes and into boxes."""
        return [end for source in link.sources for end in self._ends.get(source, ())]


def _ports(process: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the inputs and outputs of a process."""
    inputs, outputs = (
        tuple(short_name(entry["id"]) for entry in process.tool[kind])
        for kind in ("inputs", "outputs")
    )
    return inputs, outputs
