"""The correlations as a Zarr array (format 3), which any Zarr library reads.

The array has shape (pairs, 2 lags + 1) and no compression. Its attributes have the ids of the
records, the sampling rate, and what the numbers are. `index.csv`, beside it, has the row of each
pair. `spectra.npy` is what the correlations are made of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from noise import number_of_pairs, pairs

ROWS = 256
"""Correlations in a chunk, which is a file: `c.0.0`, `c.1.0`, ..."""


def create(
    folder: Path, ids: list[str], spectra: list[Any], *, samples: int, rate: float, lags: int
) -> list[range]:
    """Make the array, with nothing in it yet, its index, and the file of the spectra.

    :returns: the rows of each chunk
    """
    import zarr  # takes long

    count = number_of_pairs(len(ids))
    zarr.create_array(
        folder,
        shape=(count, 2 * lags + 1),
        chunks=(min(ROWS, count), 2 * lags + 1),
        dtype=spectra[0].real.dtype,
        fill_value=np.nan,
        compressors=None,
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=("pair", "lag"),
        attributes={
            "records": ids,
            "pairs": "row of records i < j: i (2 n - i - 1) / 2 + j - i - 1, of n; see index.csv",
            "lags": f"from {-lags} to {lags} samples",
            "sampling_rate": rate,
            "samples": samples,
            "convention": "c[lag] = sum over t of a[t + lag] b[t], of the first and second record",
        },
    )
    np.save(folder / "spectra.npy", np.stack(spectra))
    with open(folder / "index.csv", "w") as index:
        index.write("row,first,second\n")
        row = 0
        for first, begin, end in pairs(len(ids), range(count)):
            for second in range(begin, end):
                index.write(f"{row},{ids[first]},{ids[second]}\n")
                row += 1
    return [range(row, min(row + ROWS, count)) for row in range(0, count, ROWS)]


def open_spectra(folder: Path) -> np.ndarray[Any, Any]:
    """The spectra, one row for each record; they are mapped, so processes share them."""
    return np.load(folder / "spectra.npy", mmap_mode="r")


def open_array(folder: Path) -> Any:
    """The array, to read it or to fill chunks."""
    import zarr

    # A chunk is written even if it is all like nothing: none but those not done are missing.
    return zarr.open_array(folder, mode="r+", config={"write_empty_chunks": True})


def empty(array: Any, rows: range) -> np.ndarray[Any, Any]:
    """Room for some rows of the array."""
    return np.empty((len(rows), array.shape[1]), array.dtype)
