"""A simple earthquake: far-field P and S pulses in a homogeneous, attenuating whole space.

Aki and Richards, Quantitative Seismology, 2nd ed., eq. 4.32 (far field of a double couple), with
the omega-squared source spectrum of Brune (1970) and t* = distance / (Q c) for attenuation. It is
meant to look like a seismogram, not to explain one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Samples = np.ndarray[Any, Any]
Vector = tuple[float, float, float]


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
    """A point double couple: depth in m, angles in degrees, moment from the moment magnitude."""

    depth: float = 10_000.0
    magnitude: float = 4.8
    strike: float = 140.0
    dip: float = 50.0
    rake: float = -90.0
    stress_drop: float = 3.0e6

    @property
    def moment(self) -> float:
        """Scalar moment in N m (Hanks and Kanamori, 1979)."""
        return float(10.0 ** (1.5 * self.magnitude + 9.1))

    def corner(self, speed: float) -> float:
        """Corner frequency in Hz of a circular crack (Brune, 1970), `speed` of S waves in m/s."""
        return float(0.49 * speed * (self.stress_drop / self.moment) ** (1.0 / 3.0))


def moment_directions(source: Source) -> tuple[Samples, Samples]:
    """Unit slip and fault normal, each (north, east, down); Aki and Richards, eq. 4.88-4.89."""
    strike, dip, rake = (math.radians(a) for a in (source.strike, source.dip, source.rake))
    slip = (
        math.cos(rake) * math.cos(strike) + math.cos(dip) * math.sin(rake) * math.sin(strike),
        math.cos(rake) * math.sin(strike) - math.cos(dip) * math.sin(rake) * math.cos(strike),
        -math.sin(rake) * math.sin(dip),
    )
    normal = (
        -math.sin(dip) * math.sin(strike),
        math.sin(dip) * math.cos(strike),
        -math.cos(dip),
    )
    return np.array(slip), np.array(normal)


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
    station; `times` in s after the origin, evenly spaced. Factor 2 stands for the free surface.
    """
    reach = math.hypot(distance, source.depth)
    angle = math.radians(azimuth)
    ray = np.array(
        [
            distance * math.cos(angle) / reach,
            distance * math.sin(angle) / reach,
            -source.depth / reach,
        ]
    )
    slip, normal = moment_directions(source)
    along_slip, along_normal = float(ray @ slip), float(ray @ normal)
    p_motion = 2.0 * along_slip * along_normal * ray
    s_motion = along_normal * slip + along_slip * normal - p_motion

    corner = source.corner(medium.s_speed)
    total = np.zeros((3, times.size))
    for motion, speed, quality, edge in (
        (p_motion, medium.p_speed, medium.p_quality, 1.5 * corner),
        (s_motion, medium.s_speed, medium.s_quality, corner),
    ):
        size = 2.0 * amplification * source.moment
        size /= 4.0 * math.pi * medium.density * speed**3 * reach
        pulse = velocity_pulse(times, reach / speed, edge, reach / (quality * speed))
        total += size * motion[:, np.newaxis] * pulse
    return {"N": total[0], "E": total[1], "Z": -total[2]}


def velocity_pulse(times: Samples, arrival: float, corner: float, t_star: float) -> Samples:
    """Velocity of a unit omega-squared displacement pulse (1/s2), arriving at `arrival` s.

    Displacement has the spectrum exp(-pi f t*) / (1 + i f / fc)^2, which is causal apart from the
    constant-Q attenuation; velocity is 2 pi i f times that.
    """
    dt = float(times[1] - times[0])
    # Twice the length, so that what runs over the end does not come in at the beginning.
    nfft = 2 * times.size
    frequency = np.fft.rfftfreq(nfft, dt)
    spectrum = 2j * np.pi * frequency * np.exp(-np.pi * frequency * t_star)
    spectrum /= (1.0 + 1j * frequency / corner) ** 2
    spectrum *= np.exp(-2j * np.pi * frequency * (arrival - float(times[0])))
    return np.asarray(np.fft.irfft(spectrum, n=nfft)[: times.size] / dt)
