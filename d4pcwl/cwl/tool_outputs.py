"""What a tool leaves behind: results, and the files that PEs write."""

from __future__ import annotations

import inspect
import mimetypes
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from d4pcwl.cwl.declare import Declaration, FileUse
from d4pcwl.cwl.parameter import JSON_LINES_FORMAT, MEDIA_TYPE, Output
from d4pcwl.cwl.tool_inputs import covered
from d4pcwl.workflow.reading import NamedPath

if TYPE_CHECKING:
    from d4pcwl.cwl.tool import Facts, Tool


def add_results(tool: Tool, facts: Facts, pes: tuple[Any, ...], prefix: str) -> None:
    """The output ``results``, if there are unconnected outputs."""
    inside = {id(pe) for pe in pes}
    ports = [f"{pe.id}.{output}" for pe, output in facts.graph.unconnected if id(pe) in inside]
    if not ports:
        return
    file = f"{prefix}results.jsonl"
    tool.arguments.append({"position": 7, "prefix": "--results", "valueFrom": file})
    doc = f"JSON lines: the items of {', '.join(ports)}"
    name = tool.free_output("results")
    tool.outputs.append(
        Output(name, "File", file, "Results", doc, JSON_LINES_FORMAT, key="results")
    )


def add_writes(tool: Tool, facts: Facts, pes: tuple[Any, ...], declared: Declaration) -> None:
    """An output for each file or folder that PEs write."""
    in_place = declared.reads.keys() & declared.writes.keys()
    own = set[str]().union(*(facts.declarations.by_pe[pe.id].writes for pe in pes))
    for use in declared.writes.values():
        # Of what is declared for the whole graph, any stage may be the one that writes it.
        sure = use.name in own | in_place or len(pes) == len(facts.graph.pes) or use.type.is_list
        name = use.name if use.name not in tool.ids else f"{use.name}_out"
        tool.outputs.append(
            Output(
                tool.free_output(name),
                str(use.type if sure else replace(use.type, optional=True)),
                use.path,
                doc=use.doc,
                format=use.format or _guessed_format(facts, use),
                key=("writes", use.name),
            )
        )
    every = facts.declared
    for found in facts.reading.writes:
        if covered(found.path, every.writes.values()) or not _may_write(facts, pes, found):
            continue
        name = tool.free_output(PurePosixPath(found.path).name)
        doc = f"{found.path}, which {found.file} writes in line {found.line}"
        tool.outputs.append(Output(name, "File?", found.path, doc=doc, key="found"))
    if facts.reading.writes_more and not every.writes:
        doc = "The working folder, with files whose names are only known when the script runs"
        tool.outputs.append(
            Output(tool.free_output("written"), "Directory", ".", doc=doc, key="written")
        )
        tool.env["PYTHONDONTWRITEBYTECODE"] = "1"


def _guessed_format(facts: Facts, use: FileUse) -> str:
    """The media type that the name of a file tells, unless a PE that reads it asks for another."""
    taken = facts.declared.reads.get(use.name)
    if use.type.base != "File" or (taken is not None and taken.format):
        return ""
    kind, packing = mimetypes.guess_type(use.path)
    registered = kind and not packing and not kind.split("/")[1].startswith("x-")
    return f"{MEDIA_TYPE}{kind}" if registered else ""


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
