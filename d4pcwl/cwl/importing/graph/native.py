"""From a document that ``d4p2cwl`` made back to the graph of its script.

This is possible if every tool of the document calls ``dispel4py`` with the same script, if the
digests in the document are those of the script's graph, and if the streams between the steps are
those between its stages. If a user has changed one of these in the document, the steps run as
tools.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from d4pcwl.cwl.emit.parameter import STREAM_FORMAT
from d4pcwl.cwl.files import local_path
from d4pcwl.cwl.importing.cwltool.document import short_name
from d4pcwl.cwl.importing.graph.cwl_graph import CwlGraph
from d4pcwl.cwl.importing.graph.flows import DIGEST, is_compiled
from d4pcwl.cwl.importing.graph.pes import input_origin, origin
from d4pcwl.cwl.importing.graph.steps import CwlStep, CwlSubworkflow, Steps, made_by
from d4pcwl.errors import InputError, ScriptError
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.load import Script, aside, load


@dataclass(frozen=True)
class _Stage:
    """A step that runs PEs of a script.

    :param script: the input that is the script
    :param attr: which graph of the script
    :param pes: the ids of the PEs; empty for all
    :param left: to each output that is a stream the ``PE.output`` whose items it has
    :param taken: the inputs that are streams
    """

    step: CwlStep
    script: str
    attr: str | None
    pes: tuple[str, ...]
    digest: str
    left: dict[str, str]
    taken: tuple[str, ...]


def script_of(graph: CwlGraph) -> Script | None:
    """The script from which a document was made, if its graph is that of the document.

    :param graph: the document's graph, with the links of the document
    """
    stages = [_stage(graph, step) for step in _tools(graph)]
    found = [stage for stage in stages if stage is not None]
    if not found or len(found) < len(stages):
        return None
    scripts = {(_script_file(graph, stage), stage.attr) for stage in found}
    path, attr = next(iter(scripts))
    if len(scripts) > 1 or path is None or not os.path.isfile(path):
        return None
    try:
        with aside():
            script = load(path, attr)
            flat = script.flat()
    except (ScriptError, InputError):
        return None
    if script.builder is not None:
        return None  # inputs of the document are parameters, which may change the graph
    whole = graph.document.process.tool.get(DIGEST) == flat.digest()
    return script if whole and _same_stages(graph, found, flat) else None


def _tools(graph: Steps) -> Iterator[CwlStep]:
    return (step for step in graph.all_steps() if not isinstance(step, CwlSubworkflow))


def _stage(graph: CwlGraph, step: CwlStep) -> _Stage | None:
    """The command of a step, if it is ``dispel4py`` as the compiler writes it."""
    document = graph.document
    tool: Any = document.at(step.path).tool
    if not is_compiled(tool) or (step.path and _is_altered(document.step(step.path).tool)):
        return None
    arguments = tool.get("arguments", [])
    if not all(isinstance(entry, dict) and "valueFrom" in entry for entry in arguments):
        return None
    options = {entry.get("prefix"): str(entry["valueFrom"]) for entry in arguments}
    places = [str(entry["valueFrom"]) for entry in arguments if entry.get("position") == 2]
    staged = _staged(tool).get(places[0]) if len(places) == 1 else None
    if staged is None:
        return None
    files = _stream_files(arguments)
    left, taken = {}, []
    for output in tool["outputs"]:
        if output.get("format") == STREAM_FORMAT:
            glob = output.get("outputBinding", {}).get("glob")
            if glob not in files:
                return None
            left[short_name(output["id"])] = files[glob]
    for entry in tool["inputs"]:
        if entry.get("format") == STREAM_FORMAT:
            taken.append(short_name(entry["id"]))
    pes = tuple(options["--stage"].split(",")) if "--stage" in options else ()
    return _Stage(step, staged, options.get("-a"), pes, tool[DIGEST], left, tuple(taken))


def _is_altered(step: Any) -> bool:
    """Whether a step has more than the compiler writes."""
    return "when" in step or any("valueFrom" in entry for entry in step["inputs"])


def _staged(tool: Any) -> dict[str, str]:
    """From the names of staged files to the inputs that they are."""
    found = {}
    for requirement in tool.get("requirements", []):
        for entry in requirement.get("listing", []):
            name, given = entry.get("entryname"), str(entry.get("entry", ""))
            if given.startswith("$(inputs.") and given.endswith(")"):
                found[name] = given[len("$(inputs.") : -1]
    return found


def _stream_files(arguments: list[Any]) -> dict[str, str]:
    """From the names of the stream files that a tool writes to the ``PE.output`` in each."""
    files: dict[str, str] = {}
    split: list[str] = []
    for entry in arguments:
        prefix, value = entry.get("prefix"), str(entry["valueFrom"])
        if prefix == "--to":
            port, _, file = value.partition("=")
            files[file] = port
        split = [value] if prefix == "--split" else [*split, value] if not prefix and split else []
        if len(split) > 2:
            files[value] = split[0]
    return files


def _script_file(graph: CwlGraph, stage: _Stage) -> str | None:
    """The path of the default script of a stage."""
    document = graph.document
    (link,) = [link for link in stage.step.links if link.name == stage.script]
    given = made_by(link.sources, graph.inner_links()) if stage.step.path else set()
    entries: Any = document.at(stage.step.path).tool["inputs"]
    names = {stage.script}
    if given:
        entries = document.process.tool["inputs"]
        names = {short_name(entry["id"]) for entry in entries} & {
            short_name(entry["id"])
            for entry in entries
            if input_origin((), short_name(entry["id"])) in given
        }
    if len(names) != 1 or len(given) > 1:
        return None
    (default,) = [e.get("default") for e in entries if short_name(e["id"]) in names]
    return local_path(dict(default)) if isinstance(default, dict) else None


def _same_stages(graph: CwlGraph, stages: list[_Stage], flat: FlatGraph) -> bool:
    """Whether the stages are those of the script's graph, and exchange the right streams."""
    by_name = {flat.names[pe.id]: pe for pe in flat.pes}
    chosen = [stage.pes or tuple(by_name) for stage in stages]
    if sorted(name for names in chosen for name in names) != sorted(by_name):
        return False
    left = {
        origin(stage.step.path, name): port for stage in stages for name, port in stage.left.items()
    }
    inner = graph.inner_links()
    for stage, names in zip(stages, chosen, strict=True):
        pes = [by_name[name] for name in names]
        if stage.digest != flat.digest(pes):
            return False
        links = [link for link in stage.step.links if link.name in stage.taken]
        origins = made_by((s for link in links for s in link.sources), inner)
        entering = {
            f"{flat.names[edge.source.id]}.{edge.output}"
            for pe in pes
            for edge in flat.into(pe)
            if edge.source not in pes
        }
        if {left.get(place) for place in origins} != entering:
            return False
    return True
