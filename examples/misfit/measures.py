"""What is measured in a window: plain functions of arrays of shape (npts,).

d is the observed and s the synthetic waveform, in the same unit, dt the time step in s. Time shift,
amplitude anomaly and correlation are those of FLEXWIN (Maggi et al. 2009, Geophys. J. Int. 178,
257-281), the misfit is that of Tromp, Tape and Liu 2005 (Geophys. J. Int. 160, 195-216, section 3).
"""

from __future__ import annotations

from typing import Any

import numpy as np

Samples = np.ndarray[Any, Any]


def correlation(observed: Samples, synthetic: Samples) -> float:
    """Σ d s / √(Σ d² Σ s²): 1 for equal shapes, -1 for opposite ones; 0 where there is nothing."""
    strength = np.sqrt((observed @ observed) * (synthetic @ synthetic))
    return float(observed @ synthetic / strength) if strength else 0.0


def time_shift(
    observed: Samples, synthetic: Samples, dt: float, largest: float
) -> tuple[float, float]:
    """The time in s by which the observed waveform is late, and the correlation at that shift.

    It is where the correlation C(τ) = Σ d(t + τ) s(t) / √(Σ d² Σ s²) is largest. Between samples it
    is where the parabola through the largest value and its two neighbours has its top. For shifts
    by whole samples that is exact where C is symmetric around them. Else the error of the parabola
    is below 1/50 of a sample where a period has at least ten samples (Jacovitti and Scarano 1993,
    IEEE Transactions on Signal Processing 41, 525-533, discuss it).

    :param largest: the largest shift that is looked for, in s
    """
    from scipy.signal import correlate

    strength = np.sqrt((observed @ observed) * (synthetic @ synthetic))
    if not strength:
        return 0.0, 0.0
    values = correlate(observed, synthetic, "full") / strength
    zero = len(synthetic) - 1
    reach = min(int(largest / dt), zero, len(observed) - 1)
    top = zero - reach + int(np.argmax(values[zero - reach : zero + reach + 1]))
    part = 0.0
    if 0 < top < len(values) - 1:
        before, at, after = values[top - 1 : top + 2]
        bend = before - 2 * at + after
        # Where the largest value is at the end of the range, the top of the parabola is elsewhere.
        if bend < 0 and abs(before - after) <= -bend:
            part = 0.5 * (before - after) / bend
    return float((top - zero + part) * dt), float(values[top])


def amplitude_anomaly(observed: Samples, synthetic: Samples) -> float:
    """dlnA = ½ ln(Σ d² / Σ s²): ln 2 where the observed waveform is twice as large.

    :raises ValueError: one of them is zero throughout
    """
    strengths = observed @ observed, synthetic @ synthetic
    if not all(strengths):
        raise ValueError("a waveform that is zero throughout has no amplitude")
    return float(0.5 * np.log(strengths[0] / strengths[1]))


def waveform_misfit(observed: Samples, synthetic: Samples, dt: float) -> float:
    """½ ∫ (s - d)² dt, in the square of the unit times s."""
    difference = synthetic - observed
    return float(0.5 * dt * (difference @ difference))


def measure(
    observed: Samples, synthetic: Samples, dt: float, largest_shift: float
) -> dict[str, float]:
    """All measures of a window, by name."""
    shift, shifted = time_shift(observed, synthetic, dt, largest_shift)
    energy = waveform_misfit(observed, np.zeros_like(observed), dt)
    misfit = waveform_misfit(observed, synthetic, dt)
    return {
        "time_shift": shift,
        "dlna": amplitude_anomaly(observed, synthetic),
        "correlation": correlation(observed, synthetic),
        "correlation_shifted": shifted,
        "misfit": misfit,
        "relative_misfit": misfit / energy,
    }
