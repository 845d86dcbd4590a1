"""Compare a table of extinctions with HyperLEDA's formula, from the catalogue:
`python check.py CATALOGUE EXTINCTION`

The formula is written as on HyperLEDA's page of the parameter `ai`.
"""

import csv
import sys
from math import log10

T = {
    "E": -5,
    "E-S0": -3,
    "Sa": 1,
    "Sab": 2,
    "Sb": 3,
    "SABb": 3,
    "Sbc": 4,
    "Sc": 6,
    "SABc": 6,
    "IB": 10,
}


def ai(kind: str, logr25: float) -> float:
    """The internal extinction in B, in mag."""
    t, r, c = T[kind], 10**logr25, 0.04
    k = min(0.754 * 10 ** (-0.2 * t), 1)
    big_k = 0.12 - 0.007 * t if t < 0 else 0.094
    return -2.5 * log10(k + (1 - k) * r ** (2 * c * (1 + 0.2 / big_k) - 1))


with open(sys.argv[1], newline="") as table:
    catalogue = {row["name"]: row for row in csv.DictReader(table)}
with open(sys.argv[2], newline="") as table:
    found = {row["name"]: row["ai"] for row in csv.DictReader(table)}
known = {name: row for name, row in catalogue.items() if not row["MType"].endswith("?")}
if {name for name, value in found.items() if value} != known.keys():
    sys.exit(f"check: error: the galaxies with a known type are {', '.join(known)}")
for name, row in known.items():
    expected = ai(row["MType"], float(row["logR25"]))
    if abs(float(found[name]) - expected) > 0.00051:
        sys.exit(f"check: error: {name} has {found[name]} mag, and the formula gives {expected}")
print(f"{len(known)} galaxies, as HyperLEDA's formula has them")
