"""The cross-correlation of ambient noise: its science, its graph in every mapping, its command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mapping_kit import Mapping
from mpi_kit import needs_mpi

np = pytest.importorskip("numpy")
pytest.importorskip("obspy")
pytest.importorskip("zarr")

EXAMPLE = Path(__file__).parent.parent / "examples" / "cross_correlation"
sys.path.insert(0, str(EXAMPLE))
cross_correlation: Any = pytest.importorskip("cross_correlation")
noise: Any = pytest.importorskip("noise")
records: Any = pytest.importorskip("records")
store: Any = pytest.importorskip("store")
sys.path.remove(str(EXAMPLE))
library: Any = pytest.importorskip("d4pcwl.seismology.noise")

START = "2024-01-01T00:00:00"
RATE = 4.0


def direct_sum(one: Any, other: Any, lags: int) -> Any:
    """c[lag] = sum over t of one[t + lag] other[t], by its definition."""
    padded = np.pad(one, lags)
    return np.array([padded[k : k + len(other)] @ other for k in range(2 * lags + 1)])


def write_record(
    folder: Path, station: str, samples: Any, rate: float = 20.0, after: float = 0.0
) -> Path:
    from obspy import Trace, UTCDateTime

    header = {
        "network": "XX",
        "station": station,
        "channel": "BHZ",
        "sampling_rate": rate,
        "starttime": UTCDateTime(START) + after,
    }
    path = folder / f"{station}.{after:g}.mseed"
    Trace(np.asarray(samples, np.float64), header).write(str(path), format="MSEED")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Records of five stations, at several rates and with several starts."""
    path = tmp_path / "records"
    path.mkdir()
    drawn = np.random.default_rng(1)
    for number, rate in enumerate([20.0, 20.0, 40.0, 8.0, 20.0]):
        samples = drawn.standard_normal(int(120 * rate))
        write_record(path, f"S{number}", samples, rate, after=0.5 * number)
    return path


# --- the science ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize(("samples", "lags"), [(300, 50), (300, 299), (40, 100)])
def test_correlations_are_the_direct_sum(
    dtype: str, tolerance: float, samples: int, lags: int
) -> None:
    given = np.random.default_rng(0).standard_normal((12, samples))
    spectra = np.stack([noise.spectrum(one, lags, dtype) for one in given])
    rows = range(3, 60)
    out = np.empty((len(rows), 2 * lags + 1), dtype)
    noise.correlated(spectra, rows, samples, lags, out)
    pairs = [(i, j) for i in range(12) for j in range(i + 1, 12)]
    for line, (first, second) in zip(out, pairs[3:60], strict=True):
        whole = direct_sum(given[first], given[second], lags)
        assert np.abs(line - whole).max() <= tolerance * np.abs(whole).max()


def test_the_lag_is_that_of_the_first_behind_the_second() -> None:
    pulse = np.zeros((2, 100))
    pulse[0, 60] = pulse[1, 50] = 1.0
    out = np.empty((1, 41))
    noise.correlated(
        np.stack([noise.spectrum(p, 20, "float64") for p in pulse]), range(1), 100, 20, out
    )
    assert np.argmax(out[0]) - 20 == 10


@pytest.mark.parametrize("records", [2, 3, 9])
def test_pairs_are_numbered_as_the_index_says(records: int) -> None:
    count = noise.number_of_pairs(records)
    for row in range(count):
        ((first, second, end),) = noise.pairs(records, range(row, row + 1))
        assert end == second + 1
        assert row == first * (2 * records - first - 1) // 2 + second - first - 1


def test_resampling_keeps_what_is_slow_and_takes_what_is_quick() -> None:
    times = np.arange(0, 200, 1 / 20.0)
    for target in (4.0, 8.0):
        slow = library.resampled(np.sin(2 * np.pi * 0.2 * times), 20.0, target)
        new = np.arange(len(slow)) / target
        inner = slice(20, -20)
        assert np.abs(slow - np.sin(2 * np.pi * 0.2 * new))[inner].max() < 0.01
        quick = library.resampled(np.sin(2 * np.pi * 0.9 * target * times), 20.0, target)
        assert np.abs(quick[inner]).max() < 0.02
    with pytest.raises(ValueError, match="20 Hz cannot be brought to 40 Hz"):
        library.resampled(times, 20.0, 40.0)


def test_the_band_is_kept_and_the_rest_is_not() -> None:
    times = np.arange(0, 4000, 1 / 4.0)

    def left(frequency: float) -> Any:
        wave = 5.0 + 0.01 * times + np.sin(2 * np.pi * frequency * times)
        return np.abs(noise.bandpassed(wave, 4.0)[4000:-4000]).max()

    assert [left(f) > 0.95 for f in (0.02, 0.1, 0.6)] == [True] * 3
    assert max(left(0.002), left(1.8)) < 0.03
    with pytest.raises(ValueError, match="at 2 Hz there is nothing to keep"):
        noise.bandpassed(times, 2.0)


@pytest.mark.parametrize("how", ["time", "envelope"])
def test_an_earthquake_weighs_no_more_than_noise(how: str) -> None:
    quiet = noise.bandpassed(np.random.default_rng(0).standard_normal(8000), 4.0)
    loud = quiet.copy()
    loud[4000:4800] *= 1000
    even = library.normalised(loud, 4.0, how, 0.01)
    strength = np.abs(even[4200:4600]).mean() / np.abs(even[1000:3000]).mean()
    assert 0.5 < strength < 2
    assert not library.normalised(np.zeros(100), 4.0, how, 0.01).any()
    assert np.array_equal(library.normalised(loud, 4.0, "none", 0.01), loud)
    with pytest.raises(ValueError, match="unknown normalisation 'half'"):
        library.normalised(loud, 4.0, "half", 0.01)


def test_whitening_makes_all_frequencies_of_the_band_equal() -> None:
    drawn = np.cumsum(np.random.default_rng(0).standard_normal(8000))
    spectrum = np.abs(np.fft.rfft(library.whitened(drawn, 4.0, *noise.BAND)))
    frequencies = np.fft.rfftfreq(8000, 0.25)
    band = (frequencies > 0.011) & (frequencies < 0.99)
    assert spectrum[band] == pytest.approx(1.0)
    assert spectrum[frequencies > 1.11] == pytest.approx(0.0, abs=1e-9)


# --- the records ----------------------------------------------------------------------------------


def test_records_share_the_time_that_they_have_in_common(folder: Path) -> None:
    from obspy import UTCDateTime

    listed = records.listed(folder, RATE)
    assert [record["id"] for record in listed] == [f"XX.S{n}..BHZ" for n in range(5)]
    assert {record["start"] for record in listed} == {(UTCDateTime(START) + 2.0).ns}
    assert {record["samples"] for record in listed} == {int((120 - 2.0 - 0.05) * RATE)}
    for record in listed:
        samples, rate = records.samples_of(folder, record, RATE)
        ready = noise.prepared(samples, rate, RATE, "time", False)
        assert len(ready) >= record["samples"]


def test_a_record_in_several_files_is_one_and_gaps_are_zeros(tmp_path: Path) -> None:
    samples = np.arange(1000.0)
    write_record(tmp_path, "A", samples[:400])
    write_record(tmp_path, "A", samples[600:], after=30.0)
    write_record(tmp_path, "B", samples)
    first, _ = records.listed(tmp_path, 4.0)
    found, rate = records.samples_of(tmp_path, first, 4.0)
    assert (rate, len(found)) == (20.0, first["samples"] * 5)
    assert not found[400:600].any()
    assert np.array_equal(found[:400], samples[:400] - samples[:400].mean())


def test_all_files_that_cannot_be_read_are_named(folder: Path) -> None:
    (folder / "notes.txt").write_text("none of these is a waveform")
    (folder / "more.txt").write_text("nor is this")
    with pytest.raises(ValueError, match=r"(?s)more\.txt cannot be read.*notes\.txt cannot be"):
        records.listed(folder, RATE)


def test_records_must_meet_in_time(tmp_path: Path) -> None:
    write_record(tmp_path, "A", np.ones(100))
    write_record(tmp_path, "B", np.ones(100), after=60.0)
    with pytest.raises(ValueError, match=r"XX\.B\.\.BHZ begins when XX\.A\.\.BHZ has ended"):
        records.listed(tmp_path, RATE)
    with pytest.raises(ValueError, match="the records of 2 stations, 3 are needed"):
        records.listed(tmp_path, RATE, 3)


# --- the graph ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_array_holds_all_pairs(
    mapping: Mapping, dtype: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROWS", 4)
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.chdir(out)
    lags = 30
    graph = cross_correlation.build(folder, lags=lags, dtype=dtype)
    blocks = mapping.items(graph)
    assert blocks == [{"rows": (0, 4)}, {"rows": (4, 8)}, {"rows": (8, 10)}]
    array = store.open_array(out)
    assert (array.shape, array.dtype, array.chunks) == ((10, 61), dtype, (4, 61))
    assert array.attrs["sampling_rate"] == RATE
    index = [line.split(",") for line in (out / "index.csv").read_text().splitlines()[1:]]
    ready = {}
    for record in records.listed(folder, RATE):
        samples, rate = records.samples_of(folder, record, RATE)
        prepared = noise.prepared(samples, rate, RATE, "time", False)
        ready[record["id"]] = prepared[: record["samples"]]
    assert len(index) == 10
    for row, first, second in index:
        whole = direct_sum(ready[first], ready[second], lags)
        worst = np.abs(array[int(row)] - whole).max() / np.abs(whole).max()
        assert worst <= {"float64": 1e-12, "float32": 1e-6}[dtype]


def test_a_rate_that_is_too_low_is_an_error_that_names_the_record(
    mapping: Mapping, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(folder, "SLOW", np.ones(250), rate=2.0)
    monkeypatch.chdir(tmp_path)
    _, error = mapping.run_partly(cross_correlation.build(folder, lags=30))
    assert "record XX.SLOW..BHZ: 2 Hz cannot be brought to 4 Hz" in str(error)
    assert not (tmp_path / "zarr.json").exists()


# --- the command ----------------------------------------------------------------------------------


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        [sys.executable, EXAMPLE / "run", *map(str, arguments)],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize(
    "how",
    [
        ["--mapping", "dyn_multi", "--dtype", "float32"],
        ["--cwl"],
        pytest.param(["--mapping", "mpi"], marks=needs_mpi),
    ],
    ids=["dyn_multi", "cwl", "mpi"],
)
def test_the_command_compares_with_the_loop(how: list[str], tmp_path: Path) -> None:
    if "--cwl" in how:
        pytest.importorskip("cwltool")
    done = run("--stations", 4, *how, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    expected = {
        "stations",
        "correlations",
        "seconds",
        "loop_seconds",
        "ratio",
        "peak_mb",
        "checked",
    }
    assert set(figures) == expected
    assert (figures["stations"], figures["correlations"], figures["checked"]) == (4, 6, 6)
    assert "of 1 chunks" in done.stderr
    array = store.open_array(tmp_path / "out")
    assert array.shape == (6, 10001)
    assert os.listdir(tmp_path) == ["out"]


def test_the_command_does_not_mix_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "c.0.0").touch()
    done = run("--stations", 4, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "it is there, and no empty folder" in done.stderr
    assert run("--out", tmp_path / "new").returncode == 2
    assert run("--stations", 1, "--out", tmp_path / "new").returncode == 2
    done = run("--data", tmp_path / "none", "--out", tmp_path / "new")
    assert (done.returncode, "there is no such folder" in done.stderr) == (2, True)
    assert os.listdir(tmp_path) == ["out"]


def test_the_command_tells_of_data_that_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("no waveform")
    done = run("--data", tmp_path / "data", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "notes.txt cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
