"""Check the measures of the invented earthquake: `python check.py windows.csv`

Its observed waves are slower than the synthetic ones, and the ground at each station amplifies
them: so shifts and amplitudes are known.
"""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "ra_pipeline"))
from make_example_data import SOURCE, STATIONS
from ra_model import Medium

EARTH = {"P": 5850.0, "S": 3380.0}
"""Speeds in m/s that make_example_data.py gives the observed waves."""

MODEL = {"P": Medium().p_speed, "S": Medium().s_speed}
WITHIN_SECONDS, WITHIN_DLNA = 0.01, 0.15
"""Attenuation, which differs as well, changes the amplitude by some per cent."""


def main(table: Path) -> None:
    amplification = {station[0]: station[5] for station in STATIONS}
    faults, count = [], 0
    with open(table) as file:
        for row in csv.DictReader(file):
            # Where a component has little of a wave, noise and the other wave shift the peak.
            if row["accepted"] != "True" or float(row["correlation_shifted"]) < 0.995:
                continue
            count += 1
            phase, station = row["phase"], row["component"].split(".")[1]
            way = math.hypot(1000 * float(row["distance"]), SOURCE.depth)
            shift = way / EARTH[phase] - way / MODEL[phase]
            dlna = math.log(amplification[station] * (MODEL[phase] / EARTH[phase]) ** 3)
            if abs(float(row["time_shift"]) - shift) > WITHIN_SECONDS:
                faults.append(f"{row['component']} {phase}: time shift is not {shift:.3f} s")
            if abs(float(row["dlna"]) - dlna) > WITHIN_DLNA:
                faults.append(f"{row['component']} {phase}: dlnA is not {dlna:.2f}")
    if faults or count < 20:
        sys.exit("\n".join([f"check: error: {count} windows with known shifts", *faults]))
    print(f"{count} time shifts as put in, within {WITHIN_SECONDS} s, and amplitudes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
