"""Pictures of CWL documents: steps are nodes, subworkflows boxes around theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from d4pcwl.cwl.emit.parameter import TEXT_FORMAT
from d4pcwl.cwl.importing.cwltool.document import short_name
from d4pcwl.cwl.importing.graph.flows import is_compiled
from d4pcwl.cwl.importing.graph.links import Link
from d4pcwl.cwl.importing.graph.pes import input_origin, origin
from d4pcwl.cwl.importing.graph.steps import CwlStep, CwlSubworkflow, Steps
from d4pcwl.workflow.nodes import CONDITIONAL, SCATTERED, Arrow, Box, Node
from d4pcwl.workflow.picture import Picture

if TYPE_CHECKING:
    from d4pcwl.cwl.importing.cwltool.document import Document


def picture_of_cwl(location: str, *, all_edges: bool = False) -> Picture:
    """The picture of a document.

    :param location: its path or URI; ``#id`` for one process of a packed document
    :param all_edges: draw the edges of settings, too, and of what compiled steps tell of their
        runs: the text that they print, and their records; if False, only those of data
    :raises D4pcwlError: it is not valid CWL
    """
    from d4pcwl.cwl.importing.cwltool.document import Document
    from d4pcwl.cwl.importing.cwltool.settings import Settings
    from d4pcwl.cwl.importing.graph.cwl_graph import runner_graph

    document = Document(location, Settings(quiet=True))
    tool = document.process.tool
    if tool["class"] != "Workflow":
        title = str(tool.get("label", short_name(tool["id"])))
        return Picture([Node("tool", title, *_ports(document.process))])
    drawing = _Drawing(all_edges)
    drawing.add_document(runner_graph(document))
    if all_edges:
        return Picture(drawing.nodes, drawing.arrows)
    return _in_use(drawing.nodes, _bundled(drawing.arrows))


_End = tuple[str, str]
"""A node's key and the name of its output."""


class _Drawing:
    def __init__(self, all_edges: bool) -> None:
        self._all = all_edges
        self.nodes: list[Node] = []
        self.arrows: list[Arrow] = []
        self._ends: dict[str, list[_End]] = {}
        self._count = 0

    def add_document(self, graph: Steps) -> None:
        """A workflow, with nodes for its inputs and its outputs."""
        self.nodes.append(Node("inputs", "inputs", (), tuple(graph.input_names)))
        for entry in graph.document.process.tool["inputs"]:
            if self._all or _is_data(entry):
                name = short_name(entry["id"])
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
            if isinstance(step, CwlSubworkflow):
                title = step.name + (" (scattered)" if step.scatter else "")
                for link in step.links:
                    self._ends[input_origin(step.path, link.name)] = self._from(link)
                self._add_steps(step, (*boxes, Box(key, title)))
                for link in step.given:
                    self._ends[origin(step.path, link.name)] = self._from(link)
            else:
                self._add_tool(key, step, steps.document, boxes)

    def _add_tool(
        self, key: str, step: CwlStep, document: Document, boxes: tuple[Box, ...]
    ) -> None:
        process = document.at(step.path)
        inputs, outputs = _ports(process)
        kinds = [SCATTERED] if step.scatter else []
        kinds += [CONDITIONAL] if document.step(step.path).tool.get("when") else []
        self.nodes.append(Node(key, step.name, inputs, outputs, boxes, tuple(kinds)))
        left_out = set() if self._all else _of_run(process.tool)
        for name in outputs:
            if name in left_out:
                continue
            self._ends[origin(step.path, name)] = [(key, name)]
        for link in step.links:
            if link.name in inputs:
                self._add_arrows(link, key)

    def _add_arrows(self, link: Link, target: str) -> None:
        for source, output in self._from(link):
            self.arrows.append(Arrow(source, output, target, link.name))

    def _from(self, link: Link) -> list[_End]:
        """The outputs of nodes that a value comes from, through the borders of boxes."""
        return [end for source in link.sources for end in self._ends.get(source, ())]


def _is_data(entry: Mapping[str, Any]) -> bool:
    """Whether an input of a workflow is data. A setting has a default, or is optional."""
    optional = isinstance(entry["type"], list) and "null" in entry["type"]
    return "default" not in entry and (not optional or _has_files(entry["type"]))


def _has_files(kind: Any) -> bool:
    if isinstance(kind, list):
        return any(map(_has_files, kind))
    if isinstance(kind, Mapping):
        return "items" in kind and _has_files(kind["items"])
    return kind in ("File", "Directory")


def _of_run(tool: Mapping[str, Any]) -> set[str]:
    """The outputs of a compiled tool that tell of its run: the text that its PEs print, and its
    record."""
    entries = tool["outputs"] if is_compiled(tool) else ()
    asked = [entry for entry in tool.get("arguments", ()) if isinstance(entry, Mapping)]
    records = [entry["valueFrom"] for entry in asked if entry.get("prefix") == "--provenance"]
    return {
        short_name(entry["id"])
        for entry in entries
        if entry.get("format") == TEXT_FORMAT
        or entry.get("outputBinding", {}).get("glob") in records
    }


def _bundled(arrows: Sequence[Arrow]) -> list[Arrow]:
    """Arrows from numbered outputs of one node to one input as one: ``part_0``, … as ``part_*``."""
    ends: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for arrow in arrows:
        ends.setdefault((arrow.source, arrow.output), set()).add((arrow.target, arrow.input))
    alike: dict[tuple[str, str, frozenset[tuple[str, str]]], list[str]] = {}
    for (source, output), found in ends.items():
        stem = output.rstrip("0123456789")
        alike.setdefault((source, stem, frozenset(found)), []).append(output)
    names = {
        (source, output): f"{stem}*" if len(outputs) > 1 else output
        for (source, stem, _), outputs in alike.items()
        for output in outputs
    }
    return list(dict.fromkeys(replace(a, output=names[a.source, a.output]) for a in arrows))


def _in_use(nodes: Sequence[Node], arrows: Sequence[Arrow]) -> Picture:
    """The nodes with the ports that arrows have."""
    used: dict[str, tuple[list[str], list[str]]] = {
        key: ([], []) for key in (node.key for node in nodes)
    }
    for arrow in arrows:
        used[arrow.source][1].append(arrow.output)
        used[arrow.target][0].append(arrow.input)
    shown = []
    for node in nodes:
        inputs, outputs = (tuple(dict.fromkeys(ports)) for ports in used[node.key])
        if inputs or outputs or node.key not in ("inputs", "outputs"):
            shown.append(replace(node, inputs=inputs, outputs=outputs))
    return Picture(shown, arrows)


def _ports(process: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the inputs and outputs of a process."""
    inputs, outputs = (
        tuple(short_name(entry["id"]) for entry in process.tool[kind])
        for kind in ("inputs", "outputs")
    )
    return inputs, outputs
