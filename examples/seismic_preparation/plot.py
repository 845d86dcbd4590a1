"""Draw raw and prepared records: `python plot.py RAW PREPARED PICTURE`"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure
from obspy import Stream, read


def draw(raw: Path, prepared: Path, picture: Path) -> None:
    """Draw the vertical components of all stations: raw at the left, prepared at the right."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    sides = zip(figure.subplots(1, 2), (raw, prepared), strict=True)
    for axes, folder in sides:
        stream = sum((read(path) for path in sorted(folder.iterdir())), Stream())
        for row, trace in enumerate(stream.select(component="Z")):
            samples = trace.data - trace.data.mean()
            axes.plot(trace.times(), samples / abs(samples).max() / 2 - row, "k", linewidth=0.4)
            axes.text(0, 0.3 - row, trace.id, fontsize="small")
        axes.set(title=folder.name, xlabel="time (s)", yticks=[], ylim=(-row - 0.6, 0.7))
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    draw(*map(Path, sys.argv[1:]))
