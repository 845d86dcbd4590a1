"""Running a CWL workflow again, by the engine that is there."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from d4pcwl.crate.crates import Crate, Entity
from d4pcwl.crate.running import Output, Say, carry_out, files_below
from d4pcwl.cwl.emit.tool import PRINTED
from d4pcwl.errors import LineageError, RunError
from d4pcwl.lineage.comparing import DIFFERENT, EQUAL, Verdict, compare
from d4pcwl.lineage.record import NAME
from d4pcwl.workflow.texts import read_file

_JOB = "job.json"
_OUTPUTS = "outputs"
_REFERENCES = ("$import", "$include", "$mixin", "$graph", "run")


def rerun_cwl(
    crate: Crate, action: Entity, document: Path, target: Path, say: Say
) -> Iterator[Output]:
    """Run a workflow again; see :func:`~d4pcwl.crate.rerun.rerun`."""
    home = _Home(crate, document.parent)
    target.mkdir(parents=True, exist_ok=True)
    copies = []
    for source in (document, document.with_name(_JOB)):
        value = home.confined(read_file(source)) if source.exists() else {}
        copies.append(target / source.with_suffix(".json").name)
        copies[-1].write_text(json.dumps(value, indent=1), encoding="utf-8")
    if home.outside:
        names = ", ".join(sorted(home.outside))
        raise LineageError(f"{document}: it refers to files outside of the crate: {names}")
    engine = _engine(crate, action, say)
    outdir = target / _OUTPUTS
    told = carry_out(
        [*engine, "--quiet", "--outdir", str(outdir), *map(str, copies)], target, say, keep=True
    )
    outputs = json.loads(told)
    before = _outputs(crate, action)
    for port, entities in before.items():
        yield from _compared(crate, port, entities, outputs.get(port), outdir)


def _engine(crate: Crate, action: Entity, say: Say) -> list[str]:
    """The command of the engine that ran the crate, or of another one if that is not here.

    :raises RunError: there is none
    """
    names = [
        str(engine.get("name"))
        for organize in crate.of_type("OrganizeAction")
        if any(found["@id"] == action["@id"] for found in crate.linked(organize, "result"))
        for engine in crate.linked(organize, "instrument")
    ]
    here = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    for name in ("cwltool", "d4pcwl-runner"):
        if name in names and (found := shutil.which(name, path=here)):
            return [found]
    for name in ("cwltool", "d4pcwl-runner"):
        if found := shutil.which(name, path=here):
            say(f"note: {', '.join(names) or 'the engine'} is not installed here; {name} runs it")
            return [found]
    raise RunError("no CWL engine is installed: pip install cwltool")


class _Home:
    """What a document of a crate refers to.

    :ivar outside: references that leave the crate
    """

    def __init__(self, crate: Crate, folder: Path) -> None:
        self._crate, self._folder = crate, folder
        self.outside: set[str] = set()
        self._by_name: dict[str, set[Path]] = defaultdict(set)
        for path in crate.files.values():
            self._by_name[path.name].add(path)

    def confined(self, value: Any) -> Any:
        """A value of a document or a job order, with the absolute locations of files in the crate.

        A file of another machine, as the scripts of tools are, becomes the one in the crate that
        has its name. A default without one is left out, and its input is optional: its step was
        not run.
        """
        if isinstance(value, list):
            return [self.confined(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        made = {
            key: entry if key == "default" and self._lacks(entry) else self.confined(entry)
            for key, entry in value.items()
            if key != "$schemas"
        }
        if self._lacks(value.get("default")):
            del made["default"]
            if "type" in made:
                kinds = made["type"] if isinstance(made["type"], list) else [made["type"]]
                made["type"] = ["null", *(kind for kind in kinds if kind != "null")]
        for key in _REFERENCES:
            if isinstance(made.get(key), str) and not made[key].startswith("#"):
                made[key] = self._inside(made[key], by_name=False)
        if made.get("class") in ("File", "Directory"):
            for key in ("location", "path"):
                if isinstance(made.get(key), str):
                    made["location"] = self._inside(made[key], by_name=True)
            made.pop("path", None)
        return made

    def _lacks(self, value: Any) -> bool:
        """Whether a value has a file of another machine that the crate does not have."""
        if isinstance(value, list):
            return any(map(self._lacks, value))
        if not isinstance(value, dict) or value.get("class") != "File":
            return False
        parts = urlsplit(value.get("location") or value.get("path") or "")
        path = Path(unquote(parts.path))
        return parts.scheme == "file" and not self._crate.has(path) and not self._same(path)

    def _same(self, path: Path) -> set[Path]:
        """The files of the crate with a name."""
        return self._by_name.get(path.name, set())

    def _inside(self, reference: str, *, by_name: bool) -> str:
        parts = urlsplit(reference)
        if parts.scheme not in ("", "file"):
            self.outside.add(reference)
            return reference
        path = self._folder / unquote(parts.path)
        if not self._crate.has(path):
            same = self._same(path) if by_name and parts.scheme == "file" else ()
            if len(same) == 1:
                path = next(iter(same))
            else:
                self.outside.add(reference)
        end = f"#{parts.fragment}" if parts.fragment else ""
        return Path(os.path.abspath(path)).as_uri() + end


# --- outputs --------------------------------------------------------------------------------------


def _outputs(crate: Crate, action: Entity) -> dict[str, list[Entity]]:
    """By port, what came out of the workflow."""
    ports = {port["@id"]: str(port["name"]) for port in crate.linked(crate.main, "output")}
    found: dict[str, list[Entity]] = {}
    for entity in crate.linked(action, "result"):
        for port in crate.linked(entity, "exampleOfWork"):
            if port["@id"] in ports:
                found.setdefault(ports[port["@id"]], []).append(entity)
    return found


def _compared(
    crate: Crate, port: str, entities: list[Entity], value: Any, outdir: Path
) -> Iterator[Output]:
    told = next(p for p in crate.linked(crate.main, "output") if p["name"] == port)
    printed = str(told.get("description")).startswith(PRINTED)
    came = {Path(path).name: Path(path) for path in _paths(value)}
    for entity in entities:
        before = crate.path(entity)
        if entity.get("@type") == "PropertyValue":
            yield Output(port, _of_values(entity.get("value"), value))
            continue
        if before is None:
            yield Output(port, Verdict(DIFFERENT, "its content is not in the crate"))
            continue
        after = came.get(before.name)
        if before.is_dir() and (before / NAME).exists():
            continue  # the record of a run: that is another one now
        if after is None and printed and not before.stat().st_size:
            yield Output(port, Verdict(EQUAL))  # it is left out where nothing was printed
        elif after is None or not after.exists():
            yield Output(f"{port}: {before.name}", Verdict(DIFFERENT, "it was not written"))
        elif before.is_dir():
            yield from _of_folders(port, before, after)
        else:
            yield Output(
                f"{port}: {after.name}", compare(before, after, lines_in_any_order=printed)
            )


def _of_folders(port: str, before: Path, after: Path) -> Iterator[Output]:
    was, came = set(files_below(before)), set(files_below(after))
    for name in sorted(was | came):
        place = f"{port}: {after.name}/{name}"
        if name not in came:
            yield Output(place, Verdict(DIFFERENT, "it was not written"))
        elif name not in was:
            yield Output(place, Verdict(DIFFERENT, "it is not in the crate"))
        else:
            yield Output(place, compare(before / name, after / name))


def _of_values(before: Any, after: Any) -> Verdict:
    text = after if isinstance(after, str) else json.dumps(after)
    if text == before:
        return Verdict(EQUAL)
    return Verdict(DIFFERENT, f"{before} before, {text} now")


def _paths(value: Any) -> Iterator[str]:
    """The paths of the files and folders in an output."""
    if isinstance(value, dict) and value.get("class") in ("File", "Directory"):
        yield unquote(urlsplit(value["location"]).path)
        for more in value.get("secondaryFiles", ()):
            yield from _paths(more)
    elif isinstance(value, (list, dict)):
        for entry in value if isinstance(value, list) else value.values():
            yield from _paths(entry)
