"""Check the figures of the invented earthquake: `python check.py pgm_data/pgm.json`

The ground at each station amplifies the observed waves, and they are a little slower than the
synthetic ones, so stronger: it is known how many times their peaks are those of the synthetics.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from make_example_data import STATIONS
from ra_model import Medium

EARTH = 3380.0
"""The speed of S waves in m/s that make_example_data.py gives the observed waves."""

WITHIN = 0.15
"""Attenuation, which differs as well, changes displacement by some per cent; velocity by more."""


def main(path: Path) -> None:
    found = json.loads(path.read_text())["stations"]
    amplification = {f"XX.{station[0]}": station[5] for station in STATIONS}
    expected = {
        station: times * (Medium().s_speed / EARTH) ** 3 for station, times in amplification.items()
    }
    faults, count = [], 0
    for station, kinds in found.items():
        for norm, observed in kinds["data"].items():
            times = observed["PGD"] / kinds["synt"][norm]["PGD"]
            count += 1
            if abs(times / expected[station] - 1) > WITHIN:
                faults.append(f"{station}: {times:.2f} ({norm}), not {expected[station]:.2f} times")
    if faults or set(found) != set(amplification) - {"XX.FELT"}:
        sys.exit("\n".join(faults) or f"stations: {', '.join(found)}")
    print(f"{count} peaks of displacement at {len(found)} stations, as the ground amplifies them")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
