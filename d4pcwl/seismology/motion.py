"""The motion of the ground at a station: peaks and spectra of two horizontal components.

Peak ground acceleration, velocity and displacement (PGA, PGV, PGD) and pseudo-spectral acceleration
(PSA) of damped oscillators, each in three norms that make one number of two components. SI units
throughout: m/s2, m/s, m; arrays have shape (npts,).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Samples = np.ndarray[Any, Any]

NORMS = ("mean", "max", "geometric")
FREQUENCIES = (0.3, 1.0, 3.0)
"""Natural frequencies of oscillators, in Hz."""

DAMPING = 0.1
"""Of the oscillators, as a fraction of the critical damping."""


def norm(first: Samples, second: Samples, kind: str) -> float:
    """One peak of two components.

    ``mean`` is the peak of the vector's length in the horizontal plane, ``max`` the larger of the
    two peaks, ``geometric`` the root of their product.

    :raises ValueError: there is no such norm
    """
    if kind == "mean":
        return float(np.max(np.sqrt(first**2 + second**2)))
    peaks = float(np.max(np.abs(first))), float(np.max(np.abs(second)))
    if kind == "max":
        return max(peaks)
    if kind == "geometric":
        return float(np.sqrt(peaks[0] * peaks[1]))
    raise ValueError(f"unknown norm {kind!r}; known: {', '.join(NORMS)}")


def ground_series(velocity: Samples, dt: float) -> dict[str, Samples]:
    """The series whose peaks are PGA, PGV and PGD.

    Acceleration is the second-order central difference, displacement the cumulative trapezoid
    from 0.

    :param velocity: in m/s
    :param dt: the time step, in s
    """
    from scipy.integrate import cumulative_trapezoid  # type: ignore

    return {
        "PGA": np.gradient(velocity, dt),
        "PGV": velocity,
        "PGD": cumulative_trapezoid(velocity, dx=dt, initial=0),
    }


def spectral_series(
    velocity: Samples,
    dt: float,
    frequencies: Sequence[float] = FREQUENCIES,
    damping: float = DAMPING,
) -> dict[str, Samples]:
    """The series whose peaks are PSA, by names such as ``PSA_0.3Hz``.

    :param velocity: in m/s
    :param dt: the time step, in s
    """
    acceleration = np.gradient(velocity, dt)
    return {
        f"PSA_{frequency}Hz": oscillator_response(acceleration, dt, frequency, damping)
        for frequency in frequencies
    }


def oscillator_response(
    acceleration: Samples, dt: float, frequency: float, damping: float = DAMPING
) -> Samples:
    """Pseudo-acceleration (2 pi f)^2 x(t) of an oscillator on ground that moves.

    x'' + 2 h w x' + w^2 x = a, solved in frequency by ObsPy's simulation of seismometers: a
    seismometer for acceleration is one with its two zeros taken away. The input is centred and
    tapered by 5 %, and the line from the first to the last sample of the response is taken off it:
    the motion should have come to rest before the end.

    :param acceleration: of the ground, in m/s2
    :param dt: the time step, in s
    :param frequency: the natural frequency, in Hz
    :param damping: as a fraction of the critical damping
    """
    from obspy.signal.invsim import corn_freq_2_paz, simulate_seismometer  # type: ignore

    poles_and_zeros = corn_freq_2_paz(frequency, damp=damping)
    poles_and_zeros["zeros"] = []
    poles_and_zeros["sensitivity"] = (2.0 * np.pi * frequency) ** 2
    return np.asarray(
        simulate_seismometer(
            acceleration,
            1.0 / dt,
            paz_remove=None,
            paz_simulate=poles_and_zeros,
            taper=True,
            taper_fraction=0.05,
        )
    )


def peaks(
    first: dict[str, Samples], second: dict[str, Samples], norms: Sequence[str] = NORMS
) -> dict[str, dict[str, float]]:
    """The peaks of two components' series, {norm: {quantity: value}}."""
    return {kind: {name: norm(first[name], second[name], kind) for name in first} for kind in norms}
