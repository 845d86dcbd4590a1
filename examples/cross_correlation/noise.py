"""The science: from a station's record to its spectrum, and from two spectra to a correlation.

Plain functions of arrays. All samples are one-dimensional; rates and frequencies are in Hz.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import fft

Array = np.ndarray[Any, Any]

BAND = (0.01, 1.0)
"""Lowest and highest frequency that is kept, in Hz."""

TAPER = 0.05
"""The part of a record, at both ends together, over which it fades in and out."""

BATCH = 8
"""How many correlations are transformed at a time: as many as fit into a core's cache."""


def resampled(samples: Array, rate: float, target: float) -> Array:
    """Samples at a lower rate, after a zero-phase low-pass: FIR, by scipy's `resample_poly`.

    :raises ValueError: the target is above the rate, or the two are in no ratio of small numbers
    """
    ratio = Fraction(target / rate).limit_denominator(1000)
    if ratio > 1 or abs(ratio * rate - target) > 1e-6 * target:
        raise ValueError(f"{rate:g} Hz cannot be brought to {target:g} Hz")
    if ratio == 1:
        return samples
    from scipy import signal  # takes long, and is for phase 1 alone

    return signal.resample_poly(samples, ratio.numerator, ratio.denominator)


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


def normalised(samples: Array, rate: float, how: str) -> Array:
    """Samples in which strong arrivals, such as earthquakes, weigh no more than the noise.

    `time` divides by the running mean of the absolute value over half the longest period of the
    band (Bensen et al. 2007, Geophys. J. Int. 169, 1239-1260, eq. 1), `envelope` by the envelope,
    which is the absolute value of the analytic signal; `none` leaves them as they are.
    """
    from scipy import ndimage, signal

    if how == "none":
        return samples
    if how == "time":
        weights = ndimage.uniform_filter1d(np.abs(samples), 1 + int(rate / BAND[0] / 2))
    elif how == "envelope":
        length = fft.next_fast_len(len(samples))
        weights = np.abs(signal.hilbert(samples, length)[: len(samples)])
    else:
        raise ValueError(f"unknown normalisation {how!r}; known: time, envelope, none")
    weakest = 1e-6 * weights.max(initial=0.0)
    return samples / np.maximum(weights, weakest) if weakest else samples


def whitened(samples: Array, rate: float) -> Array:
    """Samples whose spectrum has the amplitude 1 in :data:`BAND` and fades to 0 outside of it.

    Only the phase is kept (Bensen et al. 2007, section 2.2). The edges are half cosines, over a
    tenth of the frequency at the edge.
    """
    length = fft.next_fast_len(len(samples), real=True)
    spectrum, frequencies = fft.rfft(samples, length), fft.rfftfreq(length, 1 / rate)
    corners = [0.9 * BAND[0], BAND[0], BAND[1], 1.1 * BAND[1]]
    edges = np.interp(frequencies, corners, [0.0, 1.0, 1.0, 0.0])
    amplitude = np.abs(spectrum)
    spectrum *= np.sin(np.pi / 2 * edges) ** 2 / np.where(amplitude > 0, amplitude, 1.0)
    return fft.irfft(spectrum, length)[: len(samples)]


def prepared(samples: Array, rate: float, target: float, normalise: str, whiten: bool) -> Array:
    """Phase 1: a record at the rate `target`, ready to be correlated.

    :raises ValueError: as the functions above do, or the record is not finite
    """
    if not np.isfinite(samples).all():
        raise ValueError("some samples are not finite")
    kept = bandpassed(resampled(np.asarray(samples, np.float64), rate, target), target)
    kept = normalised(kept, target, normalise)
    return whitened(kept, target) if whiten else kept


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
