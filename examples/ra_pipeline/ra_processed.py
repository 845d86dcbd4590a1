"""Processed waveforms on disk, between the preprocessing and the assessment.

A station is three files in `misfit_data/processed/`: `NET.STA.data.mseed` and `NET.STA.synt.mseed`
with 64-bit samples, which any seismological tool reads, and `NET.STA.json` with what miniSEED
rounds or has no room for: exact start and rate of each component, and the station's place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from obspy import Stream, read
from ra_layout import SettingsError
from ra_traces import to_obspy

FOLDER = "processed"
PARTS = ("data", "synt")


def write_processed(folder: Path, item: dict[str, Any]) -> list[Path]:
    """Write one processed station below `folder`; returns the files."""
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    station = item["station"]
    sidecar: dict[str, Any] = {"station": station, "place": item["place"]}
    files = []
    for part in PARTS:
        traces = item[part]
        path = target / f"{station}.{part}.mseed"
        stream = Stream([to_obspy(trace) for trace in traces.values()])
        stream.write(str(path), format="MSEED", encoding="FLOAT64", reclen=4096)
        sidecar[part] = {
            component: {"id": trace["id"], "start": trace["start"], "rate": trace["rate"]}
            for component, trace in traces.items()
        }
        files.append(path)
    path = target / f"{station}.json"
    path.write_text(json.dumps(sidecar, indent=1) + "\n")
    return [*files, path]


def list_processed(folder: Path) -> list[str]:
    """Sorted "NET.STA" of the processed stations; SettingsError if there are none."""
    stations = sorted(path.stem for path in (folder / FOLDER).glob("*.json"))
    if not stations:
        raise SettingsError(f"{folder / FOLDER}: no processed stations; was it preprocessed?")
    return stations


def read_processed(folder: Path, station: str) -> dict[str, Any]:
    """The item that `write_processed` wrote, equal to the last bit, without its event."""
    source = folder / FOLDER
    sidecar = json.loads((source / f"{station}.json").read_text())
    item: dict[str, Any] = {"station": station, "place": sidecar["place"]}
    for part in PARTS:
        samples = {
            trace.id: trace.data for trace in read(str(source / f"{station}.{part}.mseed")).merge()
        }
        item[part] = {
            component: {**header, "samples": np.array(samples[header["id"]])}
            for component, header in sidecar[part].items()
        }
    return item


def clear_processed(folder: Path) -> None:
    """Remove what an earlier run wrote, so that no station of it is taken for one of this run."""
    for pattern in ("*.json", *(f"*.{part}.mseed" for part in PARTS)):
        for path in (folder / FOLDER).glob(pattern):
            path.unlink()
