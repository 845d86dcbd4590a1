"""Universal Transverse Mercator coordinates on the WGS84 ellipsoid.

Krüger's series in the third flattening to the third order, which is exact to less than a millimetre
within a zone (Karney, 2011, Transverse Mercator with an accuracy of a few nanometers, J. Geodesy
85, 475-485, eq. 7-11 and 35).
"""

from __future__ import annotations

import math

RADIUS, FLATTENING = 6_378_137.0, 1.0 / 298.257223563
SCALE, FALSE_EASTING, FALSE_NORTHING = 0.9996, 500_000.0, 10_000_000.0


def utm(latitude: float, longitude: float, zone: int) -> tuple[float, float]:
    """(x, y), easting and northing in m, of a place in degrees.

    `zone` is 1 to 60 in the north, and -1 to -60 in the south, as SPECFEM3D numbers them.
    """
    n = FLATTENING / (2.0 - FLATTENING)
    rectifying = RADIUS / (1.0 + n) * (1.0 + n**2 / 4.0 + n**4 / 64.0)
    series = (
        n / 2.0 - 2.0 * n**2 / 3.0 + 5.0 * n**3 / 16.0,
        13.0 * n**2 / 48.0 - 3.0 * n**3 / 5.0,
        61.0 * n**3 / 240.0,
    )
    eccentricity = math.sqrt(FLATTENING * (2.0 - FLATTENING))
    sine = math.sin(math.radians(latitude))
    angle = math.radians(longitude - (6 * abs(zone) - 183))
    conformal = math.sinh(math.atanh(sine) - eccentricity * math.atanh(eccentricity * sine))
    xi = math.atan2(conformal, math.cos(angle))
    eta = math.atanh(math.sin(angle) / math.hypot(1.0, conformal))
    east, north = eta, xi
    for j, alpha in enumerate(series, start=1):
        east += alpha * math.cos(2 * j * xi) * math.sinh(2 * j * eta)
        north += alpha * math.sin(2 * j * xi) * math.cosh(2 * j * eta)
    south = FALSE_NORTHING if zone < 0 else 0.0
    return FALSE_EASTING + SCALE * rectifying * east, south + SCALE * rectifying * north
