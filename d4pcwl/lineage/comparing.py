"""Two versions of a file: whether they are equal in bytes, equal as values, or where they differ.

Values are compared in JSON, JSON lines, CSV, stream files, and arrays of numpy (``.npy``,
``.npz``); of other files only bytes. Numbers are equal if their values are: 1 is 1.0, and NaN is
NaN. There is no tolerance.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from d4pcwl.errors import D4pcwlError
from d4pcwl.lineage.entries import LINES, STREAMS, TABLE, entries
from d4pcwl.lineage.identity import digest_of

EQUAL, SAME_VALUES, DIFFERENT = "equal", "equal as values", "differs"

_LETTERS = 60
_BLOCK = 1 << 20
_NOTHING = object()
"""What is compared where one version has no more."""


@dataclass(frozen=True)
class Verdict:
    """How two versions of a file compare.

    :param kind: :data:`EQUAL` in bytes, :data:`SAME_VALUES` or :data:`DIFFERENT`
    :param told: where they differ, or what else is to be said
    """

    kind: str
    told: str = ""


@dataclass(frozen=True)
class Difference:
    """A place where two values differ.

    :param told: what is said of it, if not the values
    """

    place: str
    before: Any
    after: Any
    told: str = ""

    @property
    def relative(self) -> float | None:
        """The difference of two numbers, as a part of the first; None of other values."""
        if not (_is_number(self.before) and _is_number(self.after) and self.before):
            return None
        return abs((float(self.after) - float(self.before)) / float(self.before))


def compare(
    before: Path, after: Path, *, unordered: Collection[str] = (), lines_in_any_order: bool = False
) -> Verdict:
    """Compare two versions of a file.

    :param unordered: of a file with results, the outputs (``PE.output``) whose order is not
        promised
    :param lines_in_any_order: the order of its lines is not promised either: what PEs print
    :raises OSError: one of them cannot be read
    """
    if _same_bytes(before, after):
        return Verdict(EQUAL)
    try:
        if lines_in_any_order:
            one, other = (Counter(path.read_bytes().splitlines()) for path in (before, after))
            found = _of_multisets(one, other, "lines")
        elif before.suffix in LINES:
            found = _of_lines(before, after, unordered)
        elif before.suffix in STREAMS:
            found = _of_streams(before, after, unordered)
        elif before.suffix == TABLE:
            found = _of_entries(entries(before), entries(after), "line")
        elif before.suffix in (".npy", ".npz"):
            found = _of_values(_arrays(before), _arrays(after), "")
        elif before.suffix in (".json", ".geojson"):
            found = _of_values(json.loads(before.read_bytes()), json.loads(after.read_bytes()), "")
        else:
            return Verdict(DIFFERENT, _of_bytes(before, after))
        return _verdict(found)
    except (ValueError, D4pcwlError) as error:  # one of them is not what its name says
        return Verdict(DIFFERENT, f"it cannot be compared as values: {error}")


def _verdict(found: Iterator[Difference]) -> Verdict:
    first = next(found, None)
    if first is None:
        return Verdict(SAME_VALUES)
    count, largest, numbers = 1, first.relative, first.relative is not None
    for each in found:
        count += 1
        numbers = numbers and each.relative is not None
        largest = max(largest or 0.0, each.relative or 0.0)
    told = f"{first.place}: " if first.place else ""
    told += first.told or f"{_shown(first.before)} before, {_shown(first.after)} now"
    if count > 1:
        told += f"; {count} values differ"
    if numbers and largest is not None:
        told += f"{',' if count > 1 else ';'} by at most {largest:.1g} of their size"
    return Verdict(DIFFERENT, told)


def compare_items(before: Sequence[Any], after: Sequence[Any], *, ordered: bool = True) -> Verdict:
    """Compare two sequences of digests of items, so far as items have them.

    :param ordered: whether their order counts
    """
    if ordered and len(before) == len(after):
        at = (n for n, (was, came) in enumerate(zip(before, after, strict=True), 1) if was != came)
        first = next(at, None)
        if first is None:
            return Verdict(SAME_VALUES)
        return Verdict(DIFFERENT, f"item {first} is different")
    if ordered:
        return Verdict(DIFFERENT, f"{len(before)} items before, {len(after)} now")
    return _verdict(_of_multisets(Counter(before), Counter(after), "items"))


# --- files ----------------------------------------------------------------------------------------


def _same_bytes(before: Path, after: Path) -> bool:
    if before.stat().st_size != after.stat().st_size:
        return False
    with before.open("rb") as one, after.open("rb") as other:
        while block := one.read(_BLOCK):
            if block != other.read(_BLOCK):
                return False
    return True


def _of_bytes(before: Path, after: Path) -> str:
    sizes = [path.stat().st_size for path in (before, after)]
    if sizes[0] != sizes[1]:
        return f"{sizes[0]} bytes before, {sizes[1]} now"
    at = 0
    with before.open("rb") as one, after.open("rb") as other:
        while (block := one.read(_BLOCK)) == (now := other.read(_BLOCK)):
            at += len(block)
    return (
        f"at byte {at + next(n for n, (a, b) in enumerate(zip(block, now, strict=True)) if a != b)}"
    )


def _of_lines(before: Path, after: Path, unordered: Collection[str]) -> Iterator[Difference]:
    """JSON lines. In those of results, each output is in order, but not among others."""
    yield from _of_outputs(_results(before), _results(after), unordered, "line")


def _results(path: Path) -> Iterator[tuple[str, int, Any]]:
    for at, entry in entries(path):
        is_result = isinstance(entry, dict) and {"pe", "port"} <= entry.keys()
        yield f"{entry['pe']}.{entry['port']}" if is_result else "", at, entry


def _of_streams(before: Path, after: Path, unordered: Collection[str]) -> Iterator[Difference]:
    from d4pcwl.streams.reader import StreamReader

    def items(reader: StreamReader) -> Iterator[tuple[str, int, Any]]:
        for at, (port, item) in enumerate(reader, 1):
            yield ".".join(reader.ports[port]), at, item

    with StreamReader(before) as one, StreamReader(after) as other:
        yield from _of_outputs(items(one), items(other), unordered, "item")


def _of_outputs(
    before: Iterable[tuple[str, int, Any]],
    after: Iterable[tuple[str, int, Any]],
    unordered: Collection[str],
    what: str,
) -> Iterator[Difference]:
    """Entries of outputs, each with its place: compared output by output."""
    sides: list[dict[str, list[tuple[int, Any]]]] = []
    for version in (before, after):
        by_output: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        for output, at, entry in version:
            by_output[output].append((at, entry))
        sides.append(by_output)
    one, other = sides
    for output in dict.fromkeys((*one, *other)):
        was, came = one.get(output, []), other.get(output, [])
        if output in unordered:
            lost, new = (Counter(_key(entry) for _, entry in side) for side in (was, came))
            yield from _of_multisets(lost, new, f"{what}s of {output}")
        else:
            yield from _of_entries(was, came, what)


def _key(entry: Any) -> Any:
    """Equal for equal values."""
    return digest_of(entry) or repr(entry)


def _of_multisets(before: Counter[Any], after: Counter[Any], what: str) -> Iterator[Difference]:
    lost, more = before - after, after - before
    if lost or more:
        yield Difference(what, lost, more, f"{lost.total()} are missing, {more.total()} are new")


def _of_entries(
    before: Iterable[tuple[int, Any]], after: Iterable[tuple[int, Any]], what: str
) -> Iterator[Difference]:
    for one, other in zip_longest(before, after):
        if one is None or other is None:
            place = f"{what} {(one or other)[0]}"
            was, came = (_NOTHING if side is None else side[1] for side in (one, other))
            yield Difference(place, was, came)
        else:
            yield from _of_values(one[1], other[1], f"{what} {one[0]}")


def _arrays(path: Path) -> Any:
    import numpy as np

    found = np.load(path, allow_pickle=False)
    return dict(found) if isinstance(found, Mapping) else found


# --- values ---------------------------------------------------------------------------------------


def _of_values(before: Any, after: Any, place: str) -> Iterator[Difference]:
    """Where two values differ.

    :param place: where they are in the file
    """
    if _is_number(before) and _is_number(after):
        same = before == after or (before != before and after != after)
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys((*before, *after)):
            inside = f"{place}.{key}" if place else str(key)
            yield from _of_values(before.get(key, _NOTHING), after.get(key, _NOTHING), inside)
        return
    elif _is_list(before) and _is_list(after):
        for at, (one, other) in enumerate(zip_longest(before, after, fillvalue=_NOTHING)):
            yield from _of_values(one, other, f"{place}[{at}]")
        return
    elif _is_array(before) and _is_array(after):
        yield from _of_arrays(before, after, place)
        return
    else:
        same = type(before) is type(after) and _key(before) == _key(after)
    if not same:
        yield Difference(place, before, after)


def _of_arrays(before: Any, after: Any, place: str) -> Iterator[Difference]:
    import numpy as np

    if before.shape != after.shape or before.dtype.names != after.dtype.names:
        yield Difference(place, before, after)
        return
    unlike = np.asarray(before != after)
    if before.dtype.kind in "fc" and after.dtype.kind in "fc":
        unlike &= ~(np.isnan(before) & np.isnan(after))
    for index in np.argwhere(unlike):
        at = tuple(index)
        inside = f"{place}[{', '.join(map(str, at))}]" if at else place
        yield Difference(inside, before[at], after[at])


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, (int, float)) or (
        type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))


def _is_array(value: Any) -> bool:
    return type(value).__module__ == "numpy" and hasattr(value, "dtype")


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return "nothing"
    if _is_array(value) and value.shape:
        return f"an array {value.dtype} {value.shape}"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
