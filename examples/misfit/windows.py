"""Pairs of waveforms, and the windows in which they are compared: plain functions of plain items.

A waveform is {"component": "XX.ACRE.Z", "id": "XX.ACRE..BHZ", "start": nanoseconds since
1970-01-01 UTC, "rate": Hz, "samples": array of shape (npts,)}.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from measures import measure
from obspy import Stream, Trace, UTCDateTime, read, read_events
from obspy.geodetics import gps2dist_azimuth, kilometers2degrees

from d4pcwl.seismology.processing import inventory

Item = dict[str, Any]


@lru_cache(maxsize=1)
def origin(event: str) -> Any:
    """The preferred origin of the event in a QuakeML file, or else its first one."""
    found = read_events(event)[0]
    return found.preferred_origin() or found.origins[0]


def synthetic_stream(name: str, folder: Path, event: Path) -> Stream:
    """The synthetic waveform in NETWORK.STATION.CHANNEL.semv.sac, which begins at the origin.

    The headers of a simulation need not name the station, so its name is that of the file.
    """
    stream = read(folder / name)
    for trace in stream:
        stats = trace.stats
        stats.network, stats.station, stats.channel = name.split(".")[:3]
        # SAC keeps the begin as float32, -2.000625 s as -2.0006249; microseconds were meant.
        begin = round(stats.starttime.ns, -3)
        stats.starttime = UTCDateTime(ns=origin(str(event)).time.ns + begin)
    return stream


def waveforms(stream: Stream) -> Iterator[Item]:
    """Its traces as plain items."""
    for trace in stream:
        stats = trace.stats
        yield {
            "component": f"{stats.network}.{stats.station}.{stats.channel[-1]}",
            "id": trace.id,
            "start": stats.starttime.ns,
            "rate": stats.sampling_rate,
            "samples": np.asarray(trace.data, np.float64),
        }


def trace_of(waveform: Item) -> Trace:
    """A waveform as ObsPy's trace."""
    header = dict(
        zip(("network", "station", "location", "channel"), waveform["id"].split("."), strict=True)
    )
    start = UTCDateTime(ns=waveform["start"])
    return Trace(
        waveform["samples"].copy(),
        {**header, "starttime": start, "sampling_rate": waveform["rate"]},
    )


def aligned(pair: dict[str, Item], rate: float) -> dict[str, Item] | None:
    """Both waveforms at the same times: those that they have in common, at one rate in Hz.

    None where they have no time in common. Samples are interpolated by cubic splines: the band has
    to end well below half the rate.
    """
    traces = {name: trace_of(waveform) for name, waveform in pair.items()}
    start = max(trace.stats.starttime for trace in traces.values())
    npts = int((min(trace.stats.endtime for trace in traces.values()) - start) * rate)
    if npts < 2:
        return None
    made = {}
    for name, trace in traces.items():
        trace.interpolate(rate, method="cubic", starttime=start, npts=npts)
        (made[name],) = waveforms(Stream([trace]))
    return made


def stream_of(pair: dict[str, Item]) -> Stream:
    """Both waveforms as a stream."""
    return Stream([trace_of(waveform) for waveform in pair.values()])


@lru_cache(maxsize=1000)
def arrivals(depth: float, distance: float) -> dict[str, float]:
    """When the first P and S waves arrive, in s after the origin, by ObsPy's TauP.

    The model of the Earth is ak135 (Kennett, Engdahl and Buland 1995, Geophys. J. Int. 122,
    108-124).

    :param depth: of the event, in km
    :param distance: along the surface, in km
    """
    degrees = kilometers2degrees(distance)
    return {
        phase: model().get_travel_times(depth, degrees, phases)[0].time
        for phase, phases in (("P", ["p", "P", "Pn"]), ("S", ["s", "S", "Sn"]))
    }


@lru_cache(maxsize=1)
def model() -> Any:
    """ObsPy's model of the Earth, which takes a second to read."""
    from obspy.taup import TauPyModel

    return TauPyModel("ak135")


def windows(
    pair: dict[str, Item], event: Path, stations: Path, before: float, after: float
) -> Iterator[Item]:
    """The windows of a pair: around P, which ends where S begins at the latest, and around S.

    :param before: how long before the arrival a window begins, in s
    :param after: how long after the arrival a window ends, in s
    :returns: for each window its place, the waveforms in it, and the signal-to-noise ratio: the
        largest observed amplitude in it by the largest one before P
    """
    observed, synthetic = pair["observed"], pair["synthetic"]
    network, station, _ = observed["component"].split(".")
    quake, rate = origin(str(event)), observed["rate"]
    (place,) = inventory(str(stations), network, station).select(network, station)[0]
    distance = (
        gps2dist_azimuth(quake.latitude, quake.longitude, place.latitude, place.longitude)[0] / 1000
    )
    times = arrivals((quake.depth or 0.0) / 1000, distance)
    first = (observed["start"] - quake.time.ns) / 1e9
    ends = {"P": min(times["P"] + after, times["S"] - before), "S": times["S"] + after}
    size = len(observed["samples"])

    def index(time: float) -> int:
        return min(max(round((time - first) * rate), 0), size)

    noise = np.abs(observed["samples"][: index(times["P"] - before)]).max(initial=0.0)
    for phase, end in ends.items():
        part = slice(index(times[phase] - before), index(end))
        seen = observed["samples"][part]
        if len(seen) >= 4 and seen.any() and synthetic["samples"][part].any():
            yield {
                "component": observed["component"],
                "phase": phase,
                "distance": distance,
                "begin": first + part.start / rate,
                "end": first + part.stop / rate,
                "snr": float(np.abs(seen).max() / noise) if noise else None,
                "rate": rate,
                "observed": seen,
                "synthetic": synthetic["samples"][part],
            }


def measured(window: Item, snr: float, correlation: float, shift: float, dlna: float) -> Item:
    """A window with its measures in the place of its waveforms, and whether it is accepted.

    It is, as in FLEXWIN, where the signal-to-noise ratio and the correlation at the best shift are
    at least, and the time shift and the amplitude anomaly at most, what is asked for. Where there
    is no noise to compare with, the first does not count.
    """
    row = {name: value for name, value in window.items() if not isinstance(value, np.ndarray)}
    dt = 1 / row.pop("rate")
    row |= measure(window["observed"], window["synthetic"], dt, 2 * shift)
    accepted = (
        (row["snr"] is None or row["snr"] >= snr)
        and row["correlation_shifted"] >= correlation
        and abs(row["time_shift"]) <= shift
        and abs(row["dlna"]) <= dlna
    )
    return {**row, "accepted": accepted}


def entries(row: Item) -> Iterator[Item]:
    """What of a window goes into the summary: its measures, if it is accepted."""
    if row["accepted"]:
        for name in ("time_shift", "dlna", "correlation_shifted", "relative_misfit"):
            yield {"phase": row["phase"], "measure": name, "value": row[name]}


def left_over(found: dict[str, Item]) -> Item:
    """What to say of a waveform without a partner."""
    ((name, waveform),) = found.items()
    return {"component": waveform["component"], "only": name}
