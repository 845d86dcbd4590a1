"""Ground motion parameters of two horizontal components of velocity, and their differences.

Peak ground acceleration, velocity and displacement (PGA, PGV, PGD) and pseudo-spectral acceleration
(PSA) of damped oscillators, each in three norms: see `d4pcwl.seismology.motion`. SI units
throughout: m/s2, m/s, m.
"""

from __future__ import annotations

from collections.abc import Mapping

from d4pcwl.seismology.motion import (
    DAMPING,
    FREQUENCIES,
    NORMS,
    Samples,
    ground_series,
    peaks,
    spectral_series,
)

__all__ = ["DAMPING", "NORMS", "QUANTITIES", "UNITS", "differences", "ground_motion", "motion"]

UNITS = {
    "PGA": "m/s2",
    "PGV": "m/s",
    "PGD": "m",
    **{f"PSA_{frequency}Hz": "m/s2" for frequency in FREQUENCIES},
}
QUANTITIES = tuple(UNITS)


def motion(velocity: Samples, dt: float) -> dict[str, Samples]:
    """The time series, of shape (npts,), whose peaks are the quantities, from velocity in m/s."""
    return {**ground_series(velocity, dt), **spectral_series(velocity, dt)}


def ground_motion(first: Samples, second: Samples, dt: float) -> dict[str, dict[str, float]]:
    """{norm: {quantity: value}} of two horizontal velocities (npts,) with time step `dt` (s)."""
    return peaks(motion(first, dt), motion(second, dt))


def differences(
    observed: Mapping[str, float], synthetic: Mapping[str, float]
) -> dict[str, dict[str, float | None]]:
    """Observed minus synthetic, as is and as a fraction of the observed (None where that is 0)."""
    absolute = {name: observed[name] - synthetic[name] for name in observed}
    relative = {
        name: absolute[name] / observed[name] if observed[name] else None for name in observed
    }
    return {"absolute": dict(absolute), "relative": relative}
