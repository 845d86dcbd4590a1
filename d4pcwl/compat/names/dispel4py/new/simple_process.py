"""``dispel4py.new.simple_process``: running a graph here and now, from a script or a notebook."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from d4pcwl.compat.processing import parse_with, run_own
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
    return run_own(workflow, inputs, resultmappings)


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
