"""The science: from a station's record to its spectrum, and from two spectra to a correlation.

Plain functions of arrays. All samples are one-dimensional; rates and frequencies are in Hz.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import fft

from d4pcwl.seismology.noise import normalised, resampled, whitened

Array = np.ndarray[Any, Any]

BAND = (0.01, 1.0)
"""Lowest and highest frequency that is kept, in Hz."""

TAPER = 0.05
"""The part of a record, at both ends together, over which it fades in and out."""

BATCH = 8
"""How many correlations are transformed at a time: as many as fit into a core's cache."""


def bandpassed(samples: Array, rate: float) -> Array:
    """Samples without mean and trend, tapered, in :data:`BAND`: Butterworth, order 4, zero phase.

    :raises ValueError: the band does not end below the Nyquist frequency
    """
    from scipy import signal

    if BAND[1] >= rate / 2:
        raise ValueError(f"at {rate:g} Hz there is nothing to keep up to {BAND[1]:g} Hz")
    flat = signal.detrend(samples, type="linear")
    flat *= signal.windows.tukey(len(flat), TAPER)
    return signal.sosfiltfilt(signal.butter(4, BAND, "bandpass", fs=rate, output="sos"), flat)


def prepared(samples: Array, rate: float, target: float, normalise: str, whiten: bool) -> Array:
    """Phase 1: a record at the rate `target`, ready to be correlated.

    :raises ValueError: as the functions above do, or the record is not finite
    """
    if not np.isfinite(samples).all():
        raise ValueError("some samples are not finite")
    kept = bandpassed(resampled(np.asarray(samples, np.float64), rate, target), target)
    kept = normalised(kept, target, normalise, BAND[0])
    return whitened(kept, target, *BAND) if whiten else kept


def length_for(samples: int, lags: int) -> int:
    """The length of transforms in which lags up to ±`lags` do not wrap around."""
    return fft.next_fast_len(samples + min(lags, samples), real=True)


def spectrum(samples: Array, lags: int, dtype: str) -> Array:
    """The spectrum of a record, padded with zeros for correlations up to ±`lags`."""
    return fft.rfft(samples.astype(dtype), length_for(len(samples), lags))


def correlated(spectra: Array, rows: range, samples: int, lags: int, out: Array) -> None:
    """Phase 2: the correlations of some pairs of records, c[lag] = sum over t of a[t + lag] b[t].

    :param spectra: one row for each record
    :param rows: numbers of pairs, as :func:`pairs` counts them
    :param samples: the length of the records
    :param out: is filled with shape (pairs, 2 lags + 1), from -`lags` to `lags`
    """
    length, reach = length_for(samples, lags), min(lags, samples)
    if reach < lags:  # further apart, records do not meet
        out[:] = 0
    products = np.empty((BATCH, spectra.shape[1]), spectra.dtype)
    done = 0
    for first, begin, end in pairs(len(spectra), rows):
        for start in range(begin, end, BATCH):
            count = min(BATCH, end - start)
            product = np.conj(spectra[start : start + count], out=products[:count])
            product *= spectra[first]
            whole = fft.irfft(product, length, axis=1, overwrite_x=True)
            lines = out[done : done + count]
            lines[:, lags - reach : lags] = whole[:, length - reach :]
            lines[:, lags : lags + reach + 1] = whole[:, : reach + 1]
            done += count


def number_of_pairs(records: int) -> int:
    """How many pairs of different records there are."""
    return records * (records - 1) // 2


def pairs(records: int, rows: range) -> Iterator[tuple[int, int, int]]:
    """The pairs with some numbers: a record, and those that it is paired with, from and up to.

    The pairs (0, 1), (0, 2), ... (1, 2), ... are numbered from 0.
    """
    number = 0
    for first in range(records):
        begin, end = max(rows.start, number), min(rows.stop, number + records - 1 - first)
        if begin < end:
            yield first, first + 1 + begin - number, first + 1 + end - number
        number += records - 1 - first
