"""The parts of a tool: the tool while it is made, and data that all tools of a document share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d4pcwl.cwl.declare.declarations import Declaration, Declarations, FileUse
from d4pcwl.cwl.emit.parameter import Output, Parameter, identifier, parameter_identifier
from d4pcwl.runtime.mappings import registry
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.lazy import cached_property
from d4pcwl.workflow.parameters import Builder
from d4pcwl.workflow.reading.files import within
from d4pcwl.workflow.reading.owners import lines_of
from d4pcwl.workflow.reading.roots import words
from d4pcwl.workflow.reading.script import NamedPath, ScriptReading

SHARD = "shard"
"""The parameter of a tool that runs in shards: the number of the shard, from 0."""

OWN_PARAMETERS = {SHARD} | words(
    "script modules input_file input_data iterations mapping processes redis_url seed"
)
"""The parameters that every tool may have; parameters of the script get other names."""


@dataclass(frozen=True)
class Facts:
    """Data that all tools of one compilation share.

    :param attr: the name of the graph, if the command must name it
    :param locate: from a file to the location that the document gives it
    :param mappings: the mappings to choose from when the tool runs
    :param packages: the distributions that the script imports from, each with its versions
    :param mpi: whether the engine starts the processes (``cwltool:MPIRequirement``)
    :param builder: the function that makes the graph, if the workflow has parameters
    :param values: the values of its parameters
    :param trace: whether each tool writes a trace of its run
    :param provenance: which items each tool records, in the terms of S-PROV; None: no record
    """

    graph: FlatGraph
    script: Path
    attr: str | None
    reading: ScriptReading
    declarations: Declarations
    locate: Callable[[Path], str]
    mapping: registry.Mapping[Any]
    mappings: tuple[str, ...]
    processes: int
    image: str | None = None
    packages: Mapping[str, Sequence[str]] = field(default_factory=dict)
    mpi: bool = False
    builder: Builder | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    trace: bool = False
    provenance: Mapping[str, Any] | None = None

    @cached_property
    def declared(self) -> Declaration:
        """The declarations of all PEs together."""
        return self.declarations.of(self.graph.pes)

    def found_writes(self, pes: tuple[Any, ...]) -> list[NamedPath]:
        """The files found by reading that ``pes`` may write, each from one line only. A line that
        no PE reaches, for example in a function that is passed as a value, may be run by any PE.
        """
        found: dict[tuple[str, bool, str], NamedPath] = {}
        for written in self.reading.writes:
            writers = self._writers[written]
            if not writers or any(id(pe) in writers for pe in pes):
                found.setdefault((written.path, written.folder, written.variable), written)
        declared = self.declared.writes.values()
        return [
            each
            for each in found.values()
            if not covered(each.path, declared) and (each.path or not declared)
        ]

    @cached_property
    def _writers(self) -> dict[NamedPath, set[int]]:
        """The PEs, by ``id()``, that may run the line in which a file is written."""
        lines = {id(pe): lines_of(pe) for pe in self.graph.pes}
        writers: dict[NamedPath, set[int]] = {}
        for written in self.reading.writes:
            file = os.path.realpath(self.script.parent / written.file)
            reached = (n for n, own in lines.items() if any(e.has(file, written.line) for e in own))
            writers[written] = set(reached)
        return writers

    def metadata(self) -> dict[str, Any]:
        """Declarations in terms of schema.org, as fields of a document."""
        return _schema_org(self.declarations.whole.metadata)


def covered(path: str, uses: Iterable[FileUse]) -> bool:
    """Whether one of ``uses`` is the file ``path``, or a folder that contains it."""
    names = [name for use in uses for name in (use.path, use.default) if name]
    return any(within(path, name) for name in names)


def _schema_org(terms: Mapping[str, Any]) -> dict[str, Any]:
    """Terms with the prefix that stands for schema.org; ``class`` says what kind a thing is.

    A field ``class`` would be looked up among CWL's own classes.
    """

    def value_of(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _schema_org(value)
        return [value_of(entry) for entry in value] if isinstance(value, (list, tuple)) else value

    return {
        "s:additionalType" if term == "class" else f"s:{term}": f"https://schema.org/{value}"
        if term == "class"
        else value_of(value)
        for term, value in terms.items()
    }


@dataclass
class Tool:
    """A CommandLineTool while it is made; :meth:`to_cwl` returns the document."""

    id: str
    label: str
    doc: str
    parameters: list[Parameter] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    listing: list[dict[str, Any]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    arguments: list[dict[str, Any]] = field(default_factory=list)
    requirements: list[dict[str, Any]] = field(default_factory=list)
    hints: list[dict[str, Any]] = field(default_factory=list)
    stdout: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def to_cwl(self) -> dict[str, Any]:
        """The tool as CWL, without ``cwlVersion`` and ``$namespaces``."""
        requirements: list[dict[str, Any]] = []
        if self.listing:
            requirements.append({"class": "InitialWorkDirRequirement", "listing": self.listing})
        if self.env:
            definitions = [{"envName": k, "envValue": v} for k, v in self.env.items()]
            requirements.append({"class": "EnvVarRequirement", "envDef": definitions})
        text: dict[str, Any] = {"class": "CommandLineTool", "id": self.id, "label": self.label}
        if self.doc:
            text["doc"] = self.doc
        text["requirements"] = [*requirements, *self.requirements]
        text["inputs"] = [parameter.to_cwl() for parameter in self.parameters]
        text["outputs"] = [output.to_cwl() for output in self.outputs]
        if self.stdout:
            text["stdout"] = self.stdout
        text["baseCommand"] = ["dispel4py"]
        text["arguments"] = self.arguments
        if self.hints:
            text["hints"] = self.hints
        return text | self.extra

    @property
    def ids(self) -> set[str]:
        """The ids that are used: inputs and outputs share one name space."""
        return {p.id for p in self.parameters} | {o.id for o in self.outputs} | OWN_PARAMETERS

    def free(self, name: str) -> str:
        """An id for the parameter ``name`` that is not taken yet."""
        return parameter_identifier(name, self.ids)

    def free_output(self, name: str) -> str:
        """An id for the output ``name`` that is not taken yet."""
        return identifier(name, self.ids)

    def add(self, parameter: Parameter) -> None:
        """Add an input."""
        self.parameters.append(parameter)
