"""The outputs of a tool: results, and the files that PEs write."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from d4pcwl.cwl.declare.declarations import Declaration, FileUse
from d4pcwl.cwl.emit.parameter import JSON_LINES_FORMAT, MEDIA_TYPE, Output
from d4pcwl.cwl.emit.parts import Facts, Tool
from d4pcwl.cwl.emit.references import literal, literal_glob
from d4pcwl.cwl.emit.tool_inputs import FoundData
from d4pcwl.workflow.reading.files import within
from d4pcwl.workflow.reading.model import VALUE
from d4pcwl.workflow.reading.script import LocalFile, NamedPath


def add_results(tool: Tool, facts: Facts, pes: tuple[Any, ...], prefix: str) -> None:
    """The output ``results``, if there are unconnected outputs."""
    inside = {id(pe) for pe in pes}
    graph = facts.graph
    ports = [f"{graph.names[pe.id]}.{port}" for pe, port in graph.unconnected if id(pe) in inside]
    if not ports:
        return
    file = f"{prefix}results.jsonl"
    tool.arguments.append({"position": 7, "prefix": "--results", "valueFrom": file})
    doc = f"JSON lines: the items of {', '.join(ports)}"
    name = tool.free_output("results")
    tool.outputs.append(
        Output(name, "File", file, "Results", doc, JSON_LINES_FORMAT, key="results")
    )


def add_writes(
    tool: Tool,
    facts: Facts,
    pes: tuple[Any, ...],
    declared: Declaration,
    writes: Collection[NamedPath | LocalFile],
) -> None:
    """An output for each file or folder that PEs write.

    :param writes: files found by reading that these PEs may write, and files that they change in
        place
    """
    in_place = declared.reads.keys() & declared.writes.keys()
    own = set[str]().union(*(facts.declarations.by_pe[pe.id].writes for pe in pes))
    for use in declared.writes.values():
        # A file that is declared for the whole graph may be written by any stage.
        sure = use.name in own | in_place or len(pes) == len(facts.graph.pes) or use.type.is_list
        name = use.name if use.name not in tool.ids else f"{use.name}_out"
        tool.outputs.append(
            Output(
                tool.free_output(name),
                str(use.type if sure else replace(use.type, optional=True)),
                literal(use.path),
                doc=use.doc,
                format=use.format or _guessed_format(facts, use),
                key=("writes", use.name),
            )
        )
    for found in writes:
        if isinstance(found, LocalFile):
            _add_changed(tool, found)
        else:
            _add_found(tool, found)


def _add_changed(tool: Tool, file: LocalFile) -> None:
    """An output for a file or folder that is changed in place, for a later step."""
    name = tool.free_output(f"{PurePosixPath(file.path).name}_out")
    kind = "Directory" if file.absolute.is_dir() else "File"
    doc = f"{file.path}, which {file.file} reads in line {file.line} and changes"
    pattern = literal_glob(file.path)
    tool.outputs.append(Output(name, kind, pattern, doc=doc, key=("found", FoundData(file.path))))


def _add_found(tool: Tool, found: NamedPath) -> None:
    """An output for a file found by reading. It may be missing, if its line is not reached."""
    place = f"which {found.file} writes in line {found.line}"
    if found.folder and not found.path:
        label = "The working folder"
        doc = f"With files whose names are only known when it runs, {place}"
        output = Output(tool.free_output("written"), "Directory", ".", label, doc, key="written")
        tool.outputs.append(output)
        tool.env["PYTHONDONTWRITEBYTECODE"] = "1"
        return
    shown = found.path.replace(VALUE, found.variable)
    name = _file_id(shown) if found.pattern else PurePosixPath(shown).name
    pattern = literal(found.path) if found.pattern else literal_glob(found.path)
    pattern = pattern.replace(VALUE, tool.env.get(found.variable, found.variable))
    cwl_type = "File[]" if found.pattern else "Directory?" if found.folder else "File?"
    doc = f"{shown}, {place}"
    tool.outputs.append(Output(tool.free_output(name), cwl_type, pattern, doc=doc, key="found"))


def _file_id(pattern: str) -> str:
    """A name for files: their pattern, with the folder if the pattern alone is unclear."""
    last = PurePosixPath(pattern).name
    text = last if re.search("[A-Za-z0-9].*[*]", last) else pattern
    return re.sub("[^A-Za-z0-9]+", "_", text)


def add_folders(
    tool: Tool, facts: Facts, declared: Declaration, found: Collection[NamedPath]
) -> None:
    """The folders of the files that a tool writes: scripts expect them to exist."""
    wanted: set[PurePosixPath] = set()
    for use in declared.writes.values():
        place = PurePosixPath(use.path)
        wanted.add(place if use.type.base == "Directory" and not use.type.is_list else place.parent)
    defaults = {variable.name: variable.default for variable in facts.reading.environment}
    for each in found:
        default = defaults.get(each.variable) or ""
        if each.variable and (not default or default.startswith(("/", ".."))):
            continue
        place = PurePosixPath(each.path.replace(VALUE, default))
        wanted.add(place if each.folder else place.parent)
    there = [entry["entryname"] for entry in tool.listing if "entryname" in entry]
    folders = {
        place
        for place in wanted
        if place.parts
        and not place.is_absolute()
        and not any(sign in str(place) for sign in "*?[")
        and not any(within(str(place), entry) for entry in there)
        and not _makes(facts, str(place))
    }
    tool.listing += _empty_folders(sorted(folders))


def _makes(facts: Facts, folder: str) -> bool:
    """Whether the script itself makes a folder, or a folder that contains it."""
    made = set(facts.reading.folders_made)
    if "*" in made and (facts.script.parent / folder).is_dir():
        made.discard("*")  # it is used to finding this one
    return any(within(folder, each) for each in made)


def _empty_folders(folders: Iterable[PurePosixPath]) -> list[dict[str, Any]]:
    """Empty folders, nested as their paths say, as entries of a listing."""
    tree: dict[str, Any] = {}
    for folder in folders:
        level = tree
        for part in folder.parts:
            level = level.setdefault(part, {})

    def entries(level: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {"class": "Directory", "basename": name, "listing": entries(inner)}
            for name, inner in level.items()
        ]

    return entries(tree)


def _guessed_format(facts: Facts, use: FileUse) -> str:
    """The media type for the name of a file, except if a PE that reads it declares another."""
    taken = facts.declared.reads.get(use.name)
    if use.type.base != "File" or (taken is not None and taken.format):
        return ""
    kind, packing = mimetypes.guess_type(use.path)
    registered = kind and not packing and not kind.split("/")[1].startswith("x-")
    return f"{MEDIA_TYPE}{kind}" if registered else ""
