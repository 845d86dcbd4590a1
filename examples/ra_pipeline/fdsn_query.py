"""What a request to an FDSN web service asks for.

Parameters, their short names and their forms are those of "FDSN Web Service Specifications,
Version 1.2" (FDSN 2019, https://www.fdsn.org/webservices). Parameters that it calls optional, and
that are not in `SERVICES`, are refused.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from obspy import UTCDateTime
from obspy.geodetics import locations2degrees

Codes = tuple[str, str, str, str]
_CODES = ("network", "station", "location", "channel")


class BadRequest(Exception):
    """All that is wrong with a request, one fault in each line."""


class Parameter(NamedTuple):
    """A parameter of a service; `read` makes a value of its text, or raises ValueError."""

    name: str
    short: str
    type: str
    read: Callable[[str], Any]
    default: str | None = None
    options: tuple[str, ...] = ()


def _time(text: str) -> int:
    return int(UTCDateTime(text, iso8601=True).ns)


def _pattern(text: str) -> re.Pattern[str]:
    parts = ["" if part == "--" else part for part in text.split(",")]
    if "" in text.split(",") or not all(re.fullmatch(r"[\w*?-]*", part) for part in parts):
        raise ValueError("codes, * and ? with commas between them are expected; -- is a blank code")
    return re.compile("|".join(fnmatch.translate(part) for part in parts))


def _degrees(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        number = float(text)
        if not (math.isfinite(number) and low <= number <= high):
            raise ValueError(f"a number from {low:g} to {high:g} is expected")
        return number

    return read


def _choice(name: str, default: str, *others: str) -> Parameter:
    options = (default, *others)

    def read(text: str) -> str:
        if text.lower() not in options:
            raise ValueError(f"{' or '.join(options)} is expected")
        return text.lower()

    return Parameter(name, "", "xs:string", read, default, options)


_SELECTION = (
    Parameter("starttime", "start", "xs:dateTime", _time),
    Parameter("endtime", "end", "xs:dateTime", _time),
    Parameter("network", "net", "xs:string", _pattern, "*"),
    Parameter("station", "sta", "xs:string", _pattern, "*"),
    Parameter("location", "loc", "xs:string", _pattern, "*"),
    Parameter("channel", "cha", "xs:string", _pattern, "*"),
)
_AREA = (
    Parameter("minlatitude", "minlat", "xs:double", _degrees(-90, 90), "-90"),
    Parameter("maxlatitude", "maxlat", "xs:double", _degrees(-90, 90), "90"),
    Parameter("minlongitude", "minlon", "xs:double", _degrees(-180, 180), "-180"),
    Parameter("maxlongitude", "maxlon", "xs:double", _degrees(-180, 180), "180"),
    Parameter("latitude", "lat", "xs:double", _degrees(-90, 90), "0"),
    Parameter("longitude", "lon", "xs:double", _degrees(-180, 180), "0"),
    Parameter("minradius", "", "xs:double", _degrees(0, 180), "0"),
    Parameter("maxradius", "", "xs:double", _degrees(0, 180), "180"),
)
_NODATA = _choice("nodata", "204", "404")
SERVICES: dict[str, tuple[Parameter, ...]] = {
    "station": (
        *_SELECTION,
        *_AREA,
        _choice("level", "station", "network", "channel", "response"),
        _choice("format", "xml", "text"),
        _NODATA,
    ),
    "dataselect": (*_SELECTION, _choice("format", "miniseed"), _NODATA),
}


class Window(NamedTuple):
    """From a time to another, in ns since 1970; infinite where a request leaves it open."""

    start: float
    end: float

    def meets(self, start: float, end: float) -> bool:
        """Whether it has a moment in common with the time between two others."""
        return end >= self.start and start <= self.end


class Selection(NamedTuple):
    """Channels and a time window: what a GET asks for, or a line of a POST."""

    patterns: tuple[re.Pattern[str], ...]
    window: Window


@dataclass(frozen=True)
class Query:
    """A whole request; `values` has the other parameters of the service, by their long names."""

    selections: tuple[Selection, ...]
    values: dict[str, Any]

    def windows(self, codes: Codes) -> list[Window]:
        """The time windows for which it asks for a channel."""
        return [
            window
            for patterns, window in self.selections
            if all(p.fullmatch(code) for p, code in zip(patterns, codes, strict=True))
        ]

    def reaches(self, latitude: float, longitude: float) -> bool:
        """Whether a place is in its box, and within its radii."""
        at = self.values
        distance = locations2degrees(at["latitude"], at["longitude"], latitude, longitude)
        return (
            at["minlatitude"] <= latitude <= at["maxlatitude"]
            and at["minlongitude"] <= longitude <= at["maxlongitude"]
            and at["minradius"] <= distance <= at["maxradius"]
        )


def query_of_get(service: str, text: str) -> Query:
    """The query in a URL, the part behind its `?`."""
    faults: list[str] = []
    pairs = parse_qsl(text, keep_blank_values=True)
    values = _values(SERVICES[service], pairs, faults)
    query = Query((_selection(values, "", faults),), values)
    return _checked(query, faults)


def query_of_post(service: str, text: str) -> Query:
    """The query in the body of a POST: lines `NAME=VALUE`, then `NET STA LOC CHA START END`."""
    faults: list[str] = []
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = [(name, value) for name, _, value in (li.partition("=") for li in lines if "=" in li)]
    others = [p for p in SERVICES[service] if p not in _SELECTION]
    values = _values(others, pairs, faults)
    selections = []
    names = (*_CODES, "starttime", "endtime")
    for line in [line for line in lines if "=" not in line]:
        fields = line.split()
        if len(fields) != len(names):
            faults.append(f"'{line}': NET STA LOC CHA START END is expected")
            continue
        where = f"'{line}': "
        chosen = _values(_SELECTION, zip(names, fields, strict=True), faults, where)
        selections.append(_selection(chosen, where, faults))
    if not selections:
        faults.append("no line NET STA LOC CHA START END")
    return _checked(Query(tuple(selections), values), faults)


def _values(
    parameters: Sequence[Parameter],
    pairs: Iterable[tuple[str, str]],
    faults: list[str],
    where: str = "",
) -> dict[str, Any]:
    known = {name: p for p in parameters for name in (p.name, p.short) if name}
    texts: dict[str, str] = {}
    for name, text in pairs:
        if name not in known:
            faults.append(f"{where}{name}: there is no such parameter here")
        elif known[name].name in texts:
            faults.append(f"{where}{name} is given twice")
        else:
            texts[known[name].name] = text.strip()
    values = {}
    for parameter in parameters:
        text = texts.get(parameter.name, parameter.default)
        try:
            values[parameter.name] = None if text is None else parameter.read(text)
        except ValueError as error:
            faults.append(f"{where}{parameter.name}={text}: {error}")
    return values


def _selection(values: dict[str, Any], where: str, faults: list[str]) -> Selection:
    """The selection in values of parameters, which are taken out of them."""
    start, end = values.pop("starttime", None), values.pop("endtime", None)
    window = Window(-math.inf if start is None else start, math.inf if end is None else end)
    if window.start > window.end:
        faults.append(f"{where}starttime is after endtime")
    return Selection(tuple(values.pop(name, re.compile("")) for name in _CODES), window)


def _checked(query: Query, faults: list[str]) -> Query:
    if not faults:
        for name in ("latitude", "longitude", "radius"):
            if query.values.get(f"min{name}", 0) > query.values.get(f"max{name}", 0):
                faults.append(f"min{name} is above max{name}")
        if query.values.get("level") == "response" and query.values["format"] == "text":
            faults.append("format=text: there is no such form of level=response")
    if faults:
        raise BadRequest("\n".join(dict.fromkeys(faults)))
    return query
