"""Draw the summer days: `python plot.py TABLE PICTURE`"""

from __future__ import annotations

import csv
import sys

from matplotlib.figure import Figure


def draw(table: str, picture: str) -> None:
    with open(table) as file:
        rows = [row for row in csv.DictReader(file) if row["index"] == "SU"]
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for name in sorted({row["file"] for row in rows}):
        mine = [row for row in rows if row["file"] == name]
        years, means = ([float(row[key]) for row in mine] for key in ("year", "mean"))
        axes.plot(years, means, "o-", label=name.removesuffix(".nc"))
    axes.set(ylabel="summer days in a year")
    axes.legend(fontsize="small")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    draw(*sys.argv[1:])
