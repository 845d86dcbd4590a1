"""Composites: graphs that can be used like a PE."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from d4pcwl.errors import GraphError
from d4pcwl.workflow.graph import WorkflowGraph
from d4pcwl.workflow.pe import GenericPE, IterativePE, SimpleFunctionPE


class CompositePE(WorkflowGraph):
    """A graph with inputs and outputs of its own. Each is mapped to a port of a node inside.

    :param create_graph: a function that adds nodes and edges to the graph. It is called as
        ``create_graph(graph, **params)``
    :param params: keyword arguments of ``create_graph``

    A subclass may build the graph in its ``__init__`` instead.
    """

    def __init__(
        self,
        create_graph: Callable[..., Any] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.inputmappings = {}
        self.outputmappings = {}
        if create_graph is not None:
            create_graph(self, **(params or {}))

    def _map_input(self, input_name: str, internal_pe: Any, internal_input: str) -> None:
        """Add an input to the composite, and map it to an input of a node inside."""
        self.add(internal_pe)
        self.inputmappings[input_name] = (internal_pe, internal_input)

    def _map_output(self, output_name: str, internal_pe: Any, internal_output: str) -> None:
        """Add an output to the composite, and map it to an output of a node inside."""
        self.add(internal_pe)
        self.outputmappings[output_name] = (internal_pe, internal_output)


def own_doc(composite: Any) -> str:
    """The docstring of a composite's class, if a user wrote that class."""
    cls = type(composite)
    if cls.__module__.startswith(("d4pcwl.", "dispel4py.")):
        return ""
    return inspect.cleandoc(cls.__dict__.get("__doc__") or "")


def create_iterative_chain(
    functions: Iterable[Any],
    function_pe_class: Callable[[], Any] = SimpleFunctionPE,
    name_prefix: str = "PE_",
    name_suffix: str = "",
    *,
    FunctionPE_class: Callable[[], Any] | None = None,  # noqa: N803 - upstream's older name
) -> WorkflowGraph:
    """A composite that applies functions one after the other. Its ports are ``input`` and
    ``output``.

    :param functions: functions, or pairs of a function and a dictionary of keyword arguments
    :param function_pe_class: makes the PE of a function. The PE gets the attributes ``compute_fn``
        and ``params``
    :param FunctionPE_class: the older name of ``function_pe_class``
    :raises GraphError: there are no functions
    """
    function_pe_class = FunctionPE_class or function_pe_class
    graph = WorkflowGraph()
    chain: list[GenericPE] = []
    for description in functions:
        function, params = (
            (description, {}) if callable(description) else (description[0], description[1])
        )
        pe = function_pe_class()
        pe.compute_fn = function
        pe.params = params
        pe.name = f"{name_prefix}{getattr(function, '__name__', 'function')}{name_suffix}"
        graph.add(pe)
        if chain:
            graph.connect(chain[-1], IterativePE.OUTPUT_NAME, pe, IterativePE.INPUT_NAME)
        chain.append(pe)
    if not chain:
        raise GraphError("create_iterative_chain needs at least one function")
    graph.inputmappings = {"input": (chain[0], IterativePE.INPUT_NAME)}
    graph.outputmappings = {"output": (chain[-1], IterativePE.OUTPUT_NAME)}
    return graph
