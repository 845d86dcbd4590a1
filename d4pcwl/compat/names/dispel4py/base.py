"""``dispel4py.base``: the usual kinds of PEs, and composites."""

from d4pcwl.workflow.composite import CompositePE, create_iterative_chain
from d4pcwl.workflow.graph import WorkflowGraph
from d4pcwl.workflow.pe import (
    GROUPING,
    NAME,
    TYPE,
    BasePE,
    ConsumerPE,
    GenericPE,
    IterativePE,
    ProducerPE,
    SimpleFunctionPE,
)

__all__ = [
    "GROUPING",
    "NAME",
    "TYPE",
    "BasePE",
    "CompositePE",
    "ConsumerPE",
    "GenericPE",
    "IterativePE",
    "ProducerPE",
    "SimpleFunctionPE",
    "WorkflowGraph",
    "create_iterative_chain",
]
