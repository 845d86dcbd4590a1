"""Aggregates of numbers: exact, so that they are the same in however many parts they are made.

Sums are kept as whole numbers, in units so small that every float is a multiple of them (the long
accumulator of Kulisch and Miranker 1986, SIAM Review 28, 1-40). Adding them up is exact in any
order, and what comes out is rounded once. So counts, sums, means and standard deviations of parts
are joined without a rounding error, where the usual updates (Chan, Golub and LeVeque 1983, The
American Statistician 37, 242-247) have a small one that depends on the parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
from typing import Any, Literal, get_args

from d4pcwl.errors import GraphError, nearest
from d4pcwl.library.keys import Keys, grouped_by, key_reader
from d4pcwl.workflow.composite import CompositePE
from d4pcwl.workflow.pe import IterativePE

Measure = Literal["count", "min", "max", "sum", "mean", "std"]
MEASURES: tuple[str, ...] = get_args(Measure)

_BITS = 1074
"""The smallest float is 2 to the power of minus this."""


class Tally:
    """The numbers seen so far, as far as aggregates need them.

    :param keep: whether all numbers are kept, as quantiles need
    """

    def __init__(self, keep: bool = False) -> None:
        self.count = 0
        self.least = self.most = 0.0
        self.total = self.squares = 0
        self.values: list[float] | None = [] if keep else None

    def add(self, number: float) -> None:
        """Take a number in.

        :raises ValueError: it is not finite
        """
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(f"{number} is not finite, so it cannot be aggregated")
        numerator, denominator = value.as_integer_ratio()
        shift = _BITS + 1 - denominator.bit_length()
        self.total += numerator << shift
        self.squares += numerator * numerator << 2 * shift
        self.least = value if not self.count else min(self.least, value)
        self.most = value if not self.count else max(self.most, value)
        self.count += 1
        if self.values is not None:
            self.values.append(value)

    def merge(self, other: Tally) -> None:
        """Take in what another has; nothing is rounded."""
        if other.count:
            self.least = min(self.least, other.least) if self.count else other.least
            self.most = max(self.most, other.most) if self.count else other.most
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        if self.values is not None and other.values is not None:
            self.values += other.values

    def state(self) -> tuple[Any, ...]:
        """It as plain data; :meth:`from_state` makes it again."""
        return (self.count, self.least, self.most, self.total, self.squares, self.values)

    @classmethod
    def from_state(cls, state: Sequence[Any]) -> Tally:
        """The tally that plain data is of."""
        made = cls()
        made.count, made.least, made.most, made.total, made.squares, values = state
        made.values = None if values is None else list(values)
        return made

    def measure(self, name: str) -> float | int | None:
        """One of :data:`MEASURES`, rounded once; None if there are too few numbers.

        ``std`` is the standard deviation of a sample: the divisor is count - 1.
        """
        if name == "count":
            return self.count
        if name == "sum":
            return _rounded(Fraction(self.total, 1 << _BITS))
        if not self.count:
            return None
        if name == "mean":
            return _rounded(Fraction(self.total, self.count << _BITS))
        if name == "std":
            return self._deviation()
        return self.least if name == "min" else self.most

    def _deviation(self) -> float | None:
        if self.count < 2:
            return None
        spread = self.count * self.squares - self.total * self.total
        return _root(Fraction(spread, self.count * (self.count - 1) << 2 * _BITS))

    def quantile(self, fraction: float) -> float | None:
        """A quantile, linear between the two nearest numbers (Hyndman and Fan 1996, The American
        Statistician 50, 361-365, definition 7, as numpy's).
        """
        if not self.values:
            return None
        self.values.sort()
        place = fraction * (len(self.values) - 1)
        below = int(place)
        above = min(below + 1, len(self.values) - 1)
        low, high = self.values[below], self.values[above]
        share = place - below
        return low if low == high else (1 - share) * low + share * high


def _rounded(value: Fraction) -> float:
    """The nearest float; infinite where there is none."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _root(value: Fraction) -> float:
    """The square root of a fraction, from its first 128 bits or more."""
    shift = max(0, 256 - value.numerator.bit_length() + value.denominator.bit_length())
    shift += shift % 2
    root = math.isqrt((value.numerator << shift) // value.denominator)
    return _rounded(Fraction(root, 1 << shift // 2))


class Aggregate(CompositePE):
    """Counts numbers, and writes their sum, mean, and other aggregates at the end.

    :param measures: some of ``count``, ``min``, ``max``, ``sum``, ``mean``, ``std``
    :param value: the key or index of the number in an item; None: the item itself
    :param by: keys; each key has its own aggregates
    :param quantiles: fractions from 0 to 1: 0.5 is the median
    :raises GraphError: there is no such measure or quantile

    Input ``input``: items with finite numbers. Output ``output``: dictionaries, one for each key in
    the order of the keys, with the keys, the measures, and ``quantiles`` as a list. Without keys,
    there is one dictionary. State: some sums for each key; with quantiles, all numbers.

    It is two PEs: copies of the first add up parts of the stream, side by side, and the second
    combines the parts. The results are the same to the last bit.
    """

    def __init__(
        self,
        measures: Sequence[str] = MEASURES,
        value: str | int | None = None,
        by: Keys = None,
        quantiles: Sequence[float] = (),
    ) -> None:
        super().__init__()
        for unknown in [name for name in measures if name not in MEASURES]:
            raise GraphError(
                f"Aggregate: no measure is called {unknown}{nearest(unknown, MEASURES)}"
            )
        for wrong in [fraction for fraction in quantiles if not 0 <= fraction <= 1]:
            raise GraphError(f"Aggregate: a quantile must be from 0 to 1, not {wrong}")
        names = () if by is None else grouped_by(by, "Aggregate.input").keys
        part = _Parts(value, by, keep=bool(quantiles))
        whole = _Whole(tuple(measures), names, tuple(quantiles))
        self.connect(part, "output", whole, "input")
        self._map_input("input", part, "input")
        self._map_output("output", whole, "output")


class _Parts(IterativePE):
    """Adds up a part of the stream: any part will do, so there may be several of it."""

    stateful = False
    ordered = False

    def __init__(self, value: str | int | None, by: Keys, keep: bool) -> None:
        super().__init__()
        self.name = "Aggregate"
        self.value, self.by, self.keep = value, by, keep
        self.tallies: dict[Hashable, Tally] = {}
        self.known: dict[Hashable, list[bytes]] = {}

    def _preprocess(self) -> None:
        self.key: Callable[[Any], Hashable] = (
            _no_key if self.by is None else key_reader(self.by, self.name)
        )

    def _process(self, data: Any) -> None:
        key = self.key(data)
        tally = self.tallies.get(key)
        if tally is None:
            tally = self.tallies[key] = Tally(self.keep)
        tally.add(data if self.value is None else data[self.value])
        _note(self, key)

    def _postprocess(self) -> None:
        for key, tally in self.tallies.items():
            self.write("output", (key, tally.state()), derived_from=self.known.get(key, []))


class _Whole(IterativePE):
    """Joins parts, and gives the aggregates."""

    stateful = True
    ordered = False

    def __init__(
        self, measures: tuple[str, ...], names: tuple[Hashable, ...], quantiles: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.name = "Join"
        self.inputconnections["input"]["grouping"] = "global"
        self.measures, self.names, self.quantiles = measures, names, quantiles
        self.tallies: dict[Hashable, Tally] = {}
        self.known: dict[Hashable, list[bytes]] = {}

    def _process(self, data: Any) -> None:
        key, state = data
        _note(self, key)
        part = Tally.from_state(state)
        if key in self.tallies:
            self.tallies[key].merge(part)
        else:
            self.tallies[key] = part

    def _postprocess(self) -> None:
        if not self.names:
            self.tallies.setdefault(None, Tally())
        for key in _in_order(self.tallies):
            tally = self.tallies[key]
            values = key if len(self.names) > 1 else (key,)
            named = dict(zip(self.names, values, strict=False))  # type: ignore[call-overload]
            measured: dict[str, Any] = {name: tally.measure(name) for name in self.measures}
            if self.quantiles:
                measured["quantiles"] = [tally.quantile(fraction) for fraction in self.quantiles]
            made = {**named, **measured}
            self.write("output", made, derived_from=self.known.get(key, []))


def _note(pe: _Parts | _Whole, key: Hashable) -> None:
    """Note that the present item is a part of what there is for a key, if that is recorded."""
    known = pe.item_id()
    if known is not None:
        pe.known.setdefault(key, []).append(known)


def _in_order(keys: Any) -> list[Hashable]:
    try:
        return sorted(keys)
    except TypeError:  # keys of several types
        return sorted(keys, key=repr)


def _no_key(item: Any) -> Hashable:
    """The key of all items where there are no keys."""
    return None
