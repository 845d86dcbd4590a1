"""Draw an image and the cells that were found in it: `python plot.py IMAGE CELLS PICTURE`"""

import sys

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

image, cells = (np.asarray(Image.open(path)) for path in sys.argv[1:3])
figure = Figure(figsize=(6, 3), layout="constrained")
left, right = figure.subplots(1, 2)
left.imshow(image, cmap="gray")
colours = np.random.default_rng(1).permutation(cells.max()) + 1  # neighbours look different
numbers = np.concatenate([[np.nan], colours])[cells]
right.imshow(numbers, cmap="turbo", interpolation="nearest")
for axes in (left, right):
    axes.set_axis_off()
figure.savefig(sys.argv[3], dpi=110)
