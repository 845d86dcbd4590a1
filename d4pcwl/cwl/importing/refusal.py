"""What is refused before anything runs: requirements that are not known, or cannot be met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from d4pcwl.errors import Fault, UnreadableText, UnsupportedFeature, raise_faults
from d4pcwl.workflow.texts import check_yaml, read_text

if TYPE_CHECKING:
    from cwltool.process import Process

    from d4pcwl.cwl.importing.settings import Settings

_EXTENSION = "http://commonwl.org/cwltool#"

KNOWN = frozenset(
    {
        "DockerRequirement",
        "EnvVarRequirement",
        "InitialWorkDirRequirement",
        "InlineJavascriptRequirement",
        "InplaceUpdateRequirement",
        "LoadListingRequirement",
        "MultipleInputFeatureRequirement",
        "NetworkAccess",
        "ResourceRequirement",
        "ScatterFeatureRequirement",
        "SchemaDefRequirement",
        "ShellCommandRequirement",
        "SoftwareRequirement",
        "StepInputExpressionRequirement",
        "SubworkflowFeatureRequirement",
        "ToolTimeLimit",
        "WorkReuse",
    }
)
"""The requirements of CWL v1.2. All but in-place update and required software are met."""

_UNMET = {
    "InplaceUpdateRequirement": "files are values here, and are not updated in place",
    "SoftwareRequirement": "software is not looked for; give it as a hint, or use a container",
}


def check(process: Process, settings: Settings) -> None:
    """Refuse a loaded document that cannot be run.

    :raises UnsupportedFeature: with all reasons: file, line, step and requirement
    """
    raise_faults(UnsupportedFeature, dict.fromkeys(_faults(process, settings, "")))


def look_through(location: str, error: Exception) -> None:
    """See whether a document could not be loaded because of a requirement that is not known.

    :param error: what was raised
    :raises UnsupportedFeature: that is so
    """
    from cwltool.errors import UnsupportedRequirement

    raise_faults(UnsupportedFeature, dict.fromkeys(_faults_of_file(location, set())))
    if isinstance(error, UnsupportedRequirement):
        raise UnsupportedFeature(str(error)) from error


def _faults(process: Any, settings: Settings, step: str) -> Iterator[Fault]:
    tool = process.tool
    if tool["class"] == "Operation":
        yield _fault(tool, "class", step, "an Operation is abstract: there is nothing to run")
    if tool["class"] not in ("CommandLineTool", "ExpressionTool", "Workflow", "Operation"):
        yield _fault(tool, "class", step, f"a {tool['class']} is not run here")
    for requirement in process.requirements:
        name = requirement["class"].removeprefix(_EXTENSION)
        if name in _UNMET:
            yield _fault(requirement, "class", step, f"{name}: {_UNMET[name]}")
    docker, required = process.get_requirement("DockerRequirement")
    bare = settings.container is None and tool["class"] == "CommandLineTool"
    if docker is not None and required and bare:
        message = "DockerRequirement: needs a container, and --no-container is given"
        yield _fault(docker, "class", step, message)
    for inner in getattr(process, "steps", ()):
        name = f"{step}/{_last(inner.id)}" if step else _last(inner.id)
        if inner.tool.get("loop") is not None or any(
            r["class"] == _EXTENSION + "Loop" for r in inner.requirements
        ):
            yield _fault(inner.tool, "id", name, "cwltool:Loop: loops are not run here")
        yield from _faults(inner.embedded_tool, settings, name)


def _faults_of_file(location: str, seen: set[str]) -> Iterator[Fault]:
    """The requirements that are not known, in a file and in those that its steps run."""
    from pathlib import Path

    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    uri = urldefrag(location if "://" in location else Path(location).absolute().as_uri())[0]
    if uri in seen or urlsplit(uri).scheme != "file":
        return
    seen.add(uri)
    path = unquote(urlsplit(uri).path)
    try:
        text = read_text(path)
        check_yaml(text, path)
        document = YAML(typ="rt").load(text)
    except (UnreadableText, YAMLError):
        return
    yield from _faults_of_part(document, path, uri, "", seen)


def _faults_of_part(part: Any, path: str, uri: str, step: str, seen: set[str]) -> Iterator[Fault]:
    if isinstance(part, list):
        for entry in part:
            yield from _faults_of_part(entry, path, uri, step, seen)
        return
    if not isinstance(part, Mapping):
        return
    requirements = part.get("requirements", ())
    entries: Iterator[Any] = iter(requirements if isinstance(requirements, list) else ())
    if isinstance(requirements, Mapping):
        entries = iter(requirements)
    for place, entry in enumerate(entries):
        name = entry.get("class", "") if isinstance(entry, Mapping) else entry
        if not isinstance(name, str) or name in KNOWN - _UNMET.keys() or not name:
            continue
        if name.startswith(("cwltool:", "http://commonwl.org/cwltool#")):
            short = name.rpartition("#")[2].removeprefix("cwltool:")
        else:
            short = name
        why = _UNMET.get(short, "this requirement is not known here")
        at = requirements.lc.data[name if isinstance(requirements, Mapping) else place][0]
        where = f"step {step}: " if step else ""
        yield Fault(f"{where}{name}: {why}", path, at + 1)
    steps = part.get("steps", ())
    named = steps.items() if isinstance(steps, Mapping) else ((s.get("id"), s) for s in steps or ())
    for name, inner in named:
        run = inner.get("run") if isinstance(inner, Mapping) else None
        if isinstance(run, str):
            target = urljoin(uri, run)
            if urldefrag(target)[0] != uri:
                yield from _faults_of_file(target, seen)
        yield from _faults_of_part(inner, path, uri, str(name), seen)
        yield from _faults_of_part(run, path, uri, str(name), seen)
    yield from _faults_of_part(part.get("$graph"), path, uri, step, seen)


def _last(identifier: str) -> str:
    return identifier.rpartition("#")[2].rpartition("/")[2]


def _fault(item: Any, key: str, step: str, message: str) -> Fault:
    """A fault with the place of ``item`` in its file, where that is known."""
    marks = getattr(item, "lc", None)
    file = getattr(marks, "filename", None)
    line = None
    if marks is not None:
        data = getattr(marks, "data", None) or {}
        at = data.get(key, (marks.line,))[0]
        line = None if at is None else at + 1
    name = unquote(urlsplit(file).path) if file else None
    return Fault(f"step {step}: {message}" if step else message, name, line)
