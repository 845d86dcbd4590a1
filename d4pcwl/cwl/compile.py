"""The compiler: from a script to CWL documents and a job order."""

from __future__ import annotations

import collections.abc
import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType
from typing import Any
from urllib.parse import quote

from d4pcwl.cwl.declare.declarations import Declaration, Declarations, read_declarations
from d4pcwl.cwl.declare.found_inputs import found_inputs, with_found_inputs
from d4pcwl.cwl.emit.abstract import abstract_workflow
from d4pcwl.cwl.emit.parameter import NAMESPACE, Parameter
from d4pcwl.cwl.emit.parts import Facts, Tool
from d4pcwl.cwl.emit.references import wrong_references
from d4pcwl.cwl.emit.report import Entry, entries
from d4pcwl.cwl.emit.staging import staged_workflow
from d4pcwl.cwl.emit.text import document_text, yaml_text
from d4pcwl.cwl.emit.tool import make_tool
from d4pcwl.cwl.emit.workflow import Workflow
from d4pcwl.cwl.gathering import Gathering
from d4pcwl.cwl.lock import distributions_of
from d4pcwl.errors import Fault, TranslationError, UsageError, raise_faults
from d4pcwl.lineage.selection import RUN_ID, parse_selection, read_config
from d4pcwl.runtime.mappings.registry import BUILT_IN, BuiltIn, Mapping, find_mapping
from d4pcwl.trace.assign import ALGORITHMS, assign
from d4pcwl.trace.model import read_model
from d4pcwl.workflow.cells import script_of_cells
from d4pcwl.workflow.edges import is_graph
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.graph import is_workflow
from d4pcwl.workflow.load import Script, Settle, build, load
from d4pcwl.workflow.parameters import Builder, builders, read_builder, texts_of
from d4pcwl.workflow.reading.files import changes
from d4pcwl.workflow.reading.owners import known_attributes, lines_of
from d4pcwl.workflow.reading.paths import Attributes
from d4pcwl.workflow.reading.script import ScriptReading, read_script
from d4pcwl.workflow.shards import Sharding, staged

VERSION = "v1.2"

ParameterValues = collections.abc.Mapping[str, Any]


@dataclass(frozen=True)
class Compiled:
    """The result of compiling a script.

    :param document: the CWL document, as data; packed, if there are several processes
    :param files: the same as one document for each process, by file name; the first is the main one
    :param job: a job order with the known values of parameters
    :param missing: the parameters whose value in ``job`` is only a sample
    :param report: what CWL represents differently from the script
    """

    document: dict[str, Any]
    files: dict[str, dict[str, Any]]
    job: dict[str, Any]
    missing: tuple[str, ...] = ()
    report: tuple[Entry, ...] = ()

    @property
    def notes(self) -> list[str]:
        """Findings in the script that users should check."""
        return [str(entry) for entry in self.report if entry.note]

    def report_text(self) -> str:
        """The report as JSON."""
        listed = [entry.to_json() for entry in self.report]
        return json.dumps({"entries": listed}, indent=2, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        """The packed document as YAML."""
        return document_text(self.document)

    def job_text(self) -> str:
        """The job order as YAML; samples are marked."""
        texts = []
        for name, value in self.job.items():
            if name in self.missing:
                texts.append("# a sample: give the value for your run\n")
            texts.append(yaml_text({name: value}))
        return "".join(texts) or "{}\n"


def to_cwl(
    workflow: str | os.PathLike[str] | Script | Any,
    *,
    attr: str | None = None,
    mapping: BuiltIn | str = "simple",
    processes: int | None = None,
    cut: str | None = None,
    learn_from: str | os.PathLike[str] | None = None,
    shards: int | None = None,
    docker: str | None = None,
    mpi_requirement: bool = False,
    trace: bool = False,
    provenance: bool = False,
    provenance_config: collections.abc.Mapping[str, Any] | str | os.PathLike[str] | None = None,
    abstract: bool = False,
    folder: str | os.PathLike[str] | None = None,
    parameters: ParameterValues | Settle | None = None,
    bundle: Gathering | None = None,
) -> Compiled:
    """Compile the graph of a script to CWL v1.2.

    :param workflow: the script: its path, a module name, a loaded :class:`~d4pcwl.Script`, or a
        graph in a loaded module. For a graph that was made in a notebook, its cells are written to
        a script in the current folder; the variable gives the name: ``graph_cells.py``
    :param attr: the name of the graph in the script
    :param mapping: the default of the parameter ``mapping``
    :param processes: the default of the parameter ``processes``
    :param cut: ``whole``, ``composite``, ``partition``, ``pe``, or ``PE.port,…``; see
        :mod:`d4pcwl.workflow.cut`. The default is ``whole``; with ``shards``, the graph is cut
        where shards begin and end
    :param learn_from: the trace of a run of this graph, for the cuts ``naive``, ``staging`` and
        ``best``; see :mod:`d4pcwl.trace.assign`
    :param shards: the number of shards. Stages are scattered over them, where that does not change
        the results; see :mod:`d4pcwl.workflow.shards`
    :param docker: the image for a DockerRequirement hint
    :param mpi_requirement: with the mapping mpi, the engine starts the ranks (extension
        ``cwltool:MPIRequirement``)
    :param trace: each tool has an output ``trace``: what its run did, second by second
    :param provenance: each tool has an output ``provenance``: which items each item comes from
    :param provenance_config: which items are recorded; or a file, or JSON, that says so
    :param abstract: make Operations, which show the graph and cannot be run
    :param folder: the folder of the document. Paths of files are relative to it; without it they
        are absolute URIs
    :param parameters: arguments for a function that makes the graph; these values are the defaults
        of the document. If a value is missing, a sample is used
    :param bundle: collects the files that the document refers to, and gives their paths; the
        document names the versions of the packages
    :raises TranslationError: with everything that cannot be represented
    :raises D4pcwlError: the script, its graph or its declarations are not valid

    >>> compiled = to_cwl("examples/word_count/word_count.py")
    >>> compiled.document["class"], compiled.document["cwlVersion"]
    ('CommandLineTool', 'v1.2')
    """
    chosen = find_mapping(mapping)
    if docker == "":
        raise UsageError("the name of the container image is empty")
    if processes is not None and processes < 1:
        raise UsageError(f"at least one process is needed, not {processes}")
    if mpi_requirement and not chosen.ranks:
        raise UsageError("an MPIRequirement is only for the mapping mpi: choose that mapping, too")
    script = _script(workflow, attr, parameters)
    explicit = attr is not None or (
        isinstance(workflow, str) and workflow.endswith(f":{script.attr}")
    )
    graph = script.flat()
    builder = script.builder
    known = _known_attributes(script, graph)
    reading = _readable(script.path, known, builder.name if builder else None)
    if builder is not None and builder.title:
        reading = replace(reading, title=builder.title, doc=builder.doc)
    declarations = read_declarations(graph, script.path, script.module)
    found = found_inputs(graph, declarations)
    declarations = with_found_inputs(declarations, found)
    processes = processes or _default_processes(declarations.of(graph.pes), chosen)
    if cut in ALGORITHMS:
        stages = _learnt_stages(graph, cut, shards, learn_from, processes)
    elif learn_from is not None:
        raise UsageError(f"a trace is for the cuts {', '.join(ALGORITHMS)}; choose one of them")
    else:
        stages = _stages(graph, cut, shards, declarations, reading)
    recorded = _recorded(provenance, provenance_config, graph, stages)
    facts = Facts(
        graph=graph,
        script=script.path,
        attr=script.attr if explicit or _has_several_graphs(script) else None,
        reading=reading,
        declarations=declarations,
        locate=_locator(folder) if bundle is None else bundle.locator(script.path, script.values),
        mapping=chosen,
        mappings=(chosen.name,) if mpi_requirement else _choice(chosen),
        processes=processes,
        image=docker,
        packages=_packages(reading, chosen, graph, bundle, provenance),
        mpi=mpi_requirement,
        trace=trace,
        provenance=recorded,
        builder=script.builder,
        values=script.values,
    )
    report = entries(facts, stages, found)
    if abstract:
        document = {"cwlVersion": VERSION, **abstract_workflow(facts, stages.cut)}
        return Compiled(document, {_main_name(script): document}, {}, (), report)
    if cut in (None, "whole") and not shards:
        tool = make_tool(facts, "main", graph.pes)
        document = _process(_checked(tool.to_cwl()))
        document.pop("id")
        job, missing = _job(tool.parameters)
        return Compiled(document, {_main_name(script): document}, job, missing, report)
    workflow_of_stages = staged_workflow(facts, stages)
    job, missing = _job(workflow_of_stages.parameters)
    packed = _packed(workflow_of_stages)
    files = _unpacked(workflow_of_stages, _main_name(script))
    return Compiled(packed, files, job, missing, report)


def _recorded(
    provenance: bool,
    config: collections.abc.Mapping[str, Any] | str | os.PathLike[str] | None,
    graph: FlatGraph,
    stages: Sharding,
) -> dict[str, Any] | None:
    """The configuration of the tools' records; None: they have none.

    :raises UsageError: it is not valid, or cannot hold for each step
    """
    if not provenance:
        if config is not None:
            raise UsageError("--provenance-config needs --provenance")
        return None
    given = read_config(config)
    selection = parse_selection(given).of_ids(graph.names)
    if RUN_ID in selection.about:
        raise UsageError(
            f"--provenance-config: each run of a step has its own id: leave out {RUN_ID}"
        )
    if len(stages.cut.stages) > 1:
        selection.check_for_stage()
    return dict(given)


def _learnt_stages(
    graph: FlatGraph,
    how: str,
    shards: int | None,
    trace: str | os.PathLike[str] | None,
    processes: int,
) -> Sharding:
    """The stages that an algorithm chooses by a trace.

    :raises UsageError: there is none, or shards are asked for
    """
    if trace is None:
        raise UsageError(f"the cut '{how}' needs the trace of a run: --from TRACE")
    if shards is not None:
        raise UsageError(
            f"the cut '{how}' has no shards: leave out --shards, or choose another cut"
        )
    stages = assign(how, graph, read_model(trace, graph), processes).stages
    return Sharding(stages, 1, frozenset())


def _stages(
    graph: FlatGraph,
    how: str | None,
    shards: int | None,
    declarations: Declarations,
    reading: ScriptReading,
) -> Sharding:
    """The stages of a graph, and which of them run in shards."""
    if shards is None:
        return staged(graph, how)
    faults = [
        f"writes: {use.name}: it is declared for the whole graph; with shards, declare it in the "
        "PE that writes it"
        for use in declarations.whole.writes.values()
        if not use.type.is_list
    ]
    raise_faults(TranslationError, faults)
    together = _writers(graph, declarations) + _changers(graph, reading)
    return staged(graph, how, shards, together)


def _writers(graph: FlatGraph, declarations: Declarations) -> list[Any]:
    """The PEs whose files every shard would write, although there can be only one: a file or
    folder, or files that other PEs read."""
    read = {name for pe in graph.pes for name in declarations.of((pe,)).reads}
    return [
        pe
        for pe in graph.pes
        for use in declarations.by_pe[pe.id].writes.values()
        if not use.type.is_list or use.name in read
    ]


def _changers(graph: FlatGraph, reading: ScriptReading) -> list[Any]:
    """The PEs that change a file or folder of the script in place: each shard would change its own
    copy."""
    data = [file.path for file in (*reading.data_files, *reading.data_dirs)]
    lines = [
        (os.path.realpath(reading.path.parent / written.file), written.line)
        for written in reading.writes
        if written.path and any(changes(written.path, path) for path in data)
    ]
    return [
        pe
        for pe in graph.pes
        if any(span.has(file, line) for span in lines_of(pe) for file, line in lines)
    ]


def _known_attributes(script: Script, graph: FlatGraph) -> Attributes:
    """The known parts of paths; not parameters, which have other values in another run."""
    known = known_attributes(graph.pes, script.module)
    if script.builder is None:
        return known
    given = set(texts_of(script.builder, script.values))
    return {
        owner: {name: text for name, text in texts.items() if text not in given}
        for owner, texts in known.items()
    }


def _has_several_graphs(script: Script) -> bool:
    if script.builder is not None:
        return len(builders(script.module)) > 1
    graphs = {
        id(value): value
        for value in vars(script.module).values()
        if is_graph(value) and not isinstance(value, type) and is_workflow(value)
    }
    return len(graphs) > 1


def _packages(
    reading: ScriptReading,
    mapping: Mapping[Any],
    graph: FlatGraph,
    bundle: Gathering | None,
    provenance: bool,
) -> dict[str, list[str]]:
    """The distributions that a script imports from; in a bundle with their versions, and with what
    the runtime imports for it."""
    names = distributions_of(reading.packages) - {"d4pcwl", "stream-d4py"}
    if provenance:
        names |= {"prov"}
    if bundle is None:
        return {name: [] for name in names}
    draws = any(getattr(pe, "numbered", False) for pe in graph.pes)
    runtime = (*mapping.modules, *(["numpy"] if draws else ()))
    return bundle.pinned(names | distributions_of(runtime))


def _default_processes(declared: Declaration, mapping: Mapping[Any]) -> int:
    """The number of cores that are asked for; a parallel mapping has more than one."""
    return math.ceil(declared.resources.get("cores", 2 if mapping.parallel else 1))


def _choice(chosen: Mapping[Any]) -> tuple[str, ...]:
    """The mappings to choose from when a tool runs: our own, which every d4pcwl has."""
    return BUILT_IN if chosen.name in BUILT_IN else (*BUILT_IN, chosen.name)


def _readable(
    path: Path, attributes: Attributes | None = None, builder: str | None = None
) -> ScriptReading:
    """The findings of reading a script.

    :raises TranslationError: with everything that will be missing when it runs
    """
    reading = read_script(path, attributes, builder)
    raise_faults(TranslationError, _placed(reading.faults, path))
    return reading


def _script(workflow: Any, attr: str | None, parameters: ParameterValues | Settle | None) -> Script:
    def settle(builder: Builder) -> ParameterValues:
        if callable(parameters):
            return parameters(builder)
        return builder.settled(parameters or {}, partly=True)

    if isinstance(workflow, Script):
        return workflow
    if isinstance(workflow, (str, os.PathLike)):
        path = Path(workflow)
        if not path.is_file() and attr is None:
            path = Path(os.fspath(workflow).rpartition(":")[0])
        if path.is_file():
            _readable(
                path
            )  # reports everything that is missing; running the script only the first thing
        # Text that a script prints while it is loaded must not get into the document. Files are
        # looked for in the present folder, also if the script changes it.
        with contextlib.redirect_stdout(sys.stderr), contextlib.chdir(os.curdir):
            return load(workflow, attr, settle)
    if isinstance(workflow, FunctionType):
        return build(read_builder(workflow), settle)
    if is_graph(workflow):
        for module in list(sys.modules.values()):
            for name, value in list(vars(module).items()):
                file = getattr(module, "__file__", None)
                if value is workflow and file and not name.startswith("_"):
                    return Script(workflow, name, Path(os.path.relpath(file)), module)
        written = script_of_cells(workflow)
        if written is not None:
            return load(*written)
        raise UsageError(
            "CWL runs scripts, and no loaded module holds this graph; give the path of a script "
            "that builds it"
        )
    raise UsageError(f"expected a script or its graph, not {type(workflow).__name__}")


def _locator(folder: str | os.PathLike[str] | None) -> Any:
    if folder is None:
        return lambda path: Path(os.path.abspath(path)).as_uri()
    base = os.path.abspath(folder)
    return lambda path: quote(Path(os.path.relpath(path, base)).as_posix())


def _placed(faults: tuple[Fault, ...], script: Path) -> Iterator[Fault]:
    """Faults, with paths relative to the current folder instead of the script's folder."""
    for fault in faults:
        file = str(script.parent / fault.file) if fault.file else None
        yield Fault(fault.message, file, fault.line, fault.column, fault.source)


def _main_name(script: Script) -> str:
    return f"{script.path.stem}.cwl"


def _process(process: dict[str, Any]) -> dict[str, Any]:
    """A process as a document of its own."""
    return {"cwlVersion": VERSION, "$namespaces": dict(_namespaces(process)), **process}


def _namespaces(*processes: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from NAMESPACE.items()
    if any(key.startswith("s:") for process in processes for key in process):
        yield "s", "https://schema.org/"
    hints = [hint for process in processes for hint in process.get("hints", ())]
    if any(hint["class"].startswith("cwltool:") for hint in hints):
        yield "cwltool", "http://commonwl.org/cwltool#"


def _packed(workflow: Workflow) -> dict[str, Any]:
    processes = list(workflow.processes())
    runs = {process.id: f"#{process.id}" for process in processes}
    main = workflow.to_cwl(runs)
    tools = [_text(process, runs) for process in processes]
    return {
        "cwlVersion": VERSION,
        "$namespaces": dict(_namespaces(main, *tools)),
        "$graph": [main, *tools],
    }


def _unpacked(workflow: Workflow, main_name: str) -> dict[str, dict[str, Any]]:
    processes = list(workflow.processes())
    names = {process.id: f"{process.id}.cwl" for process in processes}
    for process_id, name in names.items():
        if name == main_name:
            names[process_id] = f"{process_id}_stage.cwl"
    texts = {main_name: workflow.to_cwl(names)}
    texts.update({names[process.id]: _text(process, names) for process in processes})
    for text in texts.values():
        text.pop("id")
    return {name: _process(text) for name, text in texts.items()}


def _text(process: Tool | Workflow, runs: dict[str, str]) -> dict[str, Any]:
    return process.to_cwl(runs) if isinstance(process, Workflow) else _checked(process.to_cwl())


def _checked(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool whose parameter references all engines can resolve.

    :raises TranslationError: with those that engines cannot resolve
    """
    raise_faults(TranslationError, (f"{tool['label']}: {f}" for f in wrong_references(tool)))
    return tool


def _job(parameters: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A value for every parameter, except for optional ones without a value."""
    job: dict[str, Any] = {}
    missing: list[str] = []
    every: list[Parameter] = list(parameters)
    for parameter in every:
        if parameter.has_default:
            job[parameter.id] = parameter.default
        elif not str(parameter.type).endswith("?"):
            job[parameter.id] = parameter.sample
            missing.append(parameter.id)
    # Required values come first.
    ordered = [*missing, *(name for name in job if name not in missing)]
    return {name: job[name] for name in ordered}, tuple(missing)
