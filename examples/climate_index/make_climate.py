"""Make the daily temperatures of invented climate models: `python make_climate.py FOLDER`

Daily maxima near the surface, in K, of eight years on a small grid, one netCDF file for each model.
It is warmer in the south and in summer, and each model warms at a pace of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import xarray

MODELS = {"calm": 0.02, "middle": 0.25, "steep": 0.6}
"""How much each model warms, in K a year."""

YEARS = (2031, 2038)
LATITUDES, LONGITUDES = np.arange(38.0, 48.0, 2.0), np.arange(8.0, 18.0, 2.0)


def temperatures(number: int, warming: float) -> xarray.Dataset:
    """What a model says; the same for the same number."""
    time = xarray.date_range(f"{YEARS[0]}-01-01", f"{YEARS[1]}-12-31", freq="D")
    days = np.arange(len(time))[:, np.newaxis, np.newaxis]
    season = -11.0 * np.cos(2 * np.pi * (days - 20) / 365.25)
    south = -0.7 * (LATITUDES - LATITUDES.mean())[:, np.newaxis]
    weather = np.random.default_rng(number).normal(
        0.0, 4.0, (len(time), len(LATITUDES), len(LONGITUDES))
    )
    kelvin = 273.15 + 16.0 + season + south + warming * days / 365.25 + weather
    attributes = {
        "units": "K",
        "standard_name": "air_temperature",
        "long_name": "daily maximum of the temperature near the surface",
        "cell_methods": "time: maximum",
    }
    coordinates = {
        "time": time,
        "lat": ("lat", LATITUDES, {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": ("lon", LONGITUDES, {"units": "degrees_east", "standard_name": "longitude"}),
    }
    values = (("time", "lat", "lon"), kelvin.astype(np.float32), attributes)
    return xarray.Dataset({"tasmax": values}, coordinates)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, warming) in enumerate(MODELS.items()):
        temperatures(number, warming).to_netcdf(folder / f"tasmax_{name}.nc")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
