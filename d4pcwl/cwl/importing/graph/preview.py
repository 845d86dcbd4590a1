"""What a run of a document would do, and with which files; nothing runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from d4pcwl.cwl.files import local_path, with_paths
from d4pcwl.cwl.importing.cwltool.joborder import absent_files
from d4pcwl.cwl.importing.cwltool.outdir import check_outdir
from d4pcwl.cwl.importing.graph.execute import Run
from d4pcwl.cwl.importing.graph.links import Link
from d4pcwl.cwl.importing.graph.steps import CwlStep, CwlSubworkflow
from d4pcwl.errors import InputError, brief, raise_faults, shown
from d4pcwl.runtime.engine.plan import usable_cores

_WIDTH = 200


def preview(run: Run) -> str:
    """What a run would do, line by line.

    :raises InputError: with all faults of the document's links; or files of jobs do not exist
    :raises UsageError: the output files cannot be put into their folder
    """
    graph, _, mapping, _ = run.settled()
    document = run.document
    raise_faults(InputError, (f"there is no {shown(path)}" for path in absent_files(run.jobs)))
    count = (run.processes or usable_cores()) if mapping.parallel else 1
    at_most = "one tool" if count == 1 else f"at most {count} tools"
    lines = [f"document: {document.location}, a {document.process.tool['class']}"]
    lines.append(f"mapping: {mapping.name}, {at_most} at a time")
    for step in graph.all_steps():
        lines += _step(run, step)
    for number, job in enumerate(run.jobs, 1):
        lines.append(f"inputs of job {number}:" if run.apart else "inputs:")
        lines += (
            f"  {name}: {_value(value)}" for name, value in sorted(job.items()) if value is not None
        )
    if document.settings.outputs == "leave":
        place = "where the tools leave them"
    else:
        check_outdir(run.outdir)
        place = shown(os.path.join(run.outdir, "N") if run.apart else run.outdir)
    lines.append(f"outputs: {place}")
    lines += (f"  {_link(link)}" for link in graph.given)
    return "\n".join(lines) + "\n"


def _step(run: Run, step: CwlStep) -> Iterator[str]:
    document = run.document
    process: Any = document.at(step.path)
    tool = process.tool
    title = f", {brief(tool['label'], 60)}" if tool.get("label") else ""
    path = "/".join(step.path)
    yield f"step {path}: {tool['class']}{title}" if path else f"tool{title}"
    if tool["class"] == "CommandLineTool":
        command = tool.get("baseCommand") or ()
        words = [command] if isinstance(command, str) else list(command)
        words += [e for e in tool.get("arguments") or () if not words and isinstance(e, str)][:1]
        yield f"  command: {' '.join(words) or '(arguments)'}"
        yield f"  container: {_container(run, process)}"
    if step.path and "when" in (entry := document.step(step.path).tool):
        yield f"  when: {entry['when']}"
    if step.scatter:
        how = f" ({step.method})" if len(step.scatter) > 1 else ""
        yield f"  scatter: {', '.join(step.scatter)}{how}"
    yield from (f"  {_link(link)}" for link in step.links if step.path and link.sources)
    if isinstance(step, CwlSubworkflow):
        yield from (f"  gives {_link(link)}" for link in step.given)


def _container(run: Run, process: Any) -> str:
    """The image in which a tool runs, and the program that runs it."""
    settings = run.document.settings
    wanted, _ = process.get_requirement("DockerRequirement")
    if not (settings.container and (wanted or settings.default_container)):
        return "none"
    keys = ("dockerImageId", "dockerPull", "dockerLoad", "dockerImport")
    named = next((wanted[key] for key in keys if key in wanted), None) if wanted else None
    built = "built from a Dockerfile" if wanted else settings.default_container
    return f"{settings.more.get('user_space_docker_cmd') or settings.container} {named or built}"


def _link(link: Link) -> str:
    """An input of a step, or an output, and where it comes from."""
    sources = (source.replace("//", "/").lstrip("/") for source in link.sources)
    return f"{link.name} ← {', '.join(sources)}"


def _value(value: Any) -> str:
    """A value of a job order, files by their paths."""
    return brief(with_paths(value, _shown_path), _WIDTH)


def _shown_path(file: dict[str, Any]) -> str:
    path = local_path(file)
    return path if "://" in path else shown(path)
