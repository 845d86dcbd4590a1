"""Draw the extinction of galaxies by their axis ratio: `python plot.py EXTINCTION PICTURE`"""

import csv
import sys

from internal_extinction import absorbed
from matplotlib.figure import Figure

with open(sys.argv[1], newline="") as table:
    galaxies = [row for row in csv.DictReader(table) if row["ai"]]
figure = Figure(figsize=(6, 4), layout="constrained")
axes = figure.subplots()
ratios = [place / 100 for place in range(91)]
for number, (stage, kind) in enumerate({-3: "E-S0", 1: "Sa", 3: "Sb", 6: "Sc"}.items()):
    curve = [absorbed(stage, ratio) for ratio in ratios]
    axes.plot(ratios, curve, f"C{number}", linewidth=0.8)
    axes.annotate(kind, (ratios[-1], curve[-1]), xytext=(4, -3), textcoords="offset points")
for row in galaxies:
    place = float(row["logr25"]), float(row["ai"])
    late = int(row["t"]) > 4  # these are above the others: their names go to the other side
    side = {"ha": "right", "xytext": (-5, 2)} if late else {"ha": "left", "xytext": (4, -9)}
    axes.plot(*place, "ko", markersize=4)
    axes.annotate(row["name"], place, textcoords="offset points", fontsize="x-small", **side)
axes.set(xlim=(-0.1, 1), ylim=(-0.1, None))
axes.set(xlabel="log$_{10}$ of the axis ratio", ylabel="internal extinction in B (mag)")
figure.savefig(sys.argv[2], dpi=110)
