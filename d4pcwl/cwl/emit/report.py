"""What CWL represents differently from the script, entry by entry.

``d4p2cwl --report FILE`` writes these as JSON. Some of them are notes that are always shown: files,
variables and outputs that were found by reading the script.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any, cast

from d4pcwl.cwl.declare.found_inputs import FoundInput
from d4pcwl.cwl.emit.parts import Facts, covered
from d4pcwl.workflow.edges import label
from d4pcwl.workflow.numbering import Numbering
from d4pcwl.workflow.ordering import OrderedEdges
from d4pcwl.workflow.reading.model import VALUE
from d4pcwl.workflow.reading.script import NamedPath
from d4pcwl.workflow.shards import Passage, Sharding, kept_whole
from d4pcwl.workflow.state import keeps_state

_ACCEPTED = re.compile(r"[\w.+,:@\]^\u2600-\u26ff\U0001f600-\U0001f64f-]+")
"""The file names that cwltool accepts (``PathCheckingMode.STRICT`` in its source)."""


@dataclass(frozen=True)
class Entry:
    """One thing that CWL represents differently, or not at all.

    :param code: the kind of thing; docs/compiling.md has the list
    :param message: what it is
    :param kept: its representation in CWL; empty if it is lost
    :param file: the script or module, relative to the current folder
    :param line: the line, from 1
    :param note: whether it is always shown
    """

    code: str
    message: str
    kept: str
    file: str | None = None
    line: int | None = None
    note: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else ""
        return place + self.message

    def to_json(self) -> dict[str, Any]:
        """The entry as plain data."""
        entry = asdict(self)
        del entry["note"]
        return {key: value for key, value in entry.items() if value is not None}


def entries(facts: Facts, stages: Sharding, opened: Sequence[FoundInput] = ()) -> tuple[Entry, ...]:
    """All entries of a translation.

    :param opened: inputs of roots whose items are opened as files
    """
    return (
        *_found(facts),
        *(_opened(found, facts.graph.names[found.pe.id]) for found in opened),
        *_of_names(facts),
        *_of_steps(facts, stages),
        *_of_graph(facts, stages),
        *(entry for pe in facts.graph.pes for entry in _kept_whole(facts, stages, pe)),
        *(entry for pe in facts.graph.pes for entry in _of_pe(facts, pe)),
        *_of_edges(facts, stages),
    )


def _found(facts: Facts) -> Iterator[Entry]:
    """What was found by reading the script and is not declared."""
    reading, declared, folder = facts.reading, facts.declared, facts.script.parent

    def entry(code: str, message: str, kept: str, found: Any) -> Entry:
        return Entry(code, message, kept, str(folder / found.file), found.line, note=True)

    for note in reading.notes:
        yield entry("unclear", note.message, "", note)
    for named in (*reading.data_files, *reading.data_dirs):
        if not covered(named.path, [*declared.reads.values(), *declared.writes.values()]):
            message = f"{named.path} seems to be a file that the script reads"
            yield entry("file-read", message, "a parameter with this file as its default", named)
    for written in facts.found_writes(facts.graph.pes):
        if written.path:
            yield entry("file-written", *_written(written), written)
    for variable in reading.environment:
        if not variable.standard and variable.name not in declared.env:
            message = f"the environment variable {variable.name} becomes a parameter"
            kind = variable.use if variable.use in ("File", "Directory") else "string"
            if kind != "string":
                names = "folder" if kind == "Directory" else "file"
                message = f"the environment variable {variable.name} names a {names}"
            yield entry("variable", message, f"a parameter of type {kind}", variable)
    if any(not written.path for written in facts.found_writes(facts.graph.pes)):
        yield Entry(
            "files-unnamed",
            "files are written whose names are only known when the script runs",
            "the output 'written', which is the working folder",
            str(facts.script),
        )


def _written(found: NamedPath) -> tuple[str, str]:
    """The message about a file that is written, and its representation."""
    path = found.path.replace(VALUE, found.variable)
    if found.pattern:
        return f"files {path} become outputs", "an output with all files that match"
    kind = "the folder " if found.folder else ""
    return f"{kind}{path} becomes an output", "an output that may be null"


def _opened(found: FoundInput, name: str) -> Entry:
    """The entry for a root that opens its items and does not declare it."""
    opened = found.opened
    place = os.path.relpath(opened.file), opened.line
    if not opened.use:
        message = (
            f"{name} opens files whose names are only in part in the items of its input "
            f"'{opened.port}'. A step sees only the files that it is given: declare the input, "
            "or what the PE reads"
        )
        return Entry("unclear", message, "", *place, note=True)
    what = "folders" if opened.use == "Directory" else "files"
    message = f"{name} opens the items of its input '{opened.port}', so they are treated as {what}"
    kept = f"a parameter of type {opened.use}"
    return Entry("file-item", message, kept, *place, note=True)


def _of_graph(facts: Facts, stages: Sharding) -> Iterator[Entry]:
    graph, script = facts.graph, str(facts.script)
    whole = len(stages.cut.stages) == 1
    for composite in {id(each): each for p in graph.composites.values() for each in p}.values():
        inside = [pe for pe in graph.pes if composite in graph.composites[id(pe)]]
        homes = {id(stages.cut.stage_of(pe)) for pe in inside}
        if whole or len(homes) == 1:
            kept = "inside one step"
        else:
            kept = "its PEs are in several steps"
            kept += " of a subworkflow" if not stages.sharded else ""
        yield Entry("composite", f"composite {label(composite)}", kept, *_place(composite, script))
    if graph.partitions:
        names = [[graph.names[pe.id] for pe in part] for part in graph.partitions]
        yield Entry(
            "partitions",
            f"graph.partitions: {names}",
            "in the script: they are used by the option -s of mappings, and by --cut partition",
            script,
        )


def _of_names(facts: Facts) -> Iterator[Entry]:
    """Files whose names cwltool refuses as unsafe."""
    paths: list[Any] = [facts.script, *(file.path for file in facts.reading.data_files)]
    for name, value in facts.values.items():
        if facts.builder is not None and facts.builder.parameters[name].kind.is_path:
            paths += value if isinstance(value, (list, tuple)) else [value]
    for name in dict.fromkeys(PurePath(path).name for path in paths if path is not None):
        if not _ACCEPTED.fullmatch(name):
            message = f"cwltool refuses the file name {name!r}, unless --relax-path-checks is given"
            yield Entry("file-name", message, "", str(facts.script), note=True)


def _of_steps(facts: Facts, stages: Sharding) -> Iterator[Entry]:
    """The cost of several steps: each is a new process."""
    starts = len(stages.cut.stages) + len(stages.sharded) * (stages.count - 1)
    if starts == 1:
        return
    imports = ", ".join(facts.reading.packages)
    loads = f"Python, the script and {imports}" if imports else "Python and the script"
    message = f"{starts} commands run, and each loads {loads} again"
    kept = "larger stages, such as those of --cut composite or PE.port, need fewer starts"
    yield Entry("starts", message, kept, str(facts.script))


def _kept_whole(facts: Facts, stages: Sharding, pe: Any) -> Iterator[Entry]:
    """The entry for a PE that could run in shards if it kept no state."""
    numbering = isinstance(pe, Numbering)
    why = kept_whole(facts.graph, pe) if stages.count > 1 and not numbering else None
    if why is not None:
        kept = "not sharded: one step gets the items of all shards"
        yield Entry("in-one-piece", why, kept, *_place(pe, str(facts.script)), note=True)


def _of_pe(facts: Facts, pe: Any) -> Iterator[Entry]:
    place, called = _place(pe, str(facts.script)), facts.graph.names[pe.id]
    instances = getattr(pe, "numprocesses", 1) or 1
    if instances > 1:
        message = f"{called} asks for {instances} processes"
        kept = (
            "inside the job, if 'processes' is large enough; 'simple' has one instance of each PE"
        )
        yield Entry("instances", message, kept, *place)
    if getattr(pe, "single", False):
        yield Entry("single", f"{called} runs once", "inside the job", *place)
    for name in ("on_error", "time_out"):
        if getattr(pe, name, None) is not None:
            message = f"{called}.{name} = {getattr(pe, name)!r}"
            yield Entry("policy", message, "inside the job; engines do not know of it", *place)
    reason = keeps_state(pe) if facts.graph.into(pe) else None
    if reason is not None:
        message = f"{called} keeps state: {reason.message}"
        where = (os.path.relpath(reason.file), reason.line) if reason.file else place
        yield Entry("state", message, "it has one instance unless its inputs are keyed", *where)
    if not facts.graph.into(pe) and pe.inputconnections:
        inputs = facts.declarations.by_pe[pe.id].inputs
        untyped = set(pe.inputconnections) - {p for p, i in inputs.items() if not i.as_json}
        for port in sorted(untyped):
            message = f"the type of the items of {called}.{port} is not declared"
            kept = "as JSON: input_file or input_data, or a parameter of type Any"
            yield Entry("untyped-input", message, kept, *place)


def _of_edges(facts: Facts, stages: Sharding) -> Iterator[Entry]:
    ordered = OrderedEdges(facts.graph)
    for edge in stages.cut.crossing:
        place = _place(edge.target, str(facts.script))
        grouping = facts.graph.grouping(edge)
        passage = stages.passage(edge)
        split = passage is Passage.SPLIT
        kept = f"a stream file for each of {stages.count} shards" if split else "a stream file"
        yield Entry("stream", f"{edge} ({grouping})", f"{kept}; the next step waits for it", *place)
        gathers = stages.cut.stage_of(edge.source) in stages.sharded
        if split or (gathers and passage is not Passage.ALIGNED):
            told = ordered.needed_at_or_after(edge) if gathers else ordered.needed_after(edge)
            kept = "only within a shard: no later PE depends on it"
            if told:
                kept = "by a mark on each item, which puts the items of all shards in order again"
            yield Entry("order", f"the order of the items of {edge}", kept, *place)


def _place(thing: Any, script: str) -> tuple[str, int | None]:
    """The file and line of the class of a PE or composite, where it is the user's."""
    return _defined(cast(Hashable, type(thing)), script)


@functools.cache
def _defined(key: Hashable, script: str) -> tuple[str, int | None]:
    cls = cast(type, key)
    if cls.__module__.startswith(("d4pcwl.", "dispel4py.")):
        return script, None
    try:
        file = os.path.relpath(inspect.getsourcefile(cls) or script)
        return file, inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):
        return script, None
