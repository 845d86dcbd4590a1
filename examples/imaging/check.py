"""Compare the cells that were found with those that were made: `python check.py TRUTH CELLS`

Each cell must be found once, within a pixel of its place; all areas together must agree within a
tenth, as the median filter rounds off the rims.
"""

import csv
import sys
from math import dist


def cells(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as table:
        return list(csv.DictReader(table))


def place(cell: dict[str, str]) -> tuple[float, float]:
    return float(cell["row"]), float(cell["column"])


made, found = cells(sys.argv[1]), cells(sys.argv[2])
if len(made) != len(found):
    sys.exit(f"check: error: {len(found)} cells were found, and {len(made)} made")
for cell in made:
    near = [
        one for one in found if one["image"] == cell["image"] and dist(place(one), place(cell)) < 1
    ]
    if len(near) != 1:
        sys.exit(f"check: error: {cell} was found {len(near)} times")
areas = [sum(int(cell["area"]) for cell in several) for several in (made, found)]
if abs(areas[1] / areas[0] - 1) > 0.1:
    sys.exit(f"check: error: all cells have {areas[1]} pixels, and {areas[0]} were made")
print(f"all {len(made)} cells are found, each within a pixel of where it was made")
