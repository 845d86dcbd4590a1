"""``dispel4py.new.simple_process``: running a graph here and now, from a script or a notebook."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from d4pcwl.compat.processing import parse_with
from d4pcwl.errors import InputError, nearest
from d4pcwl.workflow.flat import FlatGraph
from d4pcwl.workflow.inputs import root_inputs
from d4pcwl.workflow.numbering import to_run
from d4pcwl.workflow.pe import is_pe

__all__ = ["parse_args", "process", "process_and_return"]

parse_args = partial(parse_with, "simple")


def process_and_return(
    workflow: Any, inputs: Any = None, resultmappings: Any = None
) -> dict[str, Any]:
    """Run the graph's own PEs, one instance of each, and return the results.

    What the PEs keep can be read from them afterwards; :func:`d4pcwl.run` runs copies.

    :param inputs: from PE (object, id or name) to a list of input dictionaries or a number of
        iterations
    :param resultmappings: from PE id to the names of the outputs whose items are results; without
        it they are those of the unconnected outputs
    :returns: from PE id to output to its items
    :raises D4pcwlError: the graph or its inputs are not right, or a PE failed
    """
    from d4pcwl.runtime.job import Job
    from d4pcwl.runtime.mappings.registry import find_mapping, run_job
    from d4pcwl.runtime.results import Results

    flat = to_run(workflow)
    results = Results()
    ports = None if resultmappings is None else _chosen_outputs(flat, resultmappings)
    run_job(find_mapping("simple"), Job(flat, root_inputs(flat, inputs), results, results=ports))
    return {pe: dict(outputs) for pe, outputs in results.items()}


def process(
    workflow: Any, inputs: Any = None, args: Any = None, resultmappings: Any = None
) -> None:
    """Run the graph as :func:`process_and_return` does, and print its inputs and its results.

    :param args: is taken, but says nothing that matters here
    """
    if isinstance(inputs, dict):
        given = {key.id if is_pe(key) else key: value for key, value in inputs.items()}
        sys.stdout.write(f"Inputs: {given}\n")
    sys.stdout.write(f"Outputs: {process_and_return(workflow, inputs, resultmappings)}\n")


def _chosen_outputs(flat: FlatGraph, chosen: Mapping[Any, Any]) -> list[tuple[Any, str]]:
    found: list[tuple[Any, str]] = []
    for key, outputs in chosen.items():
        pes = [pe for pe in flat.pes if pe is key] or flat.find(str(key))
        if not pes:
            known = nearest(str(key), (pe.id for pe in flat.pes))
            raise InputError(f"results of '{key}' are asked for: no such PE{known}")
        for output in [outputs] if isinstance(outputs, str) else outputs:
            found += [(pe, output) for pe in pes if output in pe.outputconnections]
    return found
