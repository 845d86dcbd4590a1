"""What a folder of miniSEED and StationXML files has for requests to FDSN web services.

The folder has the layout of ra_layout. It is read once; answers are cut from the files themselves,
so records and elements are those of the files to the last byte.
"""

from __future__ import annotations

import copy
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fdsn_query import Codes, Query
from lxml import etree
from obspy import UTCDateTime
from ra_layout import CONTENT
from ra_records import Record, records

_NAMESPACE = "{http://www.fdsn.org/xml/station/1}"
#: The columns of FDSN station text, and where their values are in StationXML.
_COLUMNS = {
    "network": {
        "Network": "@code",
        "Description": "Description",
        "StartTime": "@startDate",
        "EndTime": "@endDate",
        "TotalStations": "TotalNumberStations",
    },
    "station": {
        "Network": "../@code",
        "Station": "@code",
        "Latitude": "Latitude",
        "Longitude": "Longitude",
        "Elevation": "Elevation",
        "SiteName": "Site/Name",
        "StartTime": "@startDate",
        "EndTime": "@endDate",
    },
    "channel": {
        "Network": "../../@code",
        "Station": "../@code",
        "Location": "@locationCode",
        "Channel": "@code",
        "Latitude": "Latitude",
        "Longitude": "Longitude",
        "Elevation": "Elevation",
        "Depth": "Depth",
        "Azimuth": "Azimuth",
        "Dip": "Dip",
        "SensorDescription": "Sensor/Description",
        "Scale": "Response/InstrumentSensitivity/Value",
        "ScaleFreq": "Response/InstrumentSensitivity/Frequency",
        "ScaleUnits": "Response/InstrumentSensitivity/InputUnits/Name",
        "SampleRate": "SampleRate",
        "StartTime": "@startDate",
        "EndTime": "@endDate",
    },
}


class ArchiveError(Exception):
    """A folder cannot be served: a line for each of its faults."""


class Channel(NamedTuple):
    """A channel of a StationXML file; times in ns since 1970, its station's place in degrees."""

    file: Path
    element: etree._Element
    codes: Codes
    start: float
    end: float
    latitude: float
    longitude: float


class Archive:
    """The files of a folder. Raises ArchiveError if there are none, or some cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.records: dict[Path, list[Record]] = {}
        self.channels: dict[Path, list[Channel]] = {}
        faults = []
        for part, content, reader in (
            ("observed", self.records, records),
            ("stations", self.channels, channels),
        ):
            for path in sorted((folder / part).glob(CONTENT[part])):
                try:
                    content[path] = list(reader(path))
                except (OSError, ValueError) as error:
                    faults.append(str(error))
        if not (self.records or self.channels or faults):
            faults.append(f"{folder}: no miniSEED in observed/ and no StationXML in stations/")
        if faults:
            raise ArchiveError("\n".join(faults))

    def waveforms(self, query: Query) -> bytes:
        """All records that have samples in the time windows, as they are; maybe none."""
        parts = []
        for path, found in self.records.items():
            windows = {codes: query.windows(codes) for codes in {record.codes for record in found}}
            chosen = [
                record
                for record in found
                if any(window.meets(record.start, record.end) for window in windows[record.codes])
            ]
            if chosen:
                with open(path, "rb") as file:
                    for record in chosen:
                        file.seek(record.offset)
                        parts.append(file.read(record.length))
        return b"".join(parts)

    def stations(self, query: Query) -> bytes:
        """StationXML or text of the channels, or of their stations or networks; maybe empty."""
        chosen = [
            channel
            for found in self.channels.values()
            for channel in found
            if query.reaches(channel.latitude, channel.longitude)
            and any(w.meets(channel.start, channel.end) for w in query.windows(channel.codes))
        ]
        level = query.values["level"]
        if not chosen:
            return b""
        if query.values["format"] == "text":
            return _text(chosen, level)
        path = chosen[0].file
        if level == "response" and chosen == self.channels[path]:
            return path.read_bytes()
        return _stationxml(chosen, level)


def channels(path: Path) -> Iterator[Channel]:
    """The channels of a StationXML file; ValueError if it is none."""
    try:
        root = etree.parse(str(path), etree.XMLParser(resolve_entities=False)).getroot()
    except etree.XMLSyntaxError as error:
        raise ValueError(f"{path}: {error}") from None
    if root.tag != f"{_NAMESPACE}FDSNStationXML":
        raise ValueError(f"{path}: not StationXML")
    for element in root.iterfind(f".//{_NAMESPACE}Channel"):
        network, station, location, channel = (
            _value(element, where)
            for where in ("../../@code", "../@code", "@locationCode", "@code")
        )
        try:
            yield Channel(
                file=path,
                element=element,
                codes=(network, station, location, channel),
                start=_time(element, "@startDate", -math.inf),
                end=_time(element, "@endDate", math.inf),
                latitude=float(_value(element, "../Latitude")),
                longitude=float(_value(element, "../Longitude")),
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: line {element.sourceline}: {error}") from None


def _value(element: etree._Element, where: str) -> str:
    """The text at a path of `_COLUMNS`, seen from an element; "" where there is none."""
    found: etree._Element | None = element
    for step in where.split("/"):
        if found is None:
            return ""
        if step.startswith("@"):
            return (found.get(step[1:]) or "").strip()
        found = found.getparent() if step == ".." else found.find(_NAMESPACE + step)
    return "" if found is None else (found.text or "").strip()


def _time(element: etree._Element, where: str, otherwise: float) -> float:
    text = _value(element, where)
    return UTCDateTime(text).ns if text else otherwise


def _text(chosen: list[Channel], level: str) -> bytes:
    above = {"channel": 0, "station": 1, "network": 2}[level]
    groups: dict[tuple[str, ...], list[Channel]] = defaultdict(list)
    for channel in chosen:
        start = _value(channel.element, "../" * above + "@startDate")
        groups[*channel.codes[: (4, 2, 1)[above]], start].append(channel)
    columns = _COLUMNS[level]
    lines = ["#" + "|".join(columns)]
    for found in groups.values():
        element = found[0].element
        for _ in range(above):
            element = element.getparent()
        values = {name: _value(element, where) for name, where in columns.items()}
        # StationXML may leave these out, and the text may not.
        values["StartTime"] = values["StartTime"] or min(
            _value(c.element, "@startDate") for c in found
        )
        if level == "network":
            values["TotalStations"] = values["TotalStations"] or str(
                len({c.codes[1] for c in found})
            )
        lines.append(
            "|".join(" ".join(value.replace("|", " ").split()) for value in values.values())
        )
    return "".join(f"{line}\n" for line in lines).encode()


def _stationxml(chosen: list[Channel], level: str) -> bytes:
    """The elements of the channels in one document, which has the version of the newest file."""
    roots = {channel.file: channel.element.getroottree().getroot() for channel in chosen}
    newest = max(roots.values(), key=lambda root: _version(root.get("schemaVersion", "")))
    document = _without(newest, "Network")
    parents: dict[tuple[str | None, ...], etree._Element] = {}
    for channel in chosen:
        station = channel.element.getparent()
        network = station.getparent()
        place = document
        key: tuple[str | None, ...] = ()
        for element, inner in ((network, "Station"), (station, "Channel")):
            # A network has a part in the file of each of its stations.
            key += tuple(element.get(name) for name in ("code", "startDate", "endDate"))
            if key not in parents:
                parents[key] = _without(element, inner)
                place.append(parents[key])
            place = parents[key]
        place.append(_at_level(channel.element, level))
    for outer, inner in (("Network", "Station"), ("Station", "Channel")):
        for element in document.iter(_NAMESPACE + outer):
            selected = element.find(f"{_NAMESPACE}SelectedNumber{inner}s")
            if selected is not None:
                selected.text = str(len(element.findall(_NAMESPACE + inner)))
    for cut, levels in (("Station", ("network",)), ("Channel", ("network", "station"))):
        if level in levels:
            for element in list(document.iter(_NAMESPACE + cut)):
                element.getparent().remove(element)
    return bytes(etree.tostring(document, xml_declaration=True, encoding="UTF-8"))


def _without(element: etree._Element, *names: str) -> etree._Element:
    """A copy of an element that lacks the children with these names."""
    made = etree.Element(element.tag, element.attrib, nsmap=element.nsmap)
    made.text = element.text
    unwanted = {_NAMESPACE + name for name in names}
    made.extend(copy.deepcopy(child) for child in element if child.tag not in unwanted)
    return made


def _at_level(channel: etree._Element, level: str) -> etree._Element:
    """A copy of a channel; below the level `response`, of its response only the sensitivity."""
    if level == "response":
        return copy.deepcopy(channel)
    made = _without(channel, "Response")
    sensitivity = channel.find(f"{_NAMESPACE}Response/{_NAMESPACE}InstrumentSensitivity")
    if sensitivity is not None:
        etree.SubElement(made, f"{_NAMESPACE}Response").append(copy.deepcopy(sensitivity))
    return made


def _version(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]
