"""Ambient noise: what is done to records before they are correlated.

Functions of arrays of shape (npts,), in any unit; rates and frequencies are in Hz.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from d4pcwl.seismology.motion import Samples

NORMALISATIONS = ("time", "envelope", "none")


def resampled(samples: Samples, rate: float, target: float) -> Samples:
    """Samples at a lower rate, after a zero-phase low-pass: FIR, by scipy's ``resample_poly``.

    :raises ValueError: the target is above the rate, or the two are in no ratio of small numbers
    """
    ratio = Fraction(target / rate).limit_denominator(1000)
    if ratio > 1 or abs(ratio * rate - target) > 1e-6 * target:
        raise ValueError(f"{rate:g} Hz cannot be brought to {target:g} Hz")
    if ratio == 1:
        return samples
    from scipy import signal  # type: ignore  # takes long

    resampled: Samples = signal.resample_poly(samples, ratio.numerator, ratio.denominator)
    return resampled


def normalised(samples: Samples, rate: float, how: str, lowest: float) -> Samples:
    """Samples in which strong arrivals, such as earthquakes, weigh no more than the noise.

    ``time`` divides by the running mean of the absolute value over half the longest period (Bensen
    et al. 2007, Geophys. J. Int. 169, 1239-1260, eq. 1), ``envelope`` by the envelope, which is the
    absolute value of the analytic signal; ``none`` leaves them as they are.

    :param lowest: the lowest frequency that the samples have; its period is the longest
    :raises ValueError: there is no such normalisation
    """
    from scipy import fft, ndimage, signal

    if how == "none":
        return samples
    if how == "time":
        weights = ndimage.uniform_filter1d(np.abs(samples), 1 + int(rate / lowest / 2))
    elif how == "envelope":
        length = fft.next_fast_len(len(samples))
        weights = np.abs(signal.hilbert(samples, length)[: len(samples)])
    else:
        raise ValueError(f"unknown normalisation {how!r}; known: {', '.join(NORMALISATIONS)}")
    weakest = 1e-6 * weights.max(initial=0.0)
    return samples / np.maximum(weights, weakest) if weakest else samples


def whitened(samples: Samples, rate: float, lowest: float, highest: float) -> Samples:
    """Samples whose spectrum has the amplitude 1 in a band and fades to 0 outside of it.

    Only the phase is kept (Bensen et al. 2007, section 2.2). The edges are half cosines, over a
    tenth of the frequency at the edge.

    :param lowest: of the band
    :param highest: of the band
    """
    from scipy import fft

    length = fft.next_fast_len(len(samples), real=True)
    spectrum, frequencies = fft.rfft(samples, length), fft.rfftfreq(length, 1 / rate)
    corners = [0.9 * lowest, lowest, highest, 1.1 * highest]
    edges = np.interp(frequencies, corners, [0.0, 1.0, 1.0, 0.0])
    amplitude = np.abs(spectrum)
    spectrum *= np.sin(np.pi / 2 * edges) ** 2 / np.where(amplitude > 0, amplitude, 1.0)
    white: Samples = fft.irfft(spectrum, length)[: len(samples)]
    return white
