"""The inputs of a tool beside the script: files, inputs of roots, environment variables,
settings."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from d4pcwl.cwl.declare.declarations import CwlType, Declaration, FileUse, RootInput
from d4pcwl.cwl.emit.handover import TEXT, UNSET
from d4pcwl.cwl.emit.parameter import Parameter
from d4pcwl.cwl.emit.parts import Facts, Tool, covered
from d4pcwl.cwl.emit.references import literal
from d4pcwl.workflow.parameters import REQUIRED
from d4pcwl.workflow.parameters import Parameter as WorkflowParameter
from d4pcwl.workflow.reading.files import changes, overlap
from d4pcwl.workflow.reading.script import EnvVar, LocalFile


def file_default(facts: Facts, path: Path) -> dict[str, Any]:
    """A file beside the script, or a folder, as a default."""
    return {
        "class": "Directory" if path.is_dir() else "File",
        "location": facts.locate(path),
    }


def working_file(entryname: str, parameter: str, *, writable: bool = False) -> dict[str, Any]:
    """An entry of the working folder: the file of a parameter, under a name."""
    dirent: dict[str, Any] = {"entryname": literal(entryname), "entry": f"$(inputs.{parameter})"}
    if writable:
        dirent["writable"] = True
    return dirent


def add_read(tool: Tool, facts: Facts, use: FileUse, *, writable: bool) -> None:
    """A parameter for a declared file or folder, staged where the PE opens it."""
    parameter = tool.free(use.name)
    default: Any = None
    if use.default is not None:
        default = file_default(facts, facts.script.parent / use.default)
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
            key=use,
        )
    )
    if use.type.is_list:
        tool.listing.append({"entry": f"$(inputs.{parameter})"})
    else:
        tool.listing.append(working_file(use.path, parameter, writable=writable))


@dataclass(frozen=True)
class FoundData:
    """A file or folder that reading found, by the path at which the script opens it."""

    path: str


def add_found_data(tool: Tool, facts: Facts, written: Collection[str]) -> list[LocalFile]:
    """The data files that the script names: found by reading it.

    :param written: what the tool writes: glob patterns; empty for any file. Only copies are
        overwritten, never the user's own files.
    :returns: the files that the tool changes in place
    """
    changed: list[LocalFile] = []
    every = facts.declared
    found: list[LocalFile] = [*facts.reading.data_files, *facts.reading.data_dirs]
    for file in found:
        if covered(file.path, [*every.reads.values(), *every.writes.values()]):
            continue
        default = file_default(facts, file.absolute)
        parameter = tool.free(PurePosixPath(file.path).name)
        doc = f"{file.path}, which {file.file} names in line {file.line}"
        key = FoundData(file.path)
        kind = default["class"]
        tool.add(Parameter(parameter, kind, doc=doc, default=default, has_default=True, key=key))
        if any(each and changes(each, file.path) for each in written):
            changed.append(file)
        writable = any(not each or overlap(file.path, each) for each in written)
        tool.listing.append(working_file(file.path, parameter, writable=writable))
    return changed


def add_root_inputs(tool: Tool, facts: Facts, pes: tuple[Any, ...]) -> None:
    """Parameters for the inputs of roots: typed if declared, or like ``-f``, ``-d``, ``-i``."""
    roots = [pe for pe in pes if not facts.graph.into(pe)]
    if not roots:
        return
    declared = {pe.id: facts.declarations.by_pe[pe.id].inputs for pe in facts.graph.roots}
    if not any(declared.values()):
        _add_input_options(tool)
        return
    parts: list[str] = []
    for pe in roots:
        name = facts.graph.names[pe.id]
        inputs = declared[pe.id]
        if inputs:
            value = _declared_value(tool, name, inputs)
        elif pe.inputconnections:
            parameter = tool.free(name)
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
    if all(parameter.id != "iterations" for parameter in tool.parameters):
        label = "How often roots without inputs run"
        tool.add(
            Parameter("iterations", "int", label, default=1, has_default=True, binding=binding)
        )


def _declared_value(tool: Tool, name: str, inputs: Mapping[str, RootInput]) -> str:
    """Parameters for the declared inputs of a root, and the JSON that passes their values on."""
    references: dict[str, str] = {}
    for root in inputs.values():
        parameter = tool.free(name if len(inputs) == 1 else f"{name}_{root.port}")
        label = f"Items of {name}" if root.type.is_list else f"The item of {name}"
        label += ", as JSON text" if root.as_json else ""
        sample = "1" if root.as_json else _sample(root.type, name)
        tool.add(Parameter(parameter, str(root.type), label, root.doc, sample=sample))
        reference = f"$(inputs.{parameter})"
        if root.type.is_list or root.as_json:
            pass  # a list, unlike a text, is put in as JSON
        elif root.type.is_file:
            reference = _text_beside(tool, f"$(inputs.{parameter}.path)")
        elif root.type.base == "string":
            reference = _text_beside(tool, reference)
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


def _text_beside(tool: Tool, reference: str) -> str:
    """The placeholder in ``-d`` for a text, which becomes a separate argument."""
    number = 1 + sum(argument.get("prefix") == "--text=" for argument in tool.arguments)
    tool.arguments.append(
        {"position": 5, "prefix": "--text=", "separate": False, "valueFrom": reference}
    )
    return f'{{"{TEXT}": {number}}}'


def _quoted(text: str) -> str:
    r"""``text`` as JSON in which engines find no parameter references or escapes.

    >>> print(_quoted('a "$(b)"'))
    "a \u0022\u0024(b)\u0022"
    """
    escaped = (f"\\u{ord(c):04x}" if c in '"\\$' or c < " " else c for c in text)
    return f'"{"".join(escaped)}"'


_TYPES = {"int": "long", "float": "double", "str": "string", "bool": "boolean", "enum": "string"}
_SYMBOL = re.compile(r"[A-Za-z0-9_.+-]+")


def add_parameters(tool: Tool, facts: Facts) -> None:
    """A typed parameter for each parameter of the workflow. Every step makes the graph with
    them."""
    if facts.builder is None:
        return
    as_json: list[str] = []
    for each in facts.builder.parameters.values():
        kind, name = each.kind, tool.free(each.name)
        default = _parameter_default(facts, each)
        base = _path_class(default) if kind.base == "Path" else _TYPES.get(kind.base, kind.base)
        own_type: Any = f"{base}{'[]' if kind.many else ''}{'?' if kind.optional else ''}"
        doc = each.doc
        if kind.base == "enum" and not kind.many and all(map(_SYMBOL.fullmatch, kind.choices)):
            own_type = {"type": "enum", "symbols": list(kind.choices)}
            own_type = ["null", own_type] if kind.optional else own_type
        elif kind.base == "enum":
            doc = f"{doc} (one of {', '.join(kind.choices)})".strip()
        binding = {"position": 4, "prefix": f"--params={each.name}=", "separate": False}
        if kind.many or kind.base == "bool":
            # A command line has no form for an empty list, or for false.
            as_json.append(f"{_quoted(each.name)}: $(inputs.{name})")
            binding = {}
        parameter = Parameter(
            name,
            own_type,
            doc=doc,
            default=None if default is REQUIRED else default,
            # What may be absent, and is by default, needs none; a list of types says so otherwise.
            has_default=default is not REQUIRED
            and (default is not None or isinstance(own_type, list)),
            binding=binding,
            sample=_sample(CwlType(base, bool(kind.many)), name),
            key=each,
        )
        tool.add(parameter)
    if as_json:
        text = f"{{{', '.join(as_json)}}}"
        tool.arguments.append({"position": 4, "prefix": "--params", "valueFrom": text})


def _parameter_default(facts: Facts, each: WorkflowParameter) -> Any:
    """The default of a parameter in CWL: the given value, or its own default."""
    value = facts.values.get(each.name, each.default)
    if value is REQUIRED:
        return REQUIRED
    if not each.kind.is_path or value is None:
        return each.kind.plain(value)
    paths = [Path(path) for path in (value if isinstance(value, (list, tuple)) else [value])]
    places = [_place(facts, path) for path in paths]
    if not all(places):
        return REQUIRED
    files = [file_default(facts, place) for place in places if place]
    return files if each.kind.many else files[0]


def _path_class(default: Any) -> str:
    """The type of a path that is not annotated: a file, except if its default is a folder."""
    first = default[0] if isinstance(default, list) and default else default
    return str(first["class"]) if isinstance(first, dict) else "File"


def _place(facts: Facts, path: Path) -> Path | None:
    """The path of a file, relative to the current folder or to the script."""
    return next((p for p in (path, facts.script.parent / path) if p.exists()), None)


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


def add_environment(tool: Tool, facts: Facts, declared: Declaration) -> None:
    """A parameter for each environment variable that the script reads."""
    # Reading does not find which PE reads a variable, so each declaration holds in all stages.
    every = facts.declared.env
    found = {variable.name: variable for variable in facts.reading.environment}
    unset = []
    for name in sorted({*found, *declared.env}):
        variable, reads = every.get(name), found.get(name)
        if variable is None and reads is not None and reads.standard:
            continue  # engines give it to every tool
        if variable is None and reads is not None and reads.use in ("File", "Directory"):
            _add_variable_path(tool, facts, reads)
            continue
        default = variable.default if variable else (reads.default if reads else None)
        required = default is None and (
            variable is not None or (reads is not None and reads.required)
        )
        parameter = tool.free(name)
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
        tool.env[UNSET] = literal(" ".join(unset))


def _add_variable_path(tool: Tool, facts: Facts, variable: EnvVar) -> None:
    """A parameter for the file or folder that an environment variable names. The default of the
    script is used if it is beside the script; otherwise the parameter must be given.
    """
    parameter = tool.free(variable.name)
    folder = variable.use == "Directory"
    home = facts.script.parent.resolve()
    place = (home / variable.default).resolve() if variable.default else home
    fits = place.is_dir() if folder else place.is_file()
    default = None
    if fits and place != home and place.is_relative_to(home):
        default = file_default(facts, facts.script.parent / place.relative_to(home))
    label = f"The {'folder' if folder else 'file'} that the environment variable {variable.name} is"
    tool.add(
        Parameter(
            parameter,
            variable.use,
            label,
            default=default,
            has_default=default is not None,
            sample=_sample(CwlType(variable.use), variable.name),
        )
    )
    # In a separate place, the same in all steps, because paths below it may be items.
    path = parameter if folder else f"{parameter}/$(inputs.{parameter}.basename)"
    tool.listing.append({"entryname": path, "entry": f"$(inputs.{parameter})"})
    tool.env[variable.name] = path if variable.slash or not folder else f"{path}/"


def add_choices(tool: Tool, facts: Facts, pes: tuple[Any, ...]) -> None:
    """The parameters ``mapping`` and ``processes``, and ``seed`` where PEs draw random numbers."""
    symbols = {"type": "enum", "symbols": list(facts.mappings)}
    tool.add(
        Parameter(
            "mapping",
            symbols,
            "How the graph is run",
            default=facts.mapping.name,
            has_default=True,
            binding={"position": 1},
        )
    )
    label = "How many processes it may use"
    tool.add(Parameter("processes", "int", label, default=facts.processes, has_default=True))
    if any(getattr(pe, "numbered", False) for pe in pes):
        label = "The seed of the random numbers that PEs draw"
        binding = {"prefix": "--seed=", "separate": False, "position": 3}
        tool.add(Parameter("seed", "long", label, default=0, has_default=True, binding=binding))
    if facts.mapping.server:
        label = (
            "The Redis server (its password in REDIS_PASSWORD); if it is not given, the run "
            "starts its own"
        )
        binding = {"position": 3, "prefix": "--redis-url"}
        tool.add(Parameter("redis_url", "string?", label, binding=binding))
