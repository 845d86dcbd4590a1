"""Waveforms and StationXML from FDSN web services, by ObsPy's mass downloader.

ObsPy finds the stations, chooses channels and fetches. Here is what is around it: messages, and
which of the files that are there already are whole.

A file of waveforms is whole if it covers the time window without a gap. A provider may have less
than that. So `downloaded.json` beside the folders tells where each file is from, and has its
checksum: a file that is as it came, for the same window, is whole, too.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from pathlib import Path
from textwrap import shorten
from typing import Any

from lxml import etree
from obspy import Inventory
from obspy.clients.fdsn import Client
from obspy.clients.fdsn.header import FDSNException, FDSNNoDataException
from obspy.clients.fdsn.mass_downloader import MassDownloader
from obspy.clients.fdsn.mass_downloader.download_helpers import STATUS
from ra_layout import DOWNLOADED_FILE, SettingsError
from ra_records import covers, records
from ra_request import Request

StationId = tuple[str, str]
"""The codes of network and station."""
Tell = Callable[[str], None]


def download(request: Request, folder: Path, tell: Tell, warn: Tell) -> None:
    """Fetch what is requested into observed/ and stations/ of a folder.

    `tell` gets a line for each station, and `warn` what providers lack. Raises SettingsError if
    there is nothing at all.
    """
    with _quiet(warn):
        _Download(request, folder, tell, warn).run()


class _Download:
    """One download: what was asked for, and what was told of it."""

    def __init__(self, request: Request, folder: Path, tell: Tell, warn: Tell) -> None:
        self.request, self.folder, self.tell, self._warn = request, folder, tell, warn
        self.origins = _read_origins(folder)
        self.asked: dict[StationId, set[Path]] = defaultdict(set)
        self.told: set[StationId] = set()
        self.warned: set[str] = set()

    def run(self) -> None:
        if unused := " and ".join(self.request.unused):
            self.warn(f"no use is made of {unused}: files go where the next steps look for them")
        self.folder.mkdir(parents=True, exist_ok=True)
        # In threads that do not outlive the run: ObsPy waits for each answer in one of its own.
        with ThreadPool(len(self.request.providers)) as pool:
            clients = [
                client for client in pool.map(self._client, self.request.providers) if client
            ]
        if not clients:
            raise SettingsError("nothing is downloaded: no provider answers")
        helpers = MassDownloader(clients, configure_logging=False).download(
            self.request.domain,
            self.request.restrictions,
            mseed_storage=self._waveforms_path,
            stationxml_storage=self._stationxml_path,
            print_report=False,
            **self.request.options,
        )
        kept = {key for helper in helpers.values() for key in helper.stations}
        new = self._note_origins(helpers)
        for network, station in sorted(kept - self.told):
            self.tell_of(network, station, "" if (network, station) in new else " (as before)")
        for network, station in sorted(self.asked.keys() - kept):
            self.warn(f"{network}.{station} is left out: {self._why(network, station)}")
        if not kept:
            raise SettingsError("nothing is downloaded: no provider has what is asked for")

    def warn(self, message: str) -> None:
        """Warn of something once."""
        if message not in self.warned:
            self.warned.add(message)
            self._warn(message)

    def tell_of(self, network: str, station: str, more: str = "") -> None:
        """Tell which channels of a station are there."""
        paths = sorted(path for path in self.asked[network, station] if path.exists())
        channels = [path.stem.split(".", 2)[2].lstrip(".") for path in paths]
        self.tell(f"{network}.{station}: {' '.join(channels)}{more}")
        self.told.add((network, station))

    def _client(self, provider: str) -> Client | None:
        """A client of a provider, or None if it cannot be used."""
        try:
            client = _TellingClient(provider, self)
        except Exception as error:  # noqa: BLE001 - whatever a provider answers, the others go on
            self.warn(f"{provider} is left out: {_brief(error)}")
            return None
        if missing := {"station", "dataselect"} - client.services.keys():
            self.warn(f"{provider} is left out: it has no service {' and '.join(sorted(missing))}")
            return None
        return client

    def _waveforms_path(
        self, network: str, station: str, location: str, channel: str, *_: Any
    ) -> str:
        """Where the waveforms of a channel go; what is there, and not whole, is removed."""
        name = f"{network}.{station}.{location}.{channel}.mseed"
        path = self.folder / "observed" / name
        self.asked[network, station].add(path)
        if path.exists() and not self._whole(path):
            self.tell(f"{path.name} is not whole: it is fetched again")
            path.unlink()
        return str(path)

    def _stationxml_path(self, network: str, station: str, *_: Any) -> str:
        """Where the StationXML of a station goes; what is there, and not whole, is removed."""
        path = self.folder / "stations" / f"{network}.{station}.xml"
        if path.exists():
            try:
                etree.parse(str(path))
            except etree.XMLSyntaxError:
                self.tell(f"{path.name} is not whole: it is fetched again")
                path.unlink()
        return str(path)

    def _whole(self, path: Path) -> bool:
        """Whether a file covers the time window, or is what a provider has of it."""
        if self._origin(path).items() <= self.origins.get(path.name, {}).items():
            return True
        window = self.request.restrictions
        try:
            return covers(list(records(path)), window.starttime.ns, window.endtime.ns)
        except ValueError:
            return False

    def _origin(self, path: Path) -> dict[str, str]:
        """What `downloaded.json` has for a file, but for its provider."""
        return {
            "starttime": str(self.request.restrictions.starttime),
            "endtime": str(self.request.restrictions.endtime),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }

    def _why(self, network: str, station: str) -> str:
        """Why nothing of a station is kept."""
        if (network, station) in self.told:
            least = self.request.restrictions.minimum_interstation_distance_in_m
            return f"another station is nearer than {least:g} m"
        return "its waveforms are missing, too short or have gaps, or it has no StationXML"

    def _note_origins(self, helpers: dict[str, Any]) -> set[StationId]:
        """Write `downloaded.json`; the stations of which waveforms are new."""
        new = set()
        for provider, helper in helpers.items():
            for key, station in helper.stations.items():
                for interval in (i for channel in station.channels for i in channel.intervals):
                    if interval.status == STATUS.DOWNLOADED:
                        path = Path(interval.filename)
                        self.origins[path.name] = {"provider": provider, **self._origin(path)}
                        new.add(key)
        path = self.folder / DOWNLOADED_FILE
        path.write_text(json.dumps(self.origins, indent=1, sort_keys=True) + "\n")
        return new


class _TellingClient(Client):
    """ObsPy's client, which tells what it gets, and warns of what it does not get."""

    def __init__(self, provider: str, run: _Download) -> None:
        self.run = run
        # Events are not asked for.
        super().__init__(provider, timeout=run.request.timeout, service_mappings={"event": None})

    def get_stations(self, *args: Any, **query: Any) -> Inventory:
        with self._warning("stations"):
            inventory = super().get_stations(*args, **query)
        low, high = self.run.request.rates
        stations = [station for network in inventory for station in network]
        for station in stations:
            station.channels = [
                channel
                for channel in station.channels
                if low <= round(channel.sample_rate or 0, 6) <= high
            ]
        found = sum(bool(station.channels) for station in stations)
        self.run.tell(f"{self.base_url}: stations found: {found}")
        return inventory

    def get_waveforms_bulk(self, bulk: Any, *args: Any, filename: str, **query: Any) -> None:
        channels = ", ".join(".".join(line[:4]) for line in bulk)
        with self._warning(f"waveforms of {shorten(channels, 100)}"):
            super().get_waveforms_bulk(bulk, *args, filename=filename, **query)
            # ObsPy ends the whole download if it is something else.
            next(records(Path(filename)), None)
        megabytes = Path(filename).stat().st_size / 1e6
        self.run.tell(f"{self.base_url}: {len(bulk)} channels, {megabytes:.1f} MB")

    def get_stations_bulk(self, bulk: Any, *args: Any, **query: Any) -> Any:
        network, station, *_ = bulk[0]
        with self._warning(f"StationXML of {network}.{station}"):
            got = super().get_stations_bulk(bulk, *args, **query)
        self.run.tell_of(network, station)
        return got

    @contextmanager
    def _warning(self, what: str) -> Iterator[None]:
        """Warn of an error; ObsPy goes on with other requests and providers."""
        try:
            yield
        except FDSNNoDataException:
            self.run.warn(f"{self.base_url} has no {what}")
            raise
        except Exception as error:
            self.run.warn(f"{self.base_url}: {what}: {_brief(error)}")
            raise FDSNException(str(error)) from error


class _Warnings(logging.Handler):
    """Passes ObsPy's warnings on; its errors are those of the client, which has told them."""

    def __init__(self, warn: Tell) -> None:
        super().__init__(logging.WARNING)
        self.warn = warn

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            self.warn(record.getMessage())


@contextmanager
def _quiet(warn: Tell) -> Iterator[None]:
    """Of what ObsPy says while it downloads, only warnings are seen."""
    logger = logging.getLogger("obspy.clients.fdsn.mass_downloader")
    handler, before = _Warnings(warn), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _read_origins(folder: Path) -> dict[str, dict[str, Any]]:
    """What an earlier download has written; nothing where it cannot be read."""
    try:
        found = json.loads((folder / DOWNLOADED_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return {name: entry for name, entry in found.items() if isinstance(entry, dict)}


def _brief(error: Exception) -> str:
    return shorten(str(error) or type(error).__name__, 300)
