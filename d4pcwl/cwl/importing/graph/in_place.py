"""The order of steps that update files in place (``InplaceUpdateRequirement``). A step that updates
a file comes after the steps of its workflow that read the same value, unless they depend on it.
:func:`readers_before` finds these steps, and the writer's join has a link to wait for them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from d4pcwl.cwl.importing.cwltool.document import Document, StepPath, short_name
from d4pcwl.cwl.importing.cwltool.updates import in_place
from d4pcwl.cwl.importing.graph.declared import listed
from d4pcwl.cwl.importing.graph.flows import by_source
from d4pcwl.cwl.importing.graph.links import Link
from d4pcwl.cwl.importing.graph.pes import AFTER, input_origin, origin


def readers_before(
    document: Document, links: Mapping[StepPath, Sequence[Link]]
) -> dict[StepPath, list[StepPath]]:
    """For the steps of one workflow that update files, the steps that are to come before.

    :param links: the inputs of its steps
    """
    takers = by_source(links)
    owners = {
        origin(path, short_name(entry["id"])): path
        for path in links
        for entry in document.step(path).tool["outputs"]
    }
    before = {
        path: {owners[source] for link in some for source in link.sources if source in owners}
        for path, some in links.items()
    }
    found: dict[StepPath, list[StepPath]] = {}
    for path, some in links.items():
        for link in some:
            if not _changes(document, path, link.name):
                continue
            for source in link.sources:
                for reader, taken in takers[source]:
                    if reader != path and not _changes(document, reader, taken.name):
                        found.setdefault(path, []).append(reader)
    result: dict[StepPath, list[StepPath]] = {}
    for path, readers in found.items():
        chosen = [reader for reader in dict.fromkeys(readers) if not _needs(before, reader, path)]
        if chosen:
            result[path] = chosen
            # Of two steps that would wait for each other, the first one does not wait.
            before[path] |= set(chosen)
    return result


def after(document: Document, readers: Sequence[StepPath]) -> Link:
    """The link of a join that waits for steps."""
    sources = [
        origin(path, short_name(entry["id"]))
        for path in readers
        for entry in document.step(path).tool["outputs"]
    ]
    return Link(AFTER, tuple(sources), "merge_nested")


def _needs(before: Mapping[StepPath, set[StepPath]], path: StepPath, other: StepPath) -> bool:
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


def _changes(document: Document, path: StepPath, name: str) -> bool:
    """Whether a step changes the file of an input."""
    process: Any = document.at(path)
    if process.tool["class"] != "Workflow":
        return in_place(process) and name in _writable(process)
    source = input_origin(path, name)
    for inner in process.steps:
        for entry in inner.tool["inputs"]:
            given = [one for one in listed(entry.get("source")) if _is_input(process, one)]
            ids = {input_origin(path, short_name(one)) for one in given}
            inside = (*path, short_name(inner.id))
            if source in ids and _changes(document, inside, short_name(entry["id"])):
                return True
    return False


def _is_input(process: Any, source: str) -> bool:
    return any(entry["id"] == source for entry in process.tool["inputs"])


def _writable(process: Any) -> set[str]:
    """The inputs whose files a tool stages as writable; all inputs if that is not known."""
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
