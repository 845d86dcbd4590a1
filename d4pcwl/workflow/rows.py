"""Rows of a picture: a long chain is continued in the row below, like a text."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from d4pcwl.workflow.flat import ordered_components

Unit = TypeVar("Unit", bound=Hashable)

_CROSSING = 2
"""The largest number of arrows from one row to the next. With more arrows, one long row is easier
to read."""


def rows(
    widths: Mapping[Unit, float], arrows: Iterable[tuple[Unit, Unit]], limit: float
) -> list[list[Unit]]:
    """The rows of the units, each not wider than ``limit`` if possible.

    :param widths: of the units, sources first if possible
    :param arrows: from unit to unit, each as often as it is drawn
    """
    arrows = [(source, target) for source, target in arrows if source != target]
    columns = _columns(list(widths), arrows)
    wide = [max(widths[unit] for unit in column) for column in columns]
    place = {unit: number for number, column in enumerate(columns) for unit in column}
    crossing = [0] * len(columns)
    for source, target in arrows:
        first, last = sorted((place[source], place[target]))
        for number in range(first + 1, last + 1):
            crossing[number] += 1
    ends = [number for number, count in enumerate(crossing) if count <= _CROSSING]
    starts = _starts(wide, ends, limit)
    while True:  # as even as may be
        narrower = _starts(wide, ends, _widest(wide, starts) - 1)
        if len(narrower) > len(starts) or _widest(wide, narrower) >= _widest(wide, starts):
            break
        starts = narrower
    parts = zip(starts, [*starts[1:], len(columns)], strict=True)
    return [[unit for column in columns[a:b] for unit in column] for a, b in parts]


def _columns(units: Sequence[Unit], arrows: Sequence[tuple[Unit, Unit]]) -> list[list[Unit]]:
    """The units, grouped by how many units come before them; the units of a cycle are in one
    group."""
    number = {unit: place for place, unit in enumerate(units)}
    before: dict[int, set[int]] = {place: set() for place in range(len(units))}
    for source, target in arrows:
        before[number[target]].add(number[source])
    column: dict[int, int] = {}
    for component in ordered_components(before):
        others = {place for inner in component for place in before[inner]} - set(component)
        start = max((column[place] + 1 for place in others), default=0)
        for offset, place in enumerate(sorted(component)):
            column[place] = start + offset
    found: dict[int, list[Unit]] = {}
    for place in sorted(column, key=lambda place: (column[place], place)):
        found.setdefault(column[place], []).append(units[place])
    return list(found.values())


def _starts(wide: Sequence[float], ends: Sequence[int], limit: float) -> list[int]:
    """The columns at which rows begin."""
    starts = [0]
    for number in range(1, len(wide) + 1):
        if sum(wide[starts[-1] : number]) > limit:
            starts += [end for end in ends if starts[-1] < end < number][-1:]
    return starts


def _widest(wide: Sequence[float], starts: Sequence[int]) -> float:
    ends = [*starts[1:], len(wide)]
    return max((sum(wide[a:b]) for a, b in zip(starts, ends, strict=True)), default=0)
