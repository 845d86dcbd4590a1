"""A Workflow of stages: one step for each, joined by stream files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from d4pcwl.cwl.parameter import Output, Parameter, identifier
from d4pcwl.cwl.tool import Facts, Tool, make_tool
from d4pcwl.workflow.cut import Cut, Stage


@dataclass(frozen=True)
class Step:
    """A step: its tool, and where each of the tool's inputs comes from."""

    id: str
    tool: Tool
    sources: Mapping[str, str]

    def to_cwl(self, run: str) -> dict[str, Any]:
        """The step as CWL; ``run`` says where the tool is."""
        return {
            "id": self.id,
            "in": [{"id": name, "source": source} for name, source in self.sources.items()],
            "run": run,
            "out": [output.id for output in self.tool.outputs],
        }


@dataclass(frozen=True)
class StagedWorkflow:
    """A Workflow in the making."""

    label: str
    doc: str
    parameters: Sequence[Parameter]
    steps: Sequence[Step]
    outputs: Sequence[tuple[Output, str]]

    def to_cwl(self, runs: Mapping[str, str]) -> dict[str, Any]:
        """The Workflow as CWL; ``runs`` says for each step where its tool is."""
        text: dict[str, Any] = {"class": "Workflow", "id": "main", "label": self.label}
        if self.doc:
            text["doc"] = self.doc
        text["inputs"] = [parameter.to_cwl(bound=False) for parameter in self.parameters]
        outputs = []
        for output, source in self.outputs:
            described = output.to_cwl()
            described.pop("outputBinding", None)
            if described["type"] == "stdout":
                described["type"] = "File"
            outputs.append({**described, "outputSource": source})
        text["outputs"] = outputs
        text["steps"] = [step.to_cwl(runs[step.id]) for step in self.steps]
        return text


def staged_workflow(facts: Facts, cut: Cut) -> StagedWorkflow:
    """The Workflow of a cut graph.

    Streams go from the stage that writes them to those that take them; a file or folder that one
    stage leaves behind goes to the next one that reads it. Everything else comes from outside.
    """
    parameters: dict[str, Parameter] = {}
    steps: list[Step] = []
    streams: dict[str, str] = {}
    files: dict[str, str] = {}
    last_writer: dict[Any, tuple[str, Output]] = {}
    by_stage: list[tuple[str, Output]] = []
    step_ids = _step_ids(facts, cut)
    for stage, step_id in zip(cut.stages, step_ids, strict=True):
        tool = _stage_tool(facts, cut, stage, step_id)
        stream_inputs = _stream_inputs(tool, cut, stage)
        sources: dict[str, str] = {}
        for parameter in tool.parameters:
            if parameter.id in stream_inputs:
                sources[parameter.id] = streams[stream_inputs[parameter.id]]
            elif parameter.id in files and _is_read(facts, stage, parameter.id):
                sources[parameter.id] = files[parameter.id]
            else:
                sources[parameter.id] = _shared(parameters, parameter, step_id, step_ids)
        for output in tool.outputs:
            place = f"{step_id}/{output.id}"
            if isinstance(output.key, tuple):
                files[output.key[1]] = place
                last_writer[output.key] = (place, output)
            elif output.format and output.streamable:
                streams[output.key] = place
            else:
                by_stage.append((step_id, output))
        steps.append(Step(step_id, tool, sources))
    whole = facts.declarations.whole
    return StagedWorkflow(
        whole.label or facts.reading.title or facts.script.stem,
        whole.doc or facts.reading.doc,
        list(parameters.values()),
        steps,
        _workflow_outputs({*parameters, *step_ids}, by_stage, list(last_writer.values())),
    )


def _step_ids(facts: Facts, cut: Cut) -> list[str]:
    """The ids of the steps. They share one space of names with the Workflow's inputs, which keep
    the names that they have for the whole graph."""
    inputs = {
        parameter.id
        for stage in cut.stages
        for parameter in _stage_tool(facts, cut, stage, stage.name).parameters
    }
    ids: list[str] = []
    for stage in cut.stages:
        name = identifier(stage.name)
        name = f"{name}_stage" if name in inputs or name == "main" else name
        ids.append(identifier(name, {*inputs, *ids}))
    return ids


def _shared(
    parameters: dict[str, Parameter], parameter: Parameter, step: str, taken: list[str]
) -> str:
    """The Workflow's parameter for one of a tool: tools that mean the same by a name share it."""
    known = parameters.setdefault(parameter.id, parameter)
    if known == parameter:
        return parameter.id
    name = identifier(f"{step}_{parameter.id}", [*parameters, *taken])
    parameters[name] = replace(parameter, id=name)
    return name


def _stage_tool(facts: Facts, cut: Cut, stage: Stage, tool_id: str) -> Tool:
    return make_tool(
        facts,
        tool_id,
        stage.pes,
        doc=stage.doc,
        streams_in=cut.inputs(stage),
        streams_out=cut.outputs(stage),
    )


def _stream_inputs(tool: Tool, cut: Cut, stage: Stage) -> dict[str, str]:
    """From the parameters that take streams to the ports that these come from."""
    ports = [f"{pe.id}.{output}" for pe, output in cut.inputs(stage)]
    parameters = [parameter.id for parameter in tool.parameters if parameter.streamable]
    return dict(zip(parameters, ports, strict=True))


def _is_read(facts: Facts, stage: Stage, name: str) -> bool:
    return name in facts.declarations.of(stage.pes).reads


def _workflow_outputs(
    taken: set[str], by_stage: list[tuple[str, Output]], files: list[tuple[str, Output]]
) -> list[tuple[Output, str]]:
    """The outputs of the Workflow, with names of their own where stages share one."""
    outputs: list[tuple[Output, str]] = []
    kinds = [output.id for _, output in by_stage]
    for step, output in by_stage:
        alone = kinds.count(output.id) == 1
        name = identifier(output.id if alone else f"{step}_{output.id}", taken)
        label = output.label if alone else f"{output.label}, in {step}"
        taken.add(name)
        outputs.append((replace(output, id=name, label=label), f"{step}/{output.id}"))
    for place, output in files:
        name = identifier(output.id, taken)
        taken.add(name)
        outputs.append((replace(output, id=name), place))
    return outputs
