"""Maps of ground motion: stations, what lies between them, coasts and the epicentre.

A scale (``Scale``) has steps, and one colour for each: what is read off a map is a range of values.
Between stations the logarithm of a value is interpolated linearly in the triangles of Delaunay.
Nothing is painted outside of these triangles, nor in slivers at their edge, where a value would
come from stations far away. matplotlib draws; its colours here are even steps to the eye, and can
be told apart by people who are colour-blind.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from d4pcwl.seismology.coastlines import WATER, Extent, shores

if TYPE_CHECKING:
    from matplotlib.axes import Axes  # type: ignore[import-not-found, unused-ignore]
    from matplotlib.figure import Figure  # type: ignore[import-not-found, unused-ignore]
    from matplotlib.tri import Triangulation  # type: ignore[import-not-found, unused-ignore]

METHOD = (
    "Between stations: linear in the logarithm, in Delaunay triangles; nothing outside of them."
)
"""How maps are painted, to be written below them."""

KM_PER_DEGREE = 111.2
DPI = 144
SEA, LAND, INK = "#dfe8ee", "#f6f4ee", "#1a1a1a"
_SLIVER = 0.05
"""Triangles at the edge are left out if the radius inside by that around is less."""

_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
_RATIOS = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_NAME_PLACES = (
    (1, 0),
    (-1, 0),
    (0, 1),
    (0, -1),
    (0.9, 0.7),
    (-0.9, 0.7),
    (0.9, -0.7),
    (-0.9, -0.7),
)
"""Where a name may stand, seen from its station: to the right, to the left, above and so on."""


@dataclass(frozen=True)
class Sites:
    """Where stations are: names, and degrees."""

    names: Sequence[str]
    longitudes: Sequence[float]
    latitudes: Sequence[float]


@dataclass(frozen=True)
class Scale:
    """Which colour a value has.

    :param label: what is shown, with its unit
    :param levels: the bounds of the steps, n + 1 of them, above 0
    :param colours: n colours
    :param texts: of the bounds, n + 1
    """

    label: str
    levels: Sequence[float]
    colours: Sequence[Any]
    texts: Sequence[str]

    def colour(self, value: float) -> Any:
        """The colour of a value; those beyond the ends have that of the end."""
        step = int(np.searchsorted(self.levels, value, side="right")) - 1
        return self.colours[min(max(step, 0), len(self.colours) - 1)]


def amount_scale(label: str, values: Sequence[float]) -> Scale:
    """A scale for amounts above 0, from the least to the greatest of them: light to dark."""
    levels = round_levels([value for value in values if value > 0] or [1.0])
    return Scale(
        label,
        levels,
        _colours("magma_r", len(levels) - 1, 0.04, 0.86),
        [f"{level:g}" for level in levels],
    )


def ratio_scale(label: str, ratios: Sequence[float]) -> Scale:
    """A scale for ratios: the same steps above 1 (red) and below 1 (blue), white about 1."""
    known = [ratio for ratio in ratios if ratio > 0 and math.isfinite(ratio)]
    farthest = max((max(ratio, 1 / ratio) for ratio in known), default=1.0)
    count = next((n for n, r in enumerate(_RATIOS, 1) if r >= farthest), len(_RATIOS))
    above = _RATIOS[max(0, count - 5) : max(count, 3)]
    return Scale(
        label,
        [*(1 / ratio for ratio in reversed(above)), *above],
        _colours("RdBu_r", 2 * len(above) - 1, 0.06, 0.94),
        [*(f"1/{ratio:g}" for ratio in reversed(above)), *(f"{ratio:g}" for ratio in above)],
    )


def frame(
    sites: Sites, epicentre: tuple[float, float] | None = None, margin: float = 0.14
) -> Extent:
    """A square, in km, around stations and epicentre (longitude, latitude), with a margin.

    Longitudes are counted from the first station on, so that a map may cross the date line.
    """
    longitudes, latitudes = list(sites.longitudes), list(sites.latitudes)
    if epicentre is not None:
        longitudes, latitudes = [*longitudes, epicentre[0]], [*latitudes, epicentre[1]]
    longitudes = [_near(longitude, longitudes[0]) for longitude in longitudes]
    x, y = _middle(longitudes), _middle(latitudes)
    stretch = _stretch(y)
    width = (max(longitudes) - min(longitudes)) * stretch
    # A lone station on the epicentre still wants a map: at least 0.1 degree.
    half = max(width, max(latitudes) - min(latitudes), 0.1) * (0.5 + margin)
    return Extent(x - half / stretch, x + half / stretch, y - half, y + half)


def one_map(
    sites: Sites, values: Sequence[float], label: str, epicentre: tuple[float, float] | None = None
) -> bytes:
    """A PNG file with one map and its scale."""
    figure = new_figure(5.0, 5.75)
    axes = new_axes(figure, 0.6, 1.2, 4.2, 4.2)
    scale = amount_scale(label, values)
    draw_map(axes, frame(sites, epicentre), sites, values, scale, epicentre)
    draw_scale(new_axes(figure, 0.6, 0.72, 4.2, 0.15), scale)
    figure.text(0.5, 0.02, METHOD, fontsize=6.5, color="#555555", ha="center")
    return png(figure)


def draw_map(
    axes: Axes,
    extent: Extent,
    sites: Sites,
    values: Sequence[float],
    scale: Scale,
    epicentre: tuple[float, float] | None = None,
) -> None:
    """Draw one map. Stations without a value (NaN) are hollow.

    :param values: one for each station
    :param epicentre: longitude and latitude in degrees
    """
    from matplotlib.patheffects import withStroke  # type: ignore[import-not-found, unused-ignore]

    west, east, _, _ = extent
    middle = (west + east) / 2
    x = np.array([_near(longitude, middle) for longitude in sites.longitudes])
    y, z = np.array(sites.latitudes, dtype=float), np.array(values, dtype=float)
    _ground(axes, extent)
    around = [withStroke(linewidth=2.2, foreground="white")]
    known = np.isfinite(z)
    mesh = triangles(x[known], y[known])
    if mesh is not None:
        low, high = scale.levels[0], scale.levels[-1]
        inside = np.log(np.clip(z[known], low * (1 + 1e-9), high * (1 - 1e-9)))
        axes.tricontourf(mesh, inside, levels=np.log(scale.levels), colors=scale.colours, zorder=2)
    _coasts(axes, extent, 3)
    axes.scatter(
        x,
        y,
        c=[scale.colour(value) if math.isfinite(value) else "none" for value in z],
        marker="^",
        s=44,
        edgecolors=INK,
        linewidths=0.9,
        zorder=5,
        path_effects=around,
        gid="stations",
    )
    if epicentre is not None:
        axes.plot(
            _near(epicentre[0], middle),
            epicentre[1],
            "*",
            markersize=15,
            markerfacecolor="#ffd92f",
            markeredgecolor=INK,
            zorder=4,
            path_effects=around,
            gid="epicentre",
        )
    _scale_bar(axes, extent)
    marks = [*zip(x, y, strict=True)]
    if epicentre is not None:
        marks.append((_near(epicentre[0], middle), epicentre[1]))
    _names(axes, short_names(sites.names), marks)


def draw_scale(axes: Axes, scale: Scale) -> None:
    """Draw the scale of maps, along the whole of its own axes; each step is equally long."""
    steps = len(scale.colours)
    axes.imshow([scale.colours], extent=(0, steps, 0, 1), aspect="auto", interpolation="nearest")
    axes.vlines(range(1, steps), 0, 1, color=INK, linewidth=0.7)
    axes.set_xticks(range(steps + 1), labels=scale.texts, fontsize=8)
    axes.set_yticks([])
    axes.set_xlabel(scale.label, fontsize=8.5)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    from matplotlib.backends.backend_agg import (  # type: ignore[import-not-found, unused-ignore]
        FigureCanvasAgg,
    )
    from matplotlib.figure import Figure  # type: ignore[import-not-found, unused-ignore]

    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def new_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place of a figure, in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def png(figure: Figure) -> bytes:
    """A figure as a PNG file of at most 256 colours. Equal figures are equal files."""
    from PIL import Image  # type: ignore[import-not-found, unused-ignore]

    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    file = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(file, format="png", optimize=True)
    return file.getvalue()


def triangles(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> Triangulation | None:
    """The triangles between stations that maps are painted in; None if there are none.

    They are Delaunay's on a plane on which a km is as long to the east as to the north.

    :param x: longitudes in degrees, of shape (n,)
    :param y: latitudes in degrees, of shape (n,)
    """
    from matplotlib.tri import (  # type: ignore[import-not-found, unused-ignore]
        TriAnalyzer,
        Triangulation,
    )

    if len(x) < 3:
        return None
    plane = np.column_stack([x * _stretch(_middle(y)), y])
    spread = np.linalg.svd(plane - plane.mean(axis=0), compute_uv=False)
    if spread[1] <= 1e-6 * spread[0] or not spread[0]:
        return None  # all in one line
    found = Triangulation(*plane.T)
    flat = TriAnalyzer(found).get_flat_tri_mask(_SLIVER)
    return None if flat.all() else Triangulation(x, y, found.triangles, flat)


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the network, NET.STA as STA, where these are still different.

    >>> short_names(["IV.ARRO", "MN.AQU"])
    ['ARRO', 'AQU']
    >>> short_names(["IV.AQU", "MN.AQU"])
    ['IV.AQU', 'MN.AQU']
    """
    short = [name.split(".")[-1] for name in names]
    return short if len(set(short)) == len(set(names)) else list(names)


def nice_length(km: float) -> float:
    """The largest of 1, 2, 5, 10, 20, 50, ... that is not above ``km``.

    >>> nice_length(63.0)
    50.0
    """
    power = 10.0 ** math.floor(math.log10(km))
    return max(step * power for step in (1.0, 2.0, 5.0) if step * power <= km * (1 + 1e-9))


# --- parts of a map -------------------------------------------------------------------------------


def _ground(axes: Axes, extent: Extent) -> None:
    """Sea and land, the degrees, and the aspect: a km is as long to the east as to the north."""
    west, east, south, north = extent
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    axes.set_aspect(1.0 / _stretch((south + north) / 2))
    axes.set_facecolor(SEA)
    for shore in _shores(extent):
        axes.fill(*shore.points.T, facecolor=SEA if shore.level in WATER else LAND, zorder=1)
    axes.locator_params(nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: _degrees(_near(value, 0.0), "E", "W"))
    axes.yaxis.set_major_formatter(lambda value, _: _degrees(value, "N", "S"))
    axes.tick_params(labelsize=8)


def _coasts(axes: Axes, extent: Extent, zorder: float) -> None:
    for shore in _shores(extent):
        axes.plot(*shore.points.T, color="#4d5b66", linewidth=0.7, zorder=zorder, gid="coast")


@lru_cache(maxsize=4)
def _shores(extent: Extent) -> list[Any]:
    """The shores of a map and a little around it, so that edges of cut polygons are not seen."""
    west, east, south, north = extent
    x, y = 0.05 * (east - west), 0.05 * (north - south)
    return shores(Extent(west - x, east + x, south - y, north + y))


def _scale_bar(axes: Axes, extent: Extent) -> None:
    """A line of a round number of km at the lower left."""
    from matplotlib.patheffects import withStroke  # type: ignore[import-not-found, unused-ignore]

    west, east, south, north = extent
    km = nice_length((north - south) * KM_PER_DEGREE / 4)
    length = km / KM_PER_DEGREE / _stretch((south + north) / 2)
    x, y = west + 0.05 * (east - west), south + 0.045 * (north - south)
    around = [withStroke(linewidth=3, foreground="white")]
    axes.plot([x, x + length], [y, y], color=INK, linewidth=1.6, path_effects=around, zorder=6)
    axes.annotate(
        f"{km:g} km",
        (x + length / 2, y),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8,
        path_effects=around,
        zorder=6,
    )


def _names(axes: Axes, names: Sequence[str], marks: Sequence[tuple[float, float]]) -> None:
    """Write each station's name beside it, where it covers neither a mark nor another name.

    :param marks: what is drawn, in degrees: the stations in the order of their names, and others
    """
    from matplotlib.patheffects import withStroke  # type: ignore[import-not-found, unused-ignore]

    axes.apply_aspect()
    point = axes.figure.dpi / 72
    pixels = [axes.transData.transform(mark) for mark in marks]
    taken = [(x - 5 * point, y - 5 * point, x + 5 * point, y + 5 * point) for x, y in pixels]
    inside = axes.bbox.extents
    for name, mark, (x, y) in zip(names, marks, pixels, strict=False):
        text = axes.annotate(
            name,
            mark,
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=8,
            color=INK,
            path_effects=[withStroke(linewidth=2.2, foreground="white")],
            zorder=7,
        )
        size = text.get_window_extent(axes.figure.canvas.get_renderer())
        tries = []
        for dx, dy in _NAME_PLACES:
            left = x + dx * 7 * point - (1 - dx) * size.width / 2
            bottom = y + dy * 7 * point - (1 - dy) * size.height / 2
            box = (left, bottom, left + size.width, bottom + size.height)
            clashes = sum(_overlap(box, other) for other in taken)
            # Half a name at the edge of the map is worse than one that touches its neighbours.
            tries.append((clashes + 10 * (not _contains(inside, box)), box))
        _, box = min(tries, key=lambda one: one[0])
        text.set_position(((box[0] - x) / point, (box[1] - y) / point))
        taken.append(box)


def _contains(outer: Sequence[float], inner: Sequence[float]) -> bool:
    """Whether one box (left, bottom, right, top) lies within another."""
    (left, bottom, right, top), (a, b, c, d) = outer, inner
    return bool(left <= a and bottom <= b and c <= right and d <= top)


def _overlap(one: Sequence[float], two: Sequence[float]) -> bool:
    """Whether two boxes (left, bottom, right, top) share any area."""
    return bool(one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3])


# --- numbers --------------------------------------------------------------------------------------


def round_levels(values: Sequence[float]) -> list[float]:
    """Round bounds around values above 0: the finest of few choices that makes at most 11 steps."""
    low, high = min(values), max(values)
    for steps in (_STEPS, (1.0, 2.0, 3.0, 5.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1
        every = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        begin = max(n for n, level in enumerate(every) if level <= low)
        end = next(n for n, level in enumerate(every) if level > high)
        if end - begin <= 11:
            break
    return [float(f"{level:.3g}") for level in every[begin : end + 1]]


def _colours(name: str, count: int, first: float, last: float) -> list[Any]:
    """Evenly spaced colours of a part of one of matplotlib's maps."""
    from matplotlib import colormaps  # type: ignore[import-not-found, unused-ignore]

    return [tuple(colour) for colour in colormaps[name](np.linspace(first, last, count))]


def _near(longitude: float, other: float) -> float:
    """The same longitude, counted so that it is at most 180 degrees from another."""
    return (longitude - other + 180.0) % 360.0 - 180.0 + other


def _middle(values: Sequence[float] | np.ndarray[Any, Any]) -> float:
    return (float(min(values)) + float(max(values))) / 2


def _stretch(latitude: float) -> float:
    """How long a degree of longitude is, by one of latitude."""
    return max(math.cos(math.radians(latitude)), 0.02)


def _degrees(value: float, positive: str, negative: str) -> str:
    """13.5 as 13.5°E, -2.0 as 2°W."""
    side = positive if value > 0 else negative if value < 0 else ""
    return f"{abs(value):g}°{side}"
