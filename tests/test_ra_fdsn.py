"""The download of examples/ra_pipeline, and the FDSN server that it is tried with.

ObsPy's client and mass downloader talk to the real server over loopback. It serves the made-up
earthquake, and the folder that RA_DATA names, or ../shared/data/ra beside the repository.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ra_kit import EXAMPLE, REFERENCE, obspy

fdsn = pytest.importorskip("obspy.clients.fdsn")
fdsn_server = pytest.importorskip("fdsn_server")
make_example_data = pytest.importorskip("make_example_data")
ra_fdsn = pytest.importorskip("ra_fdsn")
ra_layout = pytest.importorskip("ra_layout")
ra_request = pytest.importorskip("ra_request")

ORIGIN = make_example_data.ORIGIN


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fdsn") / "example_data"
    make_example_data.write_example(folder)
    return folder


@pytest.fixture(scope="module")
def client(data: Path) -> Iterator[Any]:
    with fdsn_server.serving(data) as server:
        yield fdsn.Client(server.url)


def files(folder: Path) -> dict[str, bytes]:
    """What observed/ and stations/ of a folder hold."""
    found = [path for part in ("observed", "stations") for path in (folder / part).iterdir()]
    return {path.name: path.read_bytes() for path in found}


def codes(inventory: Any) -> set[str]:
    return {f"{n.code}.{s.code}" for n in inventory for s in n}


# The server


def test_obspy_knows_the_services(client: Any) -> None:
    assert set(client.services) == {"station", "dataselect"}
    assert client.get_webservice_version("station") == [1, 2, 0]
    assert client.services["station"]["level"]["default_value"] == "station"
    assert client.services["station"]["maxradius"]["type"] is float


def test_what_is_asked_for_whole_is_the_file(client: Any, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "acre.xml"
    client.get_stations(station="ACRE", level="response", filename=str(path))
    assert path.read_bytes() == (data / "stations" / "XX.ACRE.xml").read_bytes()


def test_elements_of_several_files(client: Any, data: Path) -> None:
    found = client.get_stations(station="ACRE,B?IO", channel="?HZ", level="response")
    assert codes(found) == {"XX.ACRE", "XX.BRIO"}
    assert len(found.networks) == 1
    for station in found[0]:
        (channel,) = station
        whole = obspy.read_inventory(str(data / "stations" / f"XX.{station.code}.xml"))
        (same,) = (other for other in whole[0][0] if other.code == channel.code)
        assert channel == same


@pytest.mark.parametrize("level", ["network", "station", "channel"])
def test_text_says_what_the_xml_does(level: str, client: Any) -> None:
    xml = client.get_stations(level=level)
    text = client.get_stations(level=level, format="text")
    part = f"{level}s"
    assert xml.get_contents()[part] == text.get_contents()[part] != []
    if level == "channel":
        one, other = xml[0][0][0], text[0][0][0]
        for name in ("latitude", "depth", "azimuth", "dip", "sample_rate", "start_date"):
            assert getattr(one, name) == getattr(other, name), name
        sensitivities = [c.response.instrument_sensitivity for c in (one, other)]
        assert sensitivities[0].value == pytest.approx(sensitivities[1].value)
        assert not one.response.response_stages


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"minlatitude": 42.0, "maxlongitude": 13.5}, {"XX.ACRE", "XX.ELMO"}),
        ({"latitude": 42.0, "longitude": 13.5, "maxradius": 0.3}, {"XX.ACRE", "XX.BRIO"}),
        ({"latitude": 42.0, "longitude": 13.5, "minradius": 0.45}, {"XX.FELT", "XX.DUNE"}),
        ({"channel": "EH*,HH?", "location": "--"}, {"XX.BRIO", "XX.DUNE"}),
        ({"starttime": ORIGIN, "network": "X*", "station": "*U*,*ELT"}, {"XX.DUNE", "XX.FELT"}),
    ],
)
def test_selections_of_stations(asked: Any, expected: set[str], client: Any) -> None:
    assert codes(client.get_stations(**asked)) == expected


@pytest.mark.parametrize("asked", [{"location": "00"}, {"endtime": ORIGIN - 9e8}, {"network": "X"}])
def test_nothing_is_204(asked: Any, client: Any) -> None:
    with pytest.raises(fdsn.header.FDSNNoDataException):
        client.get_stations(**asked)


@pytest.mark.parametrize(("begin", "end"), [(-99.0, 999.0), (-3.0, 0.0), (7.77, 7.78)])
def test_waveforms_are_whole_records(
    begin: float, end: float, client: Any, data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "part.mseed"
    window = (ORIGIN + begin, ORIGIN + end)
    client.get_waveforms("XX", "DUNE", "", "EHE", *window, filename=str(path))
    whole = (data / "observed" / "XX.DUNE..EHE.mseed").read_bytes()
    expected = b""
    for offset in range(0, len(whole), 512):
        record = whole[offset : offset + 512]
        (tmp_path / "record").write_bytes(record)
        times = obspy.read(str(tmp_path / "record"), headonly=True)[0].stats
        if times.endtime >= window[0] and times.starttime <= window[1]:
            expected += record
    assert path.read_bytes() == expected != b""


def test_bulk_requests_have_each_record_once(client: Any, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "bulk.mseed"
    lines = [("XX", "ACRE", "", "BH?", ORIGIN - 99, ORIGIN), ("XX", "A*", "", "*", ORIGIN, ORIGIN)]
    client.get_waveforms_bulk(
        [*lines, ("XX", "NONE", "", "BHE", ORIGIN, ORIGIN)], filename=str(path)
    )
    size = path.stat().st_size
    client.get_waveforms_bulk(lines[:1], filename=str(path))
    assert path.stat().st_size == size
    assert {trace.id for trace in obspy.read(str(path))} == {f"XX.ACRE..BH{c}" for c in "ENZ"}


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("station/1/query?net=ZZ&nodata=404", 404, ["no data match the request"]),
        ("event/1/query", 404, ["there are only query, version and application.wadl of"]),
        (
            "station/1/query?level=all&lat=100&foo=1&start=soon&net=&sta=A&station=B",
            400,
            [
                "foo: there is no such parameter here",
                "station is given twice",
                "level=all: station or network or channel or response is expected",
                "latitude=100: a number from -90 to 90 is expected",
                "starttime=soon: ",
                "network=: codes, * and ? with commas between them are expected",
            ],
        ),
        ("station/1/query?level=response&format=text", 400, ["there is no such form"]),
        ("station/1/query?minlat=3&maxlat=2", 400, ["minlatitude is above maxlatitude"]),
        ("dataselect/1/query?start=2024-03-02&end=2024-03-01", 400, ["starttime is after endtime"]),
    ],
)
def test_errors(path: str, status: int, told: list[str], client: Any) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{client.base_url}/fdsnws/{path}")
    with raised.value as error:
        assert error.code == status
        text = error.read().decode()
    assert text.startswith(f"Error {status}: ")
    for part in told:
        assert part in text


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"nodata=404\nZZ * * * 2024-01-01 2025-01-01\n", 404, "no data"),
        (b"level=station\nXX ACRE -- BHE 2024-01-01\n", 400, "NET STA LOC CHA START END"),
        (b"level=station\n", 400, "no line NET STA LOC CHA START END"),
        (b"XX * * * 2024-01-01 then\n", 400, "endtime=then"),
        (b"XX \xff * * 2024-01-01 2025-01-01\n", 400, "the request: 'ascii'"),
    ],
)
def test_errors_of_post(body: bytes, status: int, told: str, client: Any) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{client.base_url}/fdsnws/station/1/query", data=body)
    with raised.value as error:
        assert (error.code, told in error.read().decode()) == (status, True)


def server_command(*arguments: object) -> list[str]:
    return [sys.executable, str(EXAMPLE / "fdsn_server.py"), *map(str, arguments)]


def test_the_command_serves_until_ctrl_c(data: Path) -> None:
    command = server_command(data)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None
        url = server.stdout.readline().decode().strip()
        with urllib.request.urlopen(f"{url}/fdsnws/dataselect/1/version") as answer:
            assert answer.read() == b"1.2.0"
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=60)
    assert server.returncode == 0
    assert said.decode() == '"GET /fdsnws/dataselect/1/version HTTP/1.1" 200 -\n'
    with socket.socket() as again:
        assert again.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


def test_the_command_ends_with_a_command(data: Path) -> None:
    done = subprocess.run(server_command(data, "--", sys.executable, "-c", "exit(7)"), timeout=60)
    assert done.returncode == 7


def test_folders_that_cannot_be_served(data: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(fdsn_server.ArchiveError, match="no miniSEED"),
        fdsn_server.serving(tmp_path),
    ):
        pass
    shutil.copytree(data / "observed", tmp_path / "observed")
    shutil.copytree(data / "stations", tmp_path / "stations")
    with open(tmp_path / "observed" / "XX.ACRE..BHE.mseed", "ab") as file:
        file.write(b"more")
    (tmp_path / "stations" / "XX.ACRE.xml").write_text("<FDSNStationXML>")
    done = subprocess.run(server_command(tmp_path), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert re.search(r"error: .*XX.ACRE..BHE.mseed: no miniSEED record at byte \d+", first)
    assert re.search(r"error: .*XX.ACRE.xml: ", second)


# The download


class Messages(list[str]):
    """What a download tells, and what it warns of."""

    def __init__(self) -> None:
        self.warned: list[str] = []


def download(request: Path | dict[str, Any], folder: Path, *providers: str) -> Messages:
    if isinstance(request, dict):
        folder.mkdir(exist_ok=True)
        path = folder / "download.json"
        path.write_text(json.dumps(request))
    else:
        path = request
    told = Messages()
    read = ra_request.read_request(path, list(providers))
    ra_fdsn.download(read, folder, told.append, told.warned.append)
    return told


@pytest.fixture(params=["example", "real"])
def served(request: pytest.FixtureRequest, data: Path) -> tuple[Path, Path]:
    """A folder with data, and a request for all of it."""
    if request.param == "example":
        return data, data / "download.json"
    if not (REFERENCE / "download_reference.json").is_file():
        pytest.skip("the data of the real event are not here; RA_DATA names their folder")
    return REFERENCE, REFERENCE / "download_reference.json"


def test_downloaded_files_are_those_that_were_served(
    served: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, request = served
    log: list[str] = []
    with fdsn_server.serving(folder, log=log.append) as server:
        told = download(request, tmp_path, server.url)
        assert files(tmp_path) == files(folder)
        stations = sorted(path.stem for path in (folder / "stations").iterdir())
        lines = sorted(line.partition(":")[0] for line in told if not line.startswith("http"))
        assert lines == stations

        # Again: only the waveforms that the server does not have are asked for.
        log.clear()
        told = download(request, tmp_path, server.url)
        assert [line for line in log if "POST" in line and " 200 " in line] == []
        assert all(line.endswith(" (as before)") for line in told[1:])

        # And again, with files that are half there.
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "observed").iterdir()}
        one, two, *_, three, four = sorted(before)
        os.truncate(one, one.stat().st_size - 512)
        os.truncate(two, two.stat().st_size // 2 + 100)
        os.truncate(three, 0)
        four.unlink()
        xml = tmp_path / "stations" / f"{stations[1]}.xml"
        os.truncate(xml, xml.stat().st_size // 2)
        told = download(request, tmp_path, server.url)
    assert files(tmp_path) == files(folder)
    fetched = {path for path in before if path.stat().st_mtime_ns != before[path]}
    assert fetched == {one, two, three, four}
    again = [line for line in told if line.endswith(" is not whole: it is fetched again")]
    assert [line.split()[0] for line in again] == [one.name, two.name, three.name, xml.name]
    assert capfd.readouterr() == ("", "")


def test_providers_that_fail_cost_one_message_each(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "stations"
    other.mkdir(parents=True)
    text = (data / "stations" / "XX.ACRE.xml").read_text()
    moved = re.sub(r"(<Latitude[^>]*>)[^<]*", r"\g<1>-7.0", text)
    (other / "XX.ACRE.xml").write_text(moved)
    serving = fdsn_server.serving
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        silent = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with (
            serving(other.parent) as empty,
            serving(data) as broken,
            serving(data) as wrong,
            serving(data) as good,
        ):
            broken.archive = type("Broken", (), {"stations": fail})()
            wrong.archive.waveforms = lambda query: b"<html>Welcome</html>" * 99
            urls = [silent, empty.url, broken.url, wrong.url]
            told = download(data / "download.json", tmp_path / "got", *urls, good.url)
            with pytest.raises(ra_layout.SettingsError, match="no provider has what is asked for"):
                download(data / "download.json", tmp_path / "none", *urls[:3])
        with pytest.raises(ra_layout.SettingsError, match="no provider answers"):
            download(data / "download.json", tmp_path / "none", silent)
    assert files(tmp_path / "got") == files(data)
    origins = json.loads((tmp_path / "got" / "downloaded.json").read_text())
    assert {entry["provider"] for entry in origins.values()} == {good.url}
    failed = told.warned
    assert [line.split()[0].rstrip(":") for line in failed] == urls
    assert "is left out: No FDSN services could be discovered" in failed[0]
    assert failed[1].endswith(" has no stations")
    assert "the disk is away" in failed[2]
    assert "no miniSEED record at byte 0" in failed[3]
    assert "XX.FELT: BHE BHZ" in told


def fail(*_: object) -> bytes:
    raise OSError("the disk is away")


def test_stations_can_be_left_out(data: Path, tmp_path: Path) -> None:
    request = json.loads((data / "download.json").read_text())
    with fdsn_server.serving(data) as server:
        fast = {**request, "minimum_sampling_rate": 50}
        download(fast, tmp_path / "fast", server.url)
        far = {**request, "minimum_interstation_distance_in_m": 45_000}
        told = download(far, tmp_path / "far", server.url)
    assert {path.stem for path in (tmp_path / "fast" / "stations").iterdir()} == {
        "XX.BRIO",
        "XX.DUNE",
    }
    kept = {path.stem for path in (tmp_path / "far" / "stations").iterdir()}
    left = {line.split()[0] for line in told.warned if line.endswith("nearer than 45000 m")}
    assert left
    assert kept | left == {f"XX.{station[0]}" for station in make_example_data.STATIONS}
    assert not kept & left


def test_all_faults_of_a_request_are_told(tmp_path: Path) -> None:
    request = {
        "providers": ["INGVV"],
        "starttime": "soon",
        "endtim": "2013-02-16",
        "minlatitude": 1,
        "minimum_length": 3,
        "channel_priorities": "BH?",
        "sanitize": 1,
    }
    with pytest.raises(ra_layout.SettingsError) as raised:
        download(request, tmp_path)
    told = [line.partition("download.json: ")[2] for line in str(raised.value).splitlines()]
    assert [re.split(r"[: ]", line)[0] for line in told] == [
        "providers",
        "starttime",
        "endtim",
        "minimum_length",
        "channel_priorities",
        "sanitize",
        "endtime",
        "an",
    ]
    assert "is endtime meant?" in told[2]


def test_the_commands_of_the_readme(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("cwltool")
    section = (EXAMPLE / "README.md").read_text().split("## Download from data centres")[1]
    commands = re.findall(r"```sh\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    assert len(commands) == 2
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    folder = tmp_path / "ra"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*_data", "__pycache__"))
    shutil.copytree(data, folder / "example_data")
    request = folder / "example_data" / "download.json"
    request.write_text(request.read_text().replace("8080", port))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for number, command in enumerate(commands):
        done = subprocess.run(
            ["bash", "-ec", command.replace("8080", port)],
            cwd=folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert files(folder / "misfit_data") == files(data)
        if number == 0:
            assert "XX.ACRE: BHE BHN BHZ\n" in done.stdout
            shutil.rmtree(folder / "misfit_data")
    assert (folder / "pgm_data" / "pgm.json").is_file()
