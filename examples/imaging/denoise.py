"""Remove the noise from an image: a median filter, then an even background

    python denoise.py IMAGE WIDTH

WIDTH is that of the median filter, in pixels. The background is what a fifth of the pixels around
do not reach.
"""

import sys
from pathlib import Path

from PIL import Image, ImageChops, ImageFilter

AROUND = 35
"""Much wider than a cell; of an image that is reduced to a quarter."""

path, width = Path(sys.argv[1]), int(sys.argv[2])
smooth = Image.open(path).convert("L").filter(ImageFilter.MedianFilter(width))
dark = ImageFilter.RankFilter(AROUND, AROUND * AROUND // 5)
background = smooth.reduce(4).filter(dark).resize(smooth.size, Image.Resampling.BILINEAR)
ImageChops.subtract(smooth, background).save(f"{path.stem}_denoised.png")
