"""What a script declares about its files, inputs, environment and resources.

A declaration is a plain dictionary called ``cwl``: on a PE class (or instance) for that PE, and at
the top of the script for the whole graph. It is optional, and needs no import. A plain run ignores
it. For scripts that cannot be changed, a *sidecar* file beside the script can have the same:
``SCRIPT.d4p.yml`` (for ``flow.py``: ``flow.d4p.yml``). It has the keys of the script's dictionary,
and under ``pes`` those of each PE by its name. It overrides the script.

====================  ==========================================================================
``reads``             files and folders that the PE opens, by the path at which it does:
                      ``{"misfit_data": "Directory", "mesh": {"type": "File", "path": "in/m"}}``;
                      ``default``: where one lies, seen from the script, that may be used
``writes``            the same for what it leaves behind; ``path`` may be a glob pattern. A folder
                      under both is changed in place
``inputs``            of a root PE: the type of the items of each input: ``{"input": "File[]"}``
                      (``[]``: every element is an item; ``Any`` only so)
``env``               environment variables: ``{"MODE": "fast"}``; None: it must be given
``resources``         ``cores``, and in MiB ``ram``, ``tmpdir``, ``outdir``
``time_limit``        in seconds
``network``           True: the PE talks to others
``gpu``               ``{"cuda": "12.0", "capability": "8.0", "count": 1}``
``reuse``             whether engines may take results of an earlier run; by default, unless it
                      talks to others
``label``, ``doc``,   only for the whole graph; ``image`` is a container image with dispel4py in it,
``image``,            ``software`` a dictionary from package to its versions, ``metadata`` what
``software``,         schema.org has words for: ``{"author": {"class": "Person", "name": "…"}}``
``metadata``
====================  ==========================================================================

Types are those of CWL: ``File``, ``Directory``, ``int``, ``long``, ``float``, ``double``,
``boolean``, ``string``, ``Any``; with ``[]`` for a list, and ``?`` for what may be absent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from d4pcwl.errors import DeclarationError, UnreadableText, nearest, raise_faults
from d4pcwl.workflow.flat import FlatGraph

_TYPE = re.compile(
    r"(?P<base>File|Directory|int|long|float|double|boolean|string|Any)(?P<list>\[\])?(?P<null>\?)?"
)
_FOR_ALL = ("label", "doc", "image", "software", "metadata")


@dataclass(frozen=True)
class CwlType:
    """A CWL type: a base type, perhaps a list of it, perhaps optional."""

    base: str
    is_list: bool = False
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.base}{'[]' if self.is_list else ''}{'?' if self.optional else ''}"

    @property
    def is_file(self) -> bool:
        """Whether values are files or folders."""
        return self.base in ("File", "Directory")


@dataclass(frozen=True)
class FileUse:
    """A file or folder that a PE reads or writes.

    :param path: where the PE opens it, relative to its working folder; a glob pattern for writes
    :param default: the file that is used if none is given, relative to the script (reads only)
    """

    name: str
    type: CwlType
    path: str
    doc: str = ""
    format: str = ""
    default: str | None = None


@dataclass(frozen=True)
class RootInput:
    """The type of the items that a root PE takes on one input.

    :param as_json: whether the given text is the item as JSON
    """

    port: str
    type: CwlType
    doc: str = ""
    as_json: bool = False


@dataclass(frozen=True)
class Variable:
    """An environment variable; with a default of None, it must be given."""

    name: str
    default: str | None = None
    doc: str = ""


@dataclass(frozen=True)
class Declaration:
    """What is declared for one PE, for several together, or for a whole script; see the module."""

    reads: dict[str, FileUse] = field(default_factory=dict)
    writes: dict[str, FileUse] = field(default_factory=dict)
    inputs: dict[str, RootInput] = field(default_factory=dict)
    env: dict[str, Variable] = field(default_factory=dict)
    resources: dict[str, int | float] = field(default_factory=dict)
    time_limit: int | None = None
    network: bool | None = None
    reuse: bool | None = None
    gpu: dict[str, Any] = field(default_factory=dict)
    label: str | None = None
    doc: str | None = None
    image: str | None = None
    software: dict[str, list[str]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def over(self, other: Declaration) -> Declaration:
        """This declaration, completed by the other one."""
        merged: dict[str, Any] = {}
        for item in fields(self):
            mine, theirs = getattr(self, item.name), getattr(other, item.name)
            if isinstance(mine, dict):
                merged[item.name] = {**theirs, **mine}
            else:
                merged[item.name] = theirs if mine is None else mine
        return Declaration(**merged)

    def beside(self, other: Declaration) -> Declaration:
        """The needs of two PEs that run in the same step: those of both, with resources added
        up."""
        merged = self.over(other)
        resources = dict(self.resources)
        for key, amount in other.resources.items():
            resources[key] = (
                max(resources.get(key, 0), amount)
                if key == "cores"
                else (resources.get(key, 0) + amount)
            )
        limits = [limit for limit in (self.time_limit, other.time_limit) if limit is not None]
        writes = dict(merged.writes)
        for name in self.writes.keys() & other.writes.keys():
            if not self.writes[name].doc:
                writes[name] = other.writes[name]
        return replace(
            merged,
            resources=resources,
            time_limit=max(limits) if limits else None,
            network=self.network or other.network,
            reuse=False if False in (self.reuse, other.reuse) else merged.reuse,
            writes=writes,
        )


@dataclass(frozen=True)
class Declarations:
    """All declarations of a script and its sidecar file.

    :param whole: the declaration of the graph
    :param by_pe: the declarations of single PEs, by id
    """

    whole: Declaration
    by_pe: dict[str, Declaration]

    def of(self, pes: tuple[Any, ...]) -> Declaration:
        """The needs of PEs that run together, with those of the whole graph."""
        together = Declaration()
        for pe in pes:
            together = together.beside(self.by_pe.get(pe.id, Declaration()))
        return replace(together, inputs={}).over(self.whole)


def sidecar_path(script: Path) -> Path:
    """The path of a script's sidecar file, if it has one."""
    return script.with_suffix(".d4p.yml")


def read_declarations(graph: FlatGraph, script: Path, module: object) -> Declarations:
    """Gather the declarations in the script, on its PEs, and in the sidecar file.

    :param script: the script's path
    :param module: the loaded script
    :raises DeclarationError: with all faults of all places
    """
    faults: list[str] = []
    whole = _parse(getattr(module, "cwl", None), f"{script}: cwl", faults, whole=True)
    by_pe: dict[str, Declaration] = {}
    for pe in graph.pes:
        where = f"{script}: {type(pe).__name__}.cwl"
        by_pe[pe.id] = _parse(getattr(pe, "cwl", None), where, faults, pe=pe)
    sidecar = sidecar_path(script)
    if sidecar.is_file():
        content = _load_sidecar(sidecar)
        pes_part = content.pop("pes", None) or {}
        if not isinstance(pes_part, Mapping):
            faults.append(f"{sidecar}: pes: expected a dictionary, not {pes_part!r}")
            pes_part = {}
        for key, value in pes_part.items():
            pes = graph.find(str(key))
            if not pes:
                known = [pe.name for pe in graph.pes]
                faults.append(f"{sidecar}: pes: no PE is called '{key}'{nearest(str(key), known)}")
            for pe in pes:
                more = _parse(value, f"{sidecar}: pes: {key}", faults, pe=pe)
                by_pe[pe.id] = more.over(by_pe[pe.id])
        whole = _parse(content, str(sidecar), faults, whole=True).over(whole)
    faults += _disagreements(whole, by_pe)
    for use in (use for each in (whole, *by_pe.values()) for use in each.reads.values()):
        if use.default is not None:
            place = script.parent / use.default
            if not (place.is_dir() if use.type.base == "Directory" else place.is_file()):
                faults.append(f"{script}: reads: {use.name}: no {use.type.base} is at {place}")
    for pe in graph.pes:
        # What a class declares is for those of its objects that are roots.
        by_class = _parse(getattr(type(pe), "cwl", None), "", [], pe=pe).inputs
        if by_pe[pe.id].inputs.keys() - by_class.keys() and graph.into(pe):
            faults.append(
                f"{script}: {type(pe).__name__}.cwl: inputs are declared for {graph.names[pe.id]}, "
                "but a stream feeds it; only roots take inputs from outside"
            )
    raise_faults(DeclarationError, dict.fromkeys(faults))
    return Declarations(whole, by_pe)


def _disagreements(whole: Declaration, by_pe: Mapping[str, Declaration]) -> Iterator[str]:
    """Names that PEs give to different files: a name is one parameter, or one output."""
    for kind in ("reads", "writes"):
        seen: dict[str, tuple[str, FileUse]] = {}
        for place, declared in [("the graph", whole), *by_pe.items()]:
            for use in getattr(declared, kind).values():
                first, known = seen.setdefault(use.name, (place, use))
                if (known.type, known.path) != (use.type, use.path):
                    yield (
                        f"{kind}: {use.name}: {first} declares {known.type} at {known.path!r}, "
                        f"{place} {use.type} at {use.path!r}"
                    )


def _load_sidecar(path: Path) -> dict[str, Any]:
    from d4pcwl.workflow.texts import is_blank, parse_yaml, read_text

    try:
        text = read_text(path)
        content = None if is_blank(text) else parse_yaml(text, str(path))
    except UnreadableText as error:
        raise DeclarationError(str(error)) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise DeclarationError(f"{path}: expected a mapping of declarations")
    return content


def _parse(
    declared: Any, where: str, faults: list[str], *, whole: bool = False, pe: Any = None
) -> Declaration:
    """Check one dictionary and take it over; faults go to ``faults``."""
    if declared is None:
        return Declaration()
    if not isinstance(declared, Mapping):
        faults.append(f"{where}: expected a dictionary, not {type(declared).__name__}")
        return Declaration()
    known = [item.name for item in fields(Declaration)]
    if not whole:
        known = [key for key in known if key not in _FOR_ALL]
    else:
        known.remove("inputs")
    values: dict[str, Any] = {}
    for key, value in declared.items():
        at = f"{where}: {key}"
        if key not in known:
            hint = " (it is for the whole graph)" if key in _FOR_ALL else nearest(str(key), known)
            faults.append(f"{at}: not known{hint}")
            continue
        try:
            values[key] = _PARSERS[key](value, at)
        except DeclarationError as fault:
            faults.append(str(fault))
    for port in values.get("inputs", {}) if pe is not None else ():
        if port not in pe.inputconnections:
            faults.append(
                f"{where}: inputs: {pe.name} has no input '{port}'"
                f"{nearest(port, pe.inputconnections)}"
            )
    return Declaration(**values)


def parse_type(text: Any, where: str) -> CwlType:
    """Read a type.

    :raises DeclarationError: the type is not known
    """
    found = _TYPE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise DeclarationError(
            f"{where}: {text!r} is not a type; give File, Directory, int, long, float, double, "
            "boolean, string or Any, with [] for a list and ? for what may be absent"
        )
    return CwlType(found["base"], bool(found["list"]), bool(found["null"]))


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise DeclarationError(f"{where}: expected a dictionary with names as keys, not {value!r}")
    return value


def _details(value: Any, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    """The long form of an entry; a type alone is the short form."""
    details = dict(value) if isinstance(value, Mapping) else {"type": value}
    faults = [
        f"{where}: {key}: not known{nearest(str(key), known)}"
        for key in details
        if key not in known
    ]
    raise_faults(DeclarationError, faults)
    return details


def _files(value: Any, where: str, *, written: bool) -> dict[str, FileUse]:
    files: dict[str, FileUse] = {}
    known = ("type", "path", "doc", "format") + (() if written else ("default",))
    for name, entry in _mapping(value, where).items():
        at = f"{where}: {name}"
        details = _details(entry, at, known)
        cwl_type = parse_type(details.get("type"), at)
        path = str(details.get("path", name))
        if not cwl_type.is_file:
            raise DeclarationError(f"{at}: expected File or Directory, not {cwl_type}")
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise DeclarationError(
                f"{at}: the path {path!r} leaves the working folder; a step sees only what is in it"
            )
        if cwl_type.is_list and not written and "path" in details:
            raise DeclarationError(
                f"{at}: a list of files is always in the working folder itself: leave the path out"
            )
        default = details.get("default")
        if default is not None and not isinstance(default, str):
            raise DeclarationError(f"{at}: default: expected a path, not {default!r}")
        files[name] = FileUse(
            name,
            cwl_type,
            path,
            str(details.get("doc", "")),
            str(details.get("format", "")),
            default,
        )
    return files


def _root_inputs(value: Any, where: str) -> dict[str, RootInput]:
    inputs: dict[str, RootInput] = {}
    for port, entry in _mapping(value, where).items():
        at = f"{where}: {port}"
        details = _details(entry, at, ("type", "doc"))
        cwl_type = parse_type(details.get("type"), at)
        if cwl_type.optional:
            raise DeclarationError(f"{at}: an item cannot be absent; leave the ? out")
        if cwl_type.base == "Any" and not cwl_type.is_list:
            raise DeclarationError(
                f"{at}: the type of a single item of type Any cannot be seen from its text; give "
                "Any[] or the exact type"
            )
        inputs[port] = RootInput(port, cwl_type, str(details.get("doc", "")))
    return inputs


def _variables(value: Any, where: str) -> dict[str, Variable]:
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        value = dict.fromkeys(value)
    variables: dict[str, Variable] = {}
    for name, entry in _mapping(value, where).items():
        at = f"{where}: {name}"
        if isinstance(entry, Mapping):
            details = _details(entry, at, ("default", "doc"))
        else:
            details = {"default": entry}
        default = details.get("default")
        variables[name] = Variable(
            name, None if default is None else str(default), str(details.get("doc", ""))
        )
    return variables


def _resources(value: Any, where: str) -> dict[str, int | float]:
    known = ("cores", "ram", "tmpdir", "outdir")
    for key, amount in _mapping(value, where).items():
        if key not in known:
            raise DeclarationError(f"{where}: {key}: not known{nearest(key, known)}")
        number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
        if not number or not 0 < amount < math.inf:
            raise DeclarationError(f"{where}: {key}: expected a positive number, not {amount!r}")
    return dict(value)


def _gpu(value: Any, where: str) -> dict[str, Any]:
    details = _details(value, where, ("cuda", "capability", "count"))
    for key in ("cuda", "capability"):
        if not isinstance(details.get(key), str):
            raise DeclarationError(f"{where}: {key}: expected a version as a string, like '12.0'")
    return details


def _software(value: Any, where: str) -> dict[str, list[str]]:
    packages: dict[str, list[str]] = {}
    for package, versions in _mapping(value, where).items():
        listed = versions if isinstance(versions, (list, tuple)) else [versions]
        if not all(each is None or isinstance(each, (str, int, float)) for each in listed):
            raise DeclarationError(f"{where}: {package}: expected versions, not {versions!r}")
        packages[package] = [str(each) for each in listed if each is not None]
    return packages


def _metadata(value: Any, where: str) -> dict[str, Any]:
    """Terms of schema.org with their values, which are texts, numbers, or things with terms."""

    def check(entry: Any, at: str) -> None:
        if isinstance(entry, (list, tuple)):
            for each in entry:
                check(each, at)
        elif isinstance(entry, Mapping):
            for key, inner in _mapping(entry, at).items():
                check(inner, f"{at}: {key}")
        elif not isinstance(entry, (str, int, float)):
            raise DeclarationError(f"{at}: expected a text, a number, or terms, not {entry!r}")

    check(_mapping(value, where), where)
    return dict(value)


def _is(kind: type, what: str) -> Callable[[Any, str], Any]:
    def check(value: Any, where: str) -> Any:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise DeclarationError(f"{where}: expected {what}, not {value!r}")
        return value

    return check


_PARSERS: dict[str, Callable[[Any, str], Any]] = {
    "reads": lambda value, where: _files(value, where, written=False),
    "writes": lambda value, where: _files(value, where, written=True),
    "inputs": _root_inputs,
    "env": _variables,
    "resources": _resources,
    "time_limit": _is(int, "seconds as an integer"),
    "network": _is(bool, "true or false"),
    "reuse": _is(bool, "true or false"),
    "gpu": _gpu,
    "label": _is(str, "a text"),
    "doc": _is(str, "a text"),
    "image": _is(str, "the name of an image"),
    "software": _software,
    "metadata": _metadata,
}
