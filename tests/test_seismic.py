"""Waveforms that are prepared, and seismograms that are compared: PEs, measures, and examples."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import Mapping, Source, chain

import d4pcwl
from d4pcwl import library, seismology
from d4pcwl.errors import D4pcwlError, GraphError

np = pytest.importorskip("numpy")
obspy = pytest.importorskip("obspy")
pytest.importorskip("scipy")

EXAMPLES = Path(__file__).parent.parent / "examples"
for name in ("misfit", "seismic_preparation", "ra_pipeline"):
    sys.path.insert(0, str(EXAMPLES / name))
measures: Any = pytest.importorskip("measures")
windows: Any = pytest.importorskip("windows")
misfit: Any = pytest.importorskip("misfit")
preparation: Any = pytest.importorskip("seismic_preparation")
make_example_data: Any = pytest.importorskip("make_example_data")
for name in ("misfit", "seismic_preparation", "ra_pipeline"):
    sys.path.remove(str(EXAMPLES / name))

BAND = (0.1, 2.0)
CORNERS = (0.05, 0.1, 2.0, 4.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An invented earthquake at six stations."""
    folder: Path = tmp_path_factory.mktemp("data")
    make_example_data.write_example(folder)
    return folder


# --- the PEs --------------------------------------------------------------------------------------


@pytest.mark.processes(3)
def test_records_are_prepared_as_by_plain_obspy(
    mapping: Mapping, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scipy.signal import resample_poly

    raw = data / "observed" / "XX.BRIO..HHZ.mseed"
    steps = [
        seismology.ReadStream(folder=data),
        seismology.Resample(20.0),
        seismology.Detrend("linear"),
        seismology.Taper(0.05),
        seismology.RemoveResponse(data / "stations", "ACC", CORNERS),
        seismology.Bandpass(*BAND, order=3),
        seismology.WriteStream(tmp_path / "prepared"),
    ]
    (told,) = mapping.items(chain(Source([str(raw.relative_to(data))]), *steps))
    (found,) = obspy.read(told["path"])

    (trace,) = obspy.read(raw)
    trace.data = resample_poly(trace.data, 1, 5)
    trace.stats.sampling_rate = 20.0
    trace.detrend("linear").taper(0.05, type="hann")
    inventory = obspy.read_inventory(data / "stations" / "XX.BRIO.xml")
    plain = {"pre_filt": CORNERS, "zero_mean": False, "taper": False, "output": "ACC"}
    trace.remove_response(inventory, **plain)
    trace.filter("bandpass", freqmin=0.1, freqmax=2.0, corners=3, zerophase=True)
    assert np.array_equal(found.data, trace.data)
    assert found.stats.starttime == trace.stats.starttime
    start = {"id": "XX.BRIO..HHZ", "start": trace.stats.starttime.ns}
    assert told == {**start, "path": told["path"], "rate": 20.0, "samples": len(trace)}
    assert os.listdir(tmp_path / "prepared") == [Path(told["path"]).name]


@pytest.mark.processes(3)
def test_noise_is_normalised_and_whitened(mapping: Mapping) -> None:
    drawn = np.random.default_rng(0).standard_normal(4096)
    drawn[2000:2100] *= 1000
    stream = obspy.Stream([obspy.Trace(drawn, {"sampling_rate": 20.0, "station": "AQU"})])
    steps = seismology.Normalise("envelope"), seismology.Whiten(*BAND)
    (found,) = mapping.items(chain(Source([stream]), *steps))
    spectrum = np.abs(np.fft.rfft(found[0].data))
    frequencies = np.fft.rfftfreq(4096, 0.05)
    inside = (frequencies >= 0.1) & (frequencies <= 2.0)
    assert spectrum[inside] == pytest.approx(1.0)
    assert spectrum[(frequencies < 0.09) | (frequencies > 2.2)] == pytest.approx(0.0, abs=1e-9)
    by_time = seismology.Normalise("time", lowest=0.1)
    (found,) = d4pcwl.run(chain(Source([stream]), by_time))["Normalise"]["output"]
    assert np.abs(found[0].data).max() < 10


def test_what_cannot_be_prepared_is_named(data: Path, tmp_path: Path) -> None:
    stream = obspy.read(data / "observed" / "XX.ACRE..BHZ.mseed")
    for pe, message in (
        (seismology.RemoveResponse(tmp_path), r"XX\.ACRE\.\.BHZ: there is no .*XX\.ACRE\.xml"),
        (seismology.RemoveResponse(data / "processing.json"), "processing.json is not StationXML"),
        (seismology.Resample(50.0), r"XX\.ACRE\.\.BHZ: 20 Hz cannot be brought to 50 Hz"),
        (seismology.Bandpass(1.0, 10.0), r"at 20 Hz there is no band up to 10 Hz"),
    ):
        with pytest.raises(D4pcwlError, match=message):
            d4pcwl.run(chain(Source([stream]), pe))
    for make in (
        lambda: seismology.Detrend("lineal"),  # type: ignore[arg-type]
        lambda: seismology.Taper(0.6),
        lambda: seismology.Resample(0.0),
        lambda: seismology.Bandpass(2.0, 1.0),
        lambda: seismology.Normalise("half"),  # type: ignore[arg-type]
    ):
        with pytest.raises(GraphError):
            make()


def test_the_files_of_a_folder_are_listed(mapping: Mapping, tmp_path: Path) -> None:
    for path in ("b.nc", "a.nc", "in/c.nc", "a.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    listed = library.ListFiles(tmp_path, "**/*.nc")
    assert mapping.items(chain(listed, library.Tee(len))) == ["a.nc", "b.nc", "in/c.nc"]
    _, error = mapping.run_partly(chain(library.ListFiles(tmp_path, "*.csv"), library.Tee(len)))
    assert "has no file *.csv" in str(error)


# --- the measures ---------------------------------------------------------------------------------

DT = 0.05


def pulse(late: float = 0.0) -> Any:
    """A wavelet of 1 Hz, 20 samples to a period, that is zero at both ends of a window of 20 s."""
    times = np.arange(400) * DT - 10.0 - late
    return np.exp(-(times**2)) * np.cos(2 * np.pi * times)


@pytest.mark.parametrize("samples", [0, 1, -7, 30])
@pytest.mark.parametrize("scale", [1.0, 0.25, -3.0])
def test_whole_samples_and_scales_are_measured_exactly(samples: int, scale: float) -> None:
    synthetic = pulse()
    found = measures.measure(scale * np.roll(synthetic, samples), synthetic, DT, 5.0)
    assert found["dlna"] == pytest.approx(math.log(abs(scale)), abs=1e-12)
    if scale > 0:
        assert found["time_shift"] == pytest.approx(samples * DT, abs=1e-12)
        assert found["correlation_shifted"] == pytest.approx(1.0, abs=1e-12)
    if samples == 0:
        assert found["correlation"] == pytest.approx(math.copysign(1.0, scale), abs=1e-12)
        energy = 0.5 * DT * (synthetic @ synthetic)
        assert found["misfit"] == pytest.approx((scale - 1) ** 2 * energy, abs=1e-12)
        assert found["relative_misfit"] == pytest.approx((1 - 1 / scale) ** 2, abs=1e-12)


@pytest.mark.parametrize("late", [0.2, 0.5, 0.7, -3.3])
def test_parts_of_samples_are_measured_to_a_fiftieth(late: float) -> None:
    shift, _ = measures.time_shift(pulse(late * DT), pulse(), DT, 5.0)
    assert shift / DT == pytest.approx(late, abs=1 / 50)


def test_a_shift_is_within_what_is_looked_for() -> None:
    shift, correlation = measures.time_shift(pulse(3.0), pulse(), DT, 1.0)
    assert abs(shift) <= 1.0
    assert correlation < 0.5
    assert measures.time_shift(np.zeros(9), np.ones(9), DT, 1.0) == (0.0, 0.0)
    assert measures.correlation(np.zeros(9), np.ones(9)) == 0.0
    with pytest.raises(ValueError, match="has no amplitude"):
        measures.amplitude_anomaly(np.zeros(9), np.ones(9))


# --- the examples ---------------------------------------------------------------------------------


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path) as file:
        return list(csv.DictReader(file))


def compared(folder: Path, mapping: str, processes: int) -> Any:
    """The results of the example, in the working folder."""
    return d4pcwl.run(
        misfit.build,
        event=folder / "events_info.xml",
        stations=folder / "stations",
        observed=folder / "observed",
        synthetic=folder / "synth",
        mapping=mapping,
        processes=processes,
    )


def test_the_misfit_of_the_invented_earthquake_is_known(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = []
    for mapping in ("simple", "multi"):
        (tmp_path / mapping).mkdir()
        monkeypatch.chdir(tmp_path / mapping)
        results = compared(data, mapping, 3)
        alone = {"component": "XX.FELT.N", "only": "synthetic"}
        assert results["PE_left_over"]["output"] == [alone]
        tables.append(Path("windows.csv").read_text())
    assert tables[0] == tables[1]
    done = subprocess.run(
        [sys.executable, EXAMPLES / "misfit" / "check.py", "windows.csv"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def agree_with_obspy(table: Path, folder: Path, event: Path) -> int:
    """Compare time shifts and correlations of a table with those of ObsPy's correlation.

    :returns: how many windows there are
    """
    from obspy.signal.cross_correlation import correlate, xcorr_max

    start = windows.origin(str(event)).time
    stream = sum((obspy.read(path) for path in folder.iterdir()), obspy.Stream())
    rows = rows_of(table)
    for row in rows:
        network, station, component = row["component"].split(".")
        pair = stream.select(network, station, component=component).copy()
        rate = pair[0].stats.sampling_rate
        begin, last = (start + float(row[key]) for key in ("begin", "end"))
        pair.trim(begin, last - 1 / rate)
        synthetic = next(trace for trace in pair if trace.stats.channel.startswith("HX"))
        (observed,) = (trace for trace in pair if trace is not synthetic)
        values = correlate(observed, synthetic, int(6.0 * rate), demean=False)
        shift, value = xcorr_max(values, abs_max=False)
        assert float(row["correlation_shifted"]) == pytest.approx(value, abs=1e-6)
        assert abs(float(row["time_shift"]) * rate - shift) <= 0.5
    return len(rows)


def test_measures_agree_with_obspys_correlation(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(os.environ.get("RA_DATA", data))
    compared(folder, "simple", 1)
    found = agree_with_obspy(
        tmp_path / "windows.csv", tmp_path / "waveforms", folder / "events_info.xml"
    )
    assert found >= 34
    summary = json.loads(Path("summary.json").read_text())
    accepted = [row for row in rows_of(tmp_path / "windows.csv") if row["accepted"] == "True"]
    for entry in summary:
        values = [
            float(row[entry["measure"]]) for row in accepted if row["phase"] == entry["phase"]
        ]
        assert entry["count"] == len(values)
        assert entry["mean"] == pytest.approx(np.mean(values))


@pytest.mark.parametrize("by", ["simple", "dyn_multi"])
def test_the_preparation_writes_every_record(
    by: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = {"records": data / "observed", "stations": data / "stations"}
    d4pcwl.run(preparation.build, **folders, normalise=True, mapping=by, processes=3)
    done = subprocess.run(
        [
            *(sys.executable, EXAMPLES / "seismic_preparation" / "check.py"),
            *(data / "observed", data / "stations", tmp_path / "prepared"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "17 records" in done.stdout
