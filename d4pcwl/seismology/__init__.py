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
from d4pcwl.seismology.processing import (
    Bandpass,
    Detrend,
    Normalise,
    RemoveResponse,
    Resample,
    Taper,
    Whiten,
    WriteStream,
)

__all__ = [
    "Bandpass",
    "Detrend",
    "GeoJSON",
    "Norm",
    "Normalise",
    "PeakGroundMotion",
    "ReadStream",
    "RemoveResponse",
    "Resample",
    "ShakeMap",
    "SpectralAcceleration",
    "Taper",
    "Whiten",
    "WriteStream",
]
