"""Ground motion parameters of two horizontal components of velocity.

Peak ground acceleration, velocity and displacement (PGA, PGV, PGD) and pseudo-spectral acceleration
(PSA) of a damped oscillator at some natural frequencies, each in three norms that make one number
of two components. SI units throughout: m/s2, m/s, m.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from obspy.signal.invsim import corn_freq_2_paz, simulate_seismometer
from scipy.integrate import cumulative_trapezoid

Samples = np.ndarray[Any, Any]

#: Natural frequencies (Hz) and fraction of critical damping of the oscillators.
PSA_FREQUENCIES = (0.3, 1.0, 3.0)
DAMPING = 0.1
NORMS = ("mean", "max", "geometric")
UNITS = {
    "PGA": "m/s2",
    "PGV": "m/s",
    "PGD": "m",
    **{f"PSA_{frequency}Hz": "m/s2" for frequency in PSA_FREQUENCIES},
}
QUANTITIES = tuple(UNITS)


def oscillator_response(
    acceleration: Samples, dt: float, frequency: float, damping: float = DAMPING
) -> Samples:
    """Pseudo-acceleration (2 pi f)^2 x(t) of an oscillator under ground `acceleration` (npts,).

    x'' + 2 h w x' + w^2 x = a, solved in frequency by ObsPy's seismometer simulation: a seismometer
    for acceleration is one with its two zeros taken away. The input is centred and tapered by 5 %,
    and the line from the first to the last sample of the response is taken off it: the motion
    should have come to rest before the end.
    """
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


def motion(velocity: Samples, dt: float) -> dict[str, Samples]:
    """The time series, of shape (npts,), whose peaks are the quantities, from velocity in m/s.

    Acceleration is the second-order central difference, displacement the cumulative trapezoid
    from 0.
    """
    acceleration = np.gradient(velocity, dt)
    series = {
        "PGA": acceleration,
        "PGV": velocity,
        "PGD": cumulative_trapezoid(velocity, dx=dt, initial=0),
    }
    for frequency in PSA_FREQUENCIES:
        series[f"PSA_{frequency}Hz"] = oscillator_response(acceleration, dt, frequency)
    return series


def norm(first: Samples, second: Samples, kind: str) -> float:
    """One peak of two components of shape (npts,).

    `mean` is the peak of the vector's length in the horizontal plane, `max` the larger of the two
    peaks, `geometric` the root of their product. Raises ValueError for another kind.
    """
    if kind == "mean":
        return float(np.max(np.sqrt(first**2 + second**2)))
    peaks = float(np.max(np.abs(first))), float(np.max(np.abs(second)))
    if kind == "max":
        return max(peaks)
    if kind == "geometric":
        return float(np.sqrt(peaks[0] * peaks[1]))
    raise ValueError(f"unknown norm {kind!r}; known: {', '.join(NORMS)}")


def ground_motion(first: Samples, second: Samples, dt: float) -> dict[str, dict[str, float]]:
    """{norm: {quantity: value}} of two horizontal velocities (npts,) with time step `dt` (s)."""
    one, two = motion(first, dt), motion(second, dt)
    return {
        kind: {quantity: norm(one[quantity], two[quantity], kind) for quantity in QUANTITIES}
        for kind in NORMS
    }


def differences(
    observed: Mapping[str, float], synthetic: Mapping[str, float]
) -> dict[str, dict[str, float | None]]:
    """Observed minus synthetic, as is and as a fraction of the observed (None where that is 0)."""
    absolute = {name: observed[name] - synthetic[name] for name in observed}
    relative = {
        name: absolute[name] / observed[name] if observed[name] else None for name in observed
    }
    return {"absolute": dict(absolute), "relative": relative}
