"""Make the records of an invented array of stations: `python make_records.py FOLDER STATIONS`

One hour of ambient noise at 20 Hz, MiniSEED, network XX. The noise comes as plane waves from a few
directions, each station has some of its own; so correlations have peaks where waves need that
long from one station to the other.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from obspy import Trace, UTCDateTime
from scipy import fft

RATE = 20.0
"""In Hz."""
SAMPLES = int(3600 * RATE)
START = UTCDateTime("2024-01-01T00:00:00")
WAVES = 4
SPEED = 3.0
"""Of the waves, in km/s."""
EXTENT = 100.0
"""Of the array, in km."""
COUNTS = 1000
"""Standard deviation of the samples, in counts."""


def place(number: int) -> np.ndarray[Any, Any]:
    """Where a station is: east and north, in km."""
    return np.random.default_rng((2, number)).uniform(0, EXTENT, 2)


def delays(number: int) -> np.ndarray[Any, Any]:
    """When each wave comes to a station, in s after it has come to the corner of the array."""
    azimuths = np.random.default_rng(0).uniform(0, 2 * np.pi, WAVES)
    return np.stack([np.sin(azimuths), np.cos(azimuths)], axis=1) @ place(number) / SPEED


def record(number: int) -> Trace:
    """The record of one station; the same for the same number, whatever others there are."""
    waves = fft.rfft(np.random.default_rng(1).standard_normal((WAVES, SAMPLES)))
    frequencies = fft.rfftfreq(SAMPLES, 1 / RATE)
    shifted = waves * np.exp(-2j * np.pi * frequencies * delays(number)[:, np.newaxis])
    own = np.random.default_rng((3, number)).standard_normal(SAMPLES)
    samples = fft.irfft(shifted.sum(axis=0), SAMPLES) + own
    header = {
        "network": "XX",
        "station": f"S{number:04d}",
        "channel": "BHZ",
        "sampling_rate": RATE,
        "starttime": START,
    }
    data = np.round(COUNTS * samples / np.std(samples)).astype(np.int32)
    return Trace(data, header)


def make_records(folder: Path, stations: int) -> None:
    """Write the records of that many stations into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(stations):
        trace = record(number)
        trace.write(str(folder / f"{trace.id}.mseed"), format="MSEED")


if __name__ == "__main__":
    make_records(Path(sys.argv[1]), int(sys.argv[2]))
