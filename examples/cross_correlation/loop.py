"""The same correlations by a bare loop, to compare with: no workflow, one process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from noise import BATCH, length_for
from scipy import fft


def seconds_of_loop(spectra: np.ndarray[Any, Any], samples: int, lags: int, path: Path) -> float:
    """Correlate all pairs, write them to a file, and remove it.

    :returns: how long it took, without what came before: the spectra are there
    """
    length = length_for(samples, lags)
    begin = time.perf_counter()
    try:
        with open(path, "wb") as file:
            for first in range(len(spectra) - 1):
                for start in range(first + 1, len(spectra), BATCH):
                    products = spectra[first] * np.conj(spectra[start : start + BATCH])
                    whole = fft.irfft(products, length, axis=1)
                    file.write(np.concatenate((whole[:, -lags:], whole[:, : lags + 1]), axis=1))
        return time.perf_counter() - begin
    finally:
        path.unlink(missing_ok=True)
