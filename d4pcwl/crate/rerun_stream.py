"""Running a stream again, by the record that a crate has of it.

The files of the run are laid out as they were: all that is below the folder that is around them.
Paths in the arguments of the command are replaced by those of the new folder.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from d4pcwl.crate.crates import Crate
from d4pcwl.crate.running import Output, Say, carry_out
from d4pcwl.errors import LineageError, RunError
from d4pcwl.lineage.comparing import DIFFERENT, EQUAL, Verdict, compare, compare_items
from d4pcwl.lineage.indexing import MADE
from d4pcwl.lineage.record import INVOCATION, RESULT, Record
from d4pcwl.lineage.run_record import installed_packages, sha256_of

_OURS = ("--provenance", "--provenance-config")
"""Options that have a value, and that are not part of what is computed."""

_FILES, _RECORD = "run", "record"
_ABSOLUTE = re.compile(r"(?<![\w.:/~-])/[\w.@+-]+(?:/[\w.@+ -]+)*")
_UPWARD = re.compile(r"""[^\s"'=,]*\.\.[^\s"',]*""")
_MOST_SHOWN = 5


def rerun_stream(crate: Crate, record: Record, target: Path, say: Say) -> Iterator[Output]:
    """Run a stream again; see :func:`~d4pcwl.crate.rerun.rerun`."""
    results = _results(record)
    layout = _Layout(crate, record, target / _FILES)
    layout.lay_out()
    arguments = layout.arguments()
    command = [sys.executable, "-m", "d4pcwl", "run", *arguments]
    try:
        carry_out([*command, "--provenance", str(target / _RECORD)], layout.folder, say)
    except RunError:
        _tell_versions(record, say)
        raise
    again = Record(target / _RECORD)
    found = _results(again)
    layout.check_reads(again)
    same = True
    for output in layout.compared(again, results, found):
        same = same and output.verdict.kind != DIFFERENT
        yield output
    if not same:
        _tell_versions(record, say)


class _Layout:
    """Where the files of a run were, and are now.

    :ivar folder: in which the command runs
    """

    def __init__(self, crate: Crate, record: Record, target: Path) -> None:
        self._crate, self._record, self._target = crate, record, target
        head, tail = record.head, record.tail
        if not head["arguments"]:
            raise LineageError(
                f"{crate.folder}: its run was not started by the command dispel4py, but by a "
                "program of its own, so it cannot be run again"
            )
        self._files: dict[str, dict[str, Any]] = tail.get("files", {})
        self._code: dict[str, str] = head["code"]
        made = [path for path, told in self._files.items() if told["role"] in MADE]
        self._made = [path for path in made if self._files[path]["sha256"] is not None]
        needed = {p: told["sha256"] for p, told in self._files.items() if told["role"] not in MADE}
        there = {path: digest for path, digest in needed.items() if digest is not None}
        self._needed = {**there, **self._code}
        for path in (head["folder"], *self._needed, *self._made):
            if not os.path.isabs(path) or os.path.normpath(path) != path:
                raise LineageError(f"{crate.folder}: its record has an invalid path, {path!r}")
        folders = {os.path.dirname(path) for path in (*self._needed, *self._made)}
        self._base: str = os.path.commonpath([head["folder"], *folders])
        self.folder = self.place(head["folder"])

    def place(self, path: str) -> Path:
        """Where a file of the run is now."""
        return self._target / os.path.relpath(path, self._base)

    def lay_out(self) -> None:
        """Copy the files out of the crate.

        :raises LineageError: some are not in it
        """
        missing = []
        for path, digest in self._needed.items():
            source = self._crate.files.get(bytes.fromhex(digest))
            if source is None:
                missing.append(path)
                continue
            place = self.place(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
        if missing:
            more = len(missing) - _MOST_SHOWN
            names = ", ".join(missing[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")
            raise LineageError(
                f"{self._crate.folder}: the run needs files that are not in the crate: {names}"
            )
        for path in (*self._made, os.path.join(self._record.head["folder"], "x")):
            self.place(path).parent.mkdir(parents=True, exist_ok=True)

    def arguments(self) -> list[str]:
        """The arguments of the command, with the paths of now.

        :raises LineageError: they name something that is not in the crate
        """
        known: set[str] = set()
        for path in (*self._needed, *self._made, self._record.head["folder"]):
            while path not in known and len(path) >= len(self._base) and path != os.sep:
                known.add(path)
                path = os.path.dirname(path)
        names = "|".join(re.escape(path) for path in sorted(known, key=len, reverse=True))
        ours = re.compile(rf"(?<![\w.:/~-])(?:{names})(?![\w.@+-])") if names else None
        found = []
        outside: set[str] = set()
        for argument in _without_ours(self._record.head["arguments"]):
            left = argument
            if ours is not None:
                left = ours.sub("", argument)
                argument = ours.sub(lambda match: str(self.place(match[0])), argument)
            outside.update(path for path in _ABSOLUTE.findall(left) if os.path.lexists(path))
            outside.update(path for path in _UPWARD.findall(argument) if self._leaves(path))
            found.append(argument)
        if outside:
            raise LineageError(
                f"{self._crate.folder}: the command names {', '.join(sorted(outside))}, which is "
                "not in the crate"
            )
        return found

    def _leaves(self, path: str) -> bool:
        """Whether a path in an argument leads out of the new folder."""
        place = os.path.normpath(os.path.join(self.folder, path))
        return not Path(place).is_relative_to(self._target)

    def check_reads(self, again: Record) -> None:
        """Refuse a run that has read what is not in the crate.

        :raises LineageError: it has
        """
        outside = [
            path
            for path, told in again.tail.get("files", {}).items()
            if told["role"] not in MADE
            and not Path(path).is_relative_to(self._target)
            and told["sha256"] is not None
            and bytes.fromhex(told["sha256"]) not in self._crate.files
        ]
        if outside:
            raise LineageError(
                f"{self._crate.folder}: its code has read {', '.join(outside[:_MOST_SHOWN])}, "
                "which is not in the crate, so this was not the same run"
            )

    def compared(
        self, again: Record, before: Mapping[str, list[Any]], after: Mapping[str, list[Any]]
    ) -> Iterator[Output]:
        """How the outputs of two runs compare."""
        unordered = {
            f"{pe['name'] or pe['pe']}.{output}"
            for pe in self._record.head["pes"]
            for output in {name.rpartition(".")[2] for name in before}
            if not pe.get("ordered", True)
        }
        for path in self._made:
            told, place = self._files[path], self.place(path)
            yield Output(
                str(place.relative_to(self._target)), self._of_file(told, place, unordered)
            )
        made = {str(self.place(path)) for path in self._made}
        for path, told in again.tail.get("files", {}).items():
            if told["role"] in MADE and path not in made and told["sha256"] is not None:
                name = os.path.relpath(path, self._target)
                yield Output(name, Verdict(DIFFERENT, "the run of the crate did not write it"))
        if not any(told["role"] == "results" for told in self._files.values()):
            for output in sorted({*before, *after}):
                items = (before.get(output, []), after.get(output, []))
                yield Output(
                    f"results of {output}", compare_items(*items, ordered=output not in unordered)
                )

    def _of_file(self, told: Mapping[str, Any], place: Path, unordered: set[str]) -> Verdict:
        if not place.is_file():
            return Verdict(DIFFERENT, "it was not written")
        source = self._crate.files.get(bytes.fromhex(told["sha256"]))
        if source is not None:
            return compare(source, place, unordered=unordered)
        if sha256_of(place) == told["sha256"]:
            return Verdict(EQUAL)
        return Verdict(
            DIFFERENT, "its content has changed, and the earlier content is not in the crate"
        )


def _without_ours(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments without those of the record."""
    left = iter(arguments)
    for argument in left:
        name, equals, _ = argument.partition("=")
        if name in _OURS:
            if not equals:
                next(left, None)
        else:
            yield argument


def _results(record: Record) -> dict[str, list[Any]]:
    """By output, the digests of the results; of one that was not recorded, None."""
    names = {pe["pe"]: pe["name"] or pe["pe"] for pe in record.head["pes"]}
    traces: dict[str, list[bytes]] = defaultdict(list)
    digests: dict[bytes, bytes | None] = {}
    for value in record:
        if value[0] == RESULT:
            traces[f"{names.get(value[1], value[1])}.{value[2]}"].append(value[3])
        elif value[0] == INVOCATION:
            digests |= {write[0]: write[2] for write in value[8]}
    return {output: [digests.get(t) for t in found] for output, found in traces.items()}


def _tell_versions(record: Record, say: Say) -> None:
    """Say which packages have other versions here."""
    here = installed_packages()
    was: Iterable[tuple[str, str]] = record.head["packages"].items()
    other = [
        f"{name} {here.get(name, 'is missing')} (was {v})" for name, v in was if here.get(name) != v
    ]
    if other:
        more = f" and {len(other) - _MOST_SHOWN} more" if len(other) > _MOST_SHOWN else ""
        say(f"note: packages have other versions here: {', '.join(other[:_MOST_SHOWN])}{more}")
