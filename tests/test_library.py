"""The PEs of d4pcwl.library and d4pcwl.seismology: in every mapping, and their plain functions."""

from __future__ import annotations

import fractions
import hashlib
import http.server
import json
import math
import pickle
import random
import statistics
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mapping_kit import Mapping, Source, chain, named

import d4pcwl
from d4pcwl import WorkflowGraph, library, seismology
from d4pcwl.cli.main import main
from d4pcwl.errors import D4pcwlError, GraphError
from d4pcwl.library.aggregates import MEASURES, Tally
from d4pcwl.library.fetching import file_name, pause
from d4pcwl.library.files import number_or_text
from d4pcwl.library.shaping import windows_of
from d4pcwl.workflow.flat import flatten
from d4pcwl.workflow.state import keeps_state

PICKS = [
    {"station": "AQU", "time": 1.0, "peak": 0.5},
    {"station": "CERT", "time": 1.5, "peak": 0.25},
    {"station": "AQU", "time": 2.0, "peak": 0.125},
    {"station": "AQU", "time": 7.0, "peak": 4.0},
    {"station": "CERT", "time": 8.0, "peak": 2.0},
]


def double(number: float) -> float:
    return 2 * number


def is_large(number: int, limit: int) -> bool:
    return number > limit


def letters(word: str) -> list[str]:
    return list(word)


# --- in every mapping -----------------------------------------------------------------------------

CASES: dict[str, tuple[Callable[[], Any], list[Any], list[Any]]] = {
    "Map": (lambda: library.Map(double), [1, 2.5], [2, 5.0]),
    "Filter": (lambda: library.Filter(is_large, limit=2), [1, 3, 2, 5], [3, 5]),
    "FlatMap": (lambda: library.FlatMap(letters), ["ab", "", "c"], ["a", "b", "c"]),
    "Tee": (lambda: library.Tee(repr), [1, 0, None], [1, 0, None]),
    "Batch": (lambda: library.Batch(2), [1, 2, 3, 4, 5], [[1, 2], [3, 4], [5]]),
    "Window": (lambda: library.Window(3, step=2), [*range(8)], [[0, 1, 2], [2, 3, 4], [4, 5, 6]]),
    "Window apart": (lambda: library.Window(2, step=3), [*range(8)], [[0, 1], [3, 4], [6, 7]]),
    "Window by": (
        lambda: library.Window(2, by="station"),
        PICKS,
        [[PICKS[0], PICKS[2]], [PICKS[2], PICKS[3]], [PICKS[1], PICKS[4]]],
    ),
    "TimeWindow": (
        lambda: library.TimeWindow(5.0),
        PICKS,
        [
            {"start": 0.0, "end": 5.0, "items": PICKS[:3]},
            {"start": 5.0, "end": 10.0, "items": PICKS[3:]},
        ],
    ),
    "TimeWindow by": (
        lambda: library.TimeWindow(2.0, step=1.0, by=["station"]),
        PICKS[:3],
        [
            {"start": 0.0, "end": 2.0, "items": PICKS[:1]},
            {"start": 1.0, "end": 3.0, "items": [PICKS[0], PICKS[2]]},
            {"start": 2.0, "end": 4.0, "items": PICKS[2:3]},
            {"start": 0.0, "end": 2.0, "items": PICKS[1:2]},
            {"start": 1.0, "end": 3.0, "items": PICKS[1:2]},
        ],
    ),
    "Sort": (lambda: library.Sort(reverse=True), [2, 3, 1], [3, 2, 1]),
    "Sort by": (
        lambda: library.Sort(by=["station", "peak"]),
        PICKS,
        [PICKS[2], PICKS[0], PICKS[3], PICKS[1], PICKS[4]],
    ),
    "Deduplicate": (lambda: library.Deduplicate(), [[1], 2, [1], 2.0, "2"], [[1], 2, "2"]),
    "Deduplicate by": (lambda: library.Deduplicate(by="station"), PICKS, PICKS[:2]),
    "Deduplicate memory": (lambda: library.Deduplicate(memory=1), [1, 1, 2, 1], [1, 2, 1]),
    "Aggregate": (
        lambda: library.Aggregate(quantiles=[0.0, 0.5, 0.9]),
        [1, 2, 3, 4],
        [
            {
                "count": 4,
                "min": 1.0,
                "max": 4.0,
                "sum": 10.0,
                "mean": 2.5,
                "std": math.sqrt(5 / 3),
                "quantiles": [1.0, 2.5, 3.7],
            }
        ],
    ),
    "Aggregate by": (
        lambda: library.Aggregate(["mean", "count"], value="peak", by="station"),
        PICKS,
        [
            {"station": "AQU", "mean": 4.625 / 3, "count": 3},
            {"station": "CERT", "mean": 1.125, "count": 2},
        ],
    ),
    "Aggregate of nothing": (
        lambda: library.Aggregate(["count", "sum", "mean", "std"]),
        [],
        [{"count": 0, "sum": 0.0, "mean": None, "std": None}],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_items_go_in_and_come_out(case: str, mapping: Mapping) -> None:
    make, items, expected = CASES[case]
    found = mapping.items(chain(Source(items), make()))
    if case.endswith(" by") and not case.startswith(("Sort", "Aggregate")):
        # How items of several keys interleave is open; those of a key are in order.
        found.sort(key=lambda item: _station(item))
        expected = sorted(expected, key=lambda item: _station(item))
    assert found == expected


def _station(item: Any) -> str:
    items = item if isinstance(item, list) else item.get("items", [item])
    return str(items[0]["station"])


@dataclass
class Written:
    """What a PE writes: the items, the file's name, and its content."""

    make: Callable[[Path], Any]
    items: list[Any]
    content: str
    read: Callable[[], Any] | None = None


FILES = {
    "WriteLines": Written(
        library.WriteLines, ["one", "zwei ü"], "one\nzwei ü\n", library.ReadLines
    ),
    "WriteJSON": Written(
        library.WriteJSON, [1, {"a": [2]}], '[\n1,\n{"a": [2]}\n]\n', library.ReadJSON
    ),
    "WriteJSON none": Written(library.WriteJSON, [], "[]\n", library.ReadJSON),
    "WriteCSV": Written(
        library.WriteCSV,
        PICKS[:2],
        "station,time,peak\nAQU,1.0,0.5\nCERT,1.5,0.25\n",
        library.ReadCSV,
    ),
    "GeoJSON": Written(
        seismology.GeoJSON,
        [{"longitude": 13.4, "latitude": 42.35, "station": "AQU"}],
        '{"type": "FeatureCollection", "features": [\n{"type": "Feature", "geometry": {"type": '
        '"Point", "coordinates": [13.4, 42.35]}, "properties": {"station": "AQU"}}\n]}\n',
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_what_is_written_is_whole_and_reads_back(
    case: str, mapping: Mapping, tmp_path: Path
) -> None:
    written = FILES[case]
    path = tmp_path / "file.json"
    (told,) = mapping.items(chain(Source(written.items), written.make(path)))
    assert path.read_text() == written.content
    assert told == {
        "path": str(path),
        "items": len(written.items),
        "bytes": len(written.content.encode()),
        "sha256": hashlib.sha256(written.content.encode()).hexdigest(),
    }
    if written.read is not None:
        assert mapping.items(chain(Source([str(path)]), written.read())) == written.items
    (same,) = mapping.items(chain(Source([told]), library.Checksum()))
    assert {**same, "items": told["items"]} == told


def test_tables_of_parquet(mapping: Mapping, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "picks.parquet"
    write = library.WriteParquet(path, rows=2)
    (told,) = mapping.items(chain(Source(PICKS), write))
    assert told["items"] == 5
    assert mapping.items(chain(Source([str(path)]), library.ReadParquet())) == PICKS
    stations = library.ReadParquet(columns=["station"])
    found = mapping.items(chain(Source([str(path)]), stations))
    assert found == [{"station": pick["station"]} for pick in PICKS]


def test_arrays_of_zarr(mapping: Mapping, tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    pytest.importorskip("zarr")
    path = tmp_path / "array.zarr"
    blocks = [np.arange(6.0).reshape(2, 3), np.ones((2, 3)), np.zeros((1, 3))]
    (told,) = mapping.items(chain(Source(blocks), library.WriteZarr(path)))
    assert told == {"path": str(path), "shape": [5, 3]}
    found = mapping.items(chain(Source([str(path)]), library.ReadZarr(rows=2)))
    assert [part.tolist() for part in found] == [block.tolist() for block in blocks]
    _, error = mapping.run_partly(chain(Source(blocks), library.WriteZarr(path)))
    assert "already exists" in str(error)


def two_sources(match: library.Match, left: list[Any], right: list[Any]) -> WorkflowGraph:
    graph = WorkflowGraph()
    graph.connect(named(Source(left), "one"), "output", match, "left")
    graph.connect(named(Source(right), "other"), "output", match, "right")
    return graph


def test_items_of_a_key_are_joined_one_after_the_other(mapping: Mapping) -> None:
    left = [("a", 1), ("b", 2), ("a", 3)]
    right = [("b", 20), ("a", 10), ("a", 30)]
    found = mapping.items(two_sources(library.Match(by=0), left, right))
    assert sorted((pair["left"], pair["right"]) for pair in found) == [
        (("a", 1), ("a", 10)),
        (("a", 3), ("a", 30)),
        (("b", 2), ("b", 20)),
    ]


def test_what_is_left_over(mapping: Mapping) -> None:
    left, right = [("a", 1), ("b", 2)], [("c", 3), ("a", 10)]
    results = mapping.run(two_sources(library.Match(by=[0], alone="port"), left, right))
    assert results["Match"]["output"] == [{"left": ("a", 1), "right": ("a", 10)}]
    alone = sorted(results["Match"]["alone"], key=repr)
    assert alone == [{"left": ("b", 2)}, {"right": ("c", 3)}]
    emitted = mapping.items(two_sources(library.Match(by=0, alone="emit"), left, right))
    assert sorted(emitted, key=repr) == [
        {"left": ("a", 1), "right": ("a", 10)},
        {"left": ("b", 2)},
        {"right": ("c", 3)},
    ]
    _, error = mapping.run_partly(two_sources(library.Match(by=0), left, right[1:]))
    assert "the item with the key 'b' in left has no partner in right" in str(error)


def test_items_that_are_far_apart_in_time_do_not_belong_together(mapping: Mapping) -> None:
    match = library.Match(by="key", alone="port", window=1.0, time="at")
    left = [{"key": 1, "at": at} for at in (0.0, 5.0, 9.0)]
    right = [{"key": 1, "at": at} for at in (3.0, 5.5, 8.5, 20.0)]
    results = mapping.run(two_sources(match, left, right))["Match"]
    times = [(pair["left"]["at"], pair["right"]["at"]) for pair in results["output"]]
    assert times == [(5.0, 5.5), (9.0, 8.5)]
    alone = [(port, item["at"]) for found in results["alone"] for port, item in found.items()]
    assert alone == [("left", 0.0), ("right", 3.0), ("right", 20.0)]


def test_a_join_of_three(mapping: Mapping) -> None:
    match = library.Match(by=0, inputs=["x", "y", "z"])
    graph = WorkflowGraph()
    for port in "xyz":
        source = named(Source([(key, port) for key in range(4)]), f"from_{port}")
        graph.connect(source, "output", match, port)
    found = sorted(mapping.items(graph), key=repr)
    assert found == [{port: (key, port) for port in "xyz"} for key in range(4)]


def test_what_waits_is_bounded(mapping: Mapping) -> None:
    match = library.Match(by=0, most=3)
    match.numprocesses = 1
    left = [("a", number) for number in range(10)]
    _, error = mapping.run_partly(two_sources(match, left, []))
    assert "4 items wait for partners; at most 3 may wait" in str(error)


# --- the web --------------------------------------------------------------------------------------


class Server(http.server.BaseHTTPRequestHandler):
    """Files; one is there at the third attempt, one breaks off, two are not there."""

    attempts: ClassVar[dict[str, int]] = {}

    def do_GET(self) -> None:
        self.attempts[self.path] = number = self.attempts.get(self.path, 0) + 1
        body = f"the content of {self.path}".encode()
        status = {"/none.txt": 404, "/never.txt": 503}.get(self.path, 200)
        if self.path.startswith("/third") and number < 3:
            status = 503
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:5] if self.path == "/breaks.txt" and number == 1 else body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Server.attempts.clear()
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_files_are_fetched_once(server: str, mapping: Mapping, tmp_path: Path) -> None:
    urls = [f"{server}/{name}" for name in ("a.txt", "third/b.txt", "breaks.txt")]
    for _ in range(2):
        fetch = library.Fetch(tmp_path / "kept", wait=0)
        found = mapping.items(chain(Source(urls), fetch))
        assert [item["url"] for item in found] == urls
        for item in found:
            path = item["url"].removeprefix(server)
            assert Path(item["path"]).read_text() == f"the content of {path}"
    assert Server.attempts == {"/a.txt": 1, "/third/b.txt": 3, "/breaks.txt": 2}
    assert len(list((tmp_path / "kept").iterdir())) == 3


@pytest.mark.parametrize(
    ("given", "attempts", "message"),
    [
        ("/none.txt", 1, "404"),
        ("/never.txt", 4, "503"),
        ({"url": "/a.txt", "sha256": "0" * 64}, 1, "has the SHA-256"),
    ],
)
def test_what_cannot_be_fetched_leaves_nothing(
    given: Any, attempts: int, message: str, server: str, tmp_path: Path
) -> None:
    path = given["url"] if isinstance(given, dict) else given
    item = {**given, "url": server + path} if isinstance(given, dict) else server + given
    with pytest.raises(D4pcwlError, match=message):
        d4pcwl.run(chain(Source([item]), library.Fetch(tmp_path / "kept", wait=0)))
    assert Server.attempts == {path: attempts}
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_kept_file_that_is_another_is_fetched_anew(server: str, tmp_path: Path) -> None:
    url, content = f"{server}/a.txt", b"the content of /a.txt"
    kept = tmp_path / file_name(url)
    kept.write_bytes(b"something else")
    item = {"url": url, "sha256": hashlib.sha256(content).hexdigest(), "name": "a"}
    found = d4pcwl.run(chain(Source([item]), library.Fetch(tmp_path)))
    assert found["Fetch"]["output"] == [{**item, "path": str(kept)}]
    assert kept.read_bytes() == content
    with pytest.raises(D4pcwlError, match="not an HTTP URL"):
        d4pcwl.run(chain(Source(["file:///etc/passwd"]), library.Fetch(tmp_path)))


def test_a_server_says_how_long_to_wait() -> None:
    from email.message import Message

    headers = Message()
    headers["Retry-After"] = "7"
    error = urllib.request.HTTPError("http://x", 503, "busy", headers, None)
    assert (pause(error, 1.0), pause(OSError(), 1.0), pause(OSError(), 900.0)) == (7.0, 1.0, 60.0)
    error.close()


# --- seismology -----------------------------------------------------------------------------------


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Two horizontal components of velocity, 20 s at 100 Hz: sines of 1 Hz, 0.3 and 0.4 m/s."""
    np = pytest.importorskip("numpy")
    obspy = pytest.importorskip("obspy")
    times = np.arange(2000) / 100.0
    header = {"network": "XX", "station": "AQU", "sampling_rate": 100.0}
    stream = obspy.Stream(
        [
            obspy.Trace(peak * np.sin(2 * np.pi * times), {**header, "channel": channel})
            for channel, peak in (("HHN", 0.3), ("HHE", 0.4), ("HHZ", 9.0))
        ]
    )
    path = tmp_path / "AQU.mseed"
    stream.write(str(path), format="MSEED")
    return path


def test_peaks_of_the_ground(mapping: Mapping, record: Path) -> None:
    found = mapping.items(
        chain(Source([str(record)]), seismology.ReadStream(), seismology.PeakGroundMotion())
    )
    assert [(item["station"], item["norm"]) for item in found] == [
        ("XX.AQU", "mean"),
        ("XX.AQU", "max"),
        ("XX.AQU", "geometric"),
    ]
    assert [item["PGV"] for item in found] == pytest.approx([0.5, 0.4, math.sqrt(0.12)])
    circle = 2 * math.pi
    assert [item["PGA"] for item in found] == pytest.approx(
        [circle * 0.5, circle * 0.4, circle * math.sqrt(0.12)], rel=1e-3
    )
    assert found[1]["PGD"] == pytest.approx(2 * 0.4 / circle, rel=1e-3)
    (norm,) = mapping.items(
        chain(Source([str(record)]), seismology.ReadStream(), seismology.Norm(["max"]))
    )
    assert norm == {"station": "XX.AQU", "norm": "max", "peak": pytest.approx(0.4)}


def test_oscillators_follow_the_ground(mapping: Mapping, record: Path) -> None:
    response = seismology.SpectralAcceleration([1.0, 30.0], damping=0.1, norms=["max"])
    (found,) = mapping.items(chain(Source([str(record)]), seismology.ReadStream(), response))
    assert set(found) == {"station", "norm", "PSA_1.0Hz", "PSA_30.0Hz"}
    ground = 2 * math.pi * 0.4
    assert found["PSA_1.0Hz"] > 0.9 * ground / (2 * 0.1)  # in resonance, and not yet at rest
    assert found["PSA_30.0Hz"] == pytest.approx(ground, rel=0.05)  # stiff: as the ground moves


def test_one_horizontal_component_is_not_enough(record: Path) -> None:
    obspy = pytest.importorskip("obspy")
    stream = obspy.read(str(record)).select(channel="HH[NZ]")
    with pytest.raises(D4pcwlError, match="two horizontal traces are needed, and 1 are in"):
        d4pcwl.run(chain(Source([stream]), seismology.PeakGroundMotion()))


def test_a_place_is_on_earth(tmp_path: Path) -> None:
    for item in ({"latitude": 1.0}, {"longitude": 0.0, "latitude": 91.0}):
        with pytest.raises(D4pcwlError, match=r"no longitude and latitude|is not a place on Earth"):
            d4pcwl.run(chain(Source([item]), seismology.GeoJSON(tmp_path / "x.geojson")))
    assert not (tmp_path / "x.geojson").exists()


# --- plain functions ------------------------------------------------------------------------------

numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(numbers), st.lists(numbers))
def test_parts_are_joined_without_rounding(first: list[float], second: list[float]) -> None:
    whole, one, other = Tally(keep=True), Tally(keep=True), Tally(keep=True)
    for number in first + second:
        whole.add(number)
    for number in second:
        other.add(number)
    for number in first:
        one.add(number)
    other.merge(Tally.from_state(one.state()))
    for name in MEASURES:
        assert repr(other.measure(name)) == repr(whole.measure(name)), name
    assert other.quantile(0.3) == whole.quantile(0.3)


@given(st.lists(st.floats(-1e100, 1e100), min_size=2))
def test_aggregates_are_rounded_once(given: list[float]) -> None:
    tally = Tally()
    for number in given:
        tally.add(number)
    assert tally.measure("sum") == math.fsum(given)
    assert tally.measure("mean") == float(sum(map(fractions.Fraction, given)) / len(given))
    assert (tally.measure("min"), tally.measure("max")) == (min(given), max(given))
    assert tally.measure("std") == pytest.approx(statistics.stdev(given), rel=1e-15)


def test_quantiles_are_those_of_numpy() -> None:
    np = pytest.importorskip("numpy")
    drawn = [random.Random(1).gauss(0, 1) for _ in range(101)]
    tally = Tally(keep=True)
    for number in drawn:
        tally.add(number)
    for fraction in (0.0, 0.1, 0.5, 0.77, 1.0):
        assert tally.quantile(fraction) == pytest.approx(np.quantile(drawn, fraction), rel=1e-14)
    with pytest.raises(ValueError, match="nan is not finite"):
        tally.add(math.nan)
    wide = Tally(keep=True)
    for number in (-1.7e308, 1.7e308, 1.7e308):
        wide.add(number)
    assert (wide.measure("sum"), wide.measure("mean")) == (1.7e308, 1.7e308 / 3)
    assert (wide.quantile(0.0), wide.quantile(0.25)) == (-1.7e308, 0.0)
    wide.add(1.7e308)
    assert (wide.measure("sum"), wide.measure("std")) == (math.inf, 1.7e308)


@given(st.floats(0, 1e6), st.floats(0.1, 100), st.floats(0.1, 100))
@example(1.0, 1.0, 0.1)
def test_each_time_is_in_its_windows(time: float, length: float, step: float) -> None:
    found = list(windows_of(time, length, step))
    for number in range(int(time // step) - int(length // step) - 3, int(time // step) + 3):
        assert (number in found) == (number * step <= time < number * step + length)


def test_times_that_go_back_are_an_error(tmp_path: Path) -> None:
    late = [PICKS[2], PICKS[0]]
    with pytest.raises(D4pcwlError, match=r"time 1\.0 comes after 2\.0: sort the items first"):
        d4pcwl.run(chain(Source(late), library.TimeWindow(1.0)))
    right = Source(late)
    match = library.Match(by="station", window=1.0)
    graph = WorkflowGraph()
    graph.connect(Source([]), "output", match, "left")
    graph.connect(right, "output", match, "right")
    with pytest.raises(D4pcwlError, match=r"time 1\.0 comes after 2\.0"):
        d4pcwl.run(graph)


def test_a_table_is_read_as_it_is(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text('\ufeffname,n\n"a, b",1\n\nc,1e3\nd,x\n')
    rows = d4pcwl.run(chain(Source([str(table)]), library.ReadCSV()))["ReadCSV"]["output"]
    assert rows == [{"name": "a, b", "n": 1}, {"name": "c", "n": 1000.0}, {"name": "d", "n": "x"}]
    table.write_text("a,b\n1\n")
    with pytest.raises(D4pcwlError, match=r"table\.csv:2: 1 entries, but 2 columns"):
        d4pcwl.run(chain(Source([str(table)]), library.ReadCSV()))
    assert [number_or_text(text) for text in ("7", "-0.5", "x7", "")] == [7, -0.5, "x7", ""]


@pytest.mark.parametrize(
    ("make", "items"),
    [
        (library.WriteLines, ["a\nb"]),
        (library.WriteJSON, [math.nan]),
        (library.WriteCSV, [{"a": 1}, {"b": 2}]),
    ],
)
def test_a_file_that_cannot_be_written_is_not_there(
    make: Callable[[Path], Any], items: list[Any], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_text("what was there")
    with pytest.raises(D4pcwlError):
        d4pcwl.run(chain(Source(items), make(path)))
    assert path.read_text() == "what was there"


def test_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    d4pcwl.run(chain(Source([[1], {"a": 2}]), library.WriteJSON(path)))
    assert path.read_text() == '[1]\n{"a": 2}\n'
    found = d4pcwl.run(chain(Source([str(path)]), library.ReadJSON()))
    assert found["ReadJSON"]["output"] == [[1], {"a": 2}]


@pytest.mark.parametrize(
    "make",
    [
        lambda: library.Batch(0),
        lambda: library.Window(2, step=0),
        lambda: library.Window(2, by="all"),
        lambda: library.TimeWindow(0),
        lambda: library.Sort(by=1.5),  # type: ignore[arg-type]
        lambda: library.Deduplicate(memory=0),
        lambda: library.Match(by=None),
        lambda: library.Match(by=0, inputs=["a"]),
        lambda: library.Match(by=0, alone="drop"),  # type: ignore[arg-type]
        lambda: library.Match(by=0, window=-1),
        lambda: library.Aggregate(["median"]),
        lambda: library.Aggregate(quantiles=[50]),
        lambda: library.Fetch(retries=-1),
        lambda: seismology.Norm(["least"]),
        lambda: seismology.SpectralAcceleration([0.0]),
    ],
)
def test_wrong_parameters_are_refused_when_the_graph_is_made(make: Callable[[], Any]) -> None:
    with pytest.raises(GraphError):
        make()


# --- what the planner, the compiler and people are told -------------------------------------------

MADE: dict[str, Callable[[], Any]] = {
    "Aggregate": library.Aggregate,
    "Batch": lambda: library.Batch(2),
    "Filter": lambda: library.Filter(double),
    "FlatMap": lambda: library.FlatMap(letters),
    "Map": lambda: library.Map(double),
    "Match": lambda: library.Match(by=0),
    "Tee": lambda: library.Tee(double),
    "TimeWindow": lambda: library.TimeWindow(1.0),
    "Window": lambda: library.Window(1),
    **{
        made.__name__: partial(made, "file")
        for made in (library.WriteCSV, library.WriteJSON, library.WriteLines)
    },
    "WriteParquet": lambda: library.WriteParquet("file"),
    "WriteZarr": lambda: library.WriteZarr("file"),
    "Bandpass": lambda: seismology.Bandpass(1.0, 2.0),
    "ClimateIndex": lambda: library.ClimateIndex("SU"),
    "ListFiles": lambda: library.ListFiles("folder"),
    "RemoveResponse": lambda: seismology.RemoveResponse("folder"),
    "Resample": lambda: seismology.Resample(1.0),
    "Whiten": lambda: seismology.Whiten(1.0, 2.0),
    "WriteStream": lambda: seismology.WriteStream("folder"),
}
KEEP = {
    *("Batch", "Deduplicate", "Match", "Sort", "TimeWindow", "Window", "GeoJSON", "ShakeMap"),
    *("WriteCSV", "WriteJSON", "WriteLines", "WriteParquet", "WriteZarr"),
}
EVERY = [(package, name) for package in (library, seismology) for name in package.__all__]


@pytest.mark.parametrize(("package", "name"), EVERY, ids=[name for _, name in EVERY])
def test_every_pe_is_pickled_and_says_whether_it_keeps_state(package: Any, name: str) -> None:
    made = MADE.get(name, getattr(package, name))()
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is type(made)
    if name == "Aggregate":
        first, second = flatten(made).pes
        assert (keeps_state(first), str(keeps_state(second))) == (None, "declared")
    else:
        assert (keeps_state(made) is not None) == (name in KEEP)


def test_a_function_that_keeps_state_makes_a_pe_that_does() -> None:
    seen: list[int] = []
    assert keeps_state(library.Map(seen.append)) is not None
    assert keeps_state(library.Filter(lambda item: seen.append(item) or True)) is not None


def test_what_is_listed_has_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["library"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for _, name in EVERY:
        (line,) = [line for line in lines if line.split()[0] == name]
        assert line.endswith((".", "RFC 7946)."))
        assert len(line) <= 120
    assert main(["library", "Match"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("Match(by, inputs=('left', 'right'), alone='error', window=None")
    assert "State:" in told
    assert main(["library", "Mach"]) == 2
    assert "did you mean Match" in capsys.readouterr().err


@pytest.mark.parametrize(("package", "name"), EVERY, ids=[name for _, name in EVERY])
def test_every_pe_says_what_it_takes_and_gives(package: Any, name: str) -> None:
    doc = getattr(package, name).__doc__
    assert "Input" in doc
    assert "utput" in doc
    if name in KEEP and not name.startswith("Write") and name != "GeoJSON":
        assert "State:" in doc


SCRIPT = """\
from d4pcwl import WorkflowGraph
from d4pcwl.library import Aggregate, Filter, ReadCSV, WriteCSV


def is_near(pick):
    return pick["distance"] < 100


read, near = ReadCSV(), Filter(is_near)
read.name, near.name = "picks", "near"
total = Aggregate(["count", "mean", "std"], value="peak", by="station", quantiles=[0.5])
table = WriteCSV("peaks.csv")
graph = WorkflowGraph()
graph.connect(read, "output", near, "input")
graph.connect(near, "output", total, "input")
graph.connect(total, "output", table, "input")
"""


@pytest.mark.parametrize("options", [[], ["--cut", "pe"], ["--shards", "2"]])
def test_they_are_compiled_to_cwl(options: list[str], tmp_path: Path) -> None:
    pytest.importorskip("cwltool")
    (tmp_path / "picks.py").write_text(SCRIPT)
    drawn = random.Random(0)
    rows = [f"S{n % 3},{drawn.uniform(0, 200)},{drawn.gauss(0, 1)}" for n in range(60)]
    (tmp_path / "picks.csv").write_text("\n".join(["station,distance,peak", *rows, ""]))
    bin_ = Path(sys.executable).parent

    def run(*command: object) -> str:
        return subprocess.run(
            [str(bin_ / str(command[0])), *map(str, command[1:])],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    run("dispel4py", "simple", "picks.py", "--picks", "picks.csv")
    expected = (tmp_path / "peaks.csv").read_text()
    (tmp_path / "peaks.csv").unlink()
    run("d4p2cwl", "picks.py", *options, "-q", "-o", "picks.cwl")
    out = json.loads(
        run("d4pcwl-runner", "--quiet", "--outdir", "out", "picks.cwl", "--picks", "picks.csv")
    )
    assert (tmp_path / "out" / "peaks.csv").read_text() == expected
    assert out["peaks"]["basename"] == "peaks.csv"
    assert expected.count("\n") == 4
