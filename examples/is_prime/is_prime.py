"""Is it prime?

Draws random numbers, and writes each prime among them once.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

from dispel4py.base import ProducerPE
from dispel4py.workflow_graph import WorkflowGraph

from d4pcwl.library import Deduplicate, Filter


class Numbers(ProducerPE):
    """Draws a whole number from 1 up to a largest one, each time that it is asked (``-i``)."""

    def __init__(self, largest: int) -> None:
        super().__init__()
        self.largest = largest

    def _process(self, inputs: Any) -> int:
        return int(self.rng.integers(1, self.largest, endpoint=True))


def is_prime(number: int) -> bool:
    """Whether a number is prime, by trial division: fast if it has a small divisor."""
    if number < 4:
        return number > 1
    if number % 2 == 0:
        return False
    return all(number % divisor for divisor in range(3, isqrt(number) + 1, 2))


def build(largest: int = 1000) -> WorkflowGraph:
    """Find primes among random numbers

    :param largest: the largest number that may be drawn
    """
    numbers, primes, once = Numbers(largest), Filter(is_prime), Deduplicate()
    numbers.name, primes.name, once.name = "numbers", "is_prime", "once"
    graph = WorkflowGraph()
    graph.connect(numbers, "output", primes, "input")
    graph.connect(primes, "output", once, "input")
    return graph
