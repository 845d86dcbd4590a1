"""From a CWL document to the graph that runs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from d4pcwl.cwl.importing.cwltool.document import Document, StepPath, is_loop, plain, short_name
from d4pcwl.cwl.importing.graph.ends import RESULT, LeavePE, OutputsPE
from d4pcwl.cwl.importing.graph.flows import Flows
from d4pcwl.cwl.importing.graph.in_place import after, readers_before
from d4pcwl.cwl.importing.graph.join import DOT
from d4pcwl.cwl.importing.graph.links import Link
from d4pcwl.cwl.importing.graph.loops import LoopPE, chained
from d4pcwl.cwl.importing.graph.pes import (
    FAILURES,
    JOB,
    SKIPPED,
    TASK,
    EnterPE,
    InputsPE,
    JoinPE,
    PassPE,
    ToolPE,
    input_origin,
    origin,
)
from d4pcwl.errors import Fault, InputError, raise_faults
from d4pcwl.workflow.composite import CompositePE
from d4pcwl.workflow.graph import WorkflowGraph

_Port = tuple[Any, str]


@dataclass
class Built:
    """A graph made of a document.

    :param inputs: its root
    :param outputs: where the output objects of jobs come out
    :param results: the ports whose items are to be had: output objects, and failures
    :param dead_ends: whether there are steps that no output of the document depends on
    :param tools: those of its steps
    :param flows: the links between these; None where the document is a tool
    """

    graph: WorkflowGraph
    inputs: InputsPE
    outputs: OutputsPE
    results: list[_Port] = field(default_factory=list)
    dead_ends: bool = False
    tools: dict[StepPath, ToolPE] = field(default_factory=dict)
    flows: Flows | None = None


def build(document: Document) -> Built:
    """Make the graph of a document.

    :raises InputError: with all faults: the document cannot be linked together
    """
    process = document.process
    tool = process.tool
    graph = WorkflowGraph()
    root = InputsPE(short_name(entry["id"]) for entry in tool["inputs"])
    if tool["class"] == "Workflow":
        builder = _Builder(document)
        links = builder.outputs(())
        end = OutputsPE(links)
        built = Built(graph, root, end, [(end, RESULT), (end, FAILURES)])
        builder.fill(graph, (), root, end, built)
        raise_faults(InputError, builder.faults)
        built.tools = builder.tools
        built.flows = Flows(document, builder.inputs, {**builder.given, (): links})
        return built
    names = [short_name(entry["id"]) for entry in tool["outputs"]]
    end = OutputsPE(Link(name, (origin((), name),)) for name in names)
    pe = ToolPE(document, (), names)
    graph.connect(root, TASK, pe, TASK)
    for name in names:
        graph.connect(pe, name, end, name)
    if not names:
        graph.connect(root, JOB, end, JOB)
    return Built(graph, root, end, [(end, RESULT), (end, FAILURES), (pe, FAILURES)])


@dataclass(frozen=True)
class _Step:
    """A step in a graph: the node that takes its inputs, and the one that has its outputs."""

    entry: Any
    exit: Any
    links: list[Link]
    outputs: list[str] = field(default_factory=list)
    wants_begin: bool = False


class _Builder:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.faults: list[Fault | str] = []
        self.inputs: dict[StepPath, list[Link]] = {}
        self.given: dict[StepPath, list[Link]] = {}
        self.tools: dict[StepPath, ToolPE] = {}
        self._origins_of: dict[StepPath, dict[str, str]] = {}

    def fill(
        self,
        graph: Any,
        path: StepPath,
        begin: Any,
        end: Any,
        built: Built,
        bypass: PassPE | None = None,
    ) -> None:
        """Put the steps of a workflow into a graph.

        :param begin: the PE that hands out the workflow's inputs
        :param end: the PE that takes its outputs
        :param bypass: the PE that hands out the inputs that ``begin`` does not
        """
        workflow = self.document.workflow(path)
        ports: dict[str, _Port] = {}
        for entry in workflow.tool["inputs"]:
            name = short_name(entry["id"])
            passed = bypass is not None and name in bypass.outputconnections
            ports[input_origin(path, name)] = (bypass if passed else begin, name)
        # In the document's order: cwltool shuffles the steps.
        order = {entry["id"]: number for number, entry in enumerate(workflow.tool["steps"])}
        declared_steps = sorted(workflow.steps, key=lambda step: order[step.id])
        links = {}
        for declared in declared_steps:
            inner = (*path, short_name(declared.id))
            links[inner] = self._inputs(inner, declared, workflow)
        self.inputs |= links
        awaited = {}
        if self.document.updates_in_place and not self.faults:
            awaited = readers_before(self.document, links)
        steps: list[_Step] = []
        for declared in declared_steps:
            inner = (*path, short_name(declared.id))
            step = self._step(graph, inner, declared, built, awaited.get(inner))
            steps.append(step)
            for entry in declared.tool["outputs"]:
                name = short_name(entry["id"])
                ports[origin(inner, name)] = (step.exit, name)
        used: set[tuple[int, str]] = set()
        for step in [*steps, _Step(end, None, end.links, wants_begin=True)]:
            for link in step.links:
                for source in dict.fromkeys(link.sources):
                    node, name = ports[source]
                    used.add((id(node), name))
                    graph.connect(node, name, step.entry, link.name)
            if step.wants_begin:
                graph.connect(begin, JOB, step.entry, JOB)
        for step in steps:
            ends = [(id(step.exit), name) not in used for name in step.outputs]
            # Outputs of a tool are made together; those of a subworkflow are not.
            built.dead_ends |= all(ends) or (isinstance(step.exit, CompositePE) and any(ends))

    def _step(
        self, graph: Any, path: StepPath, step: Any, built: Built, awaited: list[StepPath] | None
    ) -> _Step:
        """The nodes of a step, joined to each other but to nothing else.

        :param awaited: the steps that it comes after though it takes nothing from them
        """
        links = list(self.inputs[path])
        outputs = [short_name(entry["id"]) for entry in step.tool["outputs"]]
        scatter = step.tool.get("scatter", [])
        names = [short_name(name) for name in ([scatter] if isinstance(scatter, str) else scatter)]
        is_workflow = step.embedded_tool.tool["class"] == "Workflow"
        passed = passed_inputs(step, links) if is_workflow and not awaited else []
        links += [after(self.document, awaited)] if awaited else []
        gathered = [link for link in links if link.name not in passed]
        join = JoinPE(path, gathered, names, step.tool.get("scatterMethod", DOT))
        wants_begin = not any(link.sources for link in gathered)
        loop = (
            LoopPE(self.document, path, outputs, self.loop_links(path)) if is_loop(step) else None
        )
        if loop:
            built.results.append((loop, FAILURES))
        if not is_workflow:
            tool = self.tools[path] = ToolPE(self.document, path, outputs)
            built.results.append((tool, FAILURES))
            return _Step(join, chained(graph, join, loop, tool, tool), links, outputs, wants_begin)
        given = [short_name(entry["id"]) for entry in step.embedded_tool.tool["inputs"]]
        enter = EnterPE(self.document, path, outputs, given, passed)
        self.given[path] = self.outputs(path)
        leave = LeavePE(path, self.given[path], outputs)
        inside = CompositePE()
        inside.name = path[-1]  # type: ignore[attr-defined]
        last = chained(inside, join, loop, enter, leave)
        inside.connect(enter, SKIPPED, leave, SKIPPED)
        for name in (*join.inputconnections,):
            inside._map_input(name, join, name)
        bypass = PassPE(path, passed)
        for name in passed:
            inside._map_input(name, bypass, name)
        for name in outputs:
            inside._map_output(name, last, name)
        built.results += [(enter, FAILURES), (leave, FAILURES)]
        self.fill(inside, path, enter, leave, built, bypass)
        graph.add(inside)
        return _Step(inside, inside, links, outputs, wants_begin)

    # --- links ------------------------------------------------------------------------------

    def loop_links(self, path: StepPath) -> list[Link]:
        """How the inputs of a loop's next iteration come about."""
        step: Any = self.document.step(path)
        outputs = [entry["id"] for entry in step.tool["outputs"]]
        origins = {name: origin(path, short_name(name)) for name in outputs}
        links = []
        for entry in step.tool["loop"]:
            link = self._link(entry, "outputSource", origins, step, path)
            links.append(link)
            name = f"step {'/'.join(path)}: loop input '{link.name}'"
            self._check_input(entry, link, name, step)
        return links

    def outputs(self, path: StepPath) -> list[Link]:
        """How the outputs of a workflow come about."""
        workflow = self.document.workflow(path)
        origins = self._origins(path, workflow)
        return [
            self._link(entry, "outputSource", origins, workflow, path)
            for entry in workflow.tool["outputs"]
        ]

    def _inputs(self, path: StepPath, step: Any, workflow: Any) -> list[Link]:
        """How the inputs of a step come about."""
        origins = self._origins(path[:-1], workflow)
        links = []
        for entry in step.tool["inputs"]:
            link = self._link(entry, "source", origins, workflow, path)
            links.append(link)
            name = f"step {'/'.join(path)}: input '{link.name}'"
            optional = "null" in entry["type"] or entry.get("not_connected")
            self._check_input(entry, link, name, workflow, optional=optional)
        return links

    def _check_input(
        self, entry: Any, link: Link, name: str, owner: Any, *, optional: bool = False
    ) -> None:
        """Note what is wrong with an input.

        :param name: what messages call it
        :param owner: the process whose requirements hold for its expression
        """
        if "valueFrom" in entry and not _has(owner, "StepInputExpressionRequirement"):
            self.faults.append(
                _fault(entry, f"{name} has valueFrom; add StepInputExpressionRequirement")
            )
        if not (link.sources or link.has_default or "valueFrom" in entry or optional):
            self.faults.append(_fault(entry, f"{name} gets no value"))

    def _link(
        self, entry: Any, field_name: str, origins: dict[str, str], workflow: Any, path: StepPath
    ) -> Link:
        name = short_name(entry["id"])
        given = entry.get(field_name, [])
        ids = [given] if isinstance(given, str) else list(given)
        for unknown in (source for source in ids if source not in origins):
            self.faults.append(
                _fault(entry, f"{'/'.join((*path, name))}: there is no source {unknown}")
            )
        if len(ids) > 1 and not _has(workflow, "MultipleInputFeatureRequirement"):
            self.faults.append(
                _fault(
                    entry,
                    f"{'/'.join((*path, name))} has several sources; add "
                    "MultipleInputFeatureRequirement",
                )
            )
        return Link(
            name,
            tuple(origins[source] for source in ids if source in origins),
            entry.get("linkMerge", "merge_nested" if len(ids) > 1 else None),
            entry.get("pickValue"),
            plain(entry.get("default")),
            "default" in entry,
        )

    def _origins(self, path: StepPath, workflow: Any) -> dict[str, str]:
        """From the ids that links name to origins, in one workflow; once for all its steps."""
        if path not in self._origins_of:
            self._origins_of[path] = self._find_origins(path, workflow)
        return self._origins_of[path]

    def _find_origins(self, path: StepPath, workflow: Any) -> dict[str, str]:
        found = {
            entry["id"]: input_origin(path, short_name(entry["id"]))
            for entry in workflow.tool["inputs"]
        }
        for step in workflow.steps:
            inner = (*path, short_name(step.id))
            found |= {
                entry["id"]: origin(inner, short_name(entry["id"]))
                for entry in step.tool["outputs"]
            }
        return found


def loop_links(document: Document, path: StepPath) -> list[Link]:
    """How the inputs of a loop's next iteration come about, in a document that :func:`build` has
    found to be right."""
    return _Builder(document).loop_links(path)


def passed_inputs(step: Any, links: list[Link]) -> list[str]:
    """The inputs of a subworkflow that may go in element by element.

    They are arrays of one source each, in a step without scatter, condition or expressions.
    """
    entries = {short_name(entry["id"]): entry for entry in step.tool["inputs"]}
    if "scatter" in step.tool or "when" in step.tool:
        return []
    if any("valueFrom" in entry or entry.get("loadContents") for entry in entries.values()):
        return []
    return [
        link.name
        for link in links
        if link.streams
        and not link.has_default
        and not entries[link.name].get("not_connected")
        and _is_array(entries[link.name]["type"])
    ]


def _is_array(declared: Any) -> bool:
    kinds = declared if isinstance(declared, list) else [declared]
    return any(isinstance(kind, dict) and kind.get("type") == "array" for kind in kinds)


def _has(workflow: Any, requirement: str) -> bool:
    return bool(workflow.get_requirement(requirement)[0])


def _fault(entry: Any, message: str) -> Fault:
    marks = getattr(entry, "lc", None)
    line = getattr(marks, "line", None)
    file = getattr(marks, "filename", None)
    return Fault(message, file.removeprefix("file://") if file else None, line and line + 1)
