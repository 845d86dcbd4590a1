"""The processed waveforms of a station as a figure in HTML: observed and synthetic, one upon the
other, for each horizontal component."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from ra_stations import PARTS, horizontals
from ra_traces import PlainTrace

from d4pcwl.pages.html import escaped

#: The size of a drawing, in its own units; a page makes it as wide as there is room.
WIDTH, HEIGHT = 1200, 240
KINDS = {"data": "observed", "synt": "synthetic"}
STYLE = """
.stations { display: grid; gap: 1.6rem 2.4rem; }
.stations { grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); }
.station { margin: 0; }
.trace { display: grid; grid-template-columns: 1.4rem minmax(0, 1fr); align-items: center; }
.trace { margin: 2px 0; font-size: 0.82rem; }
.trace svg { display: block; width: 100%; height: 84px; }
.trace svg { background: var(--panel); border-radius: 3px; }
.trace path { fill: none; stroke-width: 1.3px; vector-effect: non-scaling-stroke; }
.trace .zero { stroke: var(--line); stroke-width: 1px; }
.observed { stroke: var(--c1); background: var(--c1); }
.synthetic { stroke: var(--c0); background: var(--c0); }
.seconds { position: relative; height: 1.3rem; margin-left: 1.4rem; }
.seconds { font-size: 0.75rem; color: var(--faint); }
.seconds span { position: absolute; padding-left: 3px; white-space: nowrap; }
.seconds span { border-left: 1px solid var(--line); }
"""


def draw_waveforms(item: dict[str, Any]) -> str:
    """A figure of one processed station: velocity, all lines of it on one scale."""
    pairs = {part: horizontals(item[part]) for part in PARTS}
    traces = [trace for pair in pairs.values() for trace in pair]
    peak = max(float(np.max(np.abs(trace["samples"]))) for trace in traces)
    return "\n".join(_figure(item, pairs, peak))


def _figure(
    item: dict[str, Any], pairs: dict[str, tuple[PlainTrace, PlainTrace]], peak: float
) -> Iterator[str]:
    station, place = item["station"], item["place"]
    note = f"{place['distance']:.0f} km from the epicentre, ±{100 * peak:.3g} cm/s"
    yield f'<figure class="station"><figcaption><b>{escaped(station)}</b> '
    yield f"<small>{escaped(note)}</small></figcaption>"
    for number in range(2):
        component = pairs["data"][number]["id"][-1]
        told = f"{station}, component {component}: observed and synthetic velocity"
        yield f'<div class="trace"><span>{escaped(component)}</span>'
        yield f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img"'
        yield f' aria-label="{escaped(told)}"><path class="zero" d="M0 {HEIGHT // 2}H{WIDTH}"/>'
        for part, kind in KINDS.items():
            yield f'<path class="{kind}" d="{line(pairs[part][number]["samples"], peak)}"/>'
        yield "</svg></div>"
    first = pairs["data"][0]
    begin = (first["start"] - item["event"]["time"]) / 1e9
    yield from _seconds(begin, begin + (len(first["samples"]) - 1) / first["rate"])
    yield "</figure>"


def line(samples: np.ndarray[Any, Any], peak: float) -> str:
    """The path of `samples`, of shape (npts,), `peak` being half as high as the drawing.

    Of many samples in one unit of the width, the least and the greatest are drawn, in their order.
    """
    places = np.arange(len(samples)) * (WIDTH / max(len(samples) - 1, 1))
    if len(samples) > 2 * WIDTH:
        edges = np.linspace(0, len(samples), WIDTH + 1).astype(int)
        parts = [samples[a:b] for a, b in pairwise(edges)]
        kept = [
            edge + at
            for edge, part in zip(edges[:-1], parts, strict=True)
            for at in sorted({int(np.argmin(part)), int(np.argmax(part))})
        ]
        samples, places = samples[kept], places[kept]
    heights = (
        HEIGHT / 2 * (1 - 0.96 * samples / peak) if peak else np.full(len(samples), HEIGHT / 2)
    )
    points = np.column_stack([places, heights]).round().astype(int)
    steps = np.diff(points, axis=0)
    return f"M{points[0][0]} {points[0][1]}l" + " ".join(f"{x} {y}" for x, y in steps.tolist())


def _seconds(begin: float, end: float) -> Iterator[str]:
    """The axis: seconds after the origin time, about five of them."""
    rough = (end - begin) / 7
    step = next((step for step in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if step >= rough), 3600)
    yield '<div class="seconds">'
    at = math.ceil(begin / step) * step
    while at <= begin + 0.96 * (end - begin):
        yield f'<span style="left:{100 * (at - begin) / (end - begin):.2f}%">{at:g} s</span>'
        at += step
    yield "</div>"
