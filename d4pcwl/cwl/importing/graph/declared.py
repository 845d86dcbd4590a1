"""The links that a document declares, checked all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from d4pcwl.cwl.importing.cwltool.document import Document, StepPath, is_loop, plain, short_name
from d4pcwl.cwl.importing.cwltool.refusal import fault_at
from d4pcwl.cwl.importing.graph.links import Link
from d4pcwl.cwl.importing.graph.pes import input_origin, origin
from d4pcwl.errors import Fault, InputError, raise_faults


class DeclaredLinks:
    """The links of a document, those of tools and of workflows in it.

    ``inputs`` has those of each step's inputs; ``turns`` has, for each loop, the links of the
    inputs of the next iteration; ``outputs`` has those of each workflow's outputs.

    :raises InputError: with all faults of the document's links
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.inputs: dict[StepPath, list[Link]] = {}
        self.turns: dict[StepPath, list[Link]] = {}
        self.outputs: dict[StepPath, list[Link]] = {}
        self._faults: list[Fault | str] = []
        process = document.process
        if process.tool["class"] == "Workflow":
            self._workflow((), process)
        else:
            outputs = [short_name(entry["id"]) for entry in process.tool["outputs"]]
            self.inputs[()] = [
                Link(name, (input_origin((), name),))
                for name in (short_name(entry["id"]) for entry in process.tool["inputs"])
            ]
            self.outputs[()] = [Link(name, (origin((), name),)) for name in outputs]
        raise_faults(InputError, self._faults)

    def _workflow(self, path: StepPath, workflow: Any) -> None:
        """Gather the links of a workflow, and of those in it."""
        origins = {
            entry["id"]: input_origin(path, short_name(entry["id"]))
            for entry in workflow.tool["inputs"]
        }
        inner = {step.id: (*path, short_name(step.id)) for step in workflow.steps}
        for step in workflow.steps:
            origins |= _made(inner[step.id], step)
        self.outputs[path] = [
            self._link(entry, "outputSource", origins, workflow, path)
            for entry in workflow.tool["outputs"]
        ]
        for step in workflow.steps:
            self._step(inner[step.id], step, workflow, origins)

    def _step(self, path: StepPath, step: Any, workflow: Any, origins: Mapping[str, str]) -> None:
        name = "/".join(path)
        self.inputs[path] = []
        for entry in step.tool["inputs"]:
            link = self._link(entry, "source", origins, workflow, path)
            self.inputs[path].append(link)
            optional = "null" in entry["type"] or entry.get("not_connected")
            where = f"step {name}: input '{link.name}'"
            self._check_input(entry, link, where, workflow, optional=optional)
        if is_loop(step):
            self.turns[path] = []
            for entry in step.tool["loop"]:
                link = self._link(entry, "outputSource", _made(path, step), step, path)
                self.turns[path].append(link)
                self._check_input(entry, link, f"step {name}: loop input '{link.name}'", step)
        if step.embedded_tool.tool["class"] == "Workflow":
            self._workflow(path, step.embedded_tool)

    def _check_input(
        self, entry: Any, link: Link, name: str, owner: Any, *, optional: bool = False
    ) -> None:
        """Note what is wrong with an input.

        :param name: its name in messages
        :param owner: the process whose requirements hold for its expression
        """
        if "valueFrom" in entry and not _has(owner, "StepInputExpressionRequirement"):
            self._fault(entry, f"{name} has valueFrom; add StepInputExpressionRequirement")
        if not (link.sources or link.has_default or "valueFrom" in entry or optional):
            self._fault(entry, f"{name} gets no value")

    def _link(
        self, entry: Any, key: str, origins: Mapping[str, str], workflow: Any, path: StepPath
    ) -> Link:
        """An input of a step, or an output of a workflow.

        :param key: the field of its sources
        :param origins: from the names of sources to the origins in their tokens
        :param workflow: the process whose requirements hold for it
        """
        ids = listed(entry.get(key))
        name = "/".join((*path, short_name(entry["id"])))
        for unknown in (source for source in ids if source not in origins):
            self._fault(entry, f"{name}: there is no source {unknown}")
        if len(ids) > 1 and not _has(workflow, "MultipleInputFeatureRequirement"):
            self._fault(entry, f"{name} has several sources; add MultipleInputFeatureRequirement")
        return link_of(entry, [origins[source] for source in ids if source in origins])

    def _fault(self, entry: Any, message: str) -> None:
        self._faults.append(fault_at(entry, message))


def link_of(entry: Any, sources: Sequence[str] = ()) -> Link:
    """An input of a step, or an output of a workflow, with the sources of the document."""
    return Link(
        short_name(entry["id"]),
        tuple(sources),
        entry.get("linkMerge"),
        entry.get("pickValue"),
        plain(entry.get("default")),
        "default" in entry,
    )


def listed(names: Any) -> list[str]:
    """A list from a field that is a name or a list of names."""
    return [names] if isinstance(names, str) else list(names or ())


def _made(path: StepPath, step: Any) -> dict[str, str]:
    """From the ids of a step's outputs to their origins."""
    ids = [entry["id"] for entry in step.tool["outputs"]]
    return {name: origin(path, short_name(name)) for name in ids}


def _has(workflow: Any, requirement: str) -> bool:
    return bool(workflow.get_requirement(requirement)[0])
