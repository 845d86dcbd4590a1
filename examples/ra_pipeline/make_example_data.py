"""Write a made-up earthquake to try the pipeline with.

    python make_example_data.py [FOLDER]

FOLDER (default: example_data) gets the layout of a source directory: the event, the processing
chains, raw counts of six stations of the fictitious network XX, their instrument responses, and
synthetics; and download.json, a request for these counts and responses. XX.FELT lacks its north
component on purpose: the pipeline must leave out an incomplete station with a message, and go on.
Equal versions of ObsPy and NumPy write equal waveforms.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from obspy import Inventory, Trace, UTCDateTime
from obspy.core.event import (
    Catalog,
    Event,
    FocalMechanism,
    Magnitude,
    NodalPlane,
    NodalPlanes,
    Origin,
    ResourceIdentifier,
)
from obspy.core.inventory import Channel, Network, Response, Site, Station
from obspy.geodetics import gps2dist_azimuth
from ra_layout import CONTENT, EVENT_FILE, REQUEST_FILE, SETTINGS_FILE
from ra_model import Medium, Source, seismogram
from ra_source import double_couple
from ra_synthetics import write_synthetic

NETWORK = "XX"
ORIGIN = UTCDateTime("2024-03-01T12:00:00.5")
EPICENTRE = (42.0, 13.5)
MAGNITUDE = 4.8
PLANE = {"strike": 140.0, "dip": 50.0, "rake": -90.0}
SOURCE = Source(10_000.0, double_couple(MAGNITUDE, **PLANE))
#: code, latitude, longitude, band, sampling rate (Hz), amplification of the ground
STATIONS = (
    ("ACRE", 42.21, 13.42, "BH", 20.0, 1.3),
    ("BRIO", 41.93, 13.88, "HH", 100.0, 0.8),
    ("CAVO", 41.70, 13.31, "BH", 20.0, 1.6),
    ("DUNE", 42.38, 13.95, "EH", 100.0, 1.0),
    ("ELMO", 42.07, 12.92, "BH", 40.0, 0.7),
    ("FELT", 41.55, 13.92, "BH", 20.0, 1.1),
)
MISSING = "XX.FELT..BHN"
#: Observed traces begin before the origin, so that filters have settled when the waves come.
BEFORE, AFTER = 60.0, 120.0
SYNTH_RATE, SYNTH_BEGIN, SYNTH_NPTS = 100.0, -2.0, 7000
#: m/s, the standard deviation of the ground's noise at any time.
NOISE = 2.0e-8
#: A feedback seismometer of 120 s period, 0.7 of critical damping, and its digitizer.
PERIOD, DAMPING, VOLTS_PER_VELOCITY, COUNTS_PER_VOLT = 120.0, 0.7, 1500.0, 400_000.0


def settings() -> dict[str, Any]:
    """processing.json: the same band for data and synthetics, response removal for data only."""
    corners = [0.005, 0.01, 8.0, 10.0]
    before = [
        {"type": "detrend", "parameters": {"method": "linear"}},
        {"type": "taper", "parameters": {"taper_type": "hann", "max_percentage": 0.05}},
    ]
    band = {"min_frequency": 0.1, "max_frequency": 2.0, "zerophase": False, "corners": 3}
    after = [{"type": "filter_bandpass", "parameters": band}]
    response = {
        "type": "remove_response",
        "parameters": {"pre_filt": corners, "response_output": "VEL"},
    }
    limit = {"type": "pre_filter", "parameters": {"pre_filt": corners}}
    return {
        "output_units": "velocity",
        "rotate_to_ZRT": True,
        "data_processing": [*before, response, *after],
        "synthetics_processing": [*before, limit, *after],
    }


def request() -> dict[str, Any]:
    """download.json: the stations again, from a server on this machine."""
    return {
        "providers": ["http://127.0.0.1:8080"],
        "starttime": str(ORIGIN - BEFORE),
        "endtime": str(ORIGIN + AFTER - 0.1),
        "minlatitude": 41.0,
        "maxlatitude": 43.0,
        "minlongitude": 12.0,
        "maxlongitude": 15.0,
        "channel_priorities": ["BH[ENZ]", "HH[ENZ]", "EH[ENZ]"],
        "minimum_length": 0.99,
    }


def event() -> Catalog:
    """The earthquake; its identifiers are fixed so that the file is the same each time."""

    def name(part: str) -> ResourceIdentifier:
        return ResourceIdentifier(f"smi:local/example/{part}")

    origin = Origin(
        resource_id=name("origin"),
        time=ORIGIN,
        latitude=EPICENTRE[0],
        longitude=EPICENTRE[1],
        depth=SOURCE.depth,
    )
    magnitude = Magnitude(resource_id=name("magnitude"), mag=MAGNITUDE, magnitude_type="Mw")
    plane = NodalPlane(**PLANE)
    mechanism = FocalMechanism(
        resource_id=name("mechanism"), nodal_planes=NodalPlanes(nodal_plane_1=plane)
    )
    quake = Event(
        resource_id=name("event"),
        origins=[origin],
        magnitudes=[magnitude],
        focal_mechanisms=[mechanism],
    )
    quake.preferred_origin_id = origin.resource_id
    quake.preferred_magnitude_id = magnitude.resource_id
    quake.preferred_focal_mechanism_id = mechanism.resource_id
    return Catalog([quake], resource_id=name("catalog"))


def response() -> Response:
    """Ground velocity to counts: two zeros and two poles, flat above the seismometer's period."""
    omega = 2.0 * math.pi / PERIOD
    pole = complex(-DAMPING * omega, omega * math.sqrt(1.0 - DAMPING**2))
    return Response.from_paz(
        zeros=[0j, 0j],
        poles=[pole, pole.conjugate()],
        stage_gain=VOLTS_PER_VELOCITY * COUNTS_PER_VOLT,
        stage_gain_frequency=1.0,
        normalization_frequency=1.0,
        input_units="M/S",
        output_units="COUNTS",
    )


def inventory(code: str, latitude: float, longitude: float, band: str, rate: float) -> Inventory:
    """StationXML content of one station with three channels."""
    since = UTCDateTime("2020-01-01")
    where = {"latitude": latitude, "longitude": longitude, "elevation": 0.0}
    angles = {"E": (90.0, 0.0), "N": (0.0, 0.0), "Z": (0.0, -90.0)}
    channels = [
        Channel(
            f"{band}{component}",
            "",
            depth=0.0,
            azimuth=azimuth,
            dip=dip,
            sample_rate=rate,
            start_date=since,
            response=response(),
            **where,
        )
        for component, (azimuth, dip) in angles.items()
    ]
    station = Station(
        code,
        creation_date=since,
        start_date=since,
        site=Site(name=f"Invented station {code}"),
        channels=channels,
        **where,
    )
    network = Network(NETWORK, stations=[station], description="Invented network")
    return Inventory([network], source="make_example_data.py", created=since)


def counts(velocity: np.ndarray[Any, Any], rate: float) -> np.ndarray[Any, Any]:
    """What the seismometer and its digitizer make of ground velocity in m/s: whole counts."""
    nfft = 2 * velocity.size
    spectrum = np.fft.rfft(velocity, n=nfft)
    spectrum *= response().get_evalresp_response(1.0 / rate, nfft, output="VEL")[0]
    return np.round(np.fft.irfft(spectrum, n=nfft)[: velocity.size]).astype(np.int32)


def write_station(folder: Path, station: tuple[Any, ...], random: np.random.Generator) -> None:
    """Write observed waveforms, StationXML and synthetics of one station."""
    code, latitude, longitude, band, rate, amplification = station
    inventory(code, latitude, longitude, band, rate).write(
        str(folder / "stations" / f"{NETWORK}.{code}.xml"), format="STATIONXML"
    )
    distance, azimuth, _ = gps2dist_azimuth(*EPICENTRE, latitude, longitude)

    # The earth is a little slower and more attenuating than the simulation believes.
    earth = Medium(p_speed=5850.0, s_speed=3380.0, p_quality=240.0, s_quality=110.0)
    # Each component starts at its own moment, as records of a real station do.
    for component in ("E", "N", "Z"):
        begin = -BEFORE - float(random.integers(0, 1000)) / 1000.0
        times = begin + np.arange(int((AFTER - begin) * rate)) / rate
        motion = seismogram(SOURCE, earth, distance, azimuth, times, amplification)[component]
        motion = motion + random.normal(0.0, NOISE, times.size)
        channel = f"{NETWORK}.{code}..{band}{component}"
        if channel != MISSING:
            header = {
                "network": NETWORK,
                "station": code,
                "channel": f"{band}{component}",
                "sampling_rate": rate,
                "starttime": ORIGIN + begin,
            }
            Trace(counts(motion, rate), header=header).write(
                str(folder / "observed" / f"{channel}.mseed"),
                format="MSEED",
                encoding="STEIM2",
                reclen=512,
            )

    times = SYNTH_BEGIN + np.arange(SYNTH_NPTS) / SYNTH_RATE
    for component, motion in seismogram(SOURCE, Medium(), distance, azimuth, times).items():
        write_synthetic(
            folder / "synth",
            f"{NETWORK}.{code}.HX{component}",
            SYNTH_BEGIN,
            1.0 / SYNTH_RATE,
            motion,
        )


def write_example(folder: Path) -> None:
    """Write the whole source directory; what an earlier call wrote is overwritten."""
    for part in CONTENT:
        (folder / part).mkdir(parents=True, exist_ok=True)
    event().write(str(folder / EVENT_FILE), format="QUAKEML")
    for name, content in ((SETTINGS_FILE, settings()), (REQUEST_FILE, request())):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    random = np.random.default_rng(20240301)
    for station in STATIONS:
        write_station(folder, station, random)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Write a made-up earthquake to try the pipeline.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("example_data"))
    folder = parser.parse_args().folder
    write_example(folder)
    print(f"{folder}: {len(STATIONS)} stations of the fictitious network {NETWORK}")


if __name__ == "__main__":
    main()
