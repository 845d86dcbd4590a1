"""From the steps of a document to the PEs that run it."""

from __future__ import annotations

from typing import Any

from d4pcwl.cwl.importing.cwltool.document import Document, StepPath, short_name
from d4pcwl.cwl.importing.graph.declared import DeclaredLinks
from d4pcwl.cwl.importing.graph.ends import LeavePE, OutputsPE
from d4pcwl.cwl.importing.graph.in_place import after, readers_before
from d4pcwl.cwl.importing.graph.links import Link
from d4pcwl.cwl.importing.graph.loops import LoopPE, chained
from d4pcwl.cwl.importing.graph.pes import JOB, SKIPPED, EnterPE, JoinPE, PassPE, ToolPE
from d4pcwl.cwl.importing.graph.steps import CwlStep, CwlSubworkflow, Steps
from d4pcwl.workflow.composite import CompositePE
from d4pcwl.workflow.graph import WorkflowGraph


class Builder:
    """Makes PEs from a document's steps, and edges from their links. ``graph`` is the result, and
    ``tools`` has the PEs that run the steps' tools.

    :param steps: the steps of the document
    :param begin: the PE that sends its inputs
    :param end: the PE that takes its outputs
    :param reports: True: failures are items of separate outputs; False: the PEs fail
    """

    def __init__(
        self, steps: Steps, links: DeclaredLinks, begin: Any, end: OutputsPE, *, reports: bool
    ) -> None:
        self.document = steps.document
        self.links, self.reports = links, reports
        self.graph = WorkflowGraph()
        self.tools: dict[StepPath, ToolPE] = {}
        end.links = steps.given
        self._fill(self.graph, steps, begin, end)

    def _fill(
        self,
        graph: WorkflowGraph,
        steps: Steps,
        begin: Any,
        end: Any,
        bypass: PassPE | None = None,
    ) -> None:
        """Put the steps of a workflow into a graph.

        :param begin: the PE that sends the workflow's inputs
        :param end: the PE that takes its outputs
        :param bypass: the PE that sends the inputs that ``begin`` does not send
        """
        graph.connect(begin, JOB, end, JOB)
        awaited: dict[StepPath, list[StepPath]] = {}
        if self.document.updates_in_place and len(steps.steps) > 1:
            inputs = {step.path: step.links for step in steps.steps.values()}
            awaited = readers_before(self.document, inputs)
        nodes = {steps.inputs: begin, steps.outputs: end}
        links = {steps.outputs: steps.given}
        for step in steps.steps.values():
            readers = awaited.get(step.path, [])
            links[step] = [*step.links, *([after(self.document, readers)] if readers else [])]
            passed = _passed(self.document, step) if not readers else []
            gathered = [link for link in links[step] if link.name not in passed]
            nodes[step] = self._step(step, gathered, passed)
            graph.add(nodes[step])
            if not any(link.sources for link in gathered):
                graph.connect(begin, JOB, nodes[step], JOB)
        sources = steps.sources()
        for target, entering in links.items():
            for link in entering:
                for name in dict.fromkeys(link.sources):
                    source, output = sources[name]
                    passes = source is steps.inputs and bypass and output in bypass.inputconnections
                    giver: Any = bypass if passes else nodes[source]
                    graph.connect(giver, output, nodes[target], link.name)

    def _step(self, step: CwlStep, gathered: list[Link], passed: list[str]) -> CompositePE:
        """The PEs of a step, connected only to each other.

        :param gathered: the links that its join waits for
        :param passed: the inputs that do not come through its join, see :class:`PassPE`
        """
        document, reports = self.document, self.reports
        path, outputs = step.path, step.output_names
        inside = CompositePE()
        inside.name = step.name  # type: ignore[attr-defined]
        join = JoinPE(path, gathered, step.scatter, step.method)
        loop = None
        if path in self.links.turns:
            turns = self.links.turns[path]
            loop = LoopPE(document, path, outputs, turns, reports=reports)
        for name in join.inputconnections:
            inside._map_input(name, join, name)
        if isinstance(step, CwlSubworkflow):
            enter = EnterPE(document, path, outputs, step.input_names, passed, reports=reports)
            leave = LeavePE(path, step.given, reports=reports, kept=document.settings.kept)
            last = chained(inside, join, loop, enter, leave)
            inside.connect(enter, SKIPPED, leave, SKIPPED)
            bypass = PassPE(path, passed)
            for name in passed:
                inside._map_input(name, bypass, name)
            self._fill(inside, step, enter, leave, bypass)
        else:
            tool = self.tools[path] = ToolPE(document, path, outputs, reports=reports)
            last = chained(inside, join, loop, tool, tool)
        for name in outputs:
            inside._map_output(name, last, name)
        return inside


def _passed(document: Document, step: CwlStep) -> list[str]:
    """The inputs of a subworkflow that may go into it element by element. They are arrays with one
    source each, in a step without scatter, condition or expressions. A record has whole inputs.
    """
    if not isinstance(step, CwlSubworkflow) or step.scatter or document.settings.kept:
        return []
    declared: Any = document.step(step.path).tool
    entries = {short_name(entry["id"]): entry for entry in declared["inputs"]}
    if "when" in declared:
        return []
    if any("valueFrom" in entry or entry.get("loadContents") for entry in entries.values()):
        return []
    return [
        link.name
        for link in step.links
        if link.streams
        and not link.has_default
        and not entries[link.name].get("not_connected")
        and _is_array(entries[link.name]["type"])
    ]


def _is_array(declared: Any) -> bool:
    """Whether a type has arrays, except for arrays of folders: a workflow may list what is in its
    folders."""
    kinds = declared if isinstance(declared, list) else [declared]
    arrays = [kind for kind in kinds if isinstance(kind, dict) and kind.get("type") == "array"]
    return any(array["items"] != "Directory" for array in arrays)
