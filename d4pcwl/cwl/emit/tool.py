"""One CommandLineTool: a graph, or a stage of it, behind ``dispel4py MAPPING SCRIPT``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from d4pcwl.cwl.declare.declarations import Declaration
from d4pcwl.cwl.emit.parameter import TEXT_FORMAT, TRACE_FORMAT, Output, Parameter, option
from d4pcwl.cwl.emit.parts import SHARD, Facts, Tool
from d4pcwl.cwl.emit.references import literal
from d4pcwl.cwl.emit.streams import StageStreams, add_left, add_taken
from d4pcwl.cwl.emit.tool_inputs import (
    add_choices,
    add_environment,
    add_found_data,
    add_parameters,
    add_read,
    add_root_inputs,
    file_default,
    working_file,
)
from d4pcwl.cwl.emit.tool_outputs import add_folders, add_results, add_writes
from d4pcwl.workflow.reading.files import within
from d4pcwl.workflow.reading.script import LocalFile, NamedPath

PRINTED = "What the PEs print"
"""The label of the output with that."""


def make_tool(
    facts: Facts,
    name: str,
    pes: tuple[Any, ...],
    *,
    doc: str = "",
    streams: StageStreams | None = None,
) -> Tool:
    """The tool for ``pes``: the whole graph, or a stage if streams are given.

    :param doc: the docstring of the composite, if the stage is one
    :param streams: the streams that a stage exchanges with others
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
    add_parameters(tool, facts)
    add_root_inputs(tool, facts, pes)
    prefix = ""
    if streams is not None:
        prefix = f"{name}_$(inputs.{SHARD})_" if streams.sharded else f"{name}_"
        add_taken(tool, streams)
    add_environment(tool, facts, declared)
    add_folders(tool, facts, declared, found)
    add_choices(tool, facts, pes)
    if streams is not None:
        add_left(tool, streams)
    add_results(tool, facts, pes, prefix)
    add_writes(tool, facts, pes, declared, [*changed, *found])
    tool.stdout = f"{prefix}printed.txt"
    label = PRINTED
    printed = Output(
        tool.free_output("printed"), "stdout", None, label, "", TEXT_FORMAT, key="printed"
    )
    tool.outputs.append(printed)
    if facts.trace:
        _add_trace(tool, prefix)
    if facts.provenance is not None:
        _add_provenance(tool, prefix, facts.provenance)
    _add_requirements(tool, facts, declared)
    tool.extra["d4p:digest"] = facts.graph.digest(pes)
    if streams is None:
        tool.extra.update(facts.metadata())
    return tool


def _is_in(written: NamedPath, changed: list[LocalFile]) -> bool:
    """Whether the written file is an output, or is in a folder that is an output."""
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
    tool.listing.append(working_file(script.name, "script"))
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
            tool.listing.append(working_file(module.path, f"modules[{number}]"))


def _add_command(tool: Tool, facts: Facts, pes: tuple[Any, ...]) -> None:
    add = tool.arguments.append
    add({"position": 2, "valueFrom": literal(facts.script.name)})
    if facts.attr:
        add({"position": 3, "prefix": "-a", "valueFrom": facts.attr})
    add({"position": 3, "prefix": "-n", "valueFrom": "$(runtime.cores)"})
    if len(pes) < len(facts.graph.pes):
        add(option(4, "--stage", literal(",".join(facts.graph.names[pe.id] for pe in pes))))
        add({"position": 4, "prefix": "--expect", "valueFrom": facts.graph.digest(pes)})


def _add_trace(tool: Tool, prefix: str) -> None:
    """Add the output ``trace``."""
    file = f"{prefix}trace.jsonl"
    tool.arguments.append({"position": 7, "prefix": "--trace", "valueFrom": file})
    label = "The trace of the run"
    name = tool.free_output("trace")
    tool.outputs.append(Output(name, "File", file, label, "", TRACE_FORMAT, key="trace"))


def _add_provenance(tool: Tool, prefix: str, config: Mapping[str, Any]) -> None:
    """Add the output ``provenance``.

    :param config: which items are recorded, in the terms of S-PROV
    """
    folder = f"{prefix}provenance"
    tool.arguments.append({"position": 7, "prefix": "--provenance", "valueFrom": folder})
    if config:
        text = literal(json.dumps(config, ensure_ascii=False))
        tool.arguments.append({"position": 7, "prefix": "--provenance-config", "valueFrom": text})
    label = "The record of the run: which items each item comes from"
    name = tool.free_output("provenance")
    tool.outputs.append(Output(name, "Directory", folder, label, key="provenance"))


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
        {"package": package, **({"version": list(versions)} if versions else {})}
        for package in sorted({"d4pcwl", *facts.packages, *declared.software})
        for versions in [declared.software.get(package) or facts.packages.get(package)]
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
