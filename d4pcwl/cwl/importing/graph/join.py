"""Joins: from tokens to complete inputs of a step, and scattering. A step that is not scattered
*fires* (starts an execution) once, when all its inputs are there. A scattered step fires for each
element as soon as the inputs of that element are there. It does not wait for the complete array.
This module knows nothing of PEs or of cwltool.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from d4pcwl.cwl.importing.graph.links import Link, LinkFault
from d4pcwl.cwl.importing.graph.token import Firing, Gathering, Index, Tag, Token

DOT, FLAT, NESTED = "dotproduct", "flat_crossproduct", "nested_crossproduct"

_Element = tuple[Any, bool]
"""A value, and whether it failed."""


@dataclass(slots=True)
class _Open:
    """What has arrived for one run of the workflow.

    :param whole: complete values by origin
    :param streams: arrays that come in elements, by origin
    :param base: the values of the inputs that are not scattered, once all are there
    :param columns: for each scattered input the elements that are there
    :param sizes: for each scattered input the number of its elements, once known
    :param started: everything except for elements is there, so elements may fire
    """

    whole: dict[str, _Element] = field(default_factory=dict)
    streams: dict[str, Gathering] = field(default_factory=dict)
    base: dict[str, Any] | None = None
    columns: dict[str, dict[int, _Element]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    started: bool = False
    fired: int = 0


class Join:
    """Gathers the inputs of a step.

    :param links: its inputs
    :param scatter: the names of those that it is scattered over
    :param method: ``scatterMethod``
    """

    def __init__(
        self, links: Iterable[Link], scatter: Sequence[str] = (), method: str = DOT
    ) -> None:
        self.links = {link.name: link for link in links}
        self.scattered = [self.links[name] for name in scatter]
        self.plain = [link for link in self.links.values() if link.name not in scatter]
        self.method = method
        self.origins = {source for link in self.links.values() for source in link.sources}
        self._open: dict[Tag, _Open] = {}
        self._given_up: set[Tag] = set()

    def receive(self, token: Token) -> Iterator[Firing]:
        """Take a token; return the executions that it fires."""
        if token.tag in self._given_up:
            return
        state = self._open.setdefault(token.tag, _Open())
        row = None
        if token.shape:
            stream = state.streams.setdefault(token.origin, Gathering(token.shape))
            stream.add(token.index, token.value, token.failed)
            row = token.index[0]
            if stream.complete:
                state.whole[token.origin] = stream.whole()
        else:
            state.whole[token.origin] = (token.value, token.failed)
        try:
            if self.scattered:
                yield from self._fire_elements(token, row, state)
            elif self.origins <= state.whole.keys():
                yield self._fire_once(token.tag, state)
        except LinkFault as fault:
            yield self._give_up(token.tag, str(fault))

    # --- not scattered ----------------------------------------------------------------------

    def _fire_once(self, tag: Tag, state: _Open) -> Firing:
        if _failed(state, self.origins):
            return self._give_up(tag)
        values = {origin: value for origin, (value, _) in state.whole.items()}
        inputs = {name: link.resolve(values) for name, link in self.links.items()}
        del self._open[tag]
        return Firing(tag, inputs)

    def _give_up(self, tag: Tag, fault: str | None = None) -> Firing:
        """Forget this run of the workflow: nothing more will fire for it here."""
        del self._open[tag]
        self._given_up.add(tag)
        return Firing(tag, None, failed=True, fault=fault)

    # --- scattered --------------------------------------------------------------------------

    def _fire_elements(self, token: Token, row: int | None, state: _Open) -> Iterator[Firing]:
        fresh = self._fill_columns(token, row, state)
        if fresh is None or not self._fill_base(state):
            if fresh is None or _failed(state, self._base_origins):
                yield self._give_up(token.tag)
            return
        if len(state.sizes) < len(self.scattered):
            return
        sizes = tuple(state.sizes[link.name] for link in self.scattered)
        if self.method == DOT and len(set(sizes)) > 1:
            listed = ", ".join(f"{n}: {s}" for n, s in state.sizes.items())
            raise LinkFault(f"scatter by dotproduct needs arrays of equal length ({listed})")
        shape = {DOT: sizes[:1], NESTED: sizes, FLAT: (math.prod(sizes),)}[self.method]
        total = math.prod(shape)
        if total == 0:
            if self.origins <= state.whole.keys():
                del self._open[token.tag]
                yield Firing(token.tag, None, shape=shape if self.method == NESTED else (0,))
            return
        places = list(self._places(state, fresh if state.started else None))
        state.started = True
        state.fired += len(places)
        if state.fired == total:
            del self._open[token.tag]
        for place in places:
            yield self._element(token.tag, state, place, shape, sizes)

    def _fill_columns(
        self, token: Token, row: int | None, state: _Open
    ) -> list[tuple[str, int]] | None:
        """Note the elements of a token; None if a whole array has failed."""
        fresh: list[tuple[str, int]] = []
        for link in self.scattered:
            known = link.name in state.sizes if not link.sources else None
            if known or (link.sources and token.origin not in link.sources):
                continue
            column = state.columns.setdefault(link.name, {})
            found: dict[int, _Element] = {}
            if row is not None and link.streams:
                stream = state.streams[token.origin]
                state.sizes[link.name] = stream.shape[0]
                element = stream.row(row)
                if element is not None and row not in column:
                    found[row] = element
            elif link.nests:
                state.sizes[link.name] = len(link.sources)
                for number, source in enumerate(link.sources):
                    if source == token.origin and source in state.whole:
                        found[number] = state.whole[source]
            elif set(link.sources) <= state.whole.keys():
                if _failed(state, link.sources):
                    return None
                array = link.resolve({s: state.whole[s][0] for s in link.sources})
                if not isinstance(array, list):
                    raise LinkFault(
                        f"'{link.name}' is scattered, but it is not an array: {array!r}"
                    )
                state.sizes[link.name] = len(array)
                found = {number: (value, False) for number, value in enumerate(array)}
            column.update(found)
            fresh += [(link.name, number) for number in found]
        return fresh

    @property
    def _base_origins(self) -> set[str]:
        return {source for link in self.plain for source in link.sources}

    def _fill_base(self, state: _Open) -> bool:
        """Set the inputs that are not scattered; return whether that is possible yet."""
        if state.base is None:
            origins = self._base_origins
            if not origins <= state.whole.keys() or _failed(state, origins):
                return False
            values = {origin: value for origin, (value, _) in state.whole.items()}
            state.base = {link.name: link.resolve(values) for link in self.plain}
        return True

    def _places(self, state: _Open, fresh: list[tuple[str, int]] | None) -> Iterator[Index]:
        """The places, one number for each scattered input, that may fire now.

        :param fresh: the new elements, if the others have fired; None: none has fired
        """
        names = [link.name for link in self.scattered]
        if self.method == DOT:
            numbers: Iterable[int] = state.columns[names[0]]
            if fresh is not None:
                numbers = dict.fromkeys(number for _, number in fresh)
            for number in numbers:
                if all(number in state.columns[name] for name in names):
                    yield (number,) * len(names)
            return
        if fresh is None:
            yield from product(*(state.columns[name] for name in names))
            return
        seen: set[Index] = set()
        for name, number in fresh:
            axes = ([number] if other == name else state.columns[other] for other in names)
            for place in product(*axes):
                if place not in seen:
                    seen.add(place)
                    yield place

    def _element(self, tag: Tag, state: _Open, place: Index, shape: Index, sizes: Index) -> Firing:
        """The firing of one element."""
        assert state.base is not None
        if self.method == DOT:
            index: Index = place[:1]
        elif self.method == NESTED:
            index = place
        else:
            number = 0
            for at, size in zip(place, sizes, strict=True):
                number = number * size + at
            index = (number,)
        inputs = dict(state.base)
        failed = False
        for link, at in zip(self.scattered, place, strict=True):
            inputs[link.name], missing = state.columns[link.name][at]
            failed = failed or missing
        return Firing(tag, None if failed else inputs, index, shape, failed)


def _failed(state: _Open, origins: Iterable[str]) -> bool:
    """Whether one of these has arrived and failed."""
    return any(state.whole[origin][1] for origin in origins if origin in state.whole)
