"""Make the records of an invented array of stations: `python make_records.py FOLDER STATIONS`

One hour of ambient noise at 20 Hz, MiniSEED, network XX. The noise comes as plane waves from a few
directions, each station has some of its own; so correlations have peaks where waves need that
long from one station to the other.
"""

from __future__ import annotations

import sys
from pathlib import Path

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


def record(number: int) -> Trace:
    """The record of one station; the same for the same number, whatever others there are."""
    common = np.random.default_rng(0)
    azimuths = common.uniform(0, 2 * np.pi, WAVES)
    waves = fft.rfft(common.standard_normal((WAVES, SAMPLES)))
    own = np.random.default_rng(number + 1)
    place = own.uniform(0, EXTENT, 2)
    delays = (np.sin(azimuths) * place[0] + np.cos(azimuths) * place[1]) / SPEED
    frequencies = fft.rfftfreq(SAMPLES, 1 / RATE)
    shifted = waves * np.exp(-2j * np.pi * frequencies * delays[:, np.newaxis])
    samples = fft.irfft(shifted.sum(axis=0), SAMPLES) + own.standard_normal(SAMPLES)
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
