"""Reading the folder of an assessment, whose layout is in ra_layout, into plain data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from obspy import Trace, read, read_events
from ra_chains import check_chain
from ra_geometry import place, read_stationxml
from ra_layout import (
    BANDS,
    COMPONENTS,
    CONTENT,
    EVENT_FILE,
    SETTINGS_FILE,
    SettingsError,
    StationError,
)
from ra_traces import PlainTrace, plain


def read_event(folder: Path) -> dict[str, Any]:
    """Time (ns since 1970), latitude, longitude (degrees), depth (km) and magnitude of the event.

    The preferred origin and magnitude, else the first; depth and magnitude may be None.
    """
    path = folder / EVENT_FILE
    try:
        event = read_events(str(path))[0]
    except Exception as error:
        raise SettingsError(f"{path}: not a readable event file ({error})") from error
    origin = event.preferred_origin() or next(iter(event.origins), None)
    if origin is None or origin.latitude is None or origin.longitude is None:
        raise SettingsError(f"{path}: the event has no origin with a place and time")
    magnitude = event.preferred_magnitude() or next(iter(event.magnitudes), None)
    return {
        "time": int(origin.time.ns),
        "latitude": float(origin.latitude),
        "longitude": float(origin.longitude),
        "depth": None if origin.depth is None else float(origin.depth) / 1000.0,
        "magnitude": None if magnitude is None else float(magnitude.mag),
        "magnitude_type": None if magnitude is None else magnitude.magnitude_type,
    }


def read_settings(folder: Path) -> dict[str, Any]:
    """The checked content of processing.json; SettingsError says what is wrong with it."""
    path = folder / SETTINGS_FILE
    try:
        settings: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from error
    for name in ("data_processing", "synthetics_processing"):
        if name not in settings:
            raise SettingsError(f"{path}: no {name!r}")
        check_chain(settings[name], f"{path}: {name}")
    if settings.get("output_units", "velocity") != "velocity":
        raise SettingsError(f"{path}: output_units must be 'velocity', which peaks come from")
    return settings


def list_stations(folder: Path) -> list[str]:
    """Sorted "NET.STA" of all stations that have observed or synthetic waveforms."""
    names = {
        ".".join(path.name.split(".")[:2])
        for part in ("observed", "synth")
        for path in (folder / part).glob(CONTENT[part])
    }
    return sorted(names)


def station_items(folder: Path) -> Iterator[dict[str, Any]]:
    """One item per station of the folder, with what all stations share: event and settings.

    Raises SettingsError when these are wrong or there is no station, before any work is done.
    """
    event, settings = read_event(folder), read_settings(folder)
    stations = list_stations(folder)
    if not stations:
        raise SettingsError(f"{folder}: no waveforms in observed/ or synth/")
    for station in stations:
        yield {"folder": str(folder), "station": station, "event": event, "settings": settings}


def read_station(folder: Path, station: str, event: dict[str, Any]) -> dict[str, Any]:
    """Raw waveforms, place and StationXML of one station, as plain data.

    {"data": {"E": trace, "N": ..., "Z": ...}, "synt": {...}, "place": {...}, "stationxml": text},
    the synthetics at absolute time. Raises StationError with all that is missing.
    """
    problems = []
    found = {}
    for part, reader in (("data", read_observed), ("synt", read_synthetic)):
        try:
            found[part] = reader(folder, station, event)
        except StationError as error:
            problems.append(str(error))
    path = folder / "stations" / f"{station}.xml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"unreadable ({error})"
        problems.append(f"StationXML {path.name} {reason}")
    if problems:
        raise StationError(f"{station}: {'; '.join(problems)}")
    where = place(read_stationxml(text, station), station, event)
    return {**found, "place": where, "stationxml": text}


def read_places(
    folder: Path, event: dict[str, Any]
) -> Iterator[tuple[str, dict[str, float] | StationError]]:
    """Name and place of each station that has StationXML; what is wrong with it, where it has none.

    Raises SettingsError without any StationXML.
    """
    files = sorted((folder / "stations").glob(CONTENT["stations"]))
    if not files:
        raise SettingsError(f"{folder / 'stations'}: no {CONTENT['stations']} file")
    for path in files:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
            yield path.stem, place(read_stationxml(text, path.stem), path.stem, event)
        except StationError as error:
            yield path.stem, error


def read_observed(folder: Path, station: str, event: dict[str, Any]) -> dict[str, PlainTrace]:
    """The three components of the best instrument of a station."""
    instruments: dict[str, dict[str, Path]] = {}
    for path in sorted((folder / "observed").glob(f"{station}.*.mseed")):
        instrument, component = path.name.removesuffix(".mseed")[:-1], path.stem[-1]
        instruments.setdefault(instrument, {})[component] = path
    if not instruments:
        raise StationError("no observed waveforms")
    complete = [name for name, files in instruments.items() if set(COMPONENTS) <= set(files)]
    if not complete:
        name, files = max(instruments.items(), key=lambda entry: len(entry[1]))
        missing = ", ".join(part for part in COMPONENTS if part not in files)
        raise StationError(f"observed {name}* lacks component {missing}")
    chosen = instruments[min(complete, key=_rank)]
    return {part: plain(_read_trace(chosen[part])) for part in COMPONENTS}


def read_synthetic(folder: Path, station: str, event: dict[str, Any]) -> dict[str, PlainTrace]:
    """The three synthetic components, shifted from origin time 0 to the event's origin time."""
    files = {
        path.name.split(".")[2][-1]: path
        for path in sorted((folder / "synth").glob(f"{station}.*.sac"))
    }
    if not files:
        raise StationError("no synthetics")
    missing = ", ".join(part for part in COMPONENTS if part not in files)
    if missing:
        raise StationError(f"synthetics lack component {missing}")
    traces = {}
    for part in COMPONENTS:
        # The headers of a simulation may carry neither network nor station; the name always does.
        trace = plain(_read_trace(files[part]), f"{station}..{files[part].name.split('.')[2]}")
        # SAC keeps the begin time as float32, -2.000625 s as -2.0006249; microseconds were meant.
        begin = round(trace["start"], -3)
        traces[part] = PlainTrace(**{**trace, "start": begin + event["time"]})
    return traces


def _rank(instrument: str) -> tuple[int, str]:
    band = instrument.split(".")[3]
    return (BANDS.index(band) if band in BANDS else len(BANDS), instrument)


def _read_trace(path: Path) -> Trace:
    """The one trace in a file, its records joined; StationError for gaps and damaged files."""
    try:
        stream = read(str(path))
        stream.merge()
    except Exception as error:
        raise StationError(f"{path.name} is not readable ({error})") from error
    if len(stream) != 1:
        raise StationError(f"{path.name} has {len(stream)} channels instead of one")
    if np.ma.is_masked(stream[0].data):
        raise StationError(f"{path.name} has gaps")
    return stream[0]
