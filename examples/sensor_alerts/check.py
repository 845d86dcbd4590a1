"""Compare alerts and statistics with what NumPy computes sensor by sensor:
`python check.py READINGS SENSORS FILE.jsonl ...`
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np

WINDOW, LIMIT = 20, 6.0
"""The defaults of the workflow."""

readings, sensors, *results = map(Path, sys.argv[1:])
by_sensor: dict[str, list[tuple[str, float]]] = {}
with open(readings, newline="") as table:
    for row in csv.DictReader(table):
        by_sensor.setdefault(row["sensor"], []).append((row["time"], float(row["value"])))

expected = []
for sensor, series in by_sensor.items():
    values = np.array([value for _, value in series])
    before = np.lib.stride_tricks.sliding_window_view(values[:-1], WINDOW)
    far = np.abs(values[WINDOW:] - before.mean(1)) > LIMIT * before.std(1, ddof=1)
    expected += [(sensor, series[WINDOW + place][0]) for place in np.flatnonzero(far)]
told = [json.loads(line) for path in results for line in path.read_text().splitlines()]
found = [(one["data"]["sensor"], str(one["data"]["time"])) for one in told if one["pe"] == "alert"]
if sorted(found) != sorted(expected):
    sys.exit(f"check: error: alerts {sorted(found)}, and NumPy finds {sorted(expected)}")

with open(sensors, newline="") as table:
    rows = {row["sensor"]: row for row in csv.DictReader(table)}
for sensor, series in by_sensor.items():
    values = np.array([value for _, value in series])
    known = [values.size, values.mean(), values.std(ddof=1), values.min(), values.max()]
    given = [float(rows[sensor][name]) for name in ("count", "mean", "std", "min", "max")]
    if not np.allclose(given, known, rtol=1e-12):
        sys.exit(f"check: error: {sensor} has {given}, and NumPy finds {known}")
print(f"{len(found)} alerts, and the statistics of {len(rows)} sensors, as NumPy has them")
