"""Draw the readings of the sensors that have alerts: `python plot.py READINGS ALERTS PICTURE`"""

import csv
import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

readings, results, picture = map(Path, sys.argv[1:])
lines = map(json.loads, results.read_text().splitlines())
alerts = [line["data"] for line in lines if line["pe"] == "alert"]
with open(readings, newline="") as table:
    rows = [(row["sensor"], int(row["time"]), float(row["value"])) for row in csv.DictReader(table)]
figure = Figure(figsize=(6, 4), layout="constrained")
axes = figure.subplots()
for sensor in sorted({alert["sensor"] for alert in alerts}):
    series = [(time / 60, value) for name, time, value in rows if name == sensor]
    axes.plot(*zip(*series, strict=True), linewidth=0.8, label=sensor)
for alert in alerts:
    axes.plot(alert["time"] / 60, alert["value"], "ko", markersize=9, markerfacecolor="none")
axes.set(xlabel="time (min)", ylabel="reading")
axes.legend(loc="upper left", ncols=len(alerts), fontsize="small")
axes.margins(y=0.15)
figure.savefig(picture, dpi=110)
