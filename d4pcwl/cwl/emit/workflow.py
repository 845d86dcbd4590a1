"""Workflows while they are made: steps, and the links that feed them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from d4pcwl.cwl.emit.parameter import Output, Parameter, array_of
from d4pcwl.cwl.emit.parts import Tool


@dataclass(frozen=True)
class Link:
    """Where a value comes from.

    :param sources: inputs of the workflow, or ``step/output``
    :param merge: the ``linkMerge`` of several sources
    :param pick: the ``pickValue`` of sources that may be null
    """

    sources: tuple[str, ...]
    merge: str = ""
    pick: str = ""

    def to_cwl(self, key: str) -> dict[str, Any]:
        """The link as fields of CWL; ``key`` is ``source`` or ``outputSource``."""
        several = bool(self.merge or self.pick)
        text: dict[str, Any] = {key: list(self.sources) if several else self.sources[0]}
        if self.merge:
            text["linkMerge"] = self.merge
        if self.pick:
            text["pickValue"] = self.pick
        return text

    def renamed(self, names: Mapping[str, str]) -> Link:
        """The same link, with other names of sources."""
        return replace(self, sources=tuple(names.get(source, source) for source in self.sources))


@dataclass(frozen=True)
class Step:
    """A step: the process that it runs, and the link of each input.

    :param scatter: the inputs with a different value for each shard
    """

    id: str
    process: Tool | Workflow
    links: Mapping[str, Link]
    scatter: tuple[str, ...] = ()

    @property
    def outputs(self) -> list[Output]:
        """The outputs of the step: lists of the process's outputs, if it is scattered."""
        outputs = self.process.outputs
        return [replace(o, type=array_of(o.type)) for o in outputs] if self.scatter else outputs

    def feeders(self) -> set[str]:
        """The steps that feed it."""
        sources = (source for link in self.links.values() for source in link.sources)
        return {source.partition("/")[0] for source in sources if "/" in source}

    def to_cwl(self, run: str) -> dict[str, Any]:
        """The step as CWL; ``run`` says where its process is."""
        text: dict[str, Any] = {
            "id": self.id,
            "in": [{"id": name, **link.to_cwl("source")} for name, link in self.links.items()],
        }
        if self.scatter:
            text["scatter"] = list(self.scatter)
            if len(self.scatter) > 1:
                text["scatterMethod"] = "dotproduct"
        return {**text, "run": run, "out": [output.id for output in self.process.outputs]}


@dataclass(frozen=True)
class Workflow:
    """A Workflow while it is made; its steps are in order, sources first."""

    id: str
    label: str
    doc: str
    parameters: Sequence[Parameter]
    steps: Sequence[Step]
    results: Sequence[tuple[Output, Link]]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outputs(self) -> list[Output]:
        """The outputs."""
        return [output for output, _ in self.results]

    def processes(self) -> Iterator[Tool | Workflow]:
        """The processes of the steps, at any depth, each before the processes that it runs
        itself."""
        for step in self.steps:
            yield step.process
            if isinstance(step.process, Workflow):
                yield from step.process.processes()

    def to_cwl(self, runs: Mapping[str, str]) -> dict[str, Any]:
        """The Workflow as CWL.

        :param runs: from the id of each process to its place
        """
        text: dict[str, Any] = {"class": "Workflow", "id": self.id, "label": self.label}
        if self.doc:
            text["doc"] = self.doc
        requirements = list(self._requirements())
        if requirements:
            text["requirements"] = [{"class": name} for name in requirements]
        text["inputs"] = [parameter.to_cwl(bound=False) for parameter in self.parameters]
        text["outputs"] = [self._output(output, link) for output, link in self.results]
        text["steps"] = [step.to_cwl(runs[step.process.id]) for step in self.steps]
        return text | dict(self.extra)

    def _requirements(self) -> Iterator[str]:
        if any(isinstance(step.process, Workflow) for step in self.steps):
            yield "SubworkflowFeatureRequirement"
        if any(step.scatter for step in self.steps):
            yield "ScatterFeatureRequirement"
        links = [link for step in self.steps for link in step.links.values()]
        if any(link.merge or link.pick for link in [*links, *(link for _, link in self.results)]):
            yield "MultipleInputFeatureRequirement"

    @staticmethod
    def _output(output: Output, link: Link) -> dict[str, Any]:
        text = output.to_cwl()
        text.pop("outputBinding", None)
        if text["type"] == "stdout":
            text["type"] = "File"
        return {**text, **link.to_cwl("outputSource")}
