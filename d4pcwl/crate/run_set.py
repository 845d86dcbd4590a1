"""The runs in a folder: of records, a CWLProv folder, or a crate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from d4pcwl.crate.crates import METADATA, Crate, Entity
from d4pcwl.crate.cwlprov import cwl_run, is_cwlprov, provenance_files
from d4pcwl.crate.places import is_record
from d4pcwl.crate.runs import Activity, Folder, Stored
from d4pcwl.lineage.record import NAME, Record
from d4pcwl.lineage.run_set import RunSet, Step, StepFile, of_records

Read = tuple[Sequence[Step], Mapping[bytes, Path]]


def run_set_of(folder: Path) -> RunSet | None:
    """The runs in a folder; None if there are none.

    :raises LineageError: a record is damaged
    """
    if (folder / METADATA).is_file():
        return RunSet(folder, [folder / METADATA], lambda: _of_crate(folder))
    if is_cwlprov(folder):
        return RunSet(folder, provenance_files(folder), lambda: _of_cwlprov(folder))
    return of_records(folder)


# --- CWLProv --------------------------------------------------------------------------------------


def _of_cwlprov(folder: Path) -> Read:
    run = cwl_run(folder)
    places = {
        bytes.fromhex(file.digest): file.path
        for activity in run.main.all()
        for file in activity.files()
        if file.path is not None
    }
    return list(_steps(run.main, run.main.plan.title)), places


def _steps(activity: Activity, name: str) -> Iterator[Step]:
    for step, part in activity.parts:
        yield from _steps(part, step)
    if activity.parts:
        return
    outputs = list(activity.outputs.values())
    records = [value for value in outputs if is_record(value)]
    places = [m.path for value in records for m in value.members if m.name == NAME]
    record = Record(places[0]) if places and places[0] is not None else None
    values = {port: value for port, value in activity.inputs.items() if not list(_files(value, ""))}
    yield Step(
        name,
        record,
        list(_files(list(activity.inputs.values()), "")),
        list(_files([value for value in outputs if value not in records], "")),
        values,
    )


def _files(value: Any, above: str) -> Iterator[StepFile]:
    """The files in a value, with the folders around them."""
    if isinstance(value, Stored):
        if value.digest:
            yield StepFile(above + value.name, bytes.fromhex(value.digest))
    elif isinstance(value, Folder):
        for member in value.members:
            yield from _files(member, f"{above}{value.name}/")
    elif isinstance(value, (list, dict)):
        for entry in value if isinstance(value, list) else value.values():
            yield from _files(entry, above)


# --- crates ---------------------------------------------------------------------------------------


def _of_crate(folder: Path) -> Read:
    crate = Crate(folder)
    return list(_actions(crate)), crate.files


def _actions(crate: Crate) -> Iterator[Step]:
    """The steps that a crate describes: actions with a record, and those that have no parts. The
    actions of PEs are in the record."""
    parts: dict[str, list[Entity]] = {}
    for organize in crate.of_type("OrganizeAction"):
        for whole in crate.linked(organize, "result"):
            for control in crate.linked(organize, "object"):
                parts.setdefault(whole["@id"], []).extend(crate.linked(control, "object"))
    inner = {part["@id"] for some in parts.values() for part in some}
    waiting = [each for each in crate.of_type("CreateAction") if each["@id"] not in inner]
    seen: set[str] = set()
    while waiting:
        action = waiting.pop(0)
        if action["@id"] in seen:
            continue
        seen.add(action["@id"])
        record = record_of(crate, action)
        if record is None and action["@id"] in parts:
            waiting = [*parts[action["@id"]], *waiting]
            continue
        used, made = crate.linked(action, "object"), crate.linked(action, "result")
        values = {
            str(each.get("name")): each.get("value")
            for each in used
            if each.get("@type") == "PropertyValue"
        }
        yield Step(
            str(action.get("name") or action["@id"]),
            record,
            list(_files_of(crate, used, record)),
            list(_files_of(crate, made, record)),
            values,
        )


def record_of(crate: Crate, action: Entity) -> Record | None:
    """The record of a run that a crate has."""
    for about in crate.linked(action, "subjectOf"):
        for part in crate.linked(about, "hasPart"):
            path = crate.path(part)
            if path is not None and path.name == NAME:
                return Record(path)
    return None


def _files_of(
    crate: Crate, entities: Sequence[Entity], record: Record | None
) -> Iterator[StepFile]:
    """The files among what went in or out; those of the record itself do not count."""
    for entity in entities:
        inside = crate.linked(entity, "hasPart")
        path = crate.path(entity)
        if record is not None and path is not None and path == record.folder:
            continue
        if inside:
            yield from _files_of(crate, inside, record)
        elif digest := crate.digest(entity):
            yield StepFile(str(path.relative_to(crate.folder) if path else entity["name"]), digest)
