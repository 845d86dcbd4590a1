"""Measure the cells of an image: place and area in pixels, and mean brightness

    python measure.py IMAGE CELLS NAME

NAME is that of the table, and of the image in it.
"""

import csv
import sys

import numpy as np
from PIL import Image

image, cells = (np.asarray(Image.open(path)) for path in sys.argv[1:3])
name = sys.argv[3]
rows, columns = np.indices(cells.shape)
area = np.bincount(cells.ravel())
row, column, brightness = (
    np.bincount(cells.ravel(), weights=what.ravel()) / area for what in (rows, columns, image)
)
with open(f"{name}.csv", "w", encoding="utf-8", newline="") as file:
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["image", "cell", "row", "column", "area", "brightness"])
    for cell in range(1, len(area)):
        place = f"{row[cell]:.2f}", f"{column[cell]:.2f}"
        table.writerow([name, cell, *place, area[cell], f"{brightness[cell]:.1f}"])
