"""The abstract workflow: the structure of a graph, as CWL Operations that cannot be run."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from d4pcwl.cwl.emit.parameter import NAMESPACE, new_identifier
from d4pcwl.cwl.emit.parts import Facts
from d4pcwl.errors import TranslationError
from d4pcwl.workflow.cut import Cut


def abstract_workflow(facts: Facts, cut: Cut) -> dict[str, Any]:
    """A Workflow of one Operation for each PE, its ports of type ``Any``.

    Unfed inputs of roots are inputs of the Workflow, unconnected outputs its outputs.

    :param cut: its stages are remembered as ``d4p:stage`` of the steps
    :raises TranslationError: PEs form a cycle
    """
    graph, names = facts.graph, facts.graph.names
    circles = list(filter(graph.is_cycle, graph.cycles))
    if circles:
        shown = "; ".join(" → ".join(names[pe.id] for pe in circle) for circle in circles)
        raise TranslationError(f"an abstract CWL workflow cannot show a cycle: {shown}")
    ids = dict(zip(map(id, graph.pes), _identifiers(names[pe.id] for pe in graph.pes), strict=True))
    inputs_of, outputs_of = {}, {}
    for pe in graph.pes:
        inputs_of[id(pe)], outputs_of[id(pe)] = _port_ids(pe)
    taken = set(ids.values())
    inputs: list[dict[str, Any]] = []
    outputs: list[dict[str, Any]] = []
    steps = []
    for pe in graph.in_order():
        step_inputs = []
        for port in pe.inputconnections:
            sources = [
                f"{ids[id(edge.source)]}/{outputs_of[id(edge.source)][edge.output]}"
                for edge in graph.into(pe)
                if edge.input == port
            ]
            if not sources:
                name = new_identifier(f"{ids[id(pe)]}_{port}", taken)
                inputs.append(
                    {"id": name, "type": "Any?", "label": f"Items of {names[pe.id]}.{port}"}
                )
                sources = [name]
            source: Any = sources[0] if len(sources) == 1 else sources
            entry = {"id": inputs_of[id(pe)][port], "source": source}
            if len(sources) > 1:
                entry["linkMerge"] = "merge_flattened"
            step_inputs.append(entry)
        steps.append(
            {
                "id": ids[id(pe)],
                "in": step_inputs,
                "run": _operation(pe, inputs_of[id(pe)], outputs_of[id(pe)]),
                "out": [outputs_of[id(pe)][port] for port in pe.outputconnections],
                "d4p:stage": cut.stage_of(pe).name,
            }
        )
    for pe, port in graph.unconnected:
        outputs.append(
            {
                "id": new_identifier(f"{ids[id(pe)]}_{port}", taken),
                "type": "Any?",
                "label": f"Items of {names[pe.id]}.{port}",
                "outputSource": f"{ids[id(pe)]}/{outputs_of[id(pe)][port]}",
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


def _identifiers(names: Iterable[str]) -> list[str]:
    """An id for each name."""
    taken = set[str]()
    return [new_identifier(name, taken) for name in names]


def _port_ids(pe: Any) -> tuple[dict[str, str], dict[str, str]]:
    """The ids of a PE's inputs, and of its outputs: both may have one name, and not one id."""
    inputs, outputs = list(pe.inputconnections), list(pe.outputconnections)
    ids = _identifiers([*inputs, *outputs])
    return (
        dict(zip(inputs, ids, strict=False)),
        dict(zip(outputs, ids[len(inputs) :], strict=True)),
    )


def _operation(pe: Any, inputs: dict[str, str], outputs: dict[str, str]) -> dict[str, Any]:
    doc = inspect.cleandoc(type(pe).__doc__ or "")
    operation: dict[str, Any] = {"class": "Operation", "label": doc.partition("\n")[0] or pe.name}
    operation["inputs"] = [
        {"id": inputs[port], "type": "Any?", "doc": f"grouping: {connection['grouping']}"}
        if connection.get("grouping")
        else {"id": inputs[port], "type": "Any?"}
        for port, connection in pe.inputconnections.items()
    ]
    operation["outputs"] = [{"id": outputs[port], "type": "Any?"} for port in pe.outputconnections]
    return operation
