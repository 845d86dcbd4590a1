"""The motion that a point source makes in a homogeneous, attenuating ground.

Aki and Richards, Quantitative Seismology, 2nd ed., eq. 4.29: near, intermediate and far field of a
moment tensor in a whole space, here in the frequency domain, with the omega-squared source spectrum
of Brune (1970), and t* = distance / (Q c) for attenuation. Factor 2 stands for the free surface. It
is exact for SH waves; P and SV waves are changed by the surface in other ways, and neither surface
waves nor layers are in it. So it tells of size and time of the direct waves, and no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from ra_source import MomentTensor

Samples = np.ndarray[Any, Any]
FREE_SURFACE = 2.0


@dataclass(frozen=True)
class Medium:
    """Speeds in m/s, density in kg/m3, quality factors."""

    p_speed: float = 6000.0
    s_speed: float = 3464.0
    density: float = 2700.0
    p_quality: float = 300.0
    s_quality: float = 150.0


@dataclass(frozen=True)
class Source:
    """A point source: depth in m, moment tensor, and stress drop in Pa."""

    depth: float
    tensor: MomentTensor
    stress_drop: float = 3.0e6

    def corner(self, speed: float) -> float:
        """Corner frequency in Hz of a circular crack (Brune, 1970), `speed` of S waves in m/s."""
        return float(0.49 * speed * (self.stress_drop / self.tensor.moment) ** (1.0 / 3.0))


def seismogram(
    source: Source,
    medium: Medium,
    distance: float,
    azimuth: float,
    times: Samples,
    amplification: float = 1.0,
) -> dict[str, Samples]:
    """Velocity in m/s on {"E", "N", "Z"} (Z up), each of the shape (npts,) of `times`.

    `distance` in m along the surface and `azimuth` in degrees from north, both from epicentre to
    station; `times` in s after the origin, evenly spaced.
    """
    angle = math.radians(azimuth)
    offset = np.array([distance * math.cos(angle), distance * math.sin(angle), -source.depth])
    dt = float(times[1] - times[0])
    # Twice the length, so that what runs over the end does not come in at the beginning.
    nfft = 2 * times.size
    frequency = np.fft.rfftfreq(nfft, dt)
    spectrum = velocity_spectrum(source.tensor.ned(), medium, offset, frequency)
    # The rate of the moment; its displacement is causal apart from the constant-Q attenuation.
    spectrum *= (
        FREE_SURFACE * amplification / (1.0 + 1j * frequency / source.corner(medium.s_speed)) ** 2
    )
    spectrum *= np.exp(2j * np.pi * frequency * float(times[0]))
    north, east, down = np.fft.irfft(spectrum, n=nfft)[:, : times.size] / dt
    return {"N": north, "E": east, "Z": -down}


def velocity_spectrum(
    tensor: Samples, medium: Medium, offset: Samples, frequency: Samples
) -> Samples:
    """Velocity by frequency, shape (3, n), of a whole space for a moment that steps at 0 s.

    `tensor` in N m, shape (3, 3), and `offset` from source to receiver in m, (3,), are in north,
    east, down; `frequency` in Hz, (n,). In m, as a Fourier transform of m/s.
    """
    reach = float(np.linalg.norm(offset))
    ray = offset / reach
    along, total = tensor @ ray, float(np.trace(tensor))
    projected = float(ray @ along) * ray
    near = 15.0 * projected - 3.0 * total * ray - 6.0 * along
    middle_p = 6.0 * projected - total * ray - 2.0 * along
    middle_s = 6.0 * projected - total * ray - 3.0 * along
    far_p, far_s = projected, along - projected

    rate = 2j * np.pi * frequency
    times = reach / medium.p_speed, reach / medium.s_speed
    p_wave, s_wave = (np.exp(-rate * time) for time in times)
    # The transform of t between the arrivals of P and S waves; at 0 Hz its limit.
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (times[0] / rate + 1 / rate**2) * p_wave - (
            times[1] / rate + 1 / rate**2
        ) * s_wave
    between[frequency == 0] = (times[1] ** 2 - times[0] ** 2) / 2.0
    p_wave *= np.exp(-np.pi * frequency * times[0] / medium.p_quality)
    s_loss = np.exp(-np.pi * frequency * times[1] / medium.s_quality)
    s_wave *= s_loss
    between *= s_loss  # the near field has no quality factor of its own

    velocity = np.outer(near, between) / reach**4
    velocity += np.outer(middle_p, p_wave) / (medium.p_speed**2 * reach**2)
    velocity -= np.outer(middle_s, s_wave) / (medium.s_speed**2 * reach**2)
    velocity += np.outer(far_p, rate * p_wave) / (medium.p_speed**3 * reach)
    velocity += np.outer(far_s, rate * s_wave) / (medium.s_speed**3 * reach)
    return np.asarray(velocity / (4.0 * math.pi * medium.density))
