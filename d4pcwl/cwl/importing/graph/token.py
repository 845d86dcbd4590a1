"""The items between the steps of a CWL workflow: values with their place in the run.

An array of a scattered step is sent as its elements. Each element has its place in the array and
the size of the array. So a receiver may work on it at once, or put the array together again. Only
an array without elements is sent whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Index = tuple[int, ...]
"""A place in an array, one number for each level; ``()`` is the whole."""

Tag = tuple[Any, ...]
"""The run of a workflow that a token belongs to: the job's number, then for each subworkflow around
it the index and shape of the step there. Tokens of one run of a workflow have equal tags."""


@dataclass(frozen=True, slots=True)
class Token:
    """One value that is sent between steps.

    :param origin: the output, or workflow input, that it comes from
    :param tag: the run of the workflow that it belongs to
    :param index: its place in the array that ``origin`` makes
    :param shape: the size of that array; ``()`` if the value is not an element
    :param failed: the value could not be made, or not all of it
    """

    origin: str
    tag: Tag
    value: Any
    index: Index = ()
    shape: Index = ()
    failed: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Firing:
    """The inputs of one execution of a step, complete.

    :param inputs: by name, before ``valueFrom``; None if nothing is executed, because an array to
        scatter over has no elements, or because ``failed``
    :param failed: a value that it depends on could not be made
    :param fault: why there are no inputs, if the reason is here and not upstream
    """

    tag: Tag
    inputs: dict[str, Any] | None
    index: Index = ()
    shape: Index = ()
    failed: bool = False
    fault: str | None = None

    def __repr__(self) -> str:
        """The text for messages if a step fails."""
        return repr(self.inputs)


@dataclass(slots=True)
class Gathering:
    """The present elements of one array."""

    shape: Index
    elements: dict[Index, tuple[Any, bool]] = field(default_factory=dict)
    in_row: dict[int, int] = field(default_factory=dict)

    def add(self, index: Index, value: Any, failed: bool) -> None:
        """Take an element."""
        if index not in self.elements:
            self.in_row[index[0]] = self.in_row.get(index[0], 0) + 1
        self.elements[index] = (value, failed)

    @property
    def complete(self) -> bool:
        """Whether all elements are there."""
        return len(self.elements) == math.prod(self.shape)

    def whole(self) -> tuple[Any, bool]:
        """The array, and whether an element of it failed."""
        failed = any(failed for _, failed in self.elements.values())
        return _nested(self.elements, self.shape, ()), failed

    def row(self, number: int) -> tuple[Any, bool] | None:
        """Element ``number`` of the outermost level, and whether it failed; None: not complete."""
        inner = self.shape[1:]
        if self.in_row.get(number, 0) < math.prod(inner):
            return None
        if not inner:
            return self.elements[(number,)]
        failed = any(f for index, (_, f) in self.elements.items() if index[0] == number)
        return _nested(self.elements, inner, (number,)), failed


def _nested(elements: Mapping[Index, tuple[Any, bool]], shape: Index, place: Index) -> Any:
    if not shape:
        return elements[place][0]
    return [_nested(elements, shape[1:], (*place, number)) for number in range(shape[0])]


def without_elements(shape: Index) -> Any:
    """The array of a shape that has a zero in it: ``[]``, or ``[[], []]`` for ``(2, 0)``."""
    return [without_elements(shape[1:]) for _ in range(shape[0])]
