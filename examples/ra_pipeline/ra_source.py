"""The source of an earthquake: its moment tensor, from a QuakeML event."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from obspy import read_events
from ra_layout import EVENT_FILE, SettingsError


class MomentTensor(NamedTuple):
    """In N m; r points up, t to the south, p to the east."""

    rr: float
    tt: float
    pp: float
    rt: float
    rp: float
    tp: float

    @property
    def moment(self) -> float:
        """Scalar moment in N m: the norm of the tensor by the root of 2."""
        rr, tt, pp, rt, rp, tp = self
        return float(np.sqrt((rr**2 + tt**2 + pp**2) / 2 + rt**2 + rp**2 + tp**2))

    def ned(self) -> np.ndarray[Any, Any]:
        """The matrix of shape (3, 3) in north, east, down."""
        rr, tt, pp, rt, rp, tp = self
        return np.array([[tt, -tp, rt], [-tp, pp, -rp], [rt, -rp, rr]])


def double_couple(magnitude: float, strike: float, dip: float, rake: float) -> MomentTensor:
    """The moment tensor of slip on a plane, angles in degrees (Aki and Richards, 2nd ed., eq. 3.22,
    4.88 and 4.89); its moment is that of the moment magnitude (Hanks and Kanamori, 1979).
    """
    moment = 10.0 ** (1.5 * magnitude + 9.1)
    strike, dip, rake = (math.radians(angle) for angle in (strike, dip, rake))
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
    (tt, ne, nd), (_, pp, ed), (_, _, rr) = moment * (
        np.outer(slip, normal) + np.outer(normal, slip)
    )
    return MomentTensor(*map(float, (rr, tt, pp, nd, -ed, -ne)))


def read_moment_tensor(folder: Path) -> MomentTensor:
    """The moment tensor of the event in `folder`.

    That of the preferred focal mechanism, else of the first that has one; where none has, a double
    couple of the first nodal plane and the preferred magnitude. SettingsError if there is neither.
    """
    path = folder / EVENT_FILE
    event = read_events(str(path))[0]
    preferred = event.preferred_focal_mechanism()
    mechanisms = [*([preferred] if preferred else []), *event.focal_mechanisms]
    for mechanism in mechanisms:
        if mechanism.moment_tensor is not None and mechanism.moment_tensor.tensor is not None:
            tensor = mechanism.moment_tensor.tensor
            return MomentTensor(
                *(float(getattr(tensor, f"m_{name}")) for name in MomentTensor._fields)
            )
    magnitude = event.preferred_magnitude() or next(iter(event.magnitudes), None)
    for mechanism in mechanisms:
        if magnitude is not None and mechanism.nodal_planes is not None:
            plane = mechanism.nodal_planes.nodal_plane_1
            return double_couple(magnitude.mag, plane.strike, plane.dip, plane.rake)
    raise SettingsError(
        f"{path}: a simulation needs a moment tensor, or a nodal plane and magnitude"
    )
