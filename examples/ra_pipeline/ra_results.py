"""The files of an assessment: tables for programs and for maps, pictures, and the report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from obspy import UTCDateTime
from ra_figures import QUANTITIES, draw_quantity
from ra_motion import DAMPING, NORMS, UNITS
from ra_report import page

Row = dict[str, Any]


def as_table(rows: Iterable[Row]) -> dict[str, Any]:
    """Rows of one station and norm each, joined to the content of pgm.json, sorted by station.

    {"stations": {station: {"data" | "synt": {norm: {quantity: value}}}}, "differences": {station:
    {norm: {"absolute" | "relative": {quantity: value}}}}, "places": {station: {...}}, ...}
    """
    ordered = sorted(rows, key=lambda row: (row["station"], NORMS.index(row["norm"])))
    stations: dict[str, Any] = {}
    differences: dict[str, Any] = {}
    places: dict[str, Any] = {}
    for row in ordered:
        name, norm = row["station"], row["norm"]
        entry = stations.setdefault(name, {"data": {}, "synt": {}})
        entry["data"][norm] = row["data"]
        entry["synt"][norm] = row["synt"]
        differences.setdefault(name, {})[norm] = row["differences"]
        places[name] = row["place"]
    return {
        "event": ordered[0]["event"],
        "units": UNITS,
        "damping": DAMPING,
        "stations": stations,
        "differences": differences,
        "places": places,
    }


def as_geojson(table: dict[str, Any]) -> dict[str, Any]:
    """A FeatureCollection (RFC 7946) with one point per station, longitude before latitude.

    `pga` and `pgv` are the observed ones of the norm `max`, at the top level for map programs that
    do not look into nested properties.
    """
    features = []
    for station, values in table["stations"].items():
        place = table["places"][station]
        properties = {
            "station": station,
            "distance_km": place["distance"],
            "back_azimuth": place["back_azimuth"],
            "pga": values["data"]["max"]["PGA"],
            "pgv": values["data"]["max"]["PGV"],
            "units": table["units"],
            **values,
            "differences": table["differences"][station],
        }
        point = {"type": "Point", "coordinates": [place["longitude"], place["latitude"]]}
        features.append(
            {"type": "Feature", "id": station, "geometry": point, "properties": properties}
        )
    event = {**table["event"], "time": str(UTCDateTime(ns=table["event"]["time"]))}
    return {"type": "FeatureCollection", "event": event, "features": features}


def write_results(folder: Path, rows: Iterable[Row], waveforms: Mapping[str, str]) -> list[Path]:
    """Write pgm.json, pgm.geojson, a map_*.png for each quantity and report.html into `folder`.

    Returns the files. `waveforms` has figures in HTML by station. The order of rows and waveforms
    does not matter: if they are equal, the files are equal. Raises ValueError without any row.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("no station has both observed and synthetic ground motion")
    table = as_table(rows)
    # NaN and Infinity are no JSON; a result that holds one is an error and not a file.
    contents = {
        name: (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
        for name, content in (("pgm.json", table), ("pgm.geojson", as_geojson(table)))
    }
    pictures = {quantity: draw_quantity(table, quantity) for quantity in QUANTITIES}
    contents |= {f"map_{quantity}.png": png for quantity, png in pictures.items()}
    contents["report.html"] = page(table, pictures, waveforms).encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]
