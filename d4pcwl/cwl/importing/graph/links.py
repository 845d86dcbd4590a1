"""Links: how the value of an input is made from its sources (``source``, ``linkMerge``,
``pickValue``, ``default``), as CWL defines it. ``valueFrom`` comes later, after the scatter."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class LinkFault(Exception):
    """The sources of an input do not give a value."""


@dataclass(frozen=True)
class Link:
    """An input of a step, or an output of a workflow, and where its value comes from.

    :param name: its own name
    :param sources: the origins of what is linked to it
    :param link_merge: ``linkMerge``
    :param pick: ``pickValue``
    :param default: replaces null values of the sources
    :param has_default: whether there is one
    """

    name: str
    sources: tuple[str, ...] = ()
    link_merge: str | None = None
    pick: str | None = None
    default: Any = None
    has_default: bool = False

    @property
    def merge(self) -> str | None:
        """``merge_nested`` or ``merge_flattened``, if sources make an array."""
        return self.link_merge or ("merge_nested" if len(self.sources) > 1 else None)

    @property
    def streams(self) -> bool:
        """Whether elements of its array can be taken one by one, as they come from its source."""
        return len(self.sources) == 1 and self.merge is None and self.pick is None

    @property
    def nests(self) -> bool:
        """Whether each source gives one element of its array."""
        return len(self.sources) > 1 and self.merge == "merge_nested" and self.pick is None

    def resolve(self, values: Mapping[str, Any]) -> Any:
        """The value, given those of all sources.

        :raises LinkFault: ``pickValue`` finds no value, or too many
        """
        value = self._merged(values)
        if self.pick is not None and isinstance(value, list):
            value = _PICKS[self.pick](self.name, value)
        if value is None and self.has_default:
            return copy.deepcopy(self.default)
        return value

    def _merged(self, values: Mapping[str, Any]) -> Any:
        if not self.sources:
            return None
        if self.merge is None:
            return values[self.sources[0]]
        merged: list[Any] = []
        for source in self.sources:
            value = values[source]
            if self.merge == "merge_flattened" and isinstance(value, list):
                merged += value
            else:
                merged.append(value)
        return merged


def _first_non_null(name: str, values: list[Any]) -> Any:
    for value in values:
        if value is not None:
            return value
    raise LinkFault(f"all sources of '{name}' are null (pickValue: first_non_null)")


def _the_only_non_null(name: str, values: list[Any]) -> Any:
    found = _all_non_null(name, values)
    if len(found) != 1:
        what = "all sources" if not found else f"{len(found)} sources, not just one,"
        state = "null" if not found else "not null"
        raise LinkFault(f"{what} of '{name}' are {state} (pickValue: the_only_non_null)")
    return found[0]


def _all_non_null(name: str, values: list[Any]) -> list[Any]:
    return [value for value in values if value is not None]


_PICKS: dict[str, Callable[[str, list[Any]], Any]] = {
    "first_non_null": _first_non_null,
    "the_only_non_null": _the_only_non_null,
    "all_non_null": _all_non_null,
}
