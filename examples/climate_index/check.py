"""Compare the means of indices with NumPy's, of the daily values: `python check.py FOLDER TABLE`"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import netCDF4
import numpy as np

INDICES = {
    "SU": lambda celsius: (celsius > 25).sum(axis=0),
    "ID": lambda celsius: (celsius < 0).sum(axis=0),
    "TXx": lambda celsius: celsius.max(axis=0),
}
WITHIN = 1e-4
"""In days and degrees C: the daily values are 32-bit numbers."""


def main(folder: Path, table: Path) -> None:
    with open(table) as file:
        rows = list(csv.DictReader(file))
    worst, files = 0.0, {path.name for path in folder.iterdir()}
    for row in rows:
        with netCDF4.Dataset(folder / row["file"]) as dataset:
            time = dataset["time"]
            years = np.array([day.year for day in netCDF4.num2date(time[:], time.units)])
            celsius = dataset["tasmax"][years == int(row["year"])].astype(float) - 273.15
            weights = np.cos(np.radians(dataset["lat"][:]))
        index = np.average(INDICES[row["index"]](celsius).mean(axis=1), weights=weights)
        worst = max(worst, abs(index - float(row["mean"])))
    if {row["file"] for row in rows} != files or not worst < WITHIN:
        sys.exit(f"check: error: {len(rows)} means, and they differ by {worst}")
    print(f"{len(rows)} means of {len(INDICES)} indices, as NumPy makes them of the daily values")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
