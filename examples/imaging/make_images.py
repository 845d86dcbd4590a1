"""Make images of invented cells

    python make_images.py FOLDER [--images 6] [--cells 20] [--seed 1]

Writes 8-bit PNG files: bright discs of various sizes on an uneven background, with noise. No two
discs touch. ``FOLDER/truth.csv`` has the place and the area of each, in pixels;
``FOLDER/job.json`` is a job order with all images, for ``imaging.cwl``.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

RADII = (5.0, 9.0)
APART = 4.0
"""Between the rims of two discs, and to the edge of the image."""


def places(drawn: np.random.Generator, edge: int, cells: int) -> list[tuple[float, float, float]]:
    """Rows, columns and radii of discs that do not touch."""
    found: list[tuple[float, float, float]] = []
    while len(found) < cells:
        radius = drawn.uniform(*RADII)
        row, column = drawn.uniform(radius + APART, edge - radius - APART, 2)
        if all(np.hypot(row - r, column - c) > radius + s + APART for r, c, s in found):
            found.append((row, column, radius))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Make images of invented cells")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=6, metavar="N")
    parser.add_argument("--cells", type=int, default=20, metavar="N", help="at most, in an image")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    names = [f"cells_{number:03}" for number in range(options.images)]
    job = {"images": [{"class": "File", "location": f"{name}.png"} for name in names]}
    (options.folder / "job.json").write_text(json.dumps(job, indent=2) + "\n", encoding="utf-8")
    with open(options.folder / "truth.csv", "w", encoding="utf-8", newline="") as file:
        truth = csv.writer(file, lineterminator="\n")
        truth.writerow(["image", "row", "column", "area"])
        for number, name in enumerate(names):
            drawn = np.random.default_rng([options.seed, number])
            cells = int(drawn.integers(options.cells // 2, options.cells, endpoint=True))
            edge = 60 + 40 * int(np.ceil(np.sqrt(cells)))
            rows, columns = np.mgrid[:edge, :edge]
            image = 40.0 + 20.0 * columns / edge
            for row, column, radius in places(drawn, edge, cells):
                inside = np.hypot(rows - row, columns - column) <= radius
                image[inside] += drawn.uniform(90, 140)
                truth.writerow([name, round(row, 2), round(column, 2), int(inside.sum())])
            image += drawn.normal(0, 12, image.shape)
            pixels = np.clip(np.round(image), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(options.folder / f"{name}.png")


if __name__ == "__main__":
    main()
