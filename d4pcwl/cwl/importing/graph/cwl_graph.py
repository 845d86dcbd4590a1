"""CWL documents as graphs that people build: the steps are objects, and ``connect`` links them.

What a step does is in the document: its tool, requirements, ``valueFrom``, ``when``, defaults, and
how several sources become one value. What the graph says is which steps there are, over what they
are scattered, and what goes where.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from d4pcwl.cwl.importing.cwltool.document import Document, StepPath, is_loop, plain, short_name
from d4pcwl.cwl.importing.cwltool.settings import DOCKER, Settings
from d4pcwl.cwl.importing.graph.build import build, loop_links, passed_inputs
from d4pcwl.cwl.importing.graph.flows import Flows
from d4pcwl.cwl.importing.graph.in_place import after, readers_before
from d4pcwl.cwl.importing.graph.inside import (
    BeginPE,
    ElementsPE,
    FinishPE,
    GatherPE,
    JobsPE,
    Place,
    ResultsPE,
    RunToolPE,
    TurnPE,
)
from d4pcwl.cwl.importing.graph.join import DOT, FLAT, NESTED
from d4pcwl.cwl.importing.graph.links import Link
from d4pcwl.cwl.importing.graph.loops import chained
from d4pcwl.cwl.importing.graph.pes import AFTER, JOB, SKIPPED, input_origin, origin
from d4pcwl.errors import GraphError, nearest
from d4pcwl.workflow.composite import CompositePE
from d4pcwl.workflow.edges import Edge
from d4pcwl.workflow.graph import WorkflowGraph

Connection = tuple[Any, str, Any, str]
"""From a node's output to a node's input, as it was connected."""


class Steps(WorkflowGraph, ABC):
    """The steps of one workflow, and what goes between them.

    ``inputs`` hands out the inputs of the workflow and ``outputs`` takes its outputs; both are
    connected as steps are.
    """

    document: Document
    path: StepPath
    inputs: Any
    outputs: Any

    def _begin(self) -> None:
        self.steps: dict[str, CwlStep | CwlSubworkflow] = {}
        self.connections: list[Connection] = []

    def step(
        self, name: str, *, scatter: str | Sequence[str] = (), method: str | None = None
    ) -> CwlStep | CwlSubworkflow:
        """Add a step.

        :param name: its name in the document
        :param scatter: the inputs that it is scattered over
        :param method: how, if there are several: ``dotproduct`` (the default),
            ``flat_crossproduct`` or ``nested_crossproduct``
        :raises GraphError: there is no such step, or it has been added already
        """
        workflow = self.document.workflow(self.path)
        known = [short_name(step.id) for step in workflow.steps]
        if name not in known:
            raise GraphError(f"{self._title} has no step '{name}'{nearest(name, known)}")
        if name in self.steps:
            raise GraphError(f"step {'/'.join((*self.path, name))} is there already")
        path = (*self.path, name)
        declared = self.document.step(path)
        names = [scatter] if isinstance(scatter, str) else list(scatter)
        links = [_unconnected(entry) for entry in declared.tool["inputs"]]
        _check_scatter(path, names, method, [link.name for link in links])
        outputs = [short_name(entry["id"]) for entry in declared.tool["outputs"]]
        is_workflow = declared.embedded_tool.tool["class"] == "Workflow"
        kind = CwlSubworkflow if is_workflow else CwlStep
        return self._add_step(name, kind(self.document, path, links, names, method or DOT, outputs))

    def _add_step(self, name: str, step: CwlStep | CwlSubworkflow) -> CwlStep | CwlSubworkflow:
        self.steps[name] = step
        self._settle_begin(step)
        return step

    def connect(
        self, from_node: Any, from_connection: str, to_node: Any, to_connection: str
    ) -> None:
        """Link an output to an input; an input may be given several, in this order.

        :raises GraphError: these are not steps (or the inputs, or the outputs) of this workflow, or
            have no such output or input
        """
        for node, other in ((from_node, self.inputs), (to_node, self.outputs)):
            if node is not other and not any(node is step for step in self.steps.values()):
                name = getattr(node, "name", None) or type(node).__name__
                raise GraphError(
                    f"{name} cannot be connected here: the inputs, the steps and the outputs of "
                    f"{self._title} are connected with each other"
                )
        if from_node is self.inputs:
            what, known = f"{self._title} has no input", self._input_names
            source = self._giver(from_connection)
            origin_name = input_origin(self.path, from_connection)
        else:
            what, known = f"step {from_node.name} has no output", from_node.output_names
            source = from_node
            origin_name = origin(from_node.path, from_connection)
        if from_connection not in known:
            raise GraphError(f"{what} '{from_connection}'{nearest(from_connection, known)}")
        target = self._end if to_node is self.outputs else to_node
        if target is self._end:
            self._end.links = _linked(
                self._end.links, to_connection, origin_name, f"{self._title} has no output"
            )
        else:
            to_node.take(to_connection, origin_name)
            self._settle_begin(to_node)
        edge = Edge(source, from_connection, target, to_connection)
        if edge.key not in self._joined:
            super().connect(source, from_connection, target, to_connection)
        self.connections.append((from_node, from_connection, to_node, to_connection))
        if self.document.updates_in_place:
            self._settle_order()

    def _settle_order(self) -> None:
        """Have steps that update files come after those that read them."""
        links = {step.path: step.links for step in self.steps.values()}
        awaited = readers_before(self.document, links)
        self.edges = [edge for edge in self.edges if edge.input != AFTER]
        self._index()
        for step in self.steps.values():
            readers = awaited.get(step.path, [])
            step.wait_for([after(self.document, readers)] if readers else [])
            for path in readers:
                for name in self.steps[path[-1]].output_names:
                    super().connect(self.steps[path[-1]], name, step, AFTER)
            self._settle_begin(step)

    def _settle_begin(self, step: CwlStep | CwlSubworkflow) -> None:
        """Have a step to which nothing is connected begin when the workflow does."""
        begin = Edge(self._giver(JOB), JOB, step, JOB)
        present = begin.key in self._joined
        wanted = not any(link.sources for link in step.join.links)
        if wanted and not present:
            super().connect(begin.source, JOB, step, JOB)
        elif present and not wanted:
            self.edges = [edge for edge in self.edges if edge.key != begin.key]
            self._index()

    def dead_ends(self) -> bool:
        """Whether there are steps, at any depth, that no output depends on."""
        used = {
            source
            for links in (self.given, *(step.links for step in self.steps.values()))
            for link in links
            for source in link.sources
        }
        for step in self.steps.values():
            unused = [origin(step.path, name) not in used for name in step.output_names]
            inner = isinstance(step, CwlSubworkflow)
            if all(unused) or (inner and any(unused)):
                return True
            if isinstance(step, CwlSubworkflow) and step.dead_ends():
                return True
        return False

    def all_steps(self) -> Iterator[tuple[StepPath, CwlStep | CwlSubworkflow]]:
        """The steps at every depth, by their paths."""
        for step in self.steps.values():
            yield step.path, step
            if isinstance(step, CwlSubworkflow):
                yield from step.all_steps()

    @property
    def given(self) -> list[Link]:
        """What the outputs are linked to."""
        return list(self._end.links)

    @property
    def taken(self) -> list[str]:
        """The outputs that can be linked."""
        return [link.name for link in self._end.links]

    @abstractmethod
    def _giver(self, name: str) -> Any:
        """The PE that hands an input out."""

    @property
    @abstractmethod
    def _end(self) -> Any:
        """The PE that takes the outputs."""

    @property
    def _input_names(self) -> list[str]:
        workflow = self.document.at(self.path)
        return [short_name(entry["id"]) for entry in workflow.tool["inputs"]]

    @property
    def _title(self) -> str:
        return f"subworkflow {'/'.join(self.path)}" if self.path else self.document.location


class CwlGraph(Steps):
    """A CWL document as a graph that any mapping runs.

    Its root takes job orders; an output object comes out for each, with the files in the current
    folder, or, where there are several job orders, in folders named by their numbers.

    :param document: the path or URI of the document
    :param process: which process of a packed document
    :param container: what runs containers: ``docker``, ``podman``, ``singularity``; None: nothing
    :param relax_path_checks: allow any character in file names
    :param enable_ext: allow cwltool's extensions
    :param enable_dev: allow development versions of CWL
    :raises InputError: the document is not valid CWL
    :raises UnsupportedFeature: it needs what we do not have
    """

    def __init__(
        self,
        document: str | os.PathLike[str],
        *,
        process: str | None = None,
        container: str | None = DOCKER,
        relax_path_checks: bool = False,
        enable_ext: bool = False,
        enable_dev: bool = False,
    ) -> None:
        super().__init__()
        location = os.fspath(document)
        if "://" not in location:
            location = os.path.abspath(location)
        if process is not None:
            location = f"{location}#{process}"
        settings = Settings(
            container=container,
            relax_path_checks=relax_path_checks,
            enable_ext=enable_ext,
            enable_dev=enable_dev,
            quiet=True,
            stop_on_error=False,
        )
        self.document = Document(location, settings)
        self.path = ()
        self._begin()
        self.place = Place()
        build(self.document)  # finds what is wrong with its links, all at once
        self.inputs = JobsPE(self.document, self.place, self._input_names, self._prepare)
        outputs = self.document.process.tool["outputs"]
        links = [_unconnected(entry) for entry in outputs]
        self.outputs = ResultsPE(self.document, self.place, links)
        WorkflowGraph.connect(self, self.inputs, JOB, self.outputs, JOB)

    def _prepare(self) -> None:
        """Settle what depends on how the steps are linked in the end."""
        self.place.move = not self.dead_ends()
        if self.is_workflow:
            steps = dict(self.all_steps())
            inputs = {path: step.links for path, step in steps.items()}
            inner = {p: step.given for p, step in steps.items() if isinstance(step, CwlSubworkflow)}
            tools = {path: step.tool for path, step in steps.items() if isinstance(step, CwlStep)}
            Flows(self.document, inputs, {(): self.given, **inner}).let_follow(tools)

    @property
    def is_workflow(self) -> bool:
        """Whether the document is a Workflow, rather than a tool."""
        return bool(self.document.process.tool["class"] == "Workflow")

    def tool(self) -> CwlStep | CwlSubworkflow:
        """The only step, where the document is a tool rather than a workflow.

        :raises GraphError: it is a workflow
        """
        if self.is_workflow:
            raise GraphError(f"{self._title} is a workflow: add its steps by their names")
        tool = self.document.process.tool
        links = [Link(short_name(entry["id"])) for entry in tool["inputs"]]
        outputs = [short_name(entry["id"]) for entry in tool["outputs"]]
        return self._add_step("tool", CwlStep(self.document, (), links, (), DOT, outputs))

    def _giver(self, name: str) -> Any:
        return self.inputs

    @property
    def _end(self) -> Any:
        return self.outputs


class CwlStep(CompositePE):
    """A step that runs a tool.

    :param links: its inputs, not yet connected
    """

    def __init__(
        self,
        document: Document,
        path: StepPath,
        links: Iterable[Link],
        scatter: Sequence[str],
        method: str,
        outputs: Sequence[str],
    ) -> None:
        super().__init__()
        self.path, self.scatter, self.method = path, list(scatter), method
        self.name = path[-1] if path else "tool"
        self.output_names = list(outputs)
        self.links = list(links)
        self.awaited: list[Link] = []
        self.join = GatherPE(path, self.links, scatter, method)
        if not path:
            self.join.name = "tool.join"
        self.tool = RunToolPE(document, path, outputs)
        for name in self.join.inputconnections:
            self._map_input(name, self.join, name)
        loop = _loop(document, path, outputs)
        last = chained(self, self.join, loop, self.tool, self.tool)
        for name in outputs:
            self._map_output(name, last, name)

    def take(self, name: str, source: str) -> None:
        """Note that an input is connected to ``source``."""
        self.links = _linked(self.links, name, source, f"step {self.name} has no input")
        self.wait_for(self.awaited)

    def wait_for(self, awaited: list[Link]) -> None:
        """Have it begin after others."""
        self.awaited = awaited
        self.join.links = [*self.links, *awaited]


class CwlSubworkflow(Steps, CompositePE):
    """A step that runs a workflow, whose steps are added to it as they are to the graph."""

    def __init__(
        self,
        document: Document,
        path: StepPath,
        links: Iterable[Link],
        scatter: Sequence[str],
        method: str,
        outputs: Sequence[str],
    ) -> None:
        CompositePE.__init__(self)
        self.document, self.path = document, path
        self.scatter, self.method = list(scatter), method
        self.name = path[-1]
        self._begin()
        self.output_names = list(outputs)
        self.links = list(links)
        self.awaited: list[Link] = []
        self.inputs, self.outputs = _Inner("inputs"), _Inner("outputs")
        self.join = GatherPE(path, self.links, scatter, method)
        self._enter = BeginPE(document, path, outputs, self._input_names)
        self._elements = ElementsPE(path)
        inner = [_unconnected(entry) for entry in document.at(path).tool["outputs"]]
        self._leave = FinishPE(path, inner, outputs)
        loop = _loop(document, path, outputs)
        last = chained(self, self.join, loop, self._enter, self._leave)
        WorkflowGraph.connect(self, self._enter, SKIPPED, self._leave, SKIPPED)
        WorkflowGraph.connect(self, self._enter, JOB, self._leave, JOB)
        for name in self.join.inputconnections:
            self._map_input(name, self.join, name)
        for name in outputs:
            self._map_output(name, last, name)

    def take(self, name: str, source: str) -> None:
        """Note that an input is connected to ``source``.

        An array from one source goes in element by element, where nothing has to be known of it
        before.
        """
        self.links = _linked(self.links, name, source, f"step {self.name} has no input")
        self.wait_for(self.awaited)

    def wait_for(self, awaited: list[Link]) -> None:
        """Have it begin after others."""
        self.awaited = awaited
        step = self.document.step(self.path)
        whole = self.scatter or awaited
        passed = set() if whole else set(passed_inputs(step, self.links))
        before = set(self._elements.inputconnections)
        for changed in sorted(passed ^ before):
            inside = changed in passed
            (self._elements.admit if inside else self._elements.dismiss)(changed)
            old, new = (self._enter, self._elements)[:: 1 if inside else -1]
            self.edges = [
                replace(edge, source=new) if (edge.source, edge.output) == (old, changed) else edge
                for edge in self.edges
            ]
            self.inputmappings[changed] = (self._elements if inside else self.join, changed)
        self.nodes = [node for node in self.nodes if node is not self._elements]
        self.nodes += [self._elements] if passed else []
        self._index()
        self._enter.leave_to_pass(passed)
        self.join.links = [link for link in self.links if link.name not in passed] + awaited

    def _giver(self, name: str) -> Any:
        return self._elements if name in self._elements.outputconnections else self._enter

    @property
    def _end(self) -> Any:
        return self._leave


class _Inner:
    """The inputs, or the outputs, of a subworkflow as its steps are connected with them."""

    def __init__(self, name: str) -> None:
        self.name = name


def _loop(document: Document, path: StepPath, outputs: Sequence[str]) -> TurnPE | None:
    """What goes round the loop of a step, where it is one."""
    if not path or not is_loop(document.step(path)):
        return None
    return TurnPE(document, path, outputs, loop_links(document, path))


def _unconnected(entry: Any) -> Link:
    """An input of a step, or an output of a workflow, as the document says it, but for sources."""
    return Link(
        short_name(entry["id"]),
        (),
        entry.get("linkMerge"),
        entry.get("pickValue"),
        plain(entry.get("default")),
        "default" in entry,
    )


def _linked(links: Iterable[Link], name: str, source: str, what: str) -> list[Link]:
    """``links`` where the one called ``name`` has one more source.

    :param what: what is not so if there is no such link
    :raises GraphError: there is none
    """
    known = {link.name: link for link in links}
    if name not in known:
        raise GraphError(f"{what} '{name}'{nearest(name, known)}")
    link = known[name]
    sources = (*link.sources, source)
    merge = link.merge or ("merge_nested" if len(sources) > 1 else None)
    known[name] = replace(link, sources=sources, merge=merge)
    return list(known.values())


def _check_scatter(
    path: StepPath, names: Sequence[str], method: str | None, known: Sequence[str]
) -> None:
    step = "/".join(path)
    for name in names:
        if name not in known:
            raise GraphError(
                f"step {step} cannot be scattered over '{name}': it has no such input"
                f"{nearest(name, known)}"
            )
    if method not in (None, *_METHODS):
        raise GraphError(f"step {step}: no method '{method}'{nearest(str(method), _METHODS)}")


_METHODS = (DOT, FLAT, NESTED)
