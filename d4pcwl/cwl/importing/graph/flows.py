"""Which streams between steps may be read while they are written.

A step that ``d4p2cwl`` compiled writes streams to files, which can be read while they are written
(:mod:`d4pcwl.streams.live`). So the steps that take a stream need not wait for the step that makes
it, if all of them are such steps, too, and nothing else uses the file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from d4pcwl.cwl.emit.parameter import NAMESPACE, STREAM_FORMAT
from d4pcwl.cwl.importing.cwltool.document import Document, StepPath, is_loop, short_name
from d4pcwl.cwl.importing.graph.links import Link
from d4pcwl.cwl.importing.graph.pes import ToolPE, input_origin, origin
from d4pcwl.workflow.lazy import cached_property

DIGEST = NAMESPACE["d4p"] + "digest"
"""The field in which ``d4p2cwl`` writes the digest of a process."""

_BySource = defaultdict[str, list[tuple[StepPath, Link]]]
"""Links by their sources, each with its step or workflow."""


@dataclass(frozen=True)
class Flows:
    """The links of a document, as its steps have them.

    :param inputs: by step
    :param outputs: by workflow
    """

    document: Document
    inputs: Mapping[StepPath, Sequence[Link]]
    outputs: Mapping[StepPath, Sequence[Link]]

    def followed(self) -> dict[StepPath, dict[str, str]]:
        """By step, the outputs that may be read while they are written, and the names of their
        files."""
        found: dict[StepPath, dict[str, str]] = {}
        for path in self.inputs:
            for name, file in self._streams_left(path):
                if self._may_follow(origin(path, name)):
                    found.setdefault(path, {})[name] = file
        return found

    def let_follow(self, tools: Mapping[StepPath, ToolPE]) -> int:
        """Tell the tools of steps which of their outputs may be read while they are written.

        :returns: how many steps have such outputs
        """
        followed = self.followed()
        for path, tool in tools.items():
            tool.followed = followed.get(path, {})
        return len(followed)

    def _streams_left(self, path: StepPath) -> Iterator[tuple[str, str]]:
        """The outputs of a step that are streams, each with its file's name."""
        if not self._runs_here(path) or (path and is_loop(self.document.step(path))):
            return
        tool: Any = self.document.at(path).tool
        for entry in tool["outputs"]:
            glob = entry.get("outputBinding", {}).get("glob")
            if _is_stream(entry) and isinstance(glob, str) and not set(glob) & set("*?[$/"):
                yield short_name(entry["id"]), glob

    def _may_follow(self, source: str) -> bool:
        """Whether all steps that take from ``source``, directly or not, may read while it is
        written."""
        waiting, taken = [source], False
        while waiting:
            source = waiting.pop()
            for path, link in self._takers[source]:
                if not self._is_plain(path, link):
                    return False
                if self.document.at(path).tool["class"] == "Workflow":
                    waiting.append(input_origin(path, link.name))
                elif self._takes_stream(path, link.name):
                    taken = True
                else:
                    return False
            for path, link in self._leavers[source]:
                if not path or link.pick or is_loop(self.document.step(path)):
                    return False
                waiting.append(origin(path, link.name))
        return taken

    @cached_property
    def _takers(self) -> _BySource:
        """To each source the inputs of steps that take from it."""
        return by_source(self.inputs)

    @cached_property
    def _leavers(self) -> _BySource:
        """To each source the outputs of workflows that take it."""
        return by_source(self.outputs)

    def _is_plain(self, path: StepPath, link: Link) -> bool:
        """Whether a step's input takes the values of its sources directly, without an
        expression."""
        if link.pick:
            return False
        step: Any = self.document.step(path).tool
        entries: Any = [*step["inputs"], *self.document.at(path).tool["inputs"]]
        altered = any("valueFrom" in entry or entry.get("loadContents") for entry in entries)
        return not altered and "when" not in step

    def _takes_stream(self, path: StepPath, name: str) -> bool:
        process = self.document.at(path)
        entries: Any = process.tool["inputs"]
        (entry,) = [entry for entry in entries if short_name(entry["id"]) == name]
        limited, _ = process.get_requirement("ToolTimeLimit")  # waiting would count
        return _is_stream(entry) and not limited and self._runs_here(path)

    def _runs_here(self, path: StepPath) -> bool:
        """Whether a step runs ``dispel4py`` as the compiler writes it, and not in a container."""
        process, settings = self.document.at(path), self.document.settings
        contained, _ = process.get_requirement("DockerRequirement")
        return is_compiled(process.tool) and not (
            settings.container and (contained or settings.default_container)
        )


def by_source(links: Mapping[StepPath, Sequence[Link]]) -> _BySource:
    """The links of steps or workflows by their sources."""
    found: _BySource = defaultdict(list)
    for path, some in links.items():
        for link in some:
            for source in dict.fromkeys(link.sources):
                found[source].append((path, link))
    return found


def is_compiled(tool: Any) -> bool:
    """Whether ``d4p2cwl`` made a tool."""
    return (
        tool["class"] == "CommandLineTool"
        and tool.get("baseCommand") == ["dispel4py"]
        and DIGEST in tool
    )


def _is_stream(entry: Any) -> bool:
    return bool(entry.get("format") == STREAM_FORMAT and entry.get("streamable"))
