"""Where the files of a run are in its crate.

``workflow/`` has the documents, ``inputs/`` and ``outputs/`` the files that went into the run and
came out of it, ``intermediate/`` those that went from step to step, ``records/`` the provenance as
it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from d4pcwl.crate.runs import Activity, Folder, Run, Stored
from d4pcwl.cwl.gathering import secret_by_name, secret_in
from d4pcwl.lineage.prov import JSON_NAME, N_NAME
from d4pcwl.lineage.record import NAME

WORKFLOW, INPUTS, OUTPUTS = "workflow", "inputs", "outputs"
INTERMEDIATE, RECORDS = "intermediate", "records"
_UNFIT = re.compile(r"[^\w.+-]+")


class Places:
    """The places of files and folders, seen from the crate.

    :param asked: the names or paths of files that are taken in, although they may be private

    :ivar left_out: why files are described, but not in the crate, by their names
    :ivar files: from places to where the files are now, or to their contents
    :ivar stored: what is known of files, by their places
    :ivar folders: from folders to their places, which end in ``/``
    :ivar documents: the place of the main document of each run, by the run's ``id``
    :ivar records: from the keys of activities to the places of their records, which end in ``/``
    """

    def __init__(self, asked: Iterable[str] = ()) -> None:
        self.left_out: dict[str, str] = {}
        self._asked = set(asked)
        self._checked: dict[tuple[str, str], str] = {}
        self._folders: set[str] = set()
        self._by_name: dict[tuple[str, str], str] = {}
        self._earlier: dict[tuple[str, str], str] = {}
        self.files: dict[str, Path | str | bytes] = {}
        self.folders: dict[Folder, str] = {}
        self.records: dict[str, str] = {}
        self.documents: dict[int, str] = {}
        self.stored: dict[str, Stored] = {}
        self._by_key: dict[tuple[str, str], str] = {}

    def of(self, file: Stored) -> str | None:
        """The place of a file; None if the crate does not have its bytes."""
        return self._by_key.get(file.key)

    def add_run(self, run: Run, number: int) -> None:
        """Find places for all that belongs to a run.

        :param number: from 1; the documents of later runs have folders of their own
        """
        self._earlier = dict(self._by_name)
        home = WORKFLOW if number == 1 else f"{WORKFLOW}-{number}"
        for name, content in run.documents.items():
            self.files[f"{home}/{name}"] = content
        self.documents[id(run)] = f"{home}/{next(iter(run.documents))}"
        for name, path in run.records.items():
            self.files[self._free(f"{RECORDS}/{name}")] = path
        for activity in run.main.all():
            for value in activity.inputs.values():
                for file in value if isinstance(value, list) else [value]:
                    # The scripts of tools, and their modules, belong to the document.
                    if isinstance(file, Stored) and file.name.endswith(".py"):
                        self._put(file, home)
            if activity.record is not None:
                self._add_record(activity, run)
        for value in run.main.inputs.values():
            self._add(value, INPUTS)
        for value in run.main.outputs.values():
            self._add(value, OUTPUTS)
        for activity in run.main.all():
            for value in (*activity.inputs.values(), *activity.outputs.values()):
                self._add(value, INTERMEDIATE)

    def _add_record(self, activity: Activity, run: Run) -> None:
        assert activity.record is not None
        whole = Path(next(iter(run.documents))).stem
        stem = whole if activity is run.main else _UNFIT.sub("_", activity.title)
        home, number = f"{RECORDS}/{stem}/", 2
        while home in self.records.values():
            home, number = f"{RECORDS}/{stem}_{number}/", number + 1
        self.records[activity.key] = home
        for name in (NAME, JSON_NAME, N_NAME):
            if (activity.record / name).exists():
                self.files[f"{home}{name}"] = activity.record / name
        for value in activity.outputs.values():
            if is_record(value):
                self.folders.setdefault(value, home)
                for member in value.members:
                    if isinstance(member, Stored) and f"{home}{member.name}" in self.files:
                        self._by_key.setdefault(member.key, f"{home}{member.name}")

    def _add(self, value: Any, home: str) -> None:
        if isinstance(value, Stored):
            self._put(value, home)
        elif isinstance(value, Folder):
            if value not in self.folders:
                place = self._free(f"{home}/{value.name}")
                self._folders.add(place)
                self.folders[value] = f"{place}/"
                self._fill(value, place)
        elif isinstance(value, (list, dict)):
            for entry in value if isinstance(value, list) else value.values():
                self._add(entry, home)

    def _put(self, file: Stored, home: str) -> None:
        if file.key in self._by_key or not self._may_have(file):
            return
        short = (file.digest, file.name)
        place = self._earlier.get(short) or (None if file.within else self._by_name.get(short))
        if place is None:
            place = self._free(f"{home}/{file.within or file.name}")
            assert file.path is not None
            self.files[place], self.stored[place] = file.path, file
        self._by_key[file.key] = self._by_name[short] = place

    def _may_have(self, file: Stored) -> bool:
        """Whether a file may be in the crate."""
        names = {file.name, file.within, str(file.path)}
        why = self._checked.get(file.key)
        if file.path is None:
            why = "it has changed since the run, or is gone"
        elif names & self._asked:
            why = ""
        elif why is None:
            code = file.name.endswith(".py")
            why = file.private or secret_by_name(file.name) or secret_in(file.path, code=code)
        self._checked[file.key] = why
        if why:
            self.left_out[file.within or file.name] = why
        return not why

    def _fill(self, folder: Folder, place: str) -> None:
        for member in folder.members:
            inner = f"{place}/{member.name}"
            if isinstance(member, Folder):
                self._fill(member, inner)
            elif self._may_have(member):
                assert member.path is not None
                self._by_key.setdefault(member.key, inner)
                self._by_name.setdefault((member.digest, member.name), inner)
                self.files[inner], self.stored[inner] = member.path, member

    def _free(self, place: str) -> str:
        """A place that nothing has: the name stays, and a folder with a number comes before it."""
        path, number, found = PurePosixPath(place), 2, place
        while found in self.files or found in self._folders:
            found, number = f"{path.parent}/{number}/{path.name}", number + 1
        return found


def is_record(value: Any) -> bool:
    """Whether a value is a folder with the record of a stream."""
    return isinstance(value, Folder) and any(
        isinstance(member, Stored) and member.name == NAME for member in value.members
    )


def members(folder: Folder, place: str) -> Iterator[tuple[str, Stored]]:
    """The files in a folder, also in those in it, with their places."""
    for member in folder.members:
        if isinstance(member, Folder):
            yield from members(member, f"{place}{member.name}/")
        else:
            yield f"{place}{member.name}", member
