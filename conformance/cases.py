"""Cases: a script, what it is given natively and in CWL, and what may be expected of it.

Each folder of ``workflows/`` is a case, described in its ``case.toml``; README.md says what
may stand there. Everything is checked as it is read; no key is passed over in silence.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

WORKFLOWS = Path(__file__).resolve().parent / "workflows"

FORMS = ("whole", "cut", "sharded")
ENGINES = ("d4pcwl-runner", "cwltool", "streamflow", "toil")

FEATURES = (
    "all",
    "arrays",
    "composites",
    "cycle across a cut",
    "cycle inside a stage",
    "data files",
    "empty streams",
    "environment variables",
    "fan-in",
    "fan-out",
    "global",
    "group-by",
    "group-by on several keys",
    "helper modules",
    "items without an open form",
    "iterations",
    "join of two ports",
    "nested values",
    "numprocesses",
    "partitions",
    "postprocess that writes",
    "printed lines",
    "root inputs",
    "several graphs in a script",
    "sidecar",
    "single",
    "stateful PE",
    "stateless stages",
    "typed root inputs",
    "unconnected outputs of several PEs",
    "written files",
)
"""What the cases have to cover between them."""

MODULES = {
    "arrays": ("numpy",),
    "seismology": ("obspy", "numpy", "scipy", "matplotlib"),
}
"""The modules that an extra of the package brings, for those extras that scripts ask for."""


class CaseError(Exception):
    """A case.toml is not right."""


@dataclass(frozen=True)
class Case:
    """A workflow and how it is to be run and compared.

    :param folder: where its case.toml is; paths are relative to it
    :param covers: which of :data:`FEATURES` it is there for
    :param extras: the package's extras that the script needs, in a container too
    :param inputs: the items of the roots, as ``-d`` takes them; ``{path = …}`` stands for a file
    :param inputs_by: ``data`` (``-d``) or ``file`` (``-f``)
    :param job: the job order's values
    :param env: environment variables of native runs
    :param stage: files that PEs open: from their place in the working folder to where they are
    :param prepare: a Python script and its arguments, run once; ``{prepared = …}`` is what it makes
    :param outputs: files that PEs write: from their output in CWL to their path, or a pattern
    :param ordered: outputs (``PE.port``) whose items must come in order; others are multisets
    :param printed: whether the lines that PEs print are compared
    :param unlike: files among the outputs whose content may differ, as patterns; they must be there
    :param cut: what ``--cut`` says for the form *cut*
    :param shard_cut: what ``--cut`` says for the form *sharded*; left to the compiler where empty
    :param ordered_sharded: as ``ordered``, for the form *sharded*
    :param refused: from a form to a part of the message by which it has to be refused, by the
        compiler or by the step that finds out; ``ENGINE FORM`` overrides ``FORM``
    :param faulty: from an engine to a fault of its own, for which it cannot run this
    """

    name: str
    folder: Path
    title: str
    covers: tuple[str, ...]
    cut: str
    script: str = ""
    attr: str = ""
    extras: tuple[str, ...] = ()
    processes: int = 4
    iterations: int = 0
    inputs: Mapping[str, Any] = field(default_factory=dict)
    inputs_by: str = "data"
    job: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    stage: Mapping[str, str] = field(default_factory=dict)
    prepare: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    ordered: tuple[str, ...] = ()
    printed: bool = False
    unlike: tuple[str, ...] = ()
    shard_cut: str = ""
    ordered_sharded: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    faulty: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The script."""
        return (self.folder / (self.script or f"{self.name}.py")).resolve()

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that the script needs."""
        return tuple(module for extra in self.extras for module in MODULES[extra])

    def refusal(self, place: str, form: str) -> str | None:
        """A part of the message by which a cell has to be refused, or None."""
        return self.refused.get(f"{place} {form}") or self.refused.get(form)

    def given(self, value: Any, prepared: Path) -> Any:
        """``value`` with ``{path = …}`` and ``{prepared = …}`` as absolute paths.

        A CWL File or Directory keeps its class.
        """
        if isinstance(value, Mapping):
            for key, folder in (("path", self.folder), ("prepared", prepared)):
                if key in value and value.keys() <= {"class", key}:
                    place = str((folder / value[key]).resolve())
                    return {"class": value["class"], "path": place} if "class" in value else place
            return {key: self.given(entry, prepared) for key, entry in value.items()}
        if isinstance(value, list):
            return [self.given(entry, prepared) for entry in value]
        return value


def read_case(folder: Path) -> Case:
    """The case in ``folder``.

    :raises CaseError: with everything that is wrong with its case.toml
    """
    file = folder / "case.toml"
    try:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CaseError(f"{file}: {error}") from None
    known = {each.name for each in fields(Case)} - {"name", "folder"}
    forms = (*FORMS, *(f"{engine} {form}" for engine in ENGINES for form in FORMS))
    choices = {"covers": FEATURES, "extras": MODULES, "refused": forms, "faulty": ENGINES}
    faults = [f"unknown key {key!r}" for key in told if key not in known]
    faults += [f"{key} is missing" for key in ("title", "covers", "cut") if key not in told]
    for key, names in choices.items():
        faults += [f"{key}: unknown {name!r}" for name in told.get(key, ()) if name not in names]
    if told.get("inputs_by", "data") not in ("data", "file"):
        faults.append("inputs_by is 'data' or 'file'")
    if faults:
        raise CaseError("\n".join(f"{file}: {fault}" for fault in faults))
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in told.items()
    }
    case = Case(name=folder.name, folder=folder, **values)
    if not case.path.is_file():
        raise CaseError(f"{file}: there is no script {case.path}")
    return case


def read_cases(names: Iterable[str] = ()) -> list[Case]:
    """All cases, or those of the given names.

    :raises CaseError: a case is not right, or there is none of a name
    """
    found = sorted(path.parent for path in WORKFLOWS.glob("*/case.toml"))
    wanted = list(names)
    known = [folder.name for folder in found]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise CaseError(f"no workflow {', '.join(unknown)}; there are {', '.join(known)}")
    return [read_case(folder) for folder in found if not wanted or folder.name in wanted]
