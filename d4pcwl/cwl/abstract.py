"""The abstract workflow: the structure of a graph, as CWL Operations that cannot be run."""

from __future__ import annotations

import inspect
from typing import Any

from d4pcwl.cwl.parameter import NAMESPACE, identifier
from d4pcwl.cwl.tool import Facts
from d4pcwl.errors import TranslationError
from d4pcwl.workflow.cut import Cut


def abstract_workflow(facts: Facts, cut: Cut) -> dict[str, Any]:
    """A Workflow of one Operation for each PE, its ports of type ``Any``.

    Unfed inputs of roots are inputs of the Workflow, unconnected outputs its outputs.

    :param cut: its stages are remembered as ``d4p:stage`` of the steps
    :raises TranslationError: PEs form a cycle
    """
    graph = facts.graph
    circles = [component for component in graph.cycles if len(component) > 1]
    if circles:
        names = "; ".join(" → ".join(pe.id for pe in circle) for circle in circles)
        raise TranslationError(f"an abstract CWL workflow cannot show a cycle: {names}")
    ids: dict[int, str] = {}
    for pe in graph.pes:
        ids[id(pe)] = identifier(pe.id, ids.values())
    inputs: list[dict[str, Any]] = []
    outputs: list[dict[str, Any]] = []
    steps = []
    for pe in graph.in_order():
        step_inputs = []
        for port in pe.inputconnections:
            sources = [
                f"{ids[id(edge.source)]}/{identifier(edge.output)}"
                for edge in graph.into(pe)
                if edge.input == port
            ]
            if not sources:
                name = identifier(f"{ids[id(pe)]}_{port}")
                inputs.append({"id": name, "type": "Any?", "label": f"Items of {pe.id}.{port}"})
                sources = [name]
            source: Any = sources[0] if len(sources) == 1 else sources
            entry = {"id": identifier(port), "source": source}
            if len(sources) > 1:
                entry["linkMerge"] = "merge_flattened"
            step_inputs.append(entry)
        steps.append(
            {
                "id": ids[id(pe)],
                "in": step_inputs,
                "run": _operation(pe),
                "out": [identifier(port) for port in pe.outputconnections],
                "d4p:stage": cut.stage_of(pe).name,
            }
        )
    for pe, port in graph.unconnected:
        outputs.append(
            {
                "id": identifier(f"{ids[id(pe)]}_{port}"),
                "type": "Any?",
                "label": f"Items of {pe.id}.{port}",
                "outputSource": f"{ids[id(pe)]}/{identifier(port)}",
            }
        )
    whole = facts.declarations.whole
    return {
        "class": "Workflow",
        "$namespaces": NAMESPACE,
        "label": whole.label or facts.reading.title or facts.script.stem,
        "doc": whole.doc or facts.reading.doc or "The structure of the graph; it cannot be run.",
        "requirements": [{"class": "MultipleInputFeatureRequirement"}],
        "inputs": inputs,
        "outputs": outputs,
        "steps": steps,
    }


def _operation(pe: Any) -> dict[str, Any]:
    doc = inspect.cleandoc(type(pe).__doc__ or "")
    operation: dict[str, Any] = {"class": "Operation", "label": doc.partition("\n")[0] or pe.name}
    operation["inputs"] = [
        {"id": identifier(port), "type": "Any?", "doc": f"grouping: {connection['grouping']}"}
        if connection.get("grouping")
        else {"id": identifier(port), "type": "Any?"}
        for port, connection in pe.inputconnections.items()
    ]
    operation["outputs"] = [
        {"id": identifier(port), "type": "Any?"} for port in pe.outputconnections
    ]
    return operation
