"""Making a crate: runs are read, put together, and written, or nothing is."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from d4pcwl.crate.credits import Credits, credits_of
from d4pcwl.crate.cwlprov import cwl_run, is_cwlprov
from d4pcwl.crate.entities import CONTEXT, Entities
from d4pcwl.crate.pictures import drawn, pictures
from d4pcwl.crate.places import Places, is_record
from d4pcwl.crate.runs import Activity, Folder, Plan, Run, Stored
from d4pcwl.crate.stream import fill_step, stream_run
from d4pcwl.errors import LineageError, UsageError, shown
from d4pcwl.lineage.record import NAME, PARTS

PREVIEW = "ro-crate-preview.html"
JOB = "job.json"


@dataclass(frozen=True)
class Crate:
    """What is put into a crate.

    :param images: the places of the pictures of workflows
    """

    runs: Sequence[Run]
    places: Places
    credits: Credits
    images: Mapping[Plan, str]


def make_crate(
    folders: Sequence[Path],
    target: Path,
    *,
    authors: Sequence[str] = (),
    license_: str | None = None,
    as_zip: bool = False,
    take: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Make one crate of runs.

    :param folders: of each run its record (``--provenance``), or its CWLProv folder
    :param target: the crate: a new folder, or a zip file
    :param authors: see :func:`~d4pcwl.crate.credits.credits_of`; ``license_``, too
    :param take: names or paths of files that are taken in, although they may be private
    :param say: takes messages
    :raises LineageError: a folder is not of a run, or cannot be read
    :raises UsageError: the crate cannot be written; or the script has changed since the run
    """
    _check(target, as_zip)
    with tempfile.TemporaryDirectory(prefix="d4pcwl-crate-") as work:
        runs = [_read(folder, Path(work, str(number))) for number, folder in enumerate(folders)]
        who = credits_of(runs[0].metadata, authors, license_)
        if not who.declared:
            say(
                "note: no licence is declared, so nobody else may use the crate; give --license, "
                "or declare it (docs/provenance.md)"
            )
        places, images = _placed(runs, take)
        crate = Crate(runs, places, who, images)
        _write(crate, target, Path(work), as_zip)
        for name, why in sorted(places.left_out.items()):
            say(f"note: {name} is described, but not in the crate: {why}")


def _check(target: Path, as_zip: bool) -> None:
    if as_zip:
        if target.is_dir():
            raise UsageError(f"-o {target}: it is a folder; with --zip, name a file")
    elif target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"-o {target}: something is there; name a new folder")


def _read(folder: Path, work: Path) -> Run:
    """The run that a folder is of.

    :param work: a place for the records of steps
    """
    if is_cwlprov(folder):
        run = cwl_run(folder)
        for number, activity in enumerate(list(run.main.all())):
            _fill(activity, work / str(number))
        return run
    if (folder / NAME).exists() or (folder / PARTS).exists():
        return stream_run(folder)
    raise LineageError(
        f"{folder} is not the folder of a run: it has neither the record of dispel4py --provenance "
        f"({NAME}), nor the folders of cwltool --provenance"
    )


def _fill(activity: Activity, work: Path) -> None:
    """If the tool of an activity was a stream that was recorded, put that into it."""
    if activity.parts:
        return
    for value in activity.outputs.values():
        if is_record(value):
            work.mkdir(parents=True)
            for member in value.members:
                if isinstance(member, Stored) and member.path is not None:
                    (work / member.name).symlink_to(member.path.absolute())
            fill_step(activity, work)
            return


def _placed(runs: Sequence[Run], take: Sequence[str]) -> tuple[Places, dict[Plan, str]]:
    """Places for all files of some runs, and for the pictures of their workflows."""
    places = Places(take)
    images: dict[Plan, str] = {}
    for number, run in enumerate(runs, 1):
        places.add_run(run, number)
        home = places.documents[id(run)].rpartition("/")[0]
        if run.language == "CWL":
            places.files[f"{home}/{JOB}"] = _job(run, places)
        for plan, picture in pictures(run).items():
            suffix, content = drawn(picture)
            stem = "picture" if plan is run.main.plan else f"pictures/{plan.key.replace('/', '_')}"
            images[plan] = f"{home}/{stem}{suffix}"
            places.files[images[plan]] = content
    return places, images


def _job(run: Run, places: Places) -> str:
    """The job order of a run of a CWL document, for the files of the crate."""

    def value_of(value: Any) -> Any:
        if isinstance(value, Stored):
            place = places.of(value)
            return {"class": "File", "location": f"../{quote(place)}"} if place else None
        if isinstance(value, Folder):
            return {"class": "Directory", "location": f"../{quote(places.folders[value])}"}
        if isinstance(value, dict):
            return {key: value_of(entry) for key, entry in value.items()}
        return [value_of(entry) for entry in value] if isinstance(value, list) else value

    inputs = {name: value_of(value) for name, value in run.main.inputs.items()}
    return json.dumps(inputs, indent=1, ensure_ascii=False) + "\n"


def _write(crate: Crate, target: Path, work: Path, as_zip: bool) -> None:
    from rocrate.model.preview import Preview  # type: ignore[import-untyped]
    from rocrate.rocrate import ROCrate  # type: ignore[import-untyped]

    from d4pcwl.crate.page import page

    made = ROCrate(version="1.1")
    made.metadata.extra_contexts.append(CONTEXT)
    plan = crate.runs[0].main.plan
    made.name = plan.title
    made.description = (
        plan.doc or f"A run of the workflow {plan.title}, with the provenance of its results"
    )
    made.datePublished = datetime.now(UTC).isoformat(timespec="seconds")
    entities = Entities(made, crate.places)
    entities.add(crate.runs, crate.images)
    entities.credit(crate.credits)
    preview = work / PREVIEW
    text = page(crate.runs, crate.places, crate.credits, crate.images)
    preview.write_text(text, encoding="utf-8")
    made.add(Preview(made, preview))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".crate-") as beside:
            place = Path(beside, "crate.zip" if as_zip else "crate")
            (made.write_zip if as_zip else made.write)(place)
            os.replace(place, target)
    except OSError as error:
        named = shown(error.filename or target)
        raise UsageError(f"{named}: the crate cannot be made: {error.strerror}") from None
