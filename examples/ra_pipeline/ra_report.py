"""The report of an assessment: one HTML page with pictures, figures and waveforms, and no other
file. It stands on the ground of d4pcwl's own reports."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from obspy import UTCDateTime
from ra_figures import FACTOR, NORM, QUANTITIES, heading
from ra_waveforms import KINDS, STYLE

from d4pcwl.pages.html import TABLE_END, document, escaped, legend, tiles

STYLE_OF_MAPS = """
.pictures { display: grid; gap: 1rem; }
.pictures { grid-template-columns: repeat(auto-fit, minmax(min(100%, 32rem), 1fr)); }
.pictures figure { margin: 0; }
.pictures img { display: block; width: 100%; max-width: 48rem; height: auto; margin: 0 auto; }
.pictures img { border-radius: 8px; background: #fff; }
th.group { text-align: center; }
td:first-child, th.station { position: sticky; left: 0; background: var(--page); }
.first { border-left: 1px solid var(--line); }
"""
NOTES = (
    "Observed and synthetic waveforms went through the same steps (processing.json); peaks hold in "
    "the band that the filters pass. Spectral acceleration: 10 % damping. Of the two horizontal "
    "components, the larger peak is given. Relative difference: observed minus synthetic, by "
    "observed. Coasts: GSHHG (Wessel and Smith, 1996).",
    "Maps: the values at the stations are exact to the step of the scale. Between stations, the "
    "logarithm is interpolated linearly in Delaunay triangles; it says nothing of sites between "
    "them, and nothing is painted outside of them.",
)


def page(
    table: Mapping[str, Any], pictures: Mapping[str, bytes], waveforms: Mapping[str, str]
) -> str:
    """The page.

    :param table: as ra_results.as_table makes it
    :param pictures: PNG files by quantity
    :param waveforms: figures in HTML by station (ra_waveforms)
    """
    title = f"Rapid assessment: {heading(table['event'])}"
    return document(title, _body(table, pictures, waveforms), STYLE_OF_MAPS + STYLE)


def _body(
    table: Mapping[str, Any], pictures: Mapping[str, bytes], waveforms: Mapping[str, str]
) -> Iterator[str]:
    nearest = sorted(table["places"], key=lambda name: table["places"][name]["distance"])
    yield from _event(table, nearest)
    yield '<section><h2>Maps</h2><div class="pictures">'
    for quantity, png in pictures.items():
        data = base64.b64encode(png).decode()
        told = f"{QUANTITIES[quantity][0]}: maps of observed and synthetic values and their ratio"
        yield f'<figure><img src="data:image/png;base64,{data}" alt="{escaped(told)}"></figure>'
    yield "</div></section>"
    yield from _figures(table, nearest)
    yield "<section><h2>Waveforms</h2>"
    yield "<p>Velocity after processing; all lines of a station have one scale. "
    yield "Seconds count from the origin time.</p>"
    yield from legend({kind: kind for kind in KINDS.values()})
    yield '<div class="stations">'
    yield from (waveforms[name] for name in nearest if name in waveforms)
    yield "</div></section>"
    yield f"<footer>{''.join(f'<p>{escaped(note)}</p>' for note in NOTES)}</footer>"


def _event(table: Mapping[str, Any], stations: Sequence[str]) -> Iterator[str]:
    event = table["event"]
    time = UTCDateTime(ns=event["time"])
    yield "<header><h1>Rapid assessment of an earthquake</h1>"
    yield f'<p class="faint">{escaped(heading(event))}</p>'
    facts = [
        (time.strftime("%H:%M:%S"), time.strftime("UTC, %Y-%m-%d")),
        (f"{event['latitude']:.2f}, {event['longitude']:.2f}", "latitude, longitude in degrees"),
        (str(len(stations)), "stations"),
        (f"{table['places'][stations[0]]['distance']:.0f} km", f"to the nearest, {stations[0]}"),
    ]
    if event["depth"] is not None:
        facts.insert(1, (f"{event['depth']:.1f} km", "depth"))
    if event["magnitude"] is not None:
        facts.insert(0, (f"{event['magnitude']:.1f}", event["magnitude_type"] or "magnitude"))
    yield from tiles(facts)
    yield "</header>"


def _figures(table: Mapping[str, Any], stations: Sequence[str]) -> Iterator[str]:
    """The table: for each quantity observed, synthetic, and the relative difference."""
    yield "<section><h2>Ground motion</h2>"
    yield "<p>Observed and synthetic peaks, and the relative difference.</p>"
    yield '<div class="wide"><table><thead><tr>'
    yield '<th class="text station" rowspan="2">station</th><th rowspan="2">km</th>'
    for quantity, (_, unit) in QUANTITIES.items():
        name = quantity.replace("_", " ").replace(".0Hz", "Hz").replace("Hz", " Hz")
        yield f'<th class="group first" colspan="3">{escaped(f"{name} in {unit}")}</th>'
    yield "</tr><tr>"
    kinds = ("obs", "syn", "diff")
    heads = [f'<th class="first">{kinds[0]}</th>', *(f"<th>{kind}</th>" for kind in kinds[1:])]
    yield "".join(heads * len(QUANTITIES))
    yield "</tr></thead><tbody>"
    for name in stations:
        values, place = table["stations"][name], table["places"][name]
        yield f'<tr><td class="text">{escaped(name)}</td><td>{place["distance"]:.0f}</td>'
        for quantity in QUANTITIES:
            pair = [FACTOR * values[part][NORM][quantity] for part in KINDS]
            part = table["differences"][name][NORM]["relative"][quantity]
            told = "" if part is None else f"{100 * part:+.0f} %"
            cells = [f"{value:#.3g}".rstrip(".") for value in pair]
            yield f'<td class="first">{cells[0]}</td><td>{cells[1]}</td><td>{told}</td>'
        yield "</tr>"
    yield f"{TABLE_END}</section>"
