"""The pictures of an assessment: for each quantity, observed, synthetic and difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obspy import UTCDateTime

from d4pcwl.seismology import shakemap

#: What is drawn: quantity, its name, and its unit; all are given in SI units.
QUANTITIES = {
    "PGA": ("peak ground acceleration", "cm/s²"),
    "PGV": ("peak ground velocity", "cm/s"),
    "PSA_0.3Hz": ("spectral acceleration at 0.3 Hz", "cm/s²"),
    "PSA_1.0Hz": ("spectral acceleration at 1 Hz", "cm/s²"),
    "PSA_3.0Hz": ("spectral acceleration at 3 Hz", "cm/s²"),
}
#: How many of the units there are in one of SI.
FACTOR = 100.0
#: ShakeMap's choice of one number for two components: the larger of the two.
NORM = "max"
#: Where the maps stand in a picture of 8 by 10 inches, and how long their sides are.
LEFT, RIGHT, LOWER, UPPER, SIDE = 0.6, 4.6, 1.4, 5.95, 3.2


def shown(table: Mapping[str, Any], part: str, quantity: str) -> list[float]:
    """The figures of all stations that are shown to people, in the unit of `QUANTITIES`."""
    stations = table["stations"].values()
    return [FACTOR * values[part][NORM][quantity] for values in stations]


def draw_quantity(table: Mapping[str, Any], quantity: str) -> bytes:
    """A PNG of one quantity of `table` (see ra_results.as_table): three maps, and a diagram.

    The maps of observed and synthetic motion have one scale, so that equal colours are equal
    motion. The third map shows observed divided by synthetic, the diagram both by distance.
    """
    places, event = table["places"], table["event"]
    names = list(table["stations"])
    sites = shakemap.Sites(
        names,
        [places[name]["longitude"] for name in names],
        [places[name]["latitude"] for name in names],
    )
    epicentre = (event["longitude"], event["latitude"])
    observed, synthetic = (shown(table, part, quantity) for part in ("data", "synt"))
    pairs = zip(observed, synthetic, strict=True)
    ratios = [data / synt if synt else float("nan") for data, synt in pairs]
    name, unit = QUANTITIES[quantity]
    short = quantity.split("_")[0]
    amounts = shakemap.amount_scale(
        f"{short} in {unit} (larger of the horizontal components)", [*observed, *synthetic]
    )
    residuals = shakemap.ratio_scale("observed ÷ synthetic", ratios)

    figure = shakemap.new_figure(8.0, 10.0)
    extent = shakemap.frame(sites, epicentre)
    for left, bottom, title, values, scale in (
        (LEFT, UPPER, "observed", observed, amounts),
        (RIGHT, UPPER, "synthetic", synthetic, amounts),
        (LEFT, LOWER, "difference: observed ÷ synthetic", ratios, residuals),
    ):
        axes = shakemap.new_axes(figure, left, bottom, SIDE, SIDE)
        axes.set_title(title, fontsize=10)
        shakemap.draw_map(axes, extent, sites, values, scale, epicentre)
    shakemap.draw_scale(
        shakemap.new_axes(figure, LEFT, UPPER - 0.5, RIGHT - LEFT + SIDE, 0.16), amounts
    )
    shakemap.draw_scale(shakemap.new_axes(figure, LEFT, LOWER - 0.5, SIDE, 0.16), residuals)
    distances = [places[name]["distance"] for name in names]
    by_distance(
        shakemap.new_axes(figure, RIGHT, LOWER, SIDE, SIDE),
        distances,
        {"observed": observed, "synthetic": synthetic},
        f"{short} in {unit}",
    )
    heads = f"{name[0].upper()}{name[1:]}\n{heading(event)}"
    figure.suptitle(heads, y=0.985, fontsize=11, fontweight="bold")
    figure.text(0.5, 0.012, shakemap.METHOD, fontsize=7.5, color="#555555", ha="center")
    return shakemap.png(figure)


def by_distance(
    axes: Any, distances: list[float], kinds: dict[str, list[float]], label: str
) -> None:
    """Peaks against the distance from the epicentre, both on logarithmic scales."""
    styles = (
        {"marker": "^", "color": "#b3430b"},
        {"marker": "o", "color": "#2f6bd8", "fillstyle": "none"},
    )
    for (kind, values), style in zip(kinds.items(), styles, strict=True):
        axes.plot(distances, values, linestyle="none", markersize=6.5, label=kind, **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    both = [value for values in kinds.values() for value in values]
    for axis, values in ((axes.xaxis, distances), (axes.yaxis, both)):
        ticks = shakemap.round_levels([value for value in values if value > 0] or [1.0])
        axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks], fontsize=8)
        axis.set_ticks([], minor=True)
    axes.grid(color="#d8d4c8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("distance from the epicentre in km", fontsize=8.5)
    axes.set_title(label, fontsize=10)
    axes.legend(fontsize=8)


def heading(event: Mapping[str, Any]) -> str:
    """One line that names the event by magnitude, time and depth."""
    time = UTCDateTime(ns=event["time"]).strftime("%Y-%m-%d %H:%M:%S UTC")
    parts = [time]
    if event["magnitude"] is not None:
        parts.insert(0, f"{event['magnitude_type'] or 'M'} {event['magnitude']:.1f}")
    if event["depth"] is not None:
        parts.append(f"depth {event['depth']:.0f} km")
    return ", ".join(parts)
