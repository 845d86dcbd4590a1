"""One CommandLineTool: a graph, or a stage of it, behind ``dispel4py MAPPING SCRIPT``."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from d4pcwl.cwl.declare.declarations import Declaration, Declarations
from d4pcwl.cwl.emit.parameter import (
    TEXT_FORMAT,
    Output,
    Parameter,
    identifier,
    option,
    parameter_identifier,
)
from d4pcwl.cwl.emit.references import literal
from d4pcwl.cwl.emit.streams import SHARD, StageStreams, add_left, add_taken
from d4pcwl.cwl.emit.tool_inputs import (
    add_choices,
    add_environment,
    add_found_data,
    add_read,
    add_root_inputs,
    covered,
    file_default,
    staged,
)
from d4pcwl.cwl.emit.tool_outputs import add_folders, add_results, add_writes
from d4pcwl.runtime.mappings import registry
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.reading.files import within
from d4pcwl.workflow.reading.owners import lines_of
from d4pcwl.workflow.reading.roots import words
from d4pcwl.workflow.reading.script import LocalFile, NamedPath, ScriptReading

OWN_PARAMETERS = {SHARD} | words(
    "script modules input_file input_data iterations mapping processes redis_url"
)
"""The parameters that every tool may have: nothing of the script's is called so."""


@dataclass(frozen=True)
class Facts:
    """What all tools of one compilation share.

    :param attr: the name of the graph, where the script has to be told
    :param locate: from a file to the location that the document gives it
    :param mappings: the mappings to choose from when the tool runs
    :param packages: the distributions that the script imports from
    :param mpi: whether the engine is to start the processes, by ``cwltool:MPIRequirement``
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
    packages: tuple[str, ...] = ()
    mpi: bool = False

    @cached_property
    def declared(self) -> Declaration:
        """What is declared for all PEs together."""
        return self.declarations.of(self.graph.pes)

    def found_writes(self, pes: tuple[Any, ...]) -> list[NamedPath]:
        """What of the files that reading found ``pes`` may write: each in one line only.

        What no PE reaches, such as a function that is handed about, any may run.
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
        """What is declared in terms of schema.org, as fields of a document."""
        return _schema_org(self.declarations.whole.metadata)


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
    """A CommandLineTool in the making; :meth:`to_cwl` gives the document."""

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
        """The ids that are taken: inputs and outputs share one space of names."""
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


def make_tool(
    facts: Facts,
    name: str,
    pes: tuple[Any, ...],
    *,
    doc: str = "",
    streams: StageStreams | None = None,
) -> Tool:
    """The tool for ``pes``: the whole graph, or a stage where streams are given.

    :param doc: the docstring of the composite that it is, where it is one
    :param streams: what a stage exchanges with others
    """
    declared = facts.declarations.of(pes)
    title, text = _documentation(facts, pes, declared, doc, streams is not None)
    tool = Tool(name, title, text)
    _add_script(tool, facts)
    found = facts.found_writes(pes)
    written = [use.path for use in declared.writes.values()]
    written += [each.path for each in found if not each.variable]
    for use in declared.reads.values():
        writable = any(path and within(path, use.path) for path in written)
        add_read(tool, facts, use, writable=writable)
    changed = add_found_data(tool, facts, written)
    found = [each for each in found if not _is_in(each, changed)]
    _add_command(tool, facts, pes)
    add_root_inputs(tool, facts, pes)
    prefix = ""
    if streams is not None:
        prefix = f"{name}_$(inputs.{SHARD})_" if streams.sharded else f"{name}_"
        add_taken(tool, streams)
    add_environment(tool, facts, declared)
    add_folders(tool, facts, declared, found)
    add_choices(tool, facts)
    if streams is not None:
        add_left(tool, streams)
    add_results(tool, facts, pes, prefix)
    add_writes(tool, facts, pes, declared, [*changed, *found])
    tool.stdout = f"{prefix}printed.txt"
    label = "What the PEs print"
    printed = Output(
        tool.free_output("printed"), "stdout", None, label, "", TEXT_FORMAT, key="printed"
    )
    tool.outputs.append(printed)
    _add_requirements(tool, facts, declared)
    tool.extra["d4p:digest"] = facts.graph.digest(pes)
    if streams is None:
        tool.extra.update(facts.metadata())
    return tool


def _is_in(written: NamedPath, changed: list[LocalFile]) -> bool:
    """Whether what is written is a file or folder that is given out whole, or in one."""
    return bool(written.path) and any(within(written.path, file.path) for file in changed)


def _documentation(
    facts: Facts, pes: tuple[Any, ...], declared: Declaration, doc: str, staged: bool
) -> tuple[str, str]:
    if not staged:
        label = declared.label or facts.reading.title or facts.script.stem
        return label, declared.doc or facts.reading.doc
    if not doc:
        docs = [(pe.name, inspect.getdoc(type(pe)) or "") for pe in pes if _has_own_doc(pe)]
        if len(docs) == 1:
            doc = docs[0][1]
        else:
            doc = "\n".join(f"{name}: {text.splitlines()[0]}" for name, text in docs if text)
            title = " → ".join(pe.name for pe in pes) if len(pes) <= 4 else f"{len(pes)} PEs"
            return title, doc
    title, _, rest = inspect.cleandoc(doc or " → ".join(pe.name for pe in pes)).partition("\n")
    return title.strip(), rest.strip()


def _has_own_doc(pe: Any) -> bool:
    module = type(pe).__module__
    return not module.startswith(("d4pcwl.", "dispel4py.")) and bool(type(pe).__doc__)


def _add_script(tool: Tool, facts: Facts) -> None:
    script = facts.script
    default = file_default(facts, script)
    label = "The dispel4py script"
    tool.add(Parameter("script", "File", label, default=default, has_default=True))
    tool.listing.append(staged(script.name, "script"))
    modules = facts.reading.modules
    if modules:
        names = ", ".join(module.path for module in modules)
        defaults = [file_default(facts, module.absolute) for module in modules]
        tool.add(
            Parameter(
                "modules",
                "File[]",
                "The modules beside the script that it imports",
                f"In this order: {names}",
                default=defaults,
                has_default=True,
            )
        )
        for number, module in enumerate(modules):
            tool.listing.append(staged(module.path, f"modules[{number}]"))


def _add_command(tool: Tool, facts: Facts, pes: tuple[Any, ...]) -> None:
    add = tool.arguments.append
    add({"position": 2, "valueFrom": literal(facts.script.name)})
    if facts.attr:
        add({"position": 3, "prefix": "-a", "valueFrom": facts.attr})
    add({"position": 3, "prefix": "-n", "valueFrom": "$(runtime.cores)"})
    if len(pes) < len(facts.graph.pes):
        add(option(4, "--stage", literal(",".join(pe.id for pe in pes))))
        add({"position": 4, "prefix": "--expect", "valueFrom": facts.graph.digest(pes)})


def _add_requirements(tool: Tool, facts: Facts, declared: Declaration) -> None:
    resources: dict[str, Any] = {"coresMin": "$(inputs.processes)"}
    for key, field_name in (("ram", "ramMin"), ("tmpdir", "tmpdirMin"), ("outdir", "outdirMin")):
        if key in declared.resources:
            resources[field_name] = declared.resources[key]
    tool.requirements.append({"class": "ResourceRequirement", **resources})
    if declared.network or facts.mapping.server:
        tool.requirements.append({"class": "NetworkAccess", "networkAccess": True})
    reuse = not declared.network if declared.reuse is None else declared.reuse
    if not reuse:
        tool.hints.append({"class": "WorkReuse", "enableReuse": False})
    if declared.time_limit:
        tool.requirements.append({"class": "ToolTimeLimit", "timelimit": declared.time_limit})
    image = facts.image or declared.image
    if image:
        tool.hints.append({"class": "DockerRequirement", "dockerPull": image})
    packages = [
        {"package": package, **({"version": versions} if versions else {})}
        for package in sorted({"d4pcwl", *facts.packages, *declared.software})
        for versions in [declared.software.get(package)]
    ]
    tool.hints.append({"class": "SoftwareRequirement", "packages": packages})
    if facts.mpi:
        processes = "$(inputs.processes)"
        tool.hints.append({"class": "cwltool:MPIRequirement", "processes": processes})
    if declared.gpu:
        tool.hints.append(
            {
                "class": "cwltool:CUDARequirement",
                "cudaVersionMin": declared.gpu["cuda"],
                "cudaComputeCapability": declared.gpu["capability"],
                "cudaDeviceCountMin": declared.gpu.get("count", 1),
            }
        )
