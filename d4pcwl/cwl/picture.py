"""Pictures of CWL documents: steps are nodes, subworkflows boxes around theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from d4pcwl.cwl.importing.cwltool.document import short_name
from d4pcwl.workflow.picture import Arrow, Box, Node, Picture


def picture_of_cwl(location: str) -> Picture:
    """The picture of a document.

    :param location: its path or URI; ``#id`` for one process of a packed document
    :raises D4pcwlError: it is not valid CWL
    """
    from d4pcwl.cwl.importing.cwltool.document import Document
    from d4pcwl.cwl.importing.cwltool.settings import Settings

    process = Document(location, Settings(quiet=True)).process
    drawing = _Drawing()
    if process.tool["class"] == "Workflow":
        drawing.add_workflow(process, (), {}, top=True)
    else:
        drawing.add_node(
            "tool", str(process.tool.get("label", short_name(process.tool["id"]))), process
        )
    return Picture(drawing.nodes, drawing.arrows)


class _Drawing:
    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.arrows: list[Arrow] = []
        self._steps = 0

    def add_node(self, key: str, title: str, process: Any, boxes: tuple[Box, ...] = ()) -> None:
        """A process that is drawn as a whole."""
        names = [
            tuple(short_name(entry["id"]) for entry in process.tool[kind])
            for kind in ("inputs", "outputs")
        ]
        self.nodes.append(Node(key, title, names[0], names[1], boxes))

    def add_workflow(
        self,
        workflow: Any,
        boxes: tuple[Box, ...],
        fed: Mapping[str, list[_End]],
        *,
        top: bool = False,
    ) -> dict[str, list[_End]]:
        """The steps of a workflow, and the arrows between them.

        :param fed: to each input of the workflow where its values come from
        :returns: to each output where its values come from
        """
        made: dict[str, list[_End]] = {}
        if top:
            inputs = tuple(short_name(entry["id"]) for entry in workflow.tool["inputs"])
            self.nodes.append(Node("inputs", "inputs", (), inputs))
            made = {
                entry["id"]: [("inputs", short_name(entry["id"]))]
                for entry in workflow.tool["inputs"]
            }
        else:
            made = {
                entry["id"]: fed.get(short_name(entry["id"]), [])
                for entry in workflow.tool["inputs"]
            }
        waiting = list(workflow.steps)
        while waiting:
            step = next(s for s in waiting if all(src in made for src in _all_sources(s)))
            waiting.remove(step)
            made.update(self._add_step(step, boxes, made))
        results = {
            short_name(entry["id"]): [
                end for source in _sources(entry, "outputSource") for end in made[source]
            ]
            for entry in workflow.tool["outputs"]
        }
        if top:
            self.nodes.append(Node("outputs", "outputs", tuple(results), ()))
            for name, ends in results.items():
                self._arrows(ends, "outputs", name)
        return results

    def _add_step(
        self, step: Any, boxes: tuple[Box, ...], made: Mapping[str, list[_End]]
    ) -> dict[str, list[_End]]:
        key = f"step{self._steps}"
        self._steps += 1
        scattered = step.tool.get("scatter")
        title = short_name(step.id) + (" (scattered)" if scattered else "")
        fed = {
            short_name(entry["id"]): [
                end for source in _sources(entry, "source") for end in made[source]
            ]
            for entry in step.tool["inputs"]
        }
        process = step.embedded_tool
        if process.tool["class"] == "Workflow":
            outputs = self.add_workflow(process, (*boxes, Box(key, title)), fed)
        else:
            self.add_node(key, title, process, boxes)
            known = self.nodes[-1].inputs
            for name, ends in fed.items():
                if name in known:
                    self._arrows(ends, key, name)
            outputs = {name: [(key, name)] for name in self.nodes[-1].outputs}
        return {entry["id"]: outputs[short_name(entry["id"])] for entry in step.tool["outputs"]}

    def _arrows(self, ends: list[_End], target: str, name: str) -> None:
        self.arrows += [Arrow(source, output, target, name) for source, output in ends]


_End = tuple[str, str]
"""A node's key and the name of its output."""


def _all_sources(step: Any) -> Iterator[str]:
    for entry in step.tool["inputs"]:
        yield from _sources(entry, "source")


def _sources(entry: Mapping[str, Any], key: str) -> list[str]:
    source = entry.get(key) or []
    return [source] if isinstance(source, str) else list(source)
