"""Root inputs: the inputs of the sources of a graph, as ``-f``, ``-d`` and ``-i`` give them.

Inputs are a dictionary from PE (its id, its name, or the object) to a list of input dictionaries
(input name → item), or to a number of iterations. A dictionary from input name to a list of items
means one input dictionary for each item. If a graph has only one root, its input dictionary, or a
list of them, may be given without the PE's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from d4pcwl.errors import GraphError, InputError, brief, nearest, raise_faults
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.pe import ConsumerPE, IterativePE, PreparingPE, is_pe, unknown_port
from d4pcwl.workflow.place import told_at

RootInputs = dict[str, list[dict[str, Any]] | int]
"""From a PE's id to its input dictionaries, or to its number of iterations."""


def root_inputs(graph: FlatGraph, given: Any = None, iterations: int = 1) -> RootInputs:
    """Find the inputs of each PE.

    Without ``given``, every root that has no stream runs ``iterations`` times. With it, only the
    PEs that it names run as sources.

    :param given: as the module says, or None
    :raises InputError: with all faults: unknown PEs or inputs, values of the wrong form
    """
    if not graph.pes:
        raise GraphError("the graph has no PEs: connect some, or add one by graph.add(pe)")
    if not given and given != 0:
        if iterations < 0:
            raise InputError(f"the number of iterations is negative: {iterations}")
        if not graph.roots:
            raise GraphError(_no_root(graph))
        if iterations:
            lacking = [pe for pe in graph.roots if _needs_item(pe)]
            raise_faults(InputError, (_without_item(graph, pe) for pe in lacking))
        return {pe.id: iterations for pe in graph.roots}
    if isinstance(given, int) and not isinstance(given, bool):
        return root_inputs(graph, None, given)
    given = _of_only_root(graph, given)
    if not isinstance(given, Mapping):
        raise InputError(
            "inputs have to be an object from PE name or id to a list of input objects or a number "
            f"of iterations, not {brief(given)}"
        )
    settled: RootInputs = {}
    faults: list[str] = []
    for key, value in given.items():
        try:
            pe = _named(graph, key)
            settled[pe.id] = _checked(graph, pe, value)
        except InputError as fault:
            faults.append(str(fault))
    raise_faults(InputError, faults)
    return settled


def idle_roots(graph: FlatGraph, inputs: RootInputs) -> list[str]:
    """The ids of roots that do not run, because they get neither a stream nor an input."""
    return [pe.id for pe in graph.roots if pe.id not in inputs]


def _of_only_root(graph: FlatGraph, given: Any) -> Any:
    """The inputs under the name of the only root, if they were given without a name."""
    entries = given if isinstance(given, list) else [given]
    if len(graph.roots) != 1 or not all(isinstance(entry, Mapping) for entry in entries):
        return given
    (root,) = graph.roots
    names = {name for entry in entries for name in entry}
    ports = root.inputconnections.keys()
    pes = any(is_pe(name) or graph.find(str(name)) for name in names)
    if _takes_job_orders(root):
        fits = bool(names & ports) or not pes
    else:
        fits = bool(names) and names <= ports and not pes
    return {root: entries} if fits else given


def _takes_job_orders(pe: Any) -> bool:
    return isinstance(pe, PreparingPE) and pe.job_orders


def _named(graph: FlatGraph, key: Any) -> Any:
    if is_pe(key):
        if key not in graph:
            raise InputError(f"inputs are given for {key.name}, which is not in the graph")
        return key
    pes = graph.find(str(key))
    if not pes:
        close = nearest(str(key), graph.names.values())
        raise InputError(f"inputs are given for '{key}': no such PE{close}")
    if len(pes) > 1:
        names = ", ".join(graph.names[pe.id] for pe in pes)
        raise InputError(
            f"inputs are given for '{key}', but several PEs have this name; use {names}"
        )
    return pes[0]


def _checked(graph: FlatGraph, pe: Any, value: Any) -> list[dict[str, Any]] | int:
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise InputError(f"inputs of {graph.names[pe.id]}: {value} iterations")
        if value and _needs_item(pe):
            raise InputError(_without_item(graph, pe))
        return value
    if isinstance(value, Mapping) and value and all(isinstance(v, list) for v in value.values()):
        value = [{name: item} for name, items in value.items() for item in items]
    if not isinstance(value, list):
        raise InputError(
            f"inputs of {graph.names[pe.id]} have to be a list of objects from input name to "
            f"item, or a number of iterations, not {brief(value)}"
        )
    faults: list[str] = []
    for number, item in enumerate(value):
        where = f"inputs of {graph.names[pe.id]}, number {number}"
        if not isinstance(item, Mapping):
            faults.append(
                f"{where}: expected an object from input name to item, found {brief(item)}"
            )
            continue
        # A root without inputs gets whole dictionaries, with any content. A job order may have more
        # than the document needs.
        unknown = [name for name in item if name not in pe.inputconnections]
        if pe.inputconnections and not _takes_job_orders(pe):
            faults += [f"{where}: {unknown_port(pe, 'input', name)}" for name in unknown]
    raise_faults(InputError, faults)
    return [dict(item) for item in value]


def _needs_item(pe: Any) -> bool:
    """Whether a PE cannot run without an item on its input."""
    return type(pe).process in (IterativePE.process, ConsumerPE.process)


def _without_item(graph: FlatGraph, pe: Any) -> str:
    import json

    name = graph.names[pe.id]
    example = json.dumps({name: [dict.fromkeys(pe.inputconnections, "...")]})
    return (
        f"PE {name} works on the items of its input '{next(iter(pe.inputconnections))}', but no "
        f"stream feeds it; give it items, for example with -d '{example}'"
    )


def _no_root(graph: FlatGraph) -> str:
    import json

    cycle = next([*component, component[0]] for component in graph.cycles)
    way = " → ".join(graph.names[pe.id] for pe in cycle)
    example = json.dumps({graph.names[cycle[0].id]: [dict.fromkeys(cycle[0].inputconnections, 0)]})
    return told_at(
        graph.into(cycle[0])[0].place,
        f"no PE of the graph can begin, because each waits for another one: {way}; connect a "
        f"source to one of them, or give it items, for example with -d '{example}'",
    )
