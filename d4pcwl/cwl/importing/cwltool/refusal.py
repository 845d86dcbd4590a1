"""Documents that are refused before anything runs: with requirements that are not supported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from d4pcwl.cwl.files import uri_path
from d4pcwl.errors import Fault, UnreadableText, UnsupportedFeature, raise_faults
from d4pcwl.workflow.texts import check_yaml, read_text

if TYPE_CHECKING:
    from cwltool.process import Process

    from d4pcwl.cwl.importing.cwltool.settings import Settings

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
"""The requirements of CWL v1.2. All are supported, except for required software."""

EXTENSIONS = frozenset(
    {
        "CUDARequirement",
        "InplaceUpdateRequirement",
        "LoadListingRequirement",
        "Loop",
        "MPIRequirement",
        "NetworkAccess",
        "ShmSize",
        "TimeLimit",
        "WorkReuse",
    }
)
"""cwltool's own requirements, by their names in its namespace. ``Secrets`` is for hints only."""

_UNMET = {
    "SoftwareRequirement": "d4pcwl-runner does not look for software; give it as a hint, or "
    "use a container",
}


def check_version(location: str, version: str, settings: Settings) -> None:
    """Refuse a development version of CWL, unless the user allows it.

    :raises UnsupportedFeature: that is so
    """
    from cwltool.update import DEVUPDATES

    if version in DEVUPDATES and not settings.enable_dev:
        raise UnsupportedFeature(
            f"{location}: CWL {version} is a development version; use --enable-dev (in Python: "
            "enable_dev=True)"
        )


def check(process: Process, settings: Settings) -> None:
    """Refuse a loaded document that cannot be run.

    :raises UnsupportedFeature: with all reasons: file, line, step and requirement
    """
    raise_faults(UnsupportedFeature, dict.fromkeys(_faults(process, settings, "")))


def look_through(location: str, error: Exception, settings: Settings) -> None:
    """Find out whether an unknown requirement is the reason why a document could not be loaded.

    :param error: the error of the loading
    :raises UnsupportedFeature: that is so
    """
    from cwltool.errors import UnsupportedRequirement

    faults = _faults_of_file(location, set(), settings.enable_ext)
    raise_faults(UnsupportedFeature, dict.fromkeys(faults))
    if isinstance(error, UnsupportedRequirement):
        raise UnsupportedFeature(str(error)) from error


def _faults(process: Any, settings: Settings, step: str) -> Iterator[Fault]:
    tool = process.tool
    if tool["class"] == "Operation":
        yield _fault(tool, "class", step, "an Operation is abstract: there is nothing to run")
    if tool["class"] not in ("CommandLineTool", "ExpressionTool", "Workflow", "Operation"):
        yield _fault(tool, "class", step, f"the class {tool['class']} is not supported")
    for requirement in process.requirements:
        name = requirement["class"].removeprefix(_EXTENSION)
        if name in _UNMET:
            yield _fault(requirement, "class", step, f"{name}: {_UNMET[name]}")
    docker, required = process.get_requirement("DockerRequirement")
    bare = settings.container is None and tool["class"] == "CommandLineTool"
    if docker is not None and required and bare:
        message = "DockerRequirement: the tool needs a container, but --no-container is given"
        yield _fault(docker, "class", step, message)
    for inner in getattr(process, "steps", ()):
        name = f"{step}/{_last(inner.id)}" if step else _last(inner.id)
        yield from _faults(inner.embedded_tool, settings, name)


def _faults_of_file(location: str, seen: set[str], extended: bool) -> Iterator[Fault]:
    """The requirements that are not known, in a file and in those that its steps run."""
    from pathlib import Path

    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    uri = urldefrag(location if "://" in location else Path(location).absolute().as_uri())[0]
    if uri in seen or urlsplit(uri).scheme != "file":
        return
    seen.add(uri)
    path = uri_path(uri)
    try:
        text = read_text(path)
        check_yaml(text, path)
        document = YAML(typ="rt").load(text)
    except (UnreadableText, YAMLError):
        return
    yield from _faults_of_part(document, _Place(path, uri, "", seen, extended))


@dataclass(frozen=True)
class _Place:
    """A place in the files of a document.

    :param seen: the files that have been checked
    :param extended: whether cwltool's extensions are enabled
    """

    path: str
    uri: str
    step: str
    seen: set[str]
    extended: bool

    def fault(self, marks: Any, key: Any, message: str) -> Fault:
        """A fault at a key, or number, of a mapping or list."""
        where = f"step {self.step}: " if self.step else ""
        return Fault(f"{where}{message}", self.path, marks.lc.data[key][0] + 1)


def _faults_of_part(part: Any, at: _Place) -> Iterator[Fault]:
    if isinstance(part, list):
        for entry in part:
            yield from _faults_of_part(entry, at)
        return
    if not isinstance(part, Mapping):
        return
    kind = part.get("class")
    if isinstance(kind, str) and _own_name(kind) == "ProcessGenerator":
        yield at.fault(part, "class", f"{kind}: processes that make processes are not supported")
    requirements = part.get("requirements", ())
    entries: Iterator[Any] = iter(requirements if isinstance(requirements, list) else ())
    if isinstance(requirements, Mapping):
        entries = iter(requirements)
    for place, entry in enumerate(entries):
        name = entry.get("class", "") if isinstance(entry, Mapping) else entry
        why = _why_not(name, at.extended) if isinstance(name, str) and name else None
        if why:
            key = name if isinstance(requirements, Mapping) else place
            yield at.fault(requirements, key, f"{name}: {why}")
    steps = part.get("steps")
    listed = steps if isinstance(steps, list) else ()
    named = steps.items() if isinstance(steps, Mapping) else ((None, step) for step in listed)
    for name, inner in named:
        if not isinstance(inner, Mapping):
            continue
        run = inner.get("run")
        if isinstance(run, str):
            target = urljoin(at.uri, run)
            if urldefrag(target)[0] != at.uri:
                yield from _faults_of_file(target, at.seen, at.extended)
        inside = replace(at, step=str(name or inner.get("id")))
        yield from _faults_of_part(inner, inside)
        yield from _faults_of_part(run, inside)
    yield from _faults_of_part(part.get("$graph"), at)


def _why_not(name: str, extended: bool) -> str | None:
    """Why a requirement is not supported; None if it is."""
    own = _own_name(name)
    if own is None:
        return _UNMET.get(name) or (None if name in KNOWN else "this requirement is not supported")
    if own == "Secrets":
        return "give it under hints; cwltool's library does not accept it as a requirement"
    if own not in EXTENSIONS:
        return "this requirement is not supported"
    if not extended:
        return "this is an extension of cwltool; use --enable-ext (in Python: enable_ext=True)"
    return None


def _own_name(name: str) -> str | None:
    """The name of an extension of cwltool, without the namespace; None for other names."""
    for prefix in ("cwltool:", _EXTENSION):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return None


def _last(identifier: str) -> str:
    return identifier.rpartition("#")[2].rpartition("/")[2]


def _fault(item: Any, key: str, step: str, message: str) -> Fault:
    return fault_at(item, f"step {step}: {message}" if step else message, key)


def fault_at(item: Any, message: str, key: str | None = None) -> Fault:
    """A fault with the place of a part of a document, or of a key of it, if that is known."""
    marks = getattr(item, "lc", None)
    file = getattr(marks, "filename", None)
    line = None
    if marks is not None:
        data = getattr(marks, "data", None) or {}
        at = data.get(key, (marks.line,))[0]
        line = None if at is None else at + 1
    return Fault(message, unquote(urlsplit(file).path) if file else None, line)
