"""Files that steps update in place (``InplaceUpdateRequirement``): who comes first, and who may.

A step that updates a file comes after the steps of its workflow that read the same value, unless
they depend on it: :func:`readers_before` finds them, and a link of the writer's join awaits them.
While tools run, :class:`SharedMutations` is for all processes of a run what cwltool's
``MutationManager`` is for one: a tool that wants what another one has changed since, or changes, is
refused rather than given the wrong content.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from d4pcwl.cwl.importing.cwltool.document import Document, Path, short_name
from d4pcwl.cwl.importing.graph.links import Link
from d4pcwl.cwl.importing.graph.pes import AFTER, input_origin, origin
from d4pcwl.errors import ItemError

_GENERATION = "http://commonwl.org/cwltool#generation"
_WAIT_SECONDS = 0.02


# --- which steps come after which -----------------------------------------------------------------


def in_place(process: Any) -> bool:
    """Whether a tool updates files in place."""
    required, _ = process.get_requirement("InplaceUpdateRequirement")
    return bool(required and required.get("inplaceUpdate"))


def any_in_place(process: Any) -> bool:
    """Whether a process, or one that it runs, updates files in place."""
    steps = getattr(process, "steps", ())
    return any(any_in_place(step.embedded_tool) for step in steps) if steps else in_place(process)


def readers_before(
    document: Document, links: Mapping[Path, Sequence[Link]]
) -> dict[Path, list[Path]]:
    """For the steps of one workflow that update files, the steps that are to come before.

    :param links: the inputs of its steps
    """
    takers: dict[str, list[tuple[Path, str]]] = {}
    before: dict[Path, set[Path]] = {path: set() for path in links}
    owners = {
        origin(path, short_name(entry["id"])): path
        for path in links
        for entry in document.step(path).tool["outputs"]
    }
    for path, some in links.items():
        for link in some:
            for source in link.sources:
                takers.setdefault(source, []).append((path, link.name))
                if source in owners:
                    before[path].add(owners[source])
    found: dict[Path, list[Path]] = {}
    for path, some in links.items():
        for link in some:
            if not _changes(document, path, link.name):
                continue
            for source in link.sources:
                for reader, name in takers[source]:
                    if reader != path and not _changes(document, reader, name):
                        found.setdefault(path, []).append(reader)
    result: dict[Path, list[Path]] = {}
    for path, readers in found.items():
        chosen = [reader for reader in dict.fromkeys(readers) if not _needs(before, reader, path)]
        if chosen:
            result[path] = chosen
            before[path] |= set(chosen)  # of two that await each other the first has its way
    return result


def after(document: Document, readers: Sequence[Path]) -> Link:
    """The link of a join that awaits steps."""
    sources = [
        origin(path, short_name(entry["id"]))
        for path in readers
        for entry in document.step(path).tool["outputs"]
    ]
    return Link(AFTER, tuple(sources), "merge_nested")


def _needs(before: Mapping[Path, set[Path]], path: Path, other: Path) -> bool:
    """Whether a step depends on another, directly or not."""
    waiting, seen = [path], {path}
    while waiting:
        for near in before[waiting.pop()]:
            if near == other:
                return True
            if near not in seen:
                seen.add(near)
                waiting.append(near)
    return False


def _changes(document: Document, path: Path, name: str) -> bool:
    """Whether a step changes the file that it is given by an input."""
    process: Any = document.at(path)
    if process.tool["class"] != "Workflow":
        return in_place(process) and name in _writable(process)
    source = input_origin(path, name)
    for inner in process.steps:
        for entry in inner.tool["inputs"]:
            given = entry.get("source", [])
            names = [given] if isinstance(given, str) else given
            ids = {input_origin(path, short_name(one)) for one in names if _is_input(process, one)}
            inside = (*path, short_name(inner.id))
            if source in ids and _changes(document, inside, short_name(entry["id"])):
                return True
    return False


def _is_input(process: Any, source: str) -> bool:
    return any(entry["id"] == source for entry in process.tool["inputs"])


def _writable(process: Any) -> set[str]:
    """The inputs whose files a tool has staged writable; all where that is not to be seen."""
    everything = {short_name(entry["id"]) for entry in process.tool["inputs"]}
    work, _ = process.get_requirement("InitialWorkDirRequirement")
    listing: Any = work["listing"] if work else []
    if isinstance(listing, str):
        return everything
    found: set[str] = set()
    for entry in listing:
        if isinstance(entry, str):
            found |= everything if "${" in entry else set()
        elif entry.get("writable"):
            named = re.findall(r"inputs\s*(?:\.\s*(\w+)|\[\s*['\"]([^'\"]+))", str(entry["entry"]))
            found |= {one or other for one, other in named} or everything
    return found


# --- who may, while tools run ---------------------------------------------------------------------


class SharedMutations:
    """cwltool's ``MutationManager`` for one execution of a tool, in a run of several processes.

    What is known of each file is in a file of the run's folder: its generation, which grows with
    every update, who updated it last, and which processes read it. Where cwltool refuses to update
    what is being read, this waits until those who read it are done.

    :param folder: the run's
    :param stopped: asked while it waits, whether it is to give up
    """

    def __init__(self, folder: str, stopped: Any) -> None:
        self._folder, self._stopped = os.path.join(folder, "updates"), stopped
        self._reading: list[str] = []

    def register_reader(self, stepname: str, obj: Any) -> None:
        """Note that a tool reads a file.

        :raises WorkflowException: it has been updated since
        """
        with self._state(obj) as state:
            self._check(stepname, "read", obj, state)
            state["readers"].append(os.getpid())
            self._reading.append(obj["location"])

    def release_reader(self, stepname: str, obj: Any) -> None:
        """Note that it has been read."""
        if obj["location"] in self._reading:
            self._reading.remove(obj["location"])
            with self._state(obj) as state, contextlib.suppress(ValueError):
                state["readers"].remove(os.getpid())

    def register_mutation(self, stepname: str, obj: Any) -> None:
        """Note that a tool is going to update a file; waits for those who read it.

        :raises WorkflowException: it has been updated since, or is being updated
        """
        from cwltool.errors import WorkflowException

        if obj["location"] in self._reading:
            raise WorkflowException(f"{stepname} wants to modify {obj['location']} and to read it")
        while True:
            with self._state(obj) as state:
                self._check(stepname, "modify", obj, state)
                state["readers"] = [pid for pid in state["readers"] if _is_alive(pid)]
                if not state["readers"]:
                    state["generation"] += 1
                    state["step"] = stepname
                    return
            if self._stopped():
                raise ItemError(f"{obj['location']} is being read, and the run has been stopped")
            time.sleep(_WAIT_SECONDS)

    def set_generation(self, obj: Any) -> None:
        """Mark a file as what it is now."""
        with self._state(obj) as state:
            obj[_GENERATION] = state["generation"]

    def unset_generation(self, obj: Any) -> None:
        """Remove the mark."""
        obj.pop(_GENERATION, None)

    def release_all(self) -> None:
        """Note that nothing is read any more: the execution has ended, however."""
        for location in list(self._reading):
            self.release_reader("", {"location": location})

    def _check(self, stepname: str, what: str, obj: Any, state: dict[str, Any]) -> None:
        from cwltool.errors import WorkflowException

        if obj.get(_GENERATION, 0) != state["generation"]:
            raise WorkflowException(
                f"{stepname} wants to {what} {obj['location']}, but {state['step']} has updated it "
                "in place: take that step's output instead"
            )

    @contextmanager
    def _state(self, obj: Any) -> Iterator[dict[str, Any]]:
        """What is known of a file, and may be changed; nobody else sees it meanwhile."""
        os.makedirs(self._folder, exist_ok=True)
        name = hashlib.sha256(obj["location"].encode()).hexdigest()
        with open(os.path.join(self._folder, name), "a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            state = json.loads(text) if text else {"generation": 0, "readers": [], "step": ""}
            yield state
            file.seek(0)
            file.truncate()
            json.dump(state, file)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
