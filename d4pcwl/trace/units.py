"""Figures as people read them: few digits, and a unit."""

from __future__ import annotations

_SMALL = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def seconds(value: float, digits: int = 3) -> str:
    """A time.

    :param digits: how many are shown, below a minute

    >>> [seconds(value) for value in (0, 3.2e-7, 0.0123, 59.96, 83, 7265)]
    ['0 s', '0.32 µs', '12.3 ms', '1 min', '1 min 23 s', '2 h 1 min']
    >>> [seconds(value, 2) for value in (0.421, 9.94, 12.4, 180, 3599.9)]
    ['420 ms', '9.9 s', '12 s', '3 min', '1 h']
    """
    whole = round(value)
    if whole >= 60:
        large, small = ("h", "min") if whole >= 3600 else ("min", "s")
        first, rest = divmod(round(value / 60) if large == "h" else whole, 60)
        return f"{first} {large} {rest} {small}" if rest else f"{first} {large}"
    for size, unit in _SMALL:
        if value >= size or size == _SMALL[-1][0]:
            return f"{_digits(value / size, digits)} {unit if value else 's'}"
    raise AssertionError


def count(value: float) -> str:
    """A number of things.

    >>> [count(value) for value in (0, 0.04, 999, 1234, 56_789, 1_234_567)]
    ['0', '0.04', '999', '1.23 k', '56.8 k', '1.23 M']
    """
    for size, unit in _LARGE:
        if value >= size * 0.9995:
            return f"{_digits(value / size)} {unit}"
    return _digits(value)


def number(count: int, what: str) -> str:
    """How many there are of something.

    >>> [number(1, "process"), number(2, "process"), number(3, "instance")]
    ['1 process', '2 processes', '3 instances']
    """
    return f"{count} {what}{'' if count == 1 else 'es' if what.endswith('s') else 's'}"


def size(value: float) -> str:
    """A number of bytes.

    >>> [size(value) for value in (12, 1234, 5e9)]
    ['12 B', '1.23 kB', '5 GB']
    """
    text = count(value)
    return f"{text}B" if " " in text else f"{text} B"


def percent(share: float) -> str:
    """A share.

    >>> [percent(value) for value in (0, 0.004, 0.0349, 0.97, 1)]
    ['0 %', '0.4 %', '3 %', '97 %', '100 %']
    """
    digits = 1 if 0 < share < 0.01 else 0
    return f"{100 * share:.{digits}f} %"


def times(ratio: float) -> str:
    """How many times one thing is another.

    >>> [times(value) for value in (0.5, 1.333, 12.3)]
    ['0.5 times', '1.33 times', '12.3 times']
    """
    return f"{_digits(ratio)} times"


def _digits(value: float, digits: int = 3) -> str:
    """At most so many digits that matter."""
    text = f"{float(f'{value:.{digits}g}'):.6f}"
    return text.rstrip("0").rstrip(".")
