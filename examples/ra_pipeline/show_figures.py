"""Show the figures of an assessment as a table, and compare them with expected ones.

python show_figures.py pgm_data/pgm.json [expected.json]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NORM = "mean"
QUANTITIES = {"PGA": "m/s²", "PGV": "m/s"}


def table(stations: Mapping[str, Any]) -> Iterator[str]:
    """Lines of a table: a station's peaks, observed and synthetic, in the norm `mean`."""
    names = [f"{name} {kind}" for name in QUANTITIES for kind in ("observed", "synthetic")]
    yield f"{'station':10}" + "".join(f"{name:>16}" for name in names)
    units = [unit for unit in QUANTITIES.values() for _ in range(2)]
    yield f"{'':10}" + "".join(f"{unit:>16}" for unit in units)
    for station, kinds in sorted(stations.items()):
        values = [kinds[kind][NORM][name] for name in QUANTITIES for kind in ("data", "synt")]
        yield f"{station:10}" + "".join(f"{value:16.6e}" for value in values)


def figures(stations: Mapping[str, Any]) -> dict[tuple[str, str, str, str], float]:
    """All figures, by station, kind, norm and quantity."""
    return {
        (station, kind, norm, name): value
        for station, kinds in stations.items()
        for kind in ("data", "synt")
        for norm, values in kinds[kind].items()
        for name, value in values.items()
    }


def largest_difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> tuple[int, float]:
    """How many figures there are, and the largest relative difference to the expected ones.

    Raises SystemExit where stations or figures are missing.
    """
    ours, theirs = figures(found), figures(expected)
    if ours.keys() != theirs.keys():
        odd = sorted({key[0] for key in ours.keys() ^ theirs.keys()})
        sys.exit(f"not the same figures as expected: {', '.join(odd)}")
    return len(ours), max(abs(ours[key] / theirs[key] - 1) for key in ours)


def main(found_path: str, expected_path: str = "") -> None:
    """Print the table, and the comparison if there is something to compare with."""
    found = json.loads(Path(found_path).read_text())["stations"]
    print("\nGround motion (norm: mean)\n")
    for line in table(found):
        print(line)
    if expected_path and Path(expected_path).is_file():
        expected = json.loads(Path(expected_path).read_text())
        count, difference = largest_difference(found, expected["stations"])
        if difference > 1e-5:
            sys.exit(f"\nthe figures differ from the expected ones by up to {difference:.1e}")
        print(
            f"\n{count} figures agree with the expected ones (largest difference {difference:.1e})"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
