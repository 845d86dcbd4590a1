"""Synthetic seismograms in files: SAC, in synth/ of an assessment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from obspy.io.sac import SACTrace
from ra_layout import CONTENT

SUFFIX = CONTENT["synth"].removeprefix("*")


def write_synthetic(
    folder: Path, name: str, begin: float, delta: float, samples: np.ndarray[Any, Any]
) -> Path:
    """Write velocity in m/s, (npts,), of NET.STA.CHA into `folder`; returns the file.

    `begin` is in s after the origin time, `delta` the time step in s. As simulations write them,
    the times in the file are relative to the origin.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.semv{SUFFIX}"
    zero = {"nzyear": 1970, "nzjday": 1, "nzhour": 0, "nzmin": 0, "nzsec": 0, "nzmsec": 0}
    SACTrace(data=samples.astype(np.float32), delta=delta, b=begin, **zero).write(str(path))
    return path


def clear_synthetics(folder: Path) -> None:
    """Remove the synthetics that an earlier run wrote into `folder`."""
    for path in folder.glob(CONTENT["synth"]):
        path.unlink()
