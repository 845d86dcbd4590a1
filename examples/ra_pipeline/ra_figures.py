"""The map of an assessment: stations coloured by peak motion around the epicentre.

Drawn with matplotlib alone: no tiles, no coast lines, no download.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from obspy import UTCDateTime

#: What the columns show: quantity, title, colour bar label, factor to the label's unit.
COLUMNS = (
    ("PGA", "peak ground acceleration", "PGA in cm/s²", 100.0),
    ("PGV", "peak ground velocity", "PGV in cm/s", 100.0),
)
ROWS = (("data", "observed"), ("synt", "synthetic"))
#: ShakeMap's choice of one number for two components: the larger of the two.
NORM = "max"
KM_PER_DEGREE = 111.2
BACKGROUND = "#f6f4ee"
#: Where a label goes beside its station, in points, and how it is aligned; the first that is free.
LABEL_PLACES = (
    (10, 0, "left", "center"),
    (-10, 0, "right", "center"),
    (0, 11, "center", "bottom"),
    (0, -11, "center", "top"),
    (8, 10, "left", "bottom"),
    (-8, 10, "right", "bottom"),
    (8, -10, "left", "top"),
    (-8, -10, "right", "top"),
)


def draw_map(table: dict[str, Any], path: Path) -> None:
    """Draw observed and synthetic PGA and PGV of `table` (see ra_results.as_table) into a PNG.

    Observed and synthetic share a logarithmic colour scale, so that equal colours are equal motion.
    """
    # Slow to import, and only the last step of an assessment needs it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import LogLocator, NullFormatter

    places, event = table["places"], table["event"]
    names = list(table["stations"])
    longitudes = [places[name]["longitude"] for name in names]
    latitudes = [places[name]["latitude"] for name in names]
    extent = frame([*longitudes, event["longitude"]], [*latitudes, event["latitude"]])

    # A degree of longitude is this much shorter than a degree of latitude.
    stretch = math.cos(math.radians((extent[2] + extent[3]) / 2))

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(12.5, 12.5), layout=layout)
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, 2, sharex=True, sharey=True, squeeze=False)
    for column, (quantity, title, label, factor) in enumerate(COLUMNS):
        values = {
            part: [factor * table["stations"][name][part][NORM][quantity] for name in names]
            for part, _ in ROWS
        }
        scale_range = limits(values["data"] + values["synt"])
        scale = LogNorm(*scale_range)
        for row, (part, kind) in enumerate(ROWS):
            axes = grid[row][column]
            base_map(axes, extent, stretch)
            axes.plot(
                event["longitude"],
                event["latitude"],
                "*",
                linestyle="none",
                label="epicentre",
                markersize=22,
                markerfacecolor="#d7191c",
                markeredgecolor="white",
                markeredgewidth=1.2,
                zorder=3,
            )
            points = axes.scatter(
                longitudes,
                latitudes,
                c=values[part],
                norm=scale,
                cmap="viridis_r",
                marker="^",
                s=150,
                edgecolors="#222222",
                linewidths=0.9,
                zorder=4,
            )
            distance_circles(axes, event, list(zip(longitudes, latitudes, strict=True)), stretch)
            axes.set_title(f"{kind} {title}", fontsize=12)
            label_stations(axes, names, longitudes, latitudes, event)
            if column == 0:
                axes.set_ylabel("latitude")
            if row == len(ROWS) - 1:
                axes.set_xlabel("longitude")
        bar = figure.colorbar(
            points, ax=list(grid[:, column]), location="bottom", shrink=0.85, aspect=32, pad=0.02
        )
        bar.set_label(f"{label} (larger of the horizontal components)")
        bar.ax.xaxis.set_major_locator(LogLocator(subs=tick_steps(*scale_range)))
        bar.ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        bar.ax.xaxis.set_minor_formatter(NullFormatter())
    handles, texts = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="upper right", fontsize=10, frameon=False)
    figure.suptitle(heading(event), fontsize=14, fontweight="bold")
    # Without the version of the library in it, equal figures are equal files.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def heading(event: dict[str, Any]) -> str:
    """One line that names the event by magnitude, time and depth."""
    time = UTCDateTime(ns=event["time"]).strftime("%Y-%m-%d %H:%M:%S UTC")
    parts = [time]
    if event["magnitude"] is not None:
        parts.insert(0, f"{event['magnitude_type'] or 'M'} {event['magnitude']:.1f}")
    if event["depth"] is not None:
        parts.append(f"depth {event['depth']:.0f} km")
    return ", ".join(parts)


def frame(
    longitudes: Sequence[float], latitudes: Sequence[float], margin: float = 0.12
) -> tuple[float, float, float, float]:
    """(west, east, south, north) around the points, as wide as high in km, with a margin."""
    stretch = math.cos(math.radians((min(latitudes) + max(latitudes)) / 2))
    middle_x = (min(longitudes) + max(longitudes)) / 2
    middle_y = (min(latitudes) + max(latitudes)) / 2
    width = (max(longitudes) - min(longitudes)) * stretch
    height = max(latitudes) - min(latitudes)
    # A lone station on the epicentre still wants a map: at least 0.1 degree.
    half = max(width, height, 0.1) * (0.5 + margin)
    return middle_x - half / stretch, middle_x + half / stretch, middle_y - half, middle_y + half


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Lower and upper end of a logarithmic colour scale; zeros do not count."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive), max(positive)
    return (low / 1.1, high * 1.1)


def tick_steps(low: float, high: float) -> tuple[float, ...]:
    """Where a logarithmic scale has its labels in each decade: more of them on a short scale."""
    return (1.0, 2.0, 5.0) if high / low > 20 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)


def base_map(axes: Any, extent: tuple[float, float, float, float], stretch: float) -> None:
    """Grid, degree labels and the aspect that makes a km as long to the east as to the north."""
    west, east, south, north = extent
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    axes.set_aspect(1.0 / stretch)
    axes.set_facecolor(BACKGROUND)
    axes.grid(color="#d8d4c8", linewidth=0.7, zorder=0)
    axes.locator_params(nbins=6)
    axes.xaxis.set_major_formatter(lambda value, _: degrees(value, "E", "W"))
    axes.yaxis.set_major_formatter(lambda value, _: degrees(value, "N", "S"))
    axes.tick_params(labelsize=9)


def distance_circles(
    axes: Any, event: dict[str, Any], stations: Sequence[tuple[float, float]], stretch: float
) -> None:
    """Dashed circles around the epicentre, each labelled where it is farthest from any station."""
    from matplotlib.patches import Ellipse

    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    centre = (event["longitude"], event["latitude"])
    step = nice_length((north - south) * KM_PER_DEGREE / 3)

    def room(point: tuple[float, float]) -> float:
        """Distance in degrees of latitude to the nearest station or edge; negative outside."""
        x, y = point
        edge = min((x - west) * stretch, (east - x) * stretch, y - south, north - y)
        return float(min(edge, *(math.hypot((x - a) * stretch, y - b) for a, b in stations)))

    for number in range(1, 5):
        radius = number * step / KM_PER_DEGREE
        circle = Ellipse(
            centre,
            2 * radius / stretch,
            2 * radius,
            fill=False,
            linestyle=(0, (4, 4)),
            linewidth=0.8,
            edgecolor="#a39d8c",
            zorder=1,
        )
        axes.add_patch(circle)
        angles = [math.radians(angle) for angle in range(0, 360, 15)]
        around = [
            (centre[0] + radius * math.sin(a) / stretch, centre[1] + radius * math.cos(a))
            for a in angles
        ]
        best = max(around, key=room)
        if room(best) > 0.04 * (north - south):
            axes.annotate(
                f"{number * step:g} km",
                best,
                ha="center",
                va="center",
                fontsize=8,
                color="#857f6e",
                bbox={"facecolor": BACKGROUND, "edgecolor": "none", "pad": 1},
                zorder=1,
            )


def degrees(value: float, positive: str, negative: str) -> str:
    """13.5 as 13.5°E, -2.0 as 2°W."""
    side = positive if value > 0 else negative if value < 0 else ""
    return f"{abs(value):g}°{side}"


def nice_length(km: float) -> float:
    """The largest of 1, 2, 5, 10, 20, 50, ... that is not above `km`."""
    power = 10.0 ** math.floor(math.log10(km))
    return max(step * power for step in (1.0, 2.0, 5.0) if step * power <= km * (1 + 1e-9))


def label_stations(
    axes: Any,
    names: Sequence[str],
    longitudes: Sequence[float],
    latitudes: Sequence[float],
    event: dict[str, Any],
) -> None:
    """Write each station's name beside it, where it covers neither a symbol nor another name."""
    from matplotlib.patheffects import withStroke

    figure = axes.figure
    figure.draw_without_rendering()
    symbols = [*zip(longitudes, latitudes, strict=True), (event["longitude"], event["latitude"])]
    reach = 8 * figure.dpi / 72
    pixels = (axes.transData.transform(symbol) for symbol in symbols)
    taken = [(x - reach, y - reach, x + reach, y + reach) for x, y in pixels]
    inside = axes.get_window_extent().extents
    for name, x, y in zip(names, longitudes, latitudes, strict=True):
        tries = []
        for dx, dy, ha, va in LABEL_PLACES:
            text = axes.annotate(
                name,
                (x, y),
                xytext=(dx, dy),
                textcoords="offset points",
                ha=ha,
                va=va,
                fontsize=9,
                color="#1a1a1a",
                path_effects=[withStroke(linewidth=2.5, foreground=BACKGROUND)],
                zorder=5,
            )
            box = tuple(text.get_window_extent().extents)
            clashes = sum(overlap(box, other) for other in taken)
            # Half a name at the edge of the map is worse than one that touches its neighbours.
            clashes += 10 * (not contains(inside, box))
            tries.append((clashes, text, box))
        _, kept, box = min(tries, key=lambda one: one[0])
        for _, text, _ in tries:
            if text is not kept:
                text.remove()
        taken.append(box)


def contains(outer: Sequence[float], inner: Sequence[float]) -> bool:
    """Whether one box (left, bottom, right, top) lies within another."""
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and inner[2] <= outer[2]
        and inner[3] <= outer[3]
    )


def overlap(one: Sequence[float], two: Sequence[float]) -> bool:
    """Whether two boxes (left, bottom, right, top) share any area."""
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]
