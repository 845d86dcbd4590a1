"""The processing elements that more than one of the scripts here use.

Each calls one function of the ra_ modules. A station that cannot be used is left out with a
message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dispel4py.base import IterativePE
from dispel4py.core import GenericPE
from ra_folders import read_station
from ra_layout import StationError
from ra_motion import differences, ground_motion
from ra_results import write_results
from ra_stations import align, filter_and_correct, horizontals, to_ray
from ra_waveforms import draw_waveforms

from d4pcwl.library import Match

Item = dict[str, Any]


class StationPE(IterativePE):
    """Applies `work` to the item of one station, or says why the station is left out."""

    work: Callable[[Item], Item]

    def _process(self, data: Item) -> Item | None:
        try:
            return self.work(data)
        except StationError as error:
            station = data["station"]
            message = str(error).removeprefix(f"{station}: ")
            # Not self.log: standard error is what CWL engines show, whatever they keep.
            sys.stderr.write(f"{self.id}: {station} is left out: {message}\n")
            return None


class ReadStation(StationPE):
    """Reads a station's raw waveforms, StationXML and place from the folder that the item names."""

    def work(self, item: Item) -> Item:
        rest = {key: value for key, value in item.items() if key != "folder"}
        return {**rest, **read_station(Path(item["folder"]), item["station"], item["event"])}


class Align(StationPE):
    """Brings all components of a station to one sampling rate and one time window."""

    work = staticmethod(align)


class FilterAndCorrect(StationPE):
    """Runs the processing chains: response removal, tapers and filters."""

    work = staticmethod(filter_and_correct)


class Rotate(StationPE):
    """Turns north and east into radial and transverse components."""

    work = staticmethod(to_ray)


class Split(GenericPE):
    """Parts a processed station into its observed and its synthetic waveforms."""

    def __init__(self) -> None:
        GenericPE.__init__(self)
        self._add_input("input")
        self._add_output("observed")
        self._add_output("synthetic")

    def process(self, inputs: dict[str, Item]) -> None:
        item = inputs["input"]
        shared = {key: item[key] for key in ("station", "event", "place")}
        self.write("observed", {**shared, "components": item["data"]})
        self.write("synthetic", {**shared, "components": item["synt"]})


class GroundMotion(IterativePE):
    """Computes the peaks of a station's horizontal motion: one item per norm."""

    def _process(self, data: Item) -> None:
        first, second = horizontals(data["components"])
        shared = {key: data[key] for key in ("station", "event", "place")}
        peaks = ground_motion(first["samples"], second["samples"], 1.0 / first["rate"])
        for norm, values in peaks.items():
            self.write("output", {**shared, "norm": norm, "values": values})


class Compare(IterativePE):
    """Takes the difference of a pair of peaks, or says that one of them is missing.

    A pair is what `Match` gives: {"observed": item, "synthetic": item}.
    """

    def _process(self, pair: dict[str, Item]) -> Item | None:
        item = next(iter(pair.values()))
        if len(pair) < 2:
            (port,) = pair
            self.log(
                f"{item['station']} has only {port} motion (norm {item['norm']}); it is left out"
            )
            return None
        data, synt = pair["observed"]["values"], pair["synthetic"]["values"]
        row = {name: item[name] for name in ("station", "norm", "event", "place")}
        return {**row, "data": data, "synt": synt, "differences": differences(data, synt)}


def match_by_station() -> Match:
    """Joins observed and synthetic peaks of the same station and norm."""
    return Match(by=["station", "norm"], inputs=["observed", "synthetic"], alone="emit")


class DrawWaveforms(IterativePE):
    """Draws the waveforms of a processed station, for the report."""

    def _process(self, data: Item) -> Item:
        return {"station": data["station"], "figure": draw_waveforms(data)}


class Report(GenericPE):
    """Collects all rows and drawn waveforms, and writes tables, maps and report into pgm_data/."""

    cwl = {
        "writes": {
            "pgm_data": {
                "type": "Directory",
                "doc": "ground motion of all stations: pgm.json, pgm.geojson, maps, report.html",
            }
        }
    }

    def __init__(self) -> None:
        GenericPE.__init__(self)
        self._add_input("input", grouping="global")
        self._add_input("waveforms", grouping="global")
        self.single = True
        self.rows: list[Item] = []
        self.waveforms: dict[str, str] = {}

    def process(self, inputs: dict[str, Item]) -> None:
        if "input" in inputs:
            self.rows.append(inputs["input"])
        if "waveforms" in inputs:
            drawn = inputs["waveforms"]
            self.waveforms[drawn["station"]] = drawn["figure"]

    def _postprocess(self) -> None:
        folder = Path("pgm_data")
        files = write_results(folder, self.rows, self.waveforms)
        stations = len({row["station"] for row in self.rows})
        self.log(f"{stations} stations in {folder}: {', '.join(path.name for path in files)}")
