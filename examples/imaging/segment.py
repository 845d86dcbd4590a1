"""Separate the cells of an image: a threshold between dark and bright, then connected regions

    python segment.py IMAGE SMALLEST

The threshold is that of Otsu (1979, IEEE Trans. Systems, Man, and Cybernetics 9, 62-66): the parts
above and below vary least. Regions of less than SMALLEST pixels are not cells. The pixels of the
output have the numbers of their cells, from 1; 0 is the background.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage


def otsu(image: np.ndarray) -> int:
    """The threshold; the bright part is above it."""
    share = np.bincount(image.ravel(), minlength=256) / image.size
    below, mass = np.cumsum(share), np.cumsum(share * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mass[-1] * below - mass) ** 2 / (below * (1 - below))
    return int(np.nanargmax(np.where(np.isfinite(between), between, -1.0)))


path, smallest = Path(sys.argv[1]), int(sys.argv[2])
image = np.asarray(Image.open(path))
regions, count = ndimage.label(image > otsu(image))
sizes = np.bincount(regions.ravel())
cells = np.flatnonzero(sizes >= smallest)[1:]  # the first is the background
numbers = np.zeros(count + 1, np.uint16)
numbers[cells] = np.arange(1, len(cells) + 1)
Image.fromarray(numbers[regions]).save(f"{path.stem}_cells.png")
