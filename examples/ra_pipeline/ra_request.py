"""What is to be downloaded: a JSON file of settings for ObsPy's mass downloader.

    {"providers": ["INGV", "http://127.0.0.1:8080"],
     "starttime": "2013-02-16T21:06:09.29", "endtime": "2013-02-16T21:22:00.29",
     "minlatitude": 41.1, "maxlatitude": 42.9, "minlongitude": 12.04, "maxlongitude": 14.45,
     "channel_priorities": ["BH[ENZ]", "EH[ENZ]"], "location_priorities": ["", "00"]}

The keys are the arguments of ObsPy's `Restrictions`, `RectangularDomain` or `CircularDomain`, and
`MassDownloader.download`, whose documentation explains them, and four of our own: `providers`,
`minimum_sampling_rate` and `maximum_sampling_rate` (Hz), and `timeout` (seconds without an answer,
after which a provider is left out). An input file of dispel4py that has such settings as the only
input of a PE, {"NAME": [{"input": {...}}]}, may be given as it is.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from obspy import UTCDateTime
from obspy.clients.fdsn.header import URL_MAPPINGS
from obspy.clients.fdsn.mass_downloader import (
    CircularDomain,
    Domain,
    RectangularDomain,
    Restrictions,
)
from ra_layout import SettingsError


def _time(value: Any) -> UTCDateTime:
    try:
        return UTCDateTime(value, iso8601=True)
    except (TypeError, ValueError):
        raise ValueError("a time is expected, such as 2013-02-16T21:06:09.29") from None


def _number(low: float, high: float = math.inf) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("a number is expected")
        if not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g} is expected")
        return value

    return read


def _is(kind: type, name: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise ValueError(f"{name} is expected")
        return value

    return read


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError("a list of texts is expected")
    return value


def _providers(value: Any) -> list[str]:
    for provider in _texts(value):
        url = urlsplit(provider)
        if provider.upper() not in URL_MAPPINGS and not (
            url.scheme in ("http", "https") and url.hostname
        ):
            raise ValueError("URLs (http://...) and ObsPy's names, such as INGV, are expected")
    return list(dict.fromkeys(value))


_text, _flag = _is(str, "a text"), _is(bool, "true or false")
_BOX = {
    "minlatitude": _number(-90, 90),
    "maxlatitude": _number(-90, 90),
    "minlongitude": _number(-180, 180),
    "maxlongitude": _number(-180, 180),
}
_CIRCLE = {
    "latitude": _number(-90, 90),
    "longitude": _number(-180, 180),
    "minradius": _number(0, 180),
    "maxradius": _number(0, 180),
}
_RESTRICTIONS = {
    "starttime": _time,
    "endtime": _time,
    "station_starttime": _time,
    "station_endtime": _time,
    "network": _text,
    "station": _text,
    "location": _text,
    "channel": _text,
    "exclude_networks": _texts,
    "exclude_stations": _texts,
    "reject_channels_with_gaps": _flag,
    "minimum_length": _number(0, 1),
    "sanitize": _flag,
    "minimum_interstation_distance_in_m": _number(0),
    "channel_priorities": _texts,
    "location_priorities": _texts,
}
_OPTIONS = {"download_chunk_size_in_mb": _number(0), "threads_per_client": _number(1)}
_OWN = {
    "providers": _providers,
    "minimum_sampling_rate": _number(0),
    "maximum_sampling_rate": _number(0),
    "timeout": _number(0),
}
_PATHS = {"mseed_path": _text, "stationxml_path": _text}
_READ = _BOX | _CIRCLE | _RESTRICTIONS | _OPTIONS | _OWN | _PATHS
_ORDERED = (
    ("minlatitude", "maxlatitude"),
    ("minlongitude", "maxlongitude"),
    ("minradius", "maxradius"),
    ("minimum_sampling_rate", "maximum_sampling_rate"),
    ("starttime", "endtime"),
)


@dataclass(frozen=True)
class Request:
    """What is to be downloaded from where; rates in Hz, `options` are for `download`."""

    providers: list[str]
    domain: Domain
    restrictions: Restrictions
    rates: tuple[float, float]
    timeout: float
    options: dict[str, Any]
    unused: list[str]
    """The keys that say where files go: here the layout of ra_layout says it."""


def read_request(path: Path, providers: list[str] | None) -> Request:
    """The content of a JSON file; `providers` replace those that it has.

    Raises SettingsError with all that is wrong.
    """
    try:
        given = _unwrapped(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from error
    if not isinstance(given, dict):
        raise SettingsError(f"{path}: an object of settings is expected")
    if providers:
        given = {**given, "providers": providers}
    faults: list[str] = []
    values = {}
    for key, value in given.items():
        if key not in _READ:
            near = difflib.get_close_matches(key, _READ, 1)
            faults.append(f"{key} is no setting" + (f"; is {near[0]} meant?" if near else ""))
            continue
        try:
            values[key] = _READ[key](value)
        except (TypeError, ValueError) as error:
            faults.append(f"{key}: {error}, not {value!r}")
    faults += [f"{key} is missing" for key in ("starttime", "endtime") if key not in given]
    if not given.get("providers"):
        faults.append("providers is missing: URLs of FDSN web services, or ObsPy's names for them")
    areas = [keys for keys in (_BOX, _CIRCLE) if any(key in given for key in keys)]
    if len(areas) != 1 or any(key not in given for key in areas[0]):
        faults.append(f"an area is expected: {', '.join(_BOX)}; or {', '.join(_CIRCLE)}")
    if not faults:
        faults += [
            f"{low} is above {high}"
            for low, high in _ORDERED
            if low in values and high in values and values[low] > values[high]
        ]
    if faults:
        raise SettingsError("\n".join(f"{path}: {fault}" for fault in faults))
    try:
        return _request(values, areas[0])
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from error


def _unwrapped(document: Any) -> Any:
    """The settings in an input file of dispel4py; any other document is settings itself."""
    match list(document.values()) if isinstance(document, dict) else []:
        case [[{"input": settings}]]:
            return settings
    return document


def _request(values: dict[str, Any], area: dict[str, Any]) -> Request:
    domain = RectangularDomain if area is _BOX else CircularDomain
    return Request(
        providers=values["providers"],
        domain=domain(**{key: values[key] for key in area}),
        restrictions=Restrictions(**{key: values[key] for key in _RESTRICTIONS if key in values}),
        rates=(
            values.get("minimum_sampling_rate", 0),
            values.get("maximum_sampling_rate", math.inf),
        ),
        timeout=values.get("timeout", 60),
        options={key: values[key] for key in _OPTIONS if key in values},
        unused=[key for key in _PATHS if key in values],
    )
