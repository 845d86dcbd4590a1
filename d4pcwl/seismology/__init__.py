"""PEs for seismology, by ObsPy; they import the library. ``pip install 'd4pcwl[seismology]'``."""

from __future__ import annotations

from d4pcwl.seismology.elements import (
    GeoJSON,
    Norm,
    PeakGroundMotion,
    ReadStream,
    ShakeMap,
    SpectralAcceleration,
)

__all__ = [
    "GeoJSON",
    "Norm",
    "PeakGroundMotion",
    "ReadStream",
    "ShakeMap",
    "SpectralAcceleration",
]
