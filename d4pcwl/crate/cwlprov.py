"""From a CWLProv folder to a run (CWLProv 0.6, https://w3id.org/cwl/prov/0.6.0; Khan et al.,
"Sharing interoperable workflow provenance", GigaScience 2019, doi:10.1093/gigascience/giz095).

cwltool and d4pcwl-runner write such folders. ``workflow/packed.cwl`` is the document, ``data/`` has
the files by their SHA-1, ``metadata/provenance/`` what happened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from d4pcwl.crate.runs import (
    FILE,
    FOLDER,
    Activity,
    Engine,
    Folder,
    Link,
    Person,
    Plan,
    Port,
    Run,
    Stored,
)
from d4pcwl.errors import LineageError
from d4pcwl.lineage.run_record import sha256_of
from d4pcwl.workflow.texts import read_file

DOCUMENT = "workflow/packed.cwl"
_PROVENANCE = "metadata/provenance"
_PRIMARY = "primary.cwlprov.json"
_HOMES = {"cwltool": "https://github.com/common-workflow-language/cwltool"}
_TYPES = {
    "string": "Text",
    "int": "Integer",
    "long": "Integer",
    "float": "Float",
    "double": "Float",
    "boolean": "Boolean",
    "File": FILE,
    "Directory": FOLDER,
    "Any": "PropertyValue",
    "enum": "Text",
    "record": "PropertyValue",
}
_SCHEMA_ORG = ("https://schema.org/", "http://schema.org/", "s:")


def is_cwlprov(folder: Path) -> bool:
    """Whether a folder is CWLProv."""
    return (folder / DOCUMENT).is_file()


def provenance_files(folder: Path) -> list[Path]:
    """The files that tell what happened."""
    return sorted((folder / _PROVENANCE).glob("*.cwlprov.json"))


def cwl_run(folder: Path) -> Run:
    """The run that a CWLProv folder is of.

    :raises LineageError: it is not complete, or damaged
    """
    plans = _Plans(folder / DOCUMENT)
    happened = _ProvDocuments(folder)
    main = happened.activity(happened.root, plans.main)
    documents: dict[str, Path | str] = {"packed.cwl": plans.path}
    records = {
        f"cwlprov/{path.name}": path
        for path in sorted((folder / _PROVENANCE).iterdir())
        if path.suffix in (".json", ".provn")
    }
    return Run(main, documents, "CWL", records, _metadata(plans.document))


# --- the document ---------------------------------------------------------------------------------


class _Plans:
    """The processes of a packed document."""

    def __init__(self, path: Path) -> None:
        self.path = path
        packed = read_file(path)
        graph = packed.get("$graph", [packed])
        self._processes = {_name(process.get("id", "main")): process for process in graph}
        self.document: dict[str, Any] = self._processes.get("main", graph[0])
        self._made: dict[str, Plan] = {}
        self.main = self._plan("", self.document)

    def _plan(self, key: str, process: Mapping[str, Any]) -> Plan:
        if key in self._made:
            return self._made[key]
        title = str(process.get("label") or key.rpartition("/")[2] or "Workflow")
        if key.endswith("/run"):
            title = str(process.get("label") or key.split("/")[-2])
        doc = process.get("doc") or ""
        doc = "\n".join(doc) if isinstance(doc, list) else str(doc)
        plan = Plan(key, title, f"CWL {process['class']}", doc)
        self._made[key] = plan
        for entries, ports in (
            (process["inputs"], plan.inputs),
            (process["outputs"], plan.outputs),
        ):
            for entry in entries:
                port = _port(entry)
                ports[port.name] = port
        for step in process.get("steps", ()):
            name, run = _last(step["id"]), step["run"]
            if isinstance(run, str):
                plan.steps[name] = self._plan(_name(run), self._processes[_name(run)])
            else:
                plan.steps[name] = self._plan(f"{_name(step['id'])}/run", run)
        plan.links = list(self._links(plan, process))
        plan.steps = {name: plan.steps[name] for name in _in_order(plan)}
        return plan

    def _links(self, plan: Plan, process: Mapping[str, Any]) -> Iterator[Link]:
        def ends(sources: Any) -> Iterator[tuple[str | None, str]]:
            for source in [sources] if isinstance(sources, str) else sources or ():
                *_, step, port = ["", *_name(source).split("/")]
                yield (step, port) if step in plan.steps else (None, port)

        for step in process.get("steps", ()):
            for entry in step["in"]:
                for source, output in ends(entry.get("source")):
                    yield Link(source, output, _last(step["id"]), _last(entry["id"]))
        for entry in process["outputs"] if "steps" in process else ():
            for source, output in ends(entry.get("outputSource")):
                yield Link(source, output, None, _last(entry["id"]))


def _in_order(plan: Plan) -> list[str]:
    """The steps of a workflow, those first whose outputs others take."""
    import networkx

    graph: networkx.DiGraph[str] = networkx.DiGraph()
    graph.add_nodes_from(plan.steps)
    graph.add_edges_from(
        (link.source, link.target) for link in plan.links if link.source and link.target
    )
    try:
        return list(networkx.topological_sort(graph))
    except networkx.NetworkXUnfeasible:  # no engine runs that, but it may be in a document
        return list(plan.steps)


def _port(entry: Mapping[str, Any]) -> Port:
    kinds = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
    optional = "null" in kinds
    (kind, *_) = [kind for kind in kinds if kind != "null"] or ["Any"]
    many = False
    while isinstance(kind, Mapping) and kind["type"] == "array":
        many, kind = True, kind["items"]
        kind = kind[0] if isinstance(kind, list) else kind
    kind = kind["type"] if isinstance(kind, Mapping) else kind
    if kind.endswith("[]"):
        many, kind = True, kind[:-2]
    form = entry.get("format") or ""
    return Port(
        _last(entry["id"]),
        _TYPES.get(kind, FILE if kind in ("stdout", "stderr") else "PropertyValue"),
        str(entry.get("label") or ""),
        many,
        optional or "default" in entry,
        form if isinstance(form, str) and "://" in form else "",
    )


def _name(identifier: str) -> str:
    """What is after the ``#``."""
    return identifier.rpartition("#")[2]


def _last(identifier: str) -> str:
    return _name(identifier).rpartition("/")[2]


def _metadata(process: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a document in terms of schema.org, with the names that the terms have there."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {_term(key) or key: plain(entry) for key, entry in value.items()}
        return [plain(entry) for entry in value] if isinstance(value, list) else value

    return {term: plain(value) for key, value in process.items() if (term := _term(key))}


def _term(key: str) -> str:
    for prefix in _SCHEMA_ORG:
        if key.startswith(prefix):
            return key.removeprefix(prefix)
    return ""


# --- what happened --------------------------------------------------------------------------------


class _ProvDocuments:
    """The activities and entities of all PROV documents of a folder.

    :ivar root: the name of the activity of the whole
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        self._relations: dict[str, dict[tuple[str, ...], dict[str, Any]]] = defaultdict(dict)
        self._indices: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
        self._stored: dict[str, Stored] = {}
        places = provenance_files(folder)
        places.sort(key=lambda place: place.name != _PRIMARY)
        if not places or places[0].name != _PRIMARY:
            raise LineageError(
                f"{folder}: nothing tells which steps were run (no {_PROVENANCE}/{_PRIMARY}); the "
                "run failed before its first step, or its engine does not record steps"
            )
        for place in places:
            self._read(place)
        self._engines = {
            name
            for name, told in self._told.items()
            if "wfprov:WorkflowEngine" in map(str, told["prov:type"])
        }
        roots = [
            name
            for start in self._relations["ProvStart"].values()
            if "wfprov:WorkflowRun"
            in map(str, self._told[name := str(start["prov:activity"])]["prov:type"])
            and str(start.get("prov:starter")) in self._engines
        ]
        if not roots:
            raise LineageError(f"{places[0]}: it describes no run of a workflow")
        self.root = roots[0]

    def _read(self, place: Path) -> None:
        from prov.model import ProvDocument, ProvElement  # type: ignore[import-untyped]

        try:
            document = ProvDocument.deserialize(str(place))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LineageError(f"{place} cannot be read as PROV-JSON: {error}") from None
        for record in document.get_records():
            told: dict[str, list[Any]] = defaultdict(list)
            for name, value in record.attributes:
                if value not in told[str(name)]:
                    told[str(name)].append(value)
            if isinstance(record, ProvElement):
                known = self._told[str(record.identifier)]
                for name, values in told.items():
                    known[name] += [value for value in values if value not in known[name]]
                continue
            single = {name: values[0] for name, values in told.items()}
            key = tuple(f"{name}={value}" for name, value in sorted(single.items()))
            self._relations[type(record).__name__][key] = single

    def _related(self, kind: str, attribute: str, name: str) -> list[dict[str, Any]]:
        """The relations of a kind that have something as an attribute."""
        if (kind, attribute) not in self._indices:
            index = self._indices[kind, attribute] = defaultdict(list)
            for relation in self._relations[kind].values():
                index[str(relation.get(attribute))].append(relation)
        return self._indices[kind, attribute].get(name, [])

    def activity(self, name: str, plan: Plan, title: str = "") -> Activity:
        """An activity with all its parts."""
        made = Activity(name.rpartition(":")[2], plan, title or f"Run of {plan.title}")
        made.began = self._time(name, "ProvStart", min)
        made.ended = self._time(name, "ProvEnd", max)
        for usage in self._related("ProvUsage", "prov:activity", name):
            self._add(made.inputs, plan.inputs, usage)
        for generation in self._related("ProvGeneration", "prov:activity", name):
            self._add(made.outputs, plan.outputs, generation)
        counts: dict[str, int] = defaultdict(int)
        for part in self._parts(name):
            step = self._step(part, plan)
            if step is None:
                continue
            counts[step] += 1
            number = f", {counts[step]}" if counts[step] > 1 else ""
            made.parts.append((step, self.activity(part, plan.steps[step], f"{step}{number}")))
        made.engine, made.agent = self._engine, self._person
        if "failed" in self._told[name]["d4p:status"]:
            made.failed = f"{made.title} failed"
        return made

    def _time(self, name: str, kind: str, choose: Any) -> float | None:
        times = [told.get("prov:time") for told in self._related(kind, "prov:activity", name)]
        return choose(time.timestamp() for time in times if time) if any(times) else None

    def _parts(self, name: str) -> list[str]:
        """The activities that an activity has started, in the order of their beginnings."""
        found = sorted(
            (str(start.get("prov:time")), str(start["prov:activity"]))
            for start in self._related("ProvStart", "prov:starter", name)
        )
        return [part for part in dict.fromkeys(part for _, part in found) if part != name]

    def _step(self, part: str, plan: Plan) -> str | None:
        """The step that an activity is a run of. Those of a scatter have a number behind it."""
        for association in self._related("ProvAssociation", "prov:activity", part):
            name = unquote(str(association.get("prov:plan", ""))).rpartition("/")[2]
            if name in plan.steps:
                return name
            stem, _, number = name.rpartition("_")
            if number.isdigit() and stem in plan.steps:
                return stem
        return None

    @cached_property
    def _engine(self) -> Engine:
        labels = [str(label) for name in self._engines for label in self._told[name]["prov:label"]]
        name, _, version = (labels or ["a CWL engine"])[0].rpartition(" ")
        return Engine(name or version, version if name else "", _HOMES.get(name, ""))

    @cached_property
    def _person(self) -> Person | None:
        """Who started the run: a person, or the account."""
        for name, told in self._told.items():
            if "prov:Person" in map(str, told["prov:type"]):
                label = told["schema:name"] or told["foaf:name"] or told["prov:label"]
                orcid = name.partition(":")[2] if name.startswith("orcid:") else ""
                return Person(str(label[0]), f"https://orcid.org/{orcid}" if orcid else "")
        for told in self._told.values():
            if told["foaf:accountName"]:
                return Person(str(told["foaf:accountName"][0]))
        return None

    # --- values ---------------------------------------------------------------------------------

    def _add(
        self, values: dict[str, Any], ports: Mapping[str, Port], told: Mapping[str, Any]
    ) -> None:
        """Add the value of the port that a usage or a generation has as its role."""
        port = unquote(str(told.get("prov:role", ""))).rpartition("/")[2]
        if port in ports:
            value = self._value(str(told["prov:entity"]), ports[port].format)
            if value is not None:
                values[port] = value

    def _value(self, name: str, form: str = "") -> Any:
        told = self._told[name]
        kinds = set(map(str, told["prov:type"]))
        if "wf4ever:File" in kinds:
            file = self._file(name, form)
            more = [
                self._value(str(derived["prov:generatedEntity"]))
                for derived in self._related("ProvDerivation", "prov:usedEntity", name)
                if "cwlprov:SecondaryFile" in str(derived.get("prov:type"))
            ]
            return [file, *more] if more else file
        members = [
            str(member["prov:entity"])
            for member in self._related("ProvMembership", "prov:collection", name)
        ]
        if "prov:Dictionary" in kinds:
            pairs = [self._told[str(pair)] for pair in told["prov:hadDictionaryMember"]]
            entries = {
                str(pair["prov:pairKey"][0]): self._value(str(pair["prov:pairEntity"][0]))
                for pair in pairs
                if pair["prov:pairKey"] and pair["prov:pairEntity"]
            }
            if "ro:Folder" in kinds:
                base = str((told["cwlprov:basename"] or ["folder"])[0])
                return self._folder_of(base, entries)
            return {key: value for key, value in sorted(entries.items()) if key != "@id"}
        if told["prov:value"]:
            return told["prov:value"][0]
        if "prov:Collection" in kinds:
            return [self._value(member, form) for member in members]
        return None

    def _folder_of(self, name: str, entries: Mapping[str, Any]) -> Folder:
        members: list[Stored | Folder] = []
        for key, value in sorted(entries.items()):
            for entry in value if isinstance(value, list) else [value]:
                if isinstance(entry, Folder):
                    members.append(Folder(key, entry.members))
                elif isinstance(entry, Stored):
                    members.append(replace(entry, name=key))
        return Folder(name, tuple(members))

    def _file(self, name: str, form: str) -> Stored:
        for told in self._related("ProvSpecialization", "prov:specificEntity", name):
            sha1 = str(told["prov:generalEntity"]).rpartition(":")[2]
            base = str((self._told[name]["cwlprov:basename"] or [sha1])[0])
            if sha1 not in self._stored:
                path = self._folder / "data" / sha1[:2] / sha1
                digest = sha256_of(path)
                if digest is None:
                    self._stored[sha1] = Stored(base, None, "", 0)
                else:
                    self._stored[sha1] = Stored(base, path, digest, path.stat().st_size)
            return replace(self._stored[sha1], name=base, format=form)
        raise LineageError(
            f"{self._folder}: the checksum of {name} is missing in the PROV documents"
        )
