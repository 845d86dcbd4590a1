"""What a run gave, as values, and how two runs differ.

Items are compared with their types, as far as JSON lines show them: 1 is not 1.0, nor true. Outputs
are multisets, but those of which it is said that they are in order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

_SHOWN = 3
_WIDTH = 90


@dataclass
class Outcome:
    """What a run gave.

    :param results: from ``PE.port`` to the items, each as JSON text in one form, in order
    :param files: from output to the files in it: their paths and contents
    :param printed: the lines that PEs printed, or None where nobody asks
    """

    results: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    printed: list[str] | None = None

    def add_results(self, text: str) -> None:
        """Add the items of a results file.

        :raises ValueError: a line is no result
        """
        for line in text.splitlines():
            result = json.loads(line)
            port = f"{result['pe']}.{result['port']}"
            item = {key: value for key, value in result.items() if key not in ("pe", "port")}
            self.results.setdefault(port, []).append(json.dumps(item, sort_keys=True))

    def add_files(self, output: str, places: Iterable[Path]) -> None:
        """Add what an output consists of: files, and folders with all that is in them."""
        tree = self.files.setdefault(output, {})
        for place in places:
            inside = [path for path in sorted(place.rglob("*")) if path.is_file()]
            for path in inside if place.is_dir() else [place]:
                name = path.relative_to(place) if place.is_dir() else path.name
                tree[str(name)] = path.read_bytes()


def differences(
    expected: Outcome,
    found: Outcome,
    ordered: Collection[str] = (),
    unlike: Sequence[str] = (),
) -> list[str]:
    """How ``found`` differs from ``expected``, in a line for each output or file.

    :param ordered: the outputs (``PE.port``) whose items must be in order
    :param unlike: patterns of ``OUTPUT/FILE`` whose content may differ
    """
    lines = [f"{port}: no such output" for port in ordered if port not in expected.results]
    for port in _both(expected.results, found.results):
        before, after = expected.results.get(port, []), found.results.get(port, [])
        lines += _of_items(port, before, after, port in ordered)
    for output in _both(expected.files, found.files):
        lines += _of_files(
            output, expected.files.get(output, {}), found.files.get(output, {}), unlike
        )
    if expected.printed is not None and found.printed is not None:
        lines += _of_items("printed", expected.printed, found.printed, False)
    return lines


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted({*one, *other})


def _of_items(name: str, expected: list[str], found: list[str], ordered: bool) -> list[str]:
    lost, more = Counter(expected), Counter(found)
    lost, more = lost - more, more - lost
    parts = [
        f"{items.total()} {what}: {_some(items.elements())}"
        for what, items in (("lost", lost), ("too many", more))
        if items
    ]
    if not parts and ordered and expected != found:
        at = next(n for n, (a, b) in enumerate(zip(expected, found, strict=True)) if a != b)
        parts = [
            f"another order from item {at + 1} on: {_short(expected[at])} was expected, "
            f"{_short(found[at])} came"
        ]
    return [f"{name}: {'; '.join(parts)}"] if parts else []


def _of_files(
    output: str, expected: dict[str, bytes], found: dict[str, bytes], unlike: Sequence[str]
) -> list[str]:
    lines = []
    for name in _both(expected, found):
        place = f"{output}/{name}"
        if name not in found:
            lines.append(f"{place}: is missing")
        elif name not in expected:
            lines.append(f"{place}: was not expected")
        elif expected[name] != found[name] and not any(fnmatchcase(place, p) for p in unlike):
            lines.append(f"{place}: {_of_content(expected[name], found[name])}")
    return lines


def _of_content(expected: bytes, found: bytes) -> str:
    before, after = expected.split(b"\n"), found.split(b"\n")
    for number, (one, other) in enumerate(zip(before, after, strict=False), 1):
        if one != other:
            was, came = (_short(line.decode("utf-8", "replace")) for line in (one, other))
            return f"line {number} differs: {was!r} was expected, {came!r} came"
    return f"{len(before)} lines were expected, {len(after)} came"


def _some(items: Iterable[str]) -> str:
    shown = [_short(item) for item in items]
    more = len(shown) - _SHOWN
    return ", ".join(shown[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _short(text: str) -> str:
    text = text.removeprefix('{"data": ').removesuffix("}") if text.startswith('{"data"') else text
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
