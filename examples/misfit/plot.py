"""Draw what was compared: `python plot.py EVENT windows.csv WAVEFORMS PICTURE`"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from matplotlib.figure import Figure
from obspy import Stream, read
from windows import origin

COLOURS = {"P": "C0", "S": "C1"}


def draw(event: str, table: str, folder: str, picture: str) -> None:
    """Draw vertical components with their windows, and the time shifts of all by distance."""
    start = origin(event).time
    with open(table) as file:
        rows = [row for row in csv.DictReader(file) if row["accepted"] == "True"]
    stream = sum((read(path) for path in sorted(Path(folder).rglob("*.mseed"))), Stream())
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    names = sorted({row["component"] for row in rows if row["component"].endswith("Z")})
    for line, name in enumerate(names):
        network, station, component = name.split(".")
        pair = stream.select(network, station, component=component)
        largest = max(abs(trace.data).max() for trace in pair)
        mine = [row for row in rows if row["component"] == name]
        for row in mine:
            span = float(row["begin"]), float(row["end"])
            colour = COLOURS[row["phase"]]
            left.fill_between(span, -line - 0.45, -line + 0.45, color=colour, alpha=0.2)
        for trace in pair:
            is_synthetic = trace.stats.channel.startswith("HX")
            times = trace.times() + (trace.stats.starttime - start)
            colour, label = ("C3", "synthetic") if is_synthetic else ("k", "observed")
            samples = 0.45 * trace.data / largest - line
            left.plot(times, samples, colour, linewidth=0.7, label=None if line else label)
        left.text(times[0], 0.2 - line, name, fontsize="small")
    left.set(xlabel="time after the origin (s)", yticks=[], ylim=(-len(names) + 0.4, 0.6))
    left.legend(loc="lower right", fontsize="small")
    for phase, colour in COLOURS.items():
        mine = [row for row in rows if row["phase"] == phase]
        shifts = [float(row["time_shift"]) for row in mine]
        right.plot([float(row["distance"]) for row in mine], shifts, f"{colour}o", label=phase)
    right.set(xlabel="distance (km)", ylabel="time shift (s)")
    right.legend(fontsize="small")
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    draw(*sys.argv[1:])
