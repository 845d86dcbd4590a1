"""From a cut graph to a Workflow: a step for each stage, connected by stream files. Streams go from
the stage that writes them to those that take them. A file or folder that one stage writes goes to
the next one that reads it. All other values come from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from d4pcwl.cwl.declare.declarations import FileUse
from d4pcwl.cwl.emit.enclosing import enclosed_composites, enclosed_runs
from d4pcwl.cwl.emit.parameter import (
    Output,
    Parameter,
    identifier,
    new_identifier,
    parameter_identifier,
)
from d4pcwl.cwl.emit.parts import SHARD, Facts, Tool
from d4pcwl.cwl.emit.streams import Stream, Taken, streams_of
from d4pcwl.cwl.emit.tool import make_tool
from d4pcwl.cwl.emit.tool_inputs import FoundData
from d4pcwl.cwl.emit.workflow import Link, Step, Workflow
from d4pcwl.workflow.cut import Stage
from d4pcwl.workflow.shards import Sharding

_SHARDS = "shards"
"""The parameter of the Workflow with the numbers of the shards."""


def staged_workflow(facts: Facts, sharding: Sharding) -> Workflow:
    """The Workflow of a cut graph. Sharded stages are scattered; those with the same shards are in
    a subworkflow. Without shards, composites with several stages are subworkflows."""
    building = _Building(facts, sharding, _tools(facts, sharding))
    for stage in sharding.cut.stages:
        building.add(stage)
    whole = facts.declarations.whole
    workflow = Workflow(
        "main",
        whole.label or facts.reading.title or facts.script.stem,
        whole.doc or facts.reading.doc,
        list(building.parameters.values()),
        building.steps,
        building.results(),
        {"d4p:digest": facts.graph.digest(), **facts.metadata()},
    )
    ids = {stage: tool.id for stage, tool in building.tools.items()}
    if sharding.sharded:
        runs = [run for run in sharding.runs() if len(run) > 1]
        return enclosed_runs(workflow, [[ids[stage] for stage in run] for run in runs])
    return enclosed_composites(workflow, sharding.cut, ids)


@dataclass
class _Building:
    facts: Facts
    sharding: Sharding
    tools: dict[Stage, Tool]
    parameters: dict[str, Parameter] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    streams: dict[Stream, list[str]] = field(default_factory=dict)
    written: dict[str | FoundData | None, list[tuple[str, Output]]] = field(default_factory=dict)
    by_step: list[tuple[str, Output]] = field(default_factory=list)

    def add(self, stage: Stage) -> None:
        """A step for ``stage``; the steps that feed it exist already."""
        tool = self.tools[stage]
        links: dict[str, Link] = {}
        scatter: list[str] = []
        for parameter in tool.parameters:
            if isinstance(parameter.key, Taken):
                links[parameter.id] = self._stream_link(parameter.key)
                if parameter.key.sharded:
                    scatter.append(parameter.id)
            elif parameter.id == SHARD and stage in self.sharding.sharded:
                links[SHARD] = Link((self._shard_numbers(),))
                scatter.append(SHARD)
            elif _read_again(parameter) in self.written:
                links[parameter.id] = Link((self.written[_read_again(parameter)][-1][0],))
            else:
                links[parameter.id] = Link((self._shared(parameter, tool.id),))
        step = Step(tool.id, tool, links, tuple(scatter))
        self.steps.append(step)
        for output in step.outputs:
            place = f"{tool.id}/{output.id}"
            if isinstance(output.key, Stream):
                self.streams.setdefault(output.key, []).append(place)
            elif isinstance(output.key, tuple):
                self.written.setdefault(output.key[1], []).append((place, output))
            else:
                self.by_step.append((tool.id, output))

    def _stream_link(self, taken: Taken) -> Link:
        places = tuple(self.streams[taken.stream])
        return Link(places, merge="merge_nested") if len(places) > 1 else Link(places)

    def _shard_numbers(self) -> str:
        """The parameter that has the numbers of the shards."""
        name = _SHARDS
        if name not in self.parameters:
            numbers = list(range(self.sharding.count))
            label = "The numbers of the shards: as many as the document is made for"
            self.parameters[name] = Parameter(
                name, "int[]", label, default=numbers, has_default=True
            )
        return name

    def _shared(self, parameter: Parameter, step: str) -> str:
        """The Workflow's parameter for a parameter of a tool. Tools share it if it has the same
        meaning."""
        known = self.parameters.setdefault(parameter.id, parameter)
        if known == parameter:
            return parameter.id
        name = parameter_identifier(f"{step}_{parameter.id}", [*self.parameters, *self._step_ids()])
        self.parameters[name] = replace(parameter, id=name)
        return name

    def _step_ids(self) -> list[str]:
        return [tool.id for tool in self.tools.values()]

    def results(self) -> list[tuple[Output, Link]]:
        """The outputs of the Workflow, with different names if stages have the same name."""
        taken = {*self.parameters, *self._step_ids()}
        results: list[tuple[Output, Link]] = []
        kinds = [output.id for _, output in self.by_step]
        for step, output in self.by_step:
            alone = kinds.count(output.id) == 1
            name = new_identifier(output.id if alone else f"{step}_{output.id}", taken)
            label = f"{output.label}, in {step}" if output.label and not alone else output.label
            link = Link((f"{step}/{output.id}",))
            results.append((replace(output, id=name, label=label), link))
        for written in self.written.values():
            output, link = _last_written(written)
            name = new_identifier(output.id, taken)
            results.append((replace(output, id=name), link))
        return results


def _read_again(parameter: Parameter) -> str | FoundData | None:
    """What a parameter is that an earlier stage may have left: by its name, or as it was found."""
    key = parameter.key
    return key if isinstance(key, FoundData) else key.name if isinstance(key, FileUse) else None


def _last_written(written: Sequence[tuple[str, Output]]) -> tuple[Output, Link]:
    """The output of the last stage that wrote a file; if several may have written it, the last one
    that did."""
    place, output = written[-1]
    if len(written) == 1:
        return output, Link((place,))
    places = tuple(place for place, _ in reversed(written))
    if str(output.type).endswith("?"):
        sure = replace(output, type=str(output.type).removesuffix("?"))
        return sure, Link(places, pick="first_non_null")
    if output.type == "File[]":
        return output, Link(places[::-1], merge="merge_flattened")
    return output, Link((place,))


def _tools(facts: Facts, sharding: Sharding) -> dict[Stage, Tool]:
    """The tool of each stage. Their ids, which are those of the steps, share one space of names
    with the Workflow's inputs, which keep the names that they have for the whole graph."""
    tools: dict[Stage, Tool] = {}
    names: set[str] = set()
    for stage in sharding.cut.stages:
        name = new_identifier(stage.name, names)
        streams = streams_of(sharding, stage)
        tools[stage] = make_tool(facts, name, stage.pes, doc=stage.doc, streams=streams)
    inputs = {parameter.id for tool in tools.values() for parameter in tool.parameters}
    inputs |= {"main", _SHARDS}
    for tool in tools.values():
        if tool.id in inputs:
            tool.id = identifier(f"{tool.id}_stage", {*inputs, *names})
            names.add(tool.id)
    return tools
