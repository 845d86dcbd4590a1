"""Draw correlations of invented records by the distance of the two stations:
`python plot.py FOLDER PICTURE`
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import store
from make_records import SPEED, place

LONGEST = 50.0
"""The largest lag that is drawn, in s."""


def draw(folder: Path, picture: Path) -> None:
    """Draw the correlations of a folder; dashed lines are waves from one station to the other."""
    from matplotlib.figure import Figure

    array = store.open_array(folder)
    lags, rate = array.shape[1] // 2, array.attrs["sampling_rate"]
    reach = int(LONGEST * rate)
    times = np.arange(-reach, reach + 1) / rate
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for line in (folder / "index.csv").read_text().splitlines()[1:]:
        row, *ids = line.split(",")
        first, second = (place(int(name.split(".")[1].removeprefix("S"))) for name in ids)
        values = array[int(row)][lags - reach : lags + reach + 1]
        distance = np.hypot(*(first - second))
        axes.plot(times, distance + 3 * values / np.abs(values).max(), "k", linewidth=0.3)
    farthest = axes.get_ylim()[1]
    for side in (-1, 1):
        axes.plot([0, side * farthest / SPEED], [0, farthest], "C3--", linewidth=1)
    axes.set(xlim=(-LONGEST, LONGEST), ylim=(0, farthest))
    axes.set(xlabel="lag (s)", ylabel="distance of the stations (km)")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
