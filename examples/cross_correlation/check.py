"""Check correlations of invented records: each peak is where a wave makes it.
`python check.py FOLDER`

A wave that comes to the first station of a pair some seconds later than to the second makes a peak
at that lag.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import store
from make_records import delays

TOLERANCE = 0.5
"""In s: half a period of the highest frequency that is kept."""


def distances(folder: Path) -> list[float]:
    """For each pair, how far its largest value is from the next lag of a wave, in s."""
    array = store.open_array(folder)
    lags, rate = array.shape[1] // 2, array.attrs["sampling_rate"]
    found = []
    rows = (folder / "index.csv").read_text().splitlines()[1:]
    for line in rows:
        row, *ids = line.split(",")
        first, second = (int(name.split(".")[1].removeprefix("S")) for name in ids)
        peak = (np.argmax(array[int(row)]) - lags) / rate
        found.append(float(np.abs(delays(first) - delays(second) - peak).min()))
    return found


if __name__ == "__main__":
    far = distances(Path(sys.argv[1]))
    if max(far) > TOLERANCE:
        sys.exit(f"check: error: a peak is {max(far):.2f} s from the lags of all waves")
    print(f"the peaks of {len(far)} pairs are where waves make them, within {TOLERANCE} s")
