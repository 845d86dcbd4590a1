"""A chain of functions as one composite."""

from d4pcwl.workflow.composite import create_iterative_chain
from d4pcwl.workflow.graph import WorkflowGraph

from .testing_PEs import TestProducer


def addTwo(data: float) -> float:  # noqa: N802 - the PEs are called so
    """The first step."""
    return data + 2


def multiplyByFour(data: float) -> float:  # noqa: N802
    """The second step."""
    return data * 4


def divideByTwo(data: float) -> float:  # noqa: N802
    """The third step."""
    return data / 2


def subtract(data: float, n: float) -> float:
    """The last step, with a parameter."""
    return data - n


functions = [addTwo, multiplyByFour, divideByTwo, (subtract, {"n": 1})]
composite = create_iterative_chain(functions)
producer = TestProducer()
graph = WorkflowGraph()
graph.connect(producer, "output", composite, "input")
