"""CWL documents as graphs: the steps are objects, and ``connect`` links them."""

from __future__ import annotations

import os
from typing import Any

from d4pcwl.cwl.importing.cwltool.document import Document, short_name
from d4pcwl.cwl.importing.cwltool.settings import DOCKER, Settings
from d4pcwl.cwl.importing.graph.build import Builder
from d4pcwl.cwl.importing.graph.declared import DeclaredLinks, listed
from d4pcwl.cwl.importing.graph.ends import OutputsPE
from d4pcwl.cwl.importing.graph.flows import Flows, is_compiled
from d4pcwl.cwl.importing.graph.inside import JobsPE, Place, ResultsPE
from d4pcwl.cwl.importing.graph.join import DOT
from d4pcwl.cwl.importing.graph.links import Link
from d4pcwl.cwl.importing.graph.pes import InputsPE, origin
from d4pcwl.cwl.importing.graph.steps import CwlStep, CwlSubworkflow, Steps, made_by
from d4pcwl.errors import GraphError
from d4pcwl.workflow.edges import Edge, WorkflowNode
from d4pcwl.workflow.flat import ordered_components
from d4pcwl.workflow.graph import WorkflowGraph
from d4pcwl.workflow.lazy import cached_property


class DocumentGraph(Steps, WorkflowGraph):
    """The graph of a CWL document. Its PEs are made when they are first needed.

    :param inputs: its root
    :param outputs: the PE at which the output objects of jobs come out
    :param reports: True: failures are items of separate outputs; False: the PEs fail
    :raises InputError: with all faults of the document's links
    """

    def __init__(
        self, document: Document, inputs: InputsPE, outputs: OutputsPE, *, reports: bool
    ) -> None:
        self.inputs, self.outputs, self._reports = inputs, outputs, reports
        self.declared = DeclaredLinks(document)
        self._begin(document, (), list(outputs.inputconnections), self._forget)

    @cached_property
    def _built(self) -> Builder:
        return Builder(self, self.declared, self.inputs, self.outputs, reports=self._reports)

    @cached_property
    def nodes(self) -> list[Any]:
        """The PEs for inputs and outputs, and a composite for each step."""
        return self._built.graph.nodes

    @cached_property
    def edges(self) -> list[Edge]:
        """The edges between these."""
        return self._built.graph.edges

    def _forget(self) -> None:
        """Let PEs and edges be made again when they are next needed."""
        for made in ("_built", "nodes", "edges"):
            self.__dict__.pop(made, None)

    def add(self, node: Any) -> WorkflowNode:
        """Not possible here: add steps by their names.

        :raises GraphError: always
        """
        raise GraphError(f"to add steps of {self._title}, use step(NAME)")

    def let_follow(self) -> int:
        """Tell the PEs of steps which of their outputs other steps may read while they are written.

        :returns: how many steps have such outputs
        """
        inputs = {step.path: step.links for step in self.all_steps()}
        outputs = {s.path: s.given for s in self.all_steps() if isinstance(s, CwlSubworkflow)}
        flows = Flows(self.document, inputs, {(): self.given, **outputs})
        return flows.let_follow(self._built.tools)

    def printed(self) -> set[str]:
        """The outputs that are only printed text of tools of ``d4p2cwl``."""
        prints = set()
        for step in self.all_steps():
            tool: Any = self.document.at(step.path).tool
            if is_compiled(tool):
                for entry in tool["outputs"]:
                    if entry.get("outputBinding", {}).get("glob") == tool.get("stdout"):
                        prints.add(origin(step.path, short_name(entry["id"])))
        inner = self.inner_links()
        made = {link.name: made_by(link.sources, inner) for link in self.given}
        return {name for name, sources in made.items() if sources and sources <= prints}

    @property
    def is_workflow(self) -> bool:
        """Whether the document is a Workflow, rather than a tool."""
        return bool(self.document.process.tool["class"] == "Workflow")

    def tool(self) -> CwlStep:
        """The only step, if the document is a tool.

        :raises GraphError: it is a workflow
        """
        if self.is_workflow:
            raise GraphError(f"{self._title} is a workflow: add its steps by their names")
        links = [Link(name) for name in self.input_names]
        return self._add(CwlStep((), links, [], DOT, [link.name for link in self.given]))

    def link_all(self) -> None:
        """Add all steps, with the links of the document."""
        if self.is_workflow:
            self._link_as_declared(self)
        else:
            self.tool().links = self.declared.inputs[()]
            self.given = self.declared.outputs[()]

    def _link_as_declared(self, steps: Steps) -> None:
        workflow = self.document.workflow(steps.path)
        for declared in _sources_first(workflow.tool["steps"]):
            name = short_name(declared["id"])
            entry = self.document.step((*steps.path, name)).tool
            scatter = [short_name(port) for port in listed(entry.get("scatter"))]
            method = entry.get("scatterMethod") if len(scatter) > 1 else None
            step = steps.step(name, scatter=scatter, method=method)
            step.links = self.declared.inputs[step.path]
            if isinstance(step, CwlSubworkflow):
                self._link_as_declared(step)
        outputs = {link.name: link for link in self.declared.outputs[steps.path]}
        steps.given = [outputs[link.name] for link in steps.given]


class CwlGraph(DocumentGraph):
    """A CWL document as a graph that any mapping can run.

    Its root takes job orders. For each job order there is one output object. Its files are put into
    the current folder. With several job orders, the files of job N are put into the folder ``N``.

    :param document: the path or URI of the document
    :param process: the process to use, of a packed document
    :param container: what runs containers: ``docker``, ``podman``, ``singularity``; None: no
        containers
    :param relax_path_checks: allow any character in file names
    :param enable_ext: allow cwltool's extensions
    :param enable_dev: allow development versions of CWL
    :raises InputError: the document is not valid CWL
    :raises UnsupportedFeature: it needs a feature that is not supported
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
        loaded, self.place = Document(location, settings), Place()
        super().__init__(
            loaded,
            JobsPE(loaded, self.place, self._prepare),
            ResultsPE(loaded, self.place),
            reports=False,
        )

    def _prepare(self) -> None:
        """Set what depends on the final links of the steps."""
        self.place.move = not self.dead_ends()
        self.let_follow()


def runner_graph(document: Document) -> DocumentGraph:
    """The graph of a document that ``d4pcwl-runner`` runs: failures are among its results.

    :raises InputError: with all faults of the document's links
    """
    graph = DocumentGraph(
        document, InputsPE(document), OutputsPE(document, reports=True), reports=True
    )
    graph.link_all()
    return graph


def _sources_first(steps: Any) -> list[Any]:
    """The steps in the document's order, but each after the steps that feed it."""
    numbers = {
        output: number
        for number, step in enumerate(steps)
        for entry in step["out"]
        for output in [entry if isinstance(entry, str) else entry["id"]]
    }
    before = {
        number: {
            numbers[source]
            for entry in step["in"]
            for source in listed(entry.get("source"))
            if source in numbers
        }
        for number, step in enumerate(steps)
    }
    return [steps[number] for component in ordered_components(before) for number in component]
