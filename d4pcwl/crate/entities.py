"""The entities of a crate: Workflow Run RO-Crate, profile Provenance Run Crate 0.5
(https://w3id.org/ro/wfrun/provenance/0.5; Leo et al., "Recording provenance of workflow runs with
RO-Crate", PLOS ONE 2024, doi:10.1371/journal.pone.0309210).

=====================  ============================================================================
ComputationalWorkflow  a plan with steps: the main one is a file; a step whose tool is a stream is
                       one, too
SoftwareApplication    a plan without steps: a CWL tool, a PE; and what ran them
HowToStep              a step, with its ParameterConnections
FormalParameter        an input or output of a plan
CreateAction           a run of a plan. What went in and out is a File, a Dataset, or a
                       PropertyValue: a plain value, or a stream with the number of its items
ControlAction,         that a step was run, and that an engine ran a workflow
OrganizeAction
=====================  ============================================================================

A file is one entity, wherever it appears: in the outer actions and in those of the PEs. That joins
the two levels.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import shlex
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from d4pcwl.crate.credits import Credits
from d4pcwl.crate.places import Places, members
from d4pcwl.crate.runs import (
    Activity,
    Engine,
    Folder,
    Person,
    Plan,
    Port,
    Run,
    Stored,
    Stream,
    moment,
)
from d4pcwl.lineage.run_record import sha256_of

if TYPE_CHECKING:
    from rocrate.model.entity import Entity  # type: ignore[import-untyped]
    from rocrate.rocrate import ROCrate  # type: ignore[import-untyped]

_VERSION = "0.5"
PROFILES = {
    f"https://w3id.org/ro/wfrun/process/{_VERSION}": "Process Run Crate",
    f"https://w3id.org/ro/wfrun/workflow/{_VERSION}": "Workflow Run Crate",
    f"https://w3id.org/ro/wfrun/provenance/{_VERSION}": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"
_WORKFLOW_PROFILE = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
_PARAMETER_PROFILE = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
_LANGUAGES: dict[str, dict[str, Any]] = {
    "CWL": {
        "id_": "https://w3id.org/workflowhub/workflow-ro-crate#cwl",
        "name": "Common Workflow Language",
        "alternateName": "CWL",
        "identifier": {"@id": "https://w3id.org/cwl/"},
        "url": {"@id": "https://www.commonwl.org/"},
    },
    "dispel4py": {
        "id_": "#dispel4py",
        "name": "dispel4py",
        "description": "Stream workflows in Python",
        "url": {"@id": "https://pypi.org/project/stream-d4py/"},
    },
}
_MAIN = ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
_IMAGE = ["File", "ImageObject"]
_MEDIA_TYPES = {
    ".d4ps": "application/octet-stream",
    ".msgpack": "application/vnd.msgpack",
    ".jsonl": "application/jsonl",
    ".ndjson": "application/jsonl",
    ".geojson": "application/geo+json",
    ".cwl": "text/x-yaml",
    ".yml": "text/x-yaml",
    ".yaml": "text/x-yaml",
    ".provn": "text/provenance-notation",
    ".mseed": "application/vnd.fdsn.mseed",
    ".md": "text/markdown",
    ".py": "text/x-python",
    ".svg": "image/svg+xml",
    ".mmd": "text/vnd.mermaid",
}
_IANA = "https://www.iana.org/assignments/media-types/"
_UNITS = {"seconds": "https://qudt.org/vocab/unit/SEC"}


def media_type(name: str, form: str = "") -> str:
    """The media type of a file, by its format or its name; a URI if its format is only known so."""
    if form.startswith(_IANA):
        return form.removeprefix(_IANA)
    known = _MEDIA_TYPES.get(Path(name).suffix.lower()) or mimetypes.guess_type(name)[0]
    return known or form


class Entities:
    """Writes runs into a crate.

    :param crate: takes the entities
    :param places: where files are in it
    """

    def __init__(self, crate: ROCrate, places: Places) -> None:
        self._crate, self._places = crate, places
        self._plans: dict[Plan, Entity] = {}
        self._run_plans: set[Plan] = set()
        self._actions: list[Entity] = []
        self._main = ""

    def add(self, runs: Sequence[Run], images: Mapping[Plan, str]) -> None:
        """Add all that was run. The first run is that of the main workflow.

        :param images: the places of the pictures of workflows
        """
        for uri, name in PROFILES.items():
            version = uri.rpartition("/")[2]
            self._context(uri, "CreativeWork", name=name, version=version)
        root = self._crate.root_dataset
        root["conformsTo"] = [{"@id": uri} for uri in PROFILES]
        self._crate.metadata["conformsTo"] = [
            {"@id": "https://w3id.org/ro/crate/1.1"},
            {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
        ]
        kinds = dict.fromkeys(self._places.documents.values(), _MAIN)
        self._add_files({**kinds, **dict.fromkeys(images.values(), _IMAGE)})
        for number, run in enumerate(runs):
            self._run_plans = {activity.plan for activity in run.main.all()}
            self._main = self._places.documents[id(run)]
            workflow = self._plan(run.main.plan, run)
            if number == 0:
                root["mainEntity"] = workflow
            self._action(run.main)
        root["mentions"] = _one(self._actions)
        for plan, place in images.items():
            image, workflow = self._crate.get(quote(place)), self._plans[plan]
            image["name"], image["about"] = f"Picture of {plan.title}", workflow
            workflow["image"] = image

    def credit(self, who: Credits) -> None:
        """Add the licence and the authors, to the crate and to its workflow."""
        root = self._crate.root_dataset
        root["license"] = self._context(**who.license)
        people = [self._person(person) for person in who.authors]
        for entity in (root, root["mainEntity"]) if people else ():
            entity["author"] = _one(people)
        root["mainEntity"]["license"] = root["license"]

    # --- files ----------------------------------------------------------------------------------

    def _add_files(self, kinds: Mapping[str, list[str]]) -> None:
        """Add all files.

        :param kinds: by place, the types of those that are more than files
        """
        for place, content in sorted(self._places.files.items()):
            data = content.encode() if isinstance(content, str) else content
            told: dict[str, Any] = {
                "@type": kinds.get(place, "File"),
                "name": place.rpartition("/")[2],
            }
            file = self._places.stored.get(place)
            if file is not None:
                told |= {"sha256": file.digest, "contentSize": str(file.size)}
            elif isinstance(data, Path):
                size = str(data.stat().st_size)
                told |= {"sha256": sha256_of(data), "contentSize": size}
            else:
                digest = hashlib.sha256(data).hexdigest()
                told |= {"sha256": digest, "contentSize": str(len(data))}
            told["encodingFormat"] = media_type(place, file.format if file else "")
            source = data if isinstance(data, Path) else BytesIO(data)
            self._crate.add_file(source, place, properties=_known(told))
        for home in self._places.records.values():
            folder = self._crate.add_dataset(dest_path=home)
            folder["name"] = "Record of a stream"
            folder["description"] = "Which items each item comes from; d4pcwl lineage reads it"
            inside = [place for place in self._places.files if place.startswith(home)]
            folder["hasPart"] = [{"@id": quote(place)} for place in sorted(inside)]

    def _file(self, file: Stored) -> Entity:
        place = self._places.of(file)
        if place is not None:
            return self._crate.get(quote(place))
        told = {
            "name": file.name,
            "sha256": file.digest or None,
            "description": "Its bytes are not in this crate.",
        }
        return self._context(f"#file-{_short(*file.key)}", "CreativeWork", **_known(told))

    def _folder(self, folder: Folder) -> Entity:
        place = self._places.folders[folder]
        entity = self._crate.get(quote(place))
        if entity is None:
            entity = self._crate.add_dataset(dest_path=place)
            entity["name"] = folder.name
        if "hasPart" not in entity:
            entity["hasPart"] = [
                {"@id": quote(where)}
                for where, file in members(folder, place)
                if file.path is not None
            ]
        return entity

    # --- plans ----------------------------------------------------------------------------------

    def _plan(self, plan: Plan, run: Run | None = None) -> Entity:
        if plan in self._plans:
            return self._plans[plan]
        told: dict[str, Any] = {"name": plan.title, "description": plan.doc or None}
        # The profile wants a run of each part of a workflow. A step that was not run is a step all
        # the same; a workflow without any run of a step is a tool.
        ran = [tool for tool in dict.fromkeys(plan.steps.values()) if tool in self._run_plans]
        if run is not None:
            entity = self._crate.get(quote(self._main))
            told["conformsTo"] = {"@id": _WORKFLOW_PROFILE}
            told["programmingLanguage"] = self._context(
                type_="ComputerLanguage", **_LANGUAGES[run.language]
            )
        else:
            types = _MAIN[1:] if ran else "SoftwareApplication"
            entity = self._context(f"{quote(self._main)}#{quote(plan.key)}", types)
            told["additionalType"] = plan.kind
        self._plans[plan] = entity
        for name, value in _known(told).items():
            entity[name] = value
        for kind, ports in (("input", plan.inputs), ("output", plan.outputs)):
            if ports:
                entity[kind] = _one([self._port(plan, kind, port) for port in ports.values()])
        if ran:
            entity["hasPart"] = _one([self._plan(tool) for tool in ran])
            entity["step"] = _one(list(self._steps(plan)))
            self._connect(entity, plan, None)
        return entity

    def _steps(self, plan: Plan) -> Iterator[Entity]:
        for position, (name, tool) in enumerate(plan.steps.items()):
            step = self._context(
                self._step_id(plan, name), "HowToStep", name=name, position=str(position)
            )
            step["workExample"] = self._plan(tool)
            self._connect(step, plan, name)
            yield step

    def _step_id(self, plan: Plan, name: str) -> str:
        return f"{quote(self._main)}#{quote(plan.key or 'main')}/step/{quote(name)}"

    def _connect(self, entity: Entity, plan: Plan, target: str | None) -> None:
        """Add the connections into a step, or (None) into the outputs of a workflow."""
        found = []
        for link in plan.links:
            if link.target != target:
                continue
            source = plan if link.source is None else plan.steps[link.source]
            end = plan if target is None else plan.steps[target]
            from_ = (source.inputs if link.source is None else source.outputs).get(link.output)
            to = (end.outputs if target is None else end.inputs).get(link.input)
            if from_ is None or to is None:
                continue
            sides = (
                "input" if link.source is None else "output",
                "output" if target is None else "input",
            )
            start, stop = self._port_id(source, sides[0], from_), self._port_id(end, sides[1], to)
            connection = self._context(
                f"#connection-{_short(entity.id, start, stop)}", "ParameterConnection"
            )
            connection["sourceParameter"] = self._port(source, sides[0], from_)
            connection["targetParameter"] = self._port(end, sides[1], to)
            if link.told:
                connection["description"] = link.told
            found.append(connection)
        if found:
            entity["connection"] = _one(found)

    def _port_id(self, plan: Plan, kind: str, port: Port) -> str:
        return f"{quote(self._main)}#{quote(plan.key or 'main')}/{kind}/{quote(port.name)}"

    def _port(self, plan: Plan, kind: str, port: Port) -> Entity:
        told = {
            "name": port.name,
            "description": port.title or None,
            "additionalType": port.type,
            "multipleValues": "True" if port.many else None,
            "valueRequired": str(not port.optional) if kind == "input" else None,
            "encodingFormat": media_type("", port.format) or None,
            "conformsTo": {"@id": _PARAMETER_PROFILE},
        }
        return self._context(self._port_id(plan, kind, port), "FormalParameter", **_known(told))

    # --- what was done --------------------------------------------------------------------------

    def _action(self, activity: Activity, around: Activity | None = None) -> Entity:
        """A run of a plan, with all its parts.

        :param around: the activity that it is a part of
        """
        scope = around.key if around else ""
        entity = self._context(f"#{quote(activity.key)}", "CreateAction", name=activity.title)
        entity["instrument"] = self._plans[activity.plan]
        for name, time in (("startTime", activity.began), ("endTime", activity.ended)):
            if time is not None:
                entity[name] = moment(time)
        _end(entity, activity)
        entity["description"] = _told(activity)
        if activity.agent is not None:
            entity["agent"] = self._person(activity.agent)
        for side, kind, values, ports in (
            ("object", "input", activity.inputs, activity.plan.inputs),
            ("result", "output", activity.outputs, activity.plan.outputs),
        ):
            found = [
                made
                for name, value in values.items()
                for made in self._values(activity.plan, kind, ports[name], value, scope)
            ]
            if found:
                entity[side] = _one(list({made.id: made for made in found}.values()))
        if activity.usage:
            entity["resourceUsage"] = [
                self._usage(activity, name, value) for name, value in activity.usage.items()
            ]
        if activity.key in self._places.records:
            record = self._crate.get(quote(self._places.records[activity.key]))
            record["about"] = entity
            entity["subjectOf"] = record
        self._actions.append(entity)
        if activity.parts:
            self._organize(activity, entity)
        return entity

    def _organize(self, activity: Activity, entity: Entity) -> None:
        """That an engine ran a workflow, and that each step was run."""
        runs: dict[str, list[Entity]] = {}
        for step, part in activity.parts:
            runs.setdefault(step, []).append(self._action(part, activity))
        controls = []
        for step, done in runs.items():
            control = self._context(
                f"#{quote(activity.key)}/control/{quote(step)}",
                "ControlAction",
                name=f"Orchestrate {step}",
            )
            control["instrument"] = {"@id": self._step_id(activity.plan, step)}
            control["object"] = _one(done)
            controls.append(control)
        engine = activity.engine
        assert engine is not None
        organize = self._context(
            f"#{quote(activity.key)}/engine", "OrganizeAction", name=f"Run of {engine.name}"
        )
        organize["instrument"] = self._engine(engine)
        organize["object"] = _one(controls)
        organize["result"] = entity
        for name in ("startTime", "endTime", "agent"):
            if name in entity:
                organize[name] = entity[name]
        _end(organize, activity)

    def _engine(self, engine: Engine) -> Entity:
        told = {
            "name": engine.name,
            "softwareVersion": engine.version or None,
            "url": {"@id": engine.url} if engine.url else None,
        }
        name = f"#engine-{quote(engine.name)}-{quote(engine.version)}".rstrip("-")
        return self._context(name, "SoftwareApplication", **_known(told))

    def _usage(self, activity: Activity, name: str, value: float) -> Entity:
        told = {
            "name": name,
            "propertyID": f"https://w3id.org/d4pcwl#{name}",
            "value": str(value),
            "unitCode": _UNITS.get(name, "https://qudt.org/vocab/unit/NUM"),
        }
        return self._context(f"#{quote(activity.key)}/usage/{name}", "PropertyValue", **told)

    def _values(
        self, plan: Plan, kind: str, port: Port, value: Any, scope: str
    ) -> Iterator[Entity]:
        """The entities of the value of a port: a file or folder each, or one for a plain value."""
        several = value if isinstance(value, list) else [value]
        parts = [part for part in several if isinstance(part, (Stored, Folder, Stream))]
        entities = [self._value(part, scope) for part in parts]
        if not parts:
            text = value if isinstance(value, str) else json.dumps(_plain(value))
            own = f"#value-{_short(self._port_id(plan, kind, port), text)}"
            entities = [self._context(own, "PropertyValue", name=port.name, value=text)]
        parameter = {"@id": self._port_id(plan, kind, port)}
        for entity in entities:
            known = entity._jsonld.get("exampleOfWork", [])
            known = known if isinstance(known, list) else [known]
            if parameter not in known:
                entity["exampleOfWork"] = _one([*known, parameter])
            yield entity

    def _value(self, part: Stored | Folder | Stream, scope: str) -> Entity:
        if isinstance(part, Stored):
            return self._file(part)
        if isinstance(part, Folder):
            return self._folder(part)
        return self._context(
            f"#{quote(scope)}/stream/{quote(part.name)}",
            "PropertyValue",
            name=part.name,
            value=str(part.items),
            unitText="items",
        )

    def _person(self, person: Person) -> Entity:
        entity = self._context(
            person.id or f"#person-{quote(person.name)}", "Person", name=person.name
        )
        if person.affiliation:
            entity["affiliation"] = self._context(
                f"#organization-{quote(person.affiliation)}",
                "Organization",
                name=person.affiliation,
            )
        return entity

    def _context(self, id_: str, type_: str | list[str], **told: Any) -> Entity:
        """A contextual entity; the one that is there, if there is one."""
        from rocrate.model.contextentity import ContextEntity  # type: ignore[import-untyped]

        known = self._crate.get(id_)
        if known is not None:
            return known
        return self._crate.add(ContextEntity(self._crate, id_, {"@type": type_, **told}))


def _end(entity: Entity, activity: Activity) -> None:
    ended = "Failed" if activity.failed else "Completed"
    entity["actionStatus"] = f"http://schema.org/{ended}ActionStatus"
    if activity.failed:
        entity["error"] = activity.failed


def _told(activity: Activity) -> str:
    """A description of what was done, for people."""
    lines = [shlex.join(activity.command)] if activity.command else [activity.plan.title]
    lines += [f"{name}: {value}" for name, value in activity.told.items()]
    return "\n".join(lines)


def _one(found: list[Any]) -> Any:
    """A list, or what is alone in it, as RO-Crate writes it."""
    return found[0] if len(found) == 1 else found


def _plain(value: Any) -> Any:
    """A value with the names of its files, for JSON."""
    if isinstance(value, (Stored, Folder)):
        return value.name
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _known(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value is not None and value != ""}


def _short(*texts: str) -> str:
    """A few digits that stand for some texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
