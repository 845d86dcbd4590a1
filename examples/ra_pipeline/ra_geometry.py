"""Where a station lies as seen from the earthquake, and the rotation that follows from it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from obspy import Inventory, UTCDateTime, read_inventory
from obspy.geodetics import gps2dist_azimuth
from ra_layout import StationError

Samples = np.ndarray[Any, Any]


def read_stationxml(text: str, station: str) -> Inventory:
    """The inventory in a StationXML text; StationError if there is none."""
    try:
        return read_inventory(io.BytesIO(text.encode()), format="STATIONXML")
    # The readers of ObsPy raise their own errors, lxml's and built-in ones for a damaged file.
    except Exception as error:
        raise StationError(f"{station}: StationXML is not readable ({error})") from error


def place(inventory: Inventory, station: str, event: dict[str, Any]) -> dict[str, float]:
    """Latitude and longitude of "NET.STA" (degrees) and its relation to the event.

    `distance` is in km along the surface of the WGS84 ellipsoid, `back_azimuth` in degrees from
    north, from the station to the event. A station that moved is taken where it was at the time.
    """
    network, code = station.split(".")
    found = inventory.select(network=network, station=code, time=UTCDateTime(ns=event["time"]))
    stations = [entry for net in found for entry in net]
    if not stations:
        raise StationError(f"{station}: StationXML does not have it at the time of the event")
    latitude, longitude = float(stations[0].latitude), float(stations[0].longitude)
    metres, _, back_azimuth = gps2dist_azimuth(
        event["latitude"], event["longitude"], latitude, longitude
    )
    return {
        "latitude": latitude,
        "longitude": longitude,
        "distance": metres / 1000.0,
        "back_azimuth": float(back_azimuth),
    }


def rotate(north: Samples, east: Samples, back_azimuth: float) -> tuple[Samples, Samples]:
    """(radial, transverse) of north and east, each (npts,), for a back azimuth in degrees.

    Radial points away from the source, transverse to the right of it seen along the ray; the
    convention of SEED and ObsPy.
    """
    angle = np.radians(back_azimuth)
    sine, cosine = np.sin(angle), np.cos(angle)
    return -east * sine - north * cosine, -east * cosine + north * sine
