"""Compare prepared records with what plain calls of ObsPy make of the raw ones:
`python check.py RAW STATIONS PREPARED`

The workflow ran with `--normalise`; its other parameters are the defaults.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from obspy import Trace, read, read_inventory
from scipy import fft, signal

RATE, LOWEST, HIGHEST = 10.0, 0.1, 2.0


def prepared(trace: Trace, stations: Path) -> np.ndarray:
    """What the workflow makes of a raw record, by ObsPy and SciPy alone."""
    old = round(trace.stats.sampling_rate)
    trace.data = signal.resample_poly(trace.data, round(RATE), old)
    trace.stats.sampling_rate = RATE
    trace.detrend("linear").detrend("demean").taper(0.05)
    trace.remove_response(
        inventory=read_inventory(stations / f"{trace.stats.network}.{trace.stats.station}.xml"),
        pre_filt=(LOWEST / 2, LOWEST, HIGHEST, 2 * HIGHEST),
        zero_mean=False,
        taper=False,
    )
    trace.filter("bandpass", freqmin=LOWEST, freqmax=HIGHEST, zerophase=True)
    width = 1 + int(RATE / LOWEST / 2)
    padded = np.pad(np.abs(trace.data), width // 2, mode="symmetric")
    trace.data /= np.convolve(padded, np.full(width, 1 / width), mode="valid")
    length = fft.next_fast_len(len(trace.data), real=True)
    phase = np.exp(1j * np.angle(fft.rfft(trace.data, length)))
    frequency = fft.rfftfreq(length, 1 / RATE)
    rise = np.clip((frequency / LOWEST - 0.9) / 0.1, 0, 1)
    fall = np.clip((1.1 - frequency / HIGHEST) / 0.1, 0, 1)
    weight = (1 - np.cos(np.pi * np.minimum(rise, fall))) / 2
    return fft.irfft(phase * weight, length)[: len(trace.data)]


def main(raw: Path, stations: Path, folder: Path) -> None:
    found = {trace.id: trace for path in folder.rglob("*.mseed") for trace in read(path)}
    worst = 0.0
    for path in sorted(raw.iterdir()):
        (trace,) = read(path)
        expected = prepared(trace, stations)
        difference = np.abs(found.pop(trace.id).data - expected).max() / np.abs(expected).max()
        worst = max(worst, difference)
    if found or not worst < 1e-9:
        sys.exit(f"check: error: the difference is {worst:.1e}; too many: {sorted(found)}")
    count = len(list(raw.iterdir()))
    print(f"{count} records, as plain calls of ObsPy prepare them, within 1e-9 of the peak")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
