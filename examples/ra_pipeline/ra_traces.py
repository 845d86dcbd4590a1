"""Waveforms as plain data.

A waveform travels between processing elements as a dict of plain values and one array, so that it
can cross any process border and rest in a file without a pickle:

    {"id": "IV.ARRO..EHE", "start": 1361049365940000000, "rate": 100.0, "samples": array([...])}

`start` is in whole nanoseconds since 1970-01-01 UTC and `rate` in Hz, which is what ObsPy keeps
itself; the two functions here therefore lose nothing on the way there and back.
"""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from obspy import Trace, UTCDateTime


class PlainTrace(TypedDict):
    """One component of one station; `samples` is one-dimensional."""

    id: str
    start: int
    rate: float
    samples: np.ndarray[Any, Any]


def plain(trace: Trace, trace_id: str | None = None) -> PlainTrace:
    """The plain form of an ObsPy trace; `trace_id` replaces the id where the header has none."""
    return {
        "id": trace_id or trace.id,
        "start": int(trace.stats.starttime.ns),
        "rate": float(trace.stats.sampling_rate),
        "samples": np.array(trace.data),
    }


def to_obspy(trace: PlainTrace) -> Trace:
    """A new ObsPy trace with its own copy of the samples."""
    network, station, location, channel = trace["id"].split(".")
    header = {
        "network": network,
        "station": station,
        "location": location,
        "channel": channel,
        "starttime": UTCDateTime(ns=trace["start"]),
        "sampling_rate": trace["rate"],
    }
    return Trace(data=np.array(trace["samples"]), header=header)
