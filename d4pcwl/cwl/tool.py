"""One CommandLineTool: a graph, or a stage of it, behind ``dispel4py MAPPING SCRIPT``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from d4pcwl.cwl.declare import CwlType, Declaration, Declarations, FileUse, RootInput
from d4pcwl.cwl.handover import TEXT, UNSET
from d4pcwl.cwl.parameter import (
    JSON_LINES_FORMAT,
    STREAM_FORMAT,
    Output,
    Parameter,
    identifier,
)
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.reading import LocalFile, NamedPath, ScriptReading


@dataclass(frozen=True)
class Facts:
    """What all tools of one compilation share.

    :param attr: the name of the graph, where the script has to be told
    :param locate: from a file to the location that the document gives it
    :param mappings: the mappings to choose from when the tool runs
    """

    graph: FlatGraph
    script: Path
    attr: str | None
    reading: ScriptReading
    declarations: Declarations
    locate: Callable[[Path], str]
    mapping: str
    mappings: tuple[str, ...]
    processes: int
    image: str | None = None


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
        return {p.id for p in self.parameters} | {o.id for o in self.outputs}

    def add(self, parameter: Parameter) -> None:
        """Add an input."""
        self.parameters.append(parameter)


def make_tool(
    facts: Facts,
    name: str,
    pes: tuple[Any, ...],
    *,
    doc: str = "",
    streams_in: list[tuple[Any, str]] | None = None,
    streams_out: list[tuple[Any, str]] | None = None,
) -> Tool:
    """The tool for ``pes``: the whole graph, or a stage where streams are given.

    :param streams_in: outputs of other stages whose items it takes
    :param streams_out: its outputs whose items other stages take
    """
    staged = streams_in is not None
    declared = facts.declarations.of(pes)
    title, text = _documentation(facts, pes, declared, doc, staged)
    tool = Tool(name, title, text)
    _add_script(tool, facts)
    written = [*(use.path for use in declared.writes.values())]
    written += [found.path for found in facts.reading.writes]
    for use in declared.reads.values():
        _add_read(tool, facts, use, writable=any(_within(path, use.path) for path in written))
    _add_found_data(tool, facts)
    _add_command(tool, facts, pes)
    _add_root_inputs(tool, facts, pes)
    for pe, output in streams_in or ():
        _add_stream_in(tool, f"{pe.id}.{output}")
    _add_environment(tool, facts, declared)
    _add_choices(tool, facts)
    prefix = f"{name}_" if staged else ""
    for pe, output in streams_out or ():
        _add_stream_out(tool, f"{pe.id}.{output}")
    _add_results(tool, facts, pes, prefix)
    _add_writes(tool, facts, pes, declared)
    tool.stdout = f"{prefix}printed.txt"
    tool.outputs.append(
        Output(_free(tool, "printed"), "stdout", None, "What the PEs print", key="printed")
    )
    _add_requirements(tool, facts, declared)
    tool.extra["d4p:digest"] = facts.graph.digest(pes)
    return tool


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


def _free(tool: Tool, name: str) -> str:
    """An id for ``name`` that the tool does not use yet."""
    return identifier(name, tool.ids)


def _file_default(facts: Facts, path: Path) -> dict[str, Any]:
    return {
        "class": "Directory" if path.is_dir() else "File",
        "location": facts.locate(path),
    }


def _staged(entryname: str, parameter: str, *, writable: bool = False) -> dict[str, Any]:
    dirent: dict[str, Any] = {"entryname": entryname, "entry": f"$(inputs.{parameter})"}
    if writable:
        dirent["writable"] = True
    return dirent


def _add_script(tool: Tool, facts: Facts) -> None:
    script = facts.script
    default = _file_default(facts, script)
    label = "The dispel4py script"
    tool.add(Parameter("script", "File", label, default=default, has_default=True))
    tool.listing.append(_staged(script.name, "script"))
    modules = facts.reading.modules
    if modules:
        names = ", ".join(module.path for module in modules)
        defaults = [_file_default(facts, module.absolute) for module in modules]
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
            tool.listing.append(_staged(module.path, f"modules[{number}]"))


def _add_read(tool: Tool, facts: Facts, use: FileUse, *, writable: bool) -> None:
    parameter = _free(tool, use.name)
    default: Any = None
    if use.default is not None:
        default = _file_default(facts, facts.script.parent / use.default)
        default = [default] if use.type.is_list else default
    tool.add(
        Parameter(
            parameter,
            str(use.type),
            doc=use.doc,
            default=default,
            has_default=default is not None,
            format=use.format,
            sample=_sample(use.type, use.path),
        )
    )
    if use.type.is_list:
        tool.listing.append({"entry": f"$(inputs.{parameter})"})
    else:
        tool.listing.append(_staged(use.path, parameter, writable=writable))


def covered(path: str, uses: Iterable[FileUse]) -> bool:
    """Whether one of ``uses`` speaks of the file ``path``, or of a folder around it."""
    names = [name for use in uses for name in (use.path, use.default) if name]
    return any(_within(path, name) for name in names)


def _within(path: str, pattern: str) -> bool:
    """Whether ``path``, or a folder around it, is what a path or glob pattern names."""
    place = PurePosixPath(path)
    around = [str(place), *map(str, place.parents)]
    return any(fnmatchcase(each, str(PurePosixPath(pattern))) for each in around)


def _add_found_data(tool: Tool, facts: Facts) -> None:
    """The data files that the script names: found by reading it."""
    every = facts.declarations.of(facts.graph.pes)
    found: list[LocalFile] = [*facts.reading.data_files, *facts.reading.data_dirs]
    for file in found:
        if covered(file.path, [*every.reads.values(), *every.writes.values()]):
            continue
        default = _file_default(facts, file.absolute)
        parameter = _free(tool, PurePosixPath(file.path).name)
        doc = f"{file.path}, which {file.file} names in line {file.line}"
        tool.add(Parameter(parameter, default["class"], doc=doc, default=default, has_default=True))
        tool.listing.append(_staged(file.path, parameter))


def _add_command(tool: Tool, facts: Facts, pes: tuple[Any, ...]) -> None:
    add = tool.arguments.append
    add({"position": 2, "valueFrom": facts.script.name})
    if facts.attr:
        add({"position": 3, "prefix": "-a", "valueFrom": facts.attr})
    add({"position": 3, "prefix": "-n", "valueFrom": "$(runtime.cores)"})
    if len(pes) < len(facts.graph.pes):
        add({"position": 4, "prefix": "--stage", "valueFrom": ",".join(pe.id for pe in pes)})
        add({"position": 4, "prefix": "--expect", "valueFrom": facts.graph.digest(pes)})


def _add_root_inputs(tool: Tool, facts: Facts, pes: tuple[Any, ...]) -> None:
    roots = [pe for pe in pes if not facts.graph.into(pe)]
    if not roots:
        return
    declared = {pe.id: facts.declarations.by_pe[pe.id].inputs for pe in facts.graph.roots}
    if not any(declared.values()):
        _add_input_options(tool)
        return
    parts: list[str] = []
    for pe in roots:
        name = pe.id if len(facts.graph.find(pe.name)) > 1 else pe.name
        inputs = declared[pe.id]
        if inputs:
            value = _declared_value(tool, name, inputs)
        elif pe.inputconnections:
            parameter = _free(tool, name)
            label = f"Items of {name}: a list of objects from input name to item"
            tool.add(
                Parameter(parameter, "Any", label, sample=[dict.fromkeys(pe.inputconnections)])
            )
            value = f"$(inputs.{parameter})"
        else:
            _add_iterations(tool, None)
            value = "$(inputs.iterations)"
        parts.append(f"{_quoted(name)}: {value}")
    tool.arguments.append({"position": 5, "prefix": "-d", "valueFrom": f"{{{', '.join(parts)}}}"})


def _add_input_options(tool: Tool) -> None:
    tool.add(
        Parameter(
            "input_file",
            "File?",
            "Inputs of the roots, JSON",
            "From PE name or id to a list of input objects, or to a number of iterations.",
            binding={"prefix": "-f", "position": 5},
        )
    )
    label = "Inputs of the roots, as JSON text"
    tool.add(Parameter("input_data", "string?", label, binding={"prefix": "-d", "position": 5}))
    _add_iterations(tool, {"prefix": "-i", "position": 5})


def _add_iterations(tool: Tool, binding: Mapping[str, Any] | None) -> None:
    if "iterations" not in tool.ids:
        label = "How often roots without inputs run"
        tool.add(
            Parameter("iterations", "int", label, default=1, has_default=True, binding=binding)
        )


def _declared_value(tool: Tool, name: str, inputs: Mapping[str, RootInput]) -> str:
    """Parameters for the declared inputs of a root, and the JSON that hands their values on."""
    references: dict[str, str] = {}
    for root in inputs.values():
        parameter = _free(tool, name if len(inputs) == 1 else f"{name}_{root.port}")
        label = f"Items of {name}" if root.type.is_list else f"The item of {name}"
        sample = _sample(root.type, name)
        tool.add(Parameter(parameter, str(root.type), label, root.doc, sample=sample))
        reference = f"$(inputs.{parameter})"
        if root.type.is_list:
            pass  # a list, unlike a text, is put in as JSON
        elif root.type.is_file:
            reference = f'"$(inputs.{parameter}.path)"'
        elif root.type.base == "string":
            number = 1 + sum(variable.startswith(TEXT) for variable in tool.env)
            tool.env[f"{TEXT}{number}"] = reference
            reference = f'"{reference}"'
        references[root.port] = reference
    if not any(root.type.is_list for root in inputs.values()):
        pairs = [f"{_quoted(port)}: {reference}" for port, reference in references.items()]
        return f"[{{{', '.join(pairs)}}}]"
    # One list of items for each input; those that are single become lists of one.
    pairs = [
        f"{_quoted(port)}: {reference if inputs[port].type.is_list else f'[{reference}]'}"
        for port, reference in references.items()
    ]
    return f"{{{', '.join(pairs)}}}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _sample(cwl_type: CwlType, name: str) -> Any:
    samples: dict[str, Any] = {
        "File": {"class": "File", "location": quote(name)},
        "Directory": {"class": "Directory", "location": quote(name)},
        "string": "text",
        "boolean": True,
        "Any": "text",
    }
    value = samples.get(cwl_type.base, 1)
    return [value] if cwl_type.is_list else value


def _add_stream_in(tool: Tool, port: str) -> None:
    parameter = _free(tool, port.replace(".", "_"))
    label = f"The items of {port}"
    tool.add(
        Parameter(parameter, "File", label, format=STREAM_FORMAT, streamable=True, sample=port)
    )
    value = f"{port}=$(inputs.{parameter}.path)"
    tool.arguments.append({"position": 6, "prefix": "--from", "valueFrom": value})


def _add_stream_out(tool: Tool, port: str) -> None:
    file = f"{port}.d4ps"
    tool.arguments.append({"position": 6, "prefix": "--to", "valueFrom": f"{port}={file}"})
    tool.outputs.append(
        Output(
            _free(tool, port.replace(".", "_")),
            "File",
            file,
            f"The items of {port}",
            format=STREAM_FORMAT,
            streamable=True,
            key=port,
        )
    )


def _add_environment(tool: Tool, facts: Facts, declared: Declaration) -> None:
    # Which PE reads a variable is not found by reading: what one declares holds in all stages.
    every = facts.declarations.of(facts.graph.pes).env
    found = {variable.name: variable for variable in facts.reading.environment}
    unset = []
    for name in sorted({*found, *declared.env}):
        variable, reads = every.get(name), found.get(name)
        if variable is None and reads is not None and reads.standard:
            continue  # engines give it to every tool
        default = variable.default if variable else (reads.default if reads else None)
        required = default is None and (
            variable is not None or (reads is not None and reads.required)
        )
        parameter = _free(tool, name)
        doc = variable.doc if variable else ""
        label = f"The environment variable {name}"
        if required:
            tool.add(Parameter(parameter, "string", label, doc, sample=name))
        else:
            if default is None:
                unset.append(name)
                label += "; not set where this is empty"
            value = default or ""
            tool.add(Parameter(parameter, "string", label, doc, default=value, has_default=True))
        tool.env[name] = f"$(inputs.{parameter})"
    if unset:
        tool.env[UNSET] = " ".join(unset)


def _add_choices(tool: Tool, facts: Facts) -> None:
    symbols = {"type": "enum", "symbols": list(facts.mappings)}
    tool.add(
        Parameter(
            "mapping",
            symbols,
            "How the graph is run",
            default=facts.mapping,
            has_default=True,
            binding={"position": 1},
        )
    )
    label = "How many processes it may use"
    tool.add(Parameter("processes", "int", label, default=facts.processes, has_default=True))


def _add_results(tool: Tool, facts: Facts, pes: tuple[Any, ...], prefix: str) -> None:
    inside = {id(pe) for pe in pes}
    ports = [f"{pe.id}.{output}" for pe, output in facts.graph.unconnected if id(pe) in inside]
    if not ports:
        return
    file = f"{prefix}results.jsonl"
    tool.arguments.append({"position": 7, "prefix": "--results", "valueFrom": file})
    doc = f"JSON lines: the items of {', '.join(ports)}"
    name = _free(tool, "results")
    tool.outputs.append(
        Output(name, "File", file, "Results", doc, JSON_LINES_FORMAT, key="results")
    )


def _add_writes(tool: Tool, facts: Facts, pes: tuple[Any, ...], declared: Declaration) -> None:
    for use in declared.writes.values():
        name = use.name if use.name not in tool.ids else f"{use.name}_out"
        tool.outputs.append(
            Output(
                _free(tool, name),
                str(use.type),
                use.path,
                doc=use.doc,
                format=use.format,
                key=("writes", use.name),
            )
        )
    every = facts.declarations.of(facts.graph.pes)
    for found in facts.reading.writes:
        if covered(found.path, every.writes.values()) or not _may_write(facts, pes, found):
            continue
        name = _free(tool, PurePosixPath(found.path).name)
        doc = f"{found.path}, which {found.file} writes in line {found.line}"
        key = ("writes", found.path)
        tool.outputs.append(Output(name, "File?", found.path, doc=doc, key=key))
    if facts.reading.writes_more and not every.writes:
        doc = "The working folder, with files whose names are only known when the script runs"
        tool.outputs.append(
            Output(_free(tool, "written"), "Directory", ".", doc=doc, key="written")
        )
        tool.env["PYTHONDONTWRITEBYTECODE"] = "1"


def _may_write(facts: Facts, pes: tuple[Any, ...], found: NamedPath) -> bool:
    """Whether it is one of ``pes`` that writes a file, as far as the place of the code tells."""
    writers = [pe for pe in facts.graph.pes if _defined_around(type(pe), facts.script, found)]
    return not writers or any(any(pe is writer for writer in writers) for pe in pes)


def _defined_around(cls: type, script: Path, found: NamedPath) -> bool:
    try:
        file = Path(inspect.getsourcefile(cls) or "")
        lines, first = inspect.getsourcelines(cls)
    except (OSError, TypeError):
        return False
    same = file.resolve() == (script.parent / found.file).resolve()
    return same and first <= found.line < first + len(lines)


def _add_requirements(tool: Tool, facts: Facts, declared: Declaration) -> None:
    resources: dict[str, Any] = {"coresMin": "$(inputs.processes)"}
    for key, field_name in (("ram", "ramMin"), ("tmpdir", "tmpdirMin"), ("outdir", "outdirMin")):
        if key in declared.resources:
            resources[field_name] = declared.resources[key]
    tool.requirements.append({"class": "ResourceRequirement", **resources})
    if declared.network:
        tool.requirements.append({"class": "NetworkAccess", "networkAccess": True})
    if declared.time_limit:
        tool.requirements.append({"class": "ToolTimeLimit", "timelimit": declared.time_limit})
    image = facts.image or declared.image
    if image:
        tool.hints.append({"class": "DockerRequirement", "dockerPull": image})
    if declared.software:
        packages = [
            {"package": package, **({"version": versions} if versions else {})}
            for package, versions in sorted(declared.software.items())
        ]
        tool.hints.append({"class": "SoftwareRequirement", "packages": packages})
    if declared.gpu:
        tool.hints.append(
            {
                "class": "cwltool:CUDARequirement",
                "cudaVersionMin": declared.gpu["cuda"],
                "cudaComputeCapability": declared.gpu["capability"],
                "cudaDeviceCountMin": declared.gpu.get("count", 1),
            }
        )
