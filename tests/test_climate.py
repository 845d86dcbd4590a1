"""Climate indices: the PE, and the example."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import Mapping, Source, chain

import d4pcwl
from d4pcwl import library
from d4pcwl.errors import D4pcwlError

np = pytest.importorskip("numpy")
pytest.importorskip("icclim", reason="icclim is not installed: pip install 'd4pcwl[climate]'")
xarray = pytest.importorskip("xarray")

EXAMPLE = Path(__file__).parent.parent / "examples" / "climate_index"
sys.path.insert(0, str(EXAMPLE))
climate_index: Any = pytest.importorskip("climate_index")
make_climate: Any = pytest.importorskip("make_climate")
sys.path.remove(str(EXAMPLE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Daily temperatures of two models, two years, and four cells."""
    path: Path = tmp_path_factory.mktemp("temperatures")
    for number, name in enumerate(["one", "two"]):
        whole = make_climate.temperatures(number, 0.1)
        part = whole.sel(time=slice("2031", "2032"), lat=[38, 40], lon=[8, 10])
        part.to_netcdf(path / f"{name}.nc")
    return path


@pytest.mark.processes(2)
def test_an_index_is_that_of_numpy(mapping: Mapping, folder: Path, tmp_path: Path) -> None:
    index = library.ClimateIndex("SU", out=tmp_path, folder=folder)
    (told,) = mapping.items(chain(Source(["one.nc"]), index))
    assert told == {"index": "SU", "input": "one.nc", "path": str(tmp_path / "one_SU.nc")}
    with xarray.open_dataset(folder / "one.nc") as given:
        celsius = given["tasmax"].astype(float) - 273.15
        expected = [(celsius.sel(time=year) > 25).sum("time") for year in ("2031", "2032")]
    with xarray.open_dataset(told["path"], decode_timedelta=False) as made:
        assert made["SU"].shape == (2, 2, 2)
        assert np.array_equal(made["SU"].values, np.stack(expected))
        assert list(made["time"].dt.year) == [2031, 2032]
    assert [path.name for path in tmp_path.iterdir()] == ["one_SU.nc"]


def test_what_icclim_cannot_make_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.nc").write_text("no netCDF")
    for name, index in ((tmp_path / "text.nc", "SU"), (folder / "one.nc", "SUMMER")):
        with pytest.raises(D4pcwlError, match=f"{index} of .*{name.name}"):
            d4pcwl.run(chain(Source([str(name)]), library.ClimateIndex(index, out=tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["text.nc"]


def test_the_means_of_the_example_are_those_of_numpy(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    d4pcwl.run(climate_index.build, temperatures=folder, mapping="dyn_multi", processes=2)
    done = subprocess.run(
        [sys.executable, EXAMPLE / "check.py", folder, "indices.csv"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("12 means of 3 indices")
