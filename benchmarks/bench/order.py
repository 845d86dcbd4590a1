"""`benchmarks/order`: what keeping order costs, behind copies of a PE and behind a pool.

The same graph is run twice: its last PE keeps state, and once says that order does not matter.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import d4pcwl
from bench.table import rendered

HEADINGS = ["items", "mapping", "in order, items/s", "in any order, items/s", "ratio"]
_MAPPINGS = ("multi", "dyn_multi", "dyn_redis")


class _Source(d4pcwl.ProducerPE):
    def __init__(self, make: Callable[[int], Any], count: int) -> None:
        super().__init__()
        self.make, self.count = make, count

    def _process(self, inputs: Any) -> None:
        for number in range(self.count):
            self.write("output", self.make(number))


class _Pass(d4pcwl.IterativePE):
    def _process(self, item: Any) -> Any:
        return item


class _Last(d4pcwl.ConsumerPE):
    """Keeps state, so that it can tell the order."""

    count = 0

    def _process(self, item: Any) -> None:
        self.count += 1


class _LastInAnyOrder(_Last):
    ordered = False


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmarks/order", description=__doc__)
    parser.add_argument("--items", type=int, default=300_000, metavar="N")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    parser.add_argument("--processes", type=int, default=4, metavar="N")
    options = parser.parse_args(argv)
    kinds = {"ints": int, "(str, int)": lambda number: (f"word{number % 100}", number)}
    rows = []
    for name, make in kinds.items():
        for mapping in _MAPPINGS:
            taken: dict[type, list[float]] = {_Last: [], _LastInAnyOrder: []}
            for _ in range(options.repetitions):
                for last, seconds in taken.items():
                    seconds.append(_seconds(mapping, options.processes, make, options.items, last))
            rates = [options.items / statistics.median(seconds) for seconds in taken.values()]
            ratio = f"{rates[0] / rates[1]:.2f}"
            rows.append([name, mapping, *(f"{rate:,.0f}" for rate in rates), ratio])
    sys.stdout.write(rendered(rows, HEADINGS) + "\n")
    return 0


def _seconds(
    mapping: str, processes: int, make: Callable[[int], Any], count: int, last: type
) -> float:
    graph = d4pcwl.WorkflowGraph()
    source, passing, end = _Source(make, count), _Pass(), last()
    graph.connect(source, "output", passing, "input")
    graph.connect(passing, "output", end, "input")
    began = time.perf_counter()
    d4pcwl.run(graph, mapping=mapping, processes=processes)
    return time.perf_counter() - began
