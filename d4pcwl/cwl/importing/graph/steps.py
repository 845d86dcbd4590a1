"""The steps of workflows, which users add and connect. The document has the rest of a step: its
tool, requirements, ``valueFrom``, ``when``, defaults, and how several sources become one value.
Here are only the steps, their scattered inputs, and their connections. ``build.py`` makes PEs from
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from d4pcwl.cwl.importing.cwltool.document import Document, StepPath, short_name
from d4pcwl.cwl.importing.graph.declared import link_of
from d4pcwl.cwl.importing.graph.join import DOT, FLAT, NESTED
from d4pcwl.cwl.importing.graph.links import Link
from d4pcwl.cwl.importing.graph.pes import TOOL, input_origin, origin
from d4pcwl.errors import GraphError, nearest

Connection = tuple[Any, str, Any, str]
"""From a node's output to a node's input."""

_METHODS = (DOT, FLAT, NESTED)


@dataclass(eq=False)
class CwlStep:
    """A step that runs a tool.

    :param links: its connected inputs
    :param scatter: the inputs that it is scattered over
    :param output_names: those of its outputs that the workflow takes
    """

    path: StepPath
    links: list[Link]
    scatter: list[str]
    method: str
    output_names: list[str]

    @property
    def name(self) -> str:
        """Its name in the workflow."""
        return self.path[-1] if self.path else TOOL


class Steps:
    """The steps of one workflow, and their connections. ``inputs`` has the inputs of the workflow,
    and ``outputs`` takes its outputs; both are connected like steps. ``steps`` has the steps by
    name, ``given`` the links of the outputs.

    :param path: the steps that lead to the workflow
    :param outputs: those of its outputs that can be linked
    :param changed: called when steps or links have changed
    """

    inputs: Any
    outputs: Any

    def _begin(
        self,
        document: Document,
        path: StepPath,
        outputs: Sequence[str],
        changed: Callable[[], None],
    ) -> None:
        self.document, self.path, self._changed = document, path, changed
        self.steps: dict[str, CwlStep] = {}
        process = document.at(path)
        self.input_names = [short_name(entry["id"]) for entry in process.tool["inputs"]]
        links = [link_of(entry) for entry in process.tool["outputs"]]
        self.given = [link for link in links if link.name in outputs]

    def step(
        self, name: str, *, scatter: str | Sequence[str] = (), method: str | None = None
    ) -> CwlStep:
        """Add a step; one that runs a workflow is a :class:`CwlSubworkflow`.

        :param name: its name in the document
        :param scatter: the inputs that it is scattered over
        :param method: how, if there are several: ``dotproduct`` (the default),
            ``flat_crossproduct`` or ``nested_crossproduct``
        :raises GraphError: there is no such step, or it has been added already
        """
        path = (*self.path, name)
        try:
            declared = self.document.step(path)
        except KeyError:
            known = [short_name(step.id) for step in self.document.workflow(self.path).steps]
            raise GraphError(f"{self._title} has no step '{name}'{nearest(name, known)}") from None
        if name in self.steps:
            raise GraphError(f"step {'/'.join(path)} was already added")
        links = [link_of(entry) for entry in declared.tool["inputs"]]
        names = [scatter] if isinstance(scatter, str) else list(scatter)
        _check_scatter(path, names, method, [link.name for link in links])
        outputs = [short_name(entry["id"]) for entry in declared.tool["outputs"]]
        arguments = (path, links, names, method or DOT, outputs)
        if declared.embedded_tool.tool["class"] == "Workflow":
            return self._add(CwlSubworkflow(self.document, self._changed, *arguments))
        return self._add(CwlStep(*arguments))

    def _add(self, step: CwlStep) -> CwlStep:
        self.steps[step.name] = step
        self._changed()
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
                    f"{name} cannot be connected here: connect inputs, steps and outputs of "
                    f"{self._title} with each other"
                )
        if from_node is self.inputs:
            what, known = f"{self._title} has no input", self.input_names
            source = input_origin(self.path, from_connection)
        else:
            what, known = f"step {from_node.name} has no output", from_node.output_names
            source = origin(from_node.path, from_connection)
        if from_connection not in known:
            raise GraphError(f"{what} '{from_connection}'{nearest(from_connection, known)}")
        if to_node is self.outputs:
            _link(self.given, to_connection, source, f"{self._title} has no output")
        else:
            _link(to_node.links, to_connection, source, f"step {to_node.name} has no input")
        self._changed()

    def sources(self) -> dict[str, tuple[Any, str]]:
        """From the names of sources in links to the node and output of each source."""
        found: dict[str, tuple[Any, str]] = {
            input_origin(self.path, name): (self.inputs, name) for name in self.input_names
        }
        for step in self.steps.values():
            found |= {origin(step.path, name): (step, name) for name in step.output_names}
        return found

    def connections(self) -> Iterator[Connection]:
        """All connections: into the steps, and into the outputs at last."""
        sources = self.sources()
        for target, links in (
            *((step, step.links) for step in self.steps.values()),
            (self.outputs, self.given),
        ):
            for link in links:
                for source in link.sources:
                    yield *sources[source], target, link.name

    def all_steps(self) -> Iterator[CwlStep]:
        """The steps at every depth."""
        for step in self.steps.values():
            yield step
            if isinstance(step, CwlSubworkflow):
                yield from step.all_steps()

    def inner_links(self) -> dict[str, tuple[str, ...]]:
        """To each input and output of a subworkflow, at every depth, its sources."""
        through: dict[str, tuple[str, ...]] = {}
        for step in self.all_steps():
            if isinstance(step, CwlSubworkflow):
                through |= {input_origin(step.path, link.name): link.sources for link in step.links}
                through |= {origin(step.path, link.name): link.sources for link in step.given}
        return through

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
            # Outputs of a tool are made together; those of a subworkflow are not.
            if all(unused) or (inner and any(unused)):
                return True
            if isinstance(step, CwlSubworkflow) and step.dead_ends():
                return True
        return False

    @property
    def _title(self) -> str:
        return f"subworkflow {'/'.join(self.path)}" if self.path else self.document.location


class CwlSubworkflow(CwlStep, Steps):
    """A step that runs a workflow, whose steps are added to it as they are to the graph."""

    def __init__(
        self,
        document: Document,
        changed: Callable[[], None],
        path: StepPath,
        links: list[Link],
        scatter: list[str],
        method: str,
        output_names: list[str],
    ) -> None:
        super().__init__(path, links, scatter, method, output_names)
        self._begin(document, path, output_names, changed)
        self.inputs, self.outputs = _Side("inputs"), _Side("outputs")


@dataclass(eq=False)
class _Side:
    """The inputs, or the outputs, of a subworkflow, for connections with its steps."""

    name: str


def made_by(sources: Iterable[str], inner_links: Mapping[str, tuple[str, ...]]) -> set[str]:
    """The outputs of tools, and the inputs of the document, from which sources get their values.

    :param inner_links: see :meth:`Steps.inner_links`
    """
    found: set[str] = set()
    waiting = list(sources)
    while waiting:
        source = waiting.pop()
        if source in inner_links:
            waiting += inner_links[source]
        else:
            found.add(source)
    return found


def _link(links: list[Link], name: str, source: str, what: str) -> None:
    """Give the link called ``name`` one more source.

    :param what: the beginning of the message if there is no such link
    :raises GraphError: there is none
    """
    for number, link in enumerate(links):
        if link.name == name:
            links[number] = replace(link, sources=(*link.sources, source))
            return
    raise GraphError(f"{what} '{name}'{nearest(name, [link.name for link in links])}")


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
