"""``dispel4py.new.aggregate``: counts, sums, extremes, means and deviations of whole streams.

The items are lists (or tuples) of numbers; ``indexes`` says which entries count. A PE writes one
item, when its stream ends. The ``parallel_*`` functions make composites with ``input`` and
``output``: their first PE may run in many instances, each for a part of the stream, and their
second one combines the parts. Numbers that are not whole may then differ in the last digits, as
they are added in another order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from d4pcwl.workflow.graph import WorkflowGraph
from d4pcwl.workflow.pe import GenericPE

__all__ = [
    "AggregatePE",
    "AverageParallelPE",
    "AverageReducePE",
    "ContinuousReducePE",
    "CountPE",
    "MaxPE",
    "MinPE",
    "StdDevPE",
    "StdDevReducePE",
    "SumPE",
    "parallelAvg",
    "parallelCount",
    "parallelMax",
    "parallelMin",
    "parallelStdDev",
    "parallelSum",
    "parallel_aggregate",
    "parallel_avg",
    "parallel_count",
    "parallel_max",
    "parallel_min",
    "parallel_std_dev",
    "parallel_sum",
]


class _OneInOneOut(GenericPE):
    INPUT_NAME = "input"
    OUTPUT_NAME = "output"

    def __init__(self, grouping: str | None = None) -> None:
        super().__init__()
        self._add_input(self.INPUT_NAME, grouping=grouping)
        self._add_output(self.OUTPUT_NAME)


class AggregatePE(_OneInOneOut):
    """Writes ``self.value`` at the end of the stream; ``_process(inputs)`` is to keep it.

    :param indexes: the entries of the items that are looked at; ``value`` has one for each
    """

    def __init__(self, indexes: Sequence[int] | None = None) -> None:
        super().__init__()
        self.indexes = [0] if indexes is None else list(indexes)
        self.value: list[Any] = [0] * len(self.indexes)

    def _postprocess(self) -> None:
        self.write(self.OUTPUT_NAME, self.value)

    def _combine(self, inputs: dict[str, Any], combine: Callable[[Any, Any], Any]) -> None:
        """Combine the value with an item; None stands for nothing so far, on either side."""
        item = inputs[self.INPUT_NAME]
        self.value = [
            item[index]
            if kept is None
            else kept
            if item[index] is None
            else combine(kept, item[index])
            for kept, index in zip(self.value, self.indexes, strict=True)
        ]


class ContinuousReducePE(_OneInOneOut):
    """Writes ``self.value`` after every item; ``_process(item)`` is to keep it.

    :param indexes: the entries of the items that are looked at; ``value`` has one for each
    """

    def __init__(self, indexes: Sequence[int] | None = None) -> None:
        super().__init__()
        self.indexes = [0] if indexes is None else list(indexes)
        self.value: list[Any] = [0] * len(self.indexes)

    def process(self, inputs: dict[str, Any]) -> None:
        self._process(inputs[self.INPUT_NAME])
        self.write(self.OUTPUT_NAME, self.value)


class CountPE(AggregatePE):
    """Writes ``[the number of items]``."""

    def __init__(self) -> None:
        super().__init__([0])

    def _process(self, inputs: dict[str, Any]) -> None:
        self.value = [self.value[0] + 1]


class SumPE(AggregatePE):
    """Writes the sums of the entries."""

    def _process(self, inputs: dict[str, Any]) -> None:
        self._combine(inputs, lambda total, entry: total + entry)


class MaxPE(AggregatePE):
    """Writes the largest of each entry, None if there was no item."""

    def __init__(self, indexes: Sequence[int] | None = None) -> None:
        super().__init__(indexes)
        self.value = [None] * len(self.indexes)

    def _process(self, inputs: dict[str, Any]) -> None:
        self._combine(inputs, max)


class MinPE(AggregatePE):
    """Writes the smallest of each entry, None if there was no item."""

    def __init__(self, indexes: Sequence[int] | None = None) -> None:
        super().__init__(indexes)
        self.value = [None] * len(self.indexes)

    def _process(self, inputs: dict[str, Any]) -> None:
        self._combine(inputs, min)


class _AveragePE(_OneInOneOut):
    """Keeps count and sum, and writes ``[mean, count, sum]``; nothing where there was no item."""

    def __init__(self, grouping: str | None = None) -> None:
        super().__init__(grouping)
        self.sum: Any = 0
        self.count = 0

    def _postprocess(self) -> None:
        if self.count:
            self.write(self.OUTPUT_NAME, [self.sum / self.count, self.count, self.sum])


class AverageParallelPE(_AveragePE):
    """Writes ``[mean, count, sum]`` of one entry of the items; nothing where there was no item.

    :param index: which entry
    """

    def __init__(self, index: int = 0) -> None:
        super().__init__()
        self.index = index

    def _process(self, inputs: dict[str, Any]) -> None:
        self.count += 1
        self.sum += inputs[self.INPUT_NAME][self.index]


class AverageReducePE(_AveragePE):
    """Combines what several :class:`AverageParallelPE` write into one ``[mean, count, sum]``."""

    def __init__(self) -> None:
        super().__init__("global")

    def _process(self, inputs: dict[str, Any]) -> None:
        _, count, total = inputs[self.INPUT_NAME]
        self.count += count
        self.sum += total


class _DeviationPE(_OneInOneOut):
    """Keeps count, sums and the squared distances from the mean, and writes the deviation.

    Parts are combined as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm
    for computing sample variances" (1979), which does not lose digits where the mean is large.
    """

    def __init__(self, grouping: str | None = None) -> None:
        super().__init__(grouping)
        self.count = 0
        self.sum: Any = 0
        self.sum_squared: Any = 0
        self._distances = 0.0

    def _merge(self, count: int, total: Any, squares: Any, distances: float) -> None:
        if self.count and count:
            between = total / count - self.sum / self.count
            self._distances += between**2 * self.count * count / (self.count + count)
        self._distances += distances
        self.count += count
        self.sum += total
        self.sum_squared += squares

    def _postprocess(self) -> None:
        if self.count:
            deviation = math.sqrt(self._distances / max(1, self.count - 1))
            self.write(self.OUTPUT_NAME, (deviation, self.count, self.sum, self.sum_squared))


class StdDevPE(_DeviationPE):
    """Writes ``(sample standard deviation, count, sum, sum of squares)`` of one entry.

    The deviation of a single item is 0; nothing is written where there was no item.

    :param index: which entry of the items
    """

    def __init__(self, index: int = 0) -> None:
        super().__init__()
        self.index = index

    def _process(self, inputs: dict[str, Any]) -> None:
        entry = inputs[self.INPUT_NAME][self.index]
        self._merge(1, entry, entry * entry, 0.0)


class StdDevReducePE(_DeviationPE):
    """Combines what several :class:`StdDevPE` write into one such item."""

    def __init__(self) -> None:
        super().__init__("global")

    def _process(self, inputs: dict[str, Any]) -> None:
        deviation, count, total, squares = inputs[self.INPUT_NAME]
        self._merge(count, total, squares, deviation**2 * (count - 1))


def parallel_aggregate(inst_pe: GenericPE, reduce_pe: GenericPE) -> WorkflowGraph:
    """A composite: ``inst_pe`` for parts of the stream, ``reduce_pe`` for what those write.

    Whoever calls this says that the parts can be combined, so ``inst_pe`` may be replicated.
    """
    inst_pe.__dict__.setdefault("stateful", False)
    reduce_pe.inputconnections["input"]["grouping"] = "global"
    reduce_pe.numprocesses = 1
    composite = WorkflowGraph()
    composite.connect(inst_pe, "output", reduce_pe, "input")
    composite.inputmappings = {"input": (inst_pe, "input")}
    composite.outputmappings = {"output": (reduce_pe, "output")}
    return composite


def _parallel(kind: type[AggregatePE], indexes: Sequence[int] | None) -> WorkflowGraph:
    first = kind(indexes)
    return parallel_aggregate(first, kind(range(len(first.indexes))))


def parallel_count() -> WorkflowGraph:
    """A composite that writes ``[the number of items]``."""
    total = SumPE([0])
    total.name = "CountReduce"
    return parallel_aggregate(CountPE(), total)


def parallel_sum(indexes: Sequence[int] | None = None) -> WorkflowGraph:
    """A composite that writes the sums of the entries."""
    return _parallel(SumPE, indexes)


def parallel_min(indexes: Sequence[int] | None = None) -> WorkflowGraph:
    """A composite that writes the smallest of each entry."""
    return _parallel(MinPE, indexes)


def parallel_max(indexes: Sequence[int] | None = None) -> WorkflowGraph:
    """A composite that writes the largest of each entry."""
    return _parallel(MaxPE, indexes)


def parallel_avg(index: int = 0) -> WorkflowGraph:
    """A composite that writes ``[mean, count, sum]`` of one entry."""
    return parallel_aggregate(AverageParallelPE(index), AverageReducePE())


def parallel_std_dev(index: int = 0) -> WorkflowGraph:
    """A composite that writes ``(sample standard deviation, count, sum, sum of squares)``."""
    return parallel_aggregate(StdDevPE(index), StdDevReducePE())


# The older spellings, still in scripts.
parallelCount = parallel_count  # noqa: N816
parallelSum = parallel_sum  # noqa: N816
parallelMin = parallel_min  # noqa: N816
parallelMax = parallel_max  # noqa: N816
parallelAvg = parallel_avg  # noqa: N816
parallelStdDev = parallel_std_dev  # noqa: N816
