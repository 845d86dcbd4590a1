"""``dispel4py … --dry-run``: what a run would do, and with which files; nothing runs."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d4pcwl.errors import UsageError, brief, shown

if TYPE_CHECKING:
    import argparse

    from d4pcwl.runtime.job import Job
    from d4pcwl.workflow.load import Script
    from d4pcwl.workflow.parameters import Parameter

_SHOWN = 10
"""The number of items of a root, or values of a parameter, that are shown."""
_WIDTH = 200


def dry_run(
    options: argparse.Namespace, script: Script, job: Job, prediction: Iterable[str]
) -> str:
    """What a run would do, line by line.

    :param prediction: how long it would take, line by line
    :raises UsageError: result files cannot be written
    :raises ImportError: what the mapping needs is not installed
    """
    from d4pcwl.runtime.mappings.registry import planned

    plan = planned(options.mapping, job, options.own)
    lines = [f"script: {shown(script.path)}, graph {script.attr}", *_parameters(script)]
    count = len(plan.processes) if plan.pool is None else job.most_processes
    processes = "1 process" if count == 1 else f"{count} processes"
    lines += [f"mapping: {options.mapping.name}, {processes}", *_indented(str(plan).splitlines())]
    lines += prediction
    lines += ["inputs:", *_indented(_inputs(job))]
    for title, found in files(script, Path(options.folder, script.path), job).items():
        lines += [f"{title}:", *_indented(sorted(found))] if found else []
    lines += _results(options, job)
    lines.append(f"seed: {job.seed}")
    return "\n".join(lines) + "\n"


def _indented(lines: list[str] | Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _parameters(script: Script) -> Iterator[str]:
    if script.builder is not None:
        yield "parameters:"
        for each in script.builder.parameters.values():
            value = script.values.get(each.name, each.default)
            own = "" if each.name in script.values else " (default)"
            yield f"  {each.name}: {brief(_plain(each, value), _WIDTH)}{own}"


def _plain(parameter: Parameter, value: Any) -> Any:
    if not parameter.kind.is_path or value is None:
        return parameter.kind.plain(value)
    return [shown(p) for p in value] if isinstance(value, (list, tuple)) else shown(value)


def _inputs(job: Job) -> Iterator[str]:
    names = job.graph.names
    for pe, given in job.inputs.items():
        name = names.get(pe, pe)
        if isinstance(given, int):
            yield f"{name}: runs {given} time{'s' if given != 1 else ''}"
            continue
        yield f"{name}: {len(given)} item{'s' if len(given) != 1 else ''}"
        yield from (f"  {brief(item, _WIDTH)}" for item in given[:_SHOWN])
        if len(given) > _SHOWN:
            yield "  ..."


def files(script: Script, path: Path, job: Job) -> dict[str, list[str]]:
    """The files that the script clearly reads and writes, and what it declares.

    :param path: the script
    """
    from d4pcwl.cwl.declare.declarations import read_declarations
    from d4pcwl.workflow.reading.owners import known_attributes
    from d4pcwl.workflow.reading.script import read_script

    graph, builder = job.graph, script.builder
    known = known_attributes(graph.pes, script.module)
    reading = read_script(path, known, builder.name if builder else None)
    declared = read_declarations(graph, path, script.module).of(graph.pes)
    found = [f"{f.path} ({f.file}:{f.line})" for f in (*reading.data_files, *reading.data_dirs)]
    writes = [f"{w.path} ({w.file}:{w.line})" for w in reading.writes if w.path and not w.variable]
    return {
        "modules": [module.path for module in reading.modules],
        "reads": found + [f"{use.path} (declared)" for use in declared.reads.values()],
        "writes": writes + [f"{use.path} (declared)" for use in declared.writes.values()],
    }


def _results(options: argparse.Namespace, job: Job) -> Iterator[str]:
    """Where results go.

    :raises UsageError: they cannot be written there
    """
    from d4pcwl.runtime.results import form_of

    names = job.graph.names
    ports = ", ".join(f"{names[pe.id]}.{output}" for pe, output in job.graph.unconnected)
    place = "standard output"
    if options.results is not None and form_of(options.results) != "printed":
        place = _checked("--results", options.results)
    yield f"results: {ports} → {place}" if ports else "results: none"
    if options.errors is not None:
        yield f"errors: items that are left out → {_checked('--errors', options.errors)}"


def _checked(option: str, path: Path) -> str:
    """The path, if it can be written.

    :raises UsageError: it cannot be written
    """
    fault = 0
    if path.is_dir():
        fault = errno.EISDIR
    elif not path.parent.is_dir():
        fault = errno.ENOENT
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        fault = errno.EACCES
    if fault:
        raise UsageError(f"{option} {path}: cannot be written: {os.strerror(fault)}")
    return shown(path)
