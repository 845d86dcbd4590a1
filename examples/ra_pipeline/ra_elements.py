"""The processing elements that more than one of the scripts here use.

Each calls one function of the ra_ modules. A station that cannot be used is left out with a
message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dispel4py.base import ConsumerPE, IterativePE
from dispel4py.core import GenericPE
from ra_folders import read_station
from ra_layout import StationError
from ra_motion import differences, ground_motion
from ra_results import write_results
from ra_stations import align, filter_and_correct, horizontals, to_ray

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


class Match(GenericPE):
    """Joins observed and synthetic peaks of the same station and norm, and takes the difference.

    The two arrive in any order; the first waits for the second. Both inputs are grouped by station
    and norm, so that both halves of a pair reach the same instance.
    """

    def __init__(self) -> None:
        GenericPE.__init__(self)
        self._add_input("observed", grouping=["station", "norm"])
        self._add_input("synthetic", grouping=["station", "norm"])
        self._add_output("output")
        self.waiting: dict[tuple[str, str], tuple[str, Item]] = {}

    def process(self, inputs: dict[str, Item]) -> None:
        for port, item in inputs.items():
            key = (item["station"], item["norm"])
            if key not in self.waiting:
                self.waiting[key] = (port, item)
                continue
            other_port, other = self.waiting.pop(key)
            pair = {port: item["values"], other_port: other["values"]}
            data, synt = pair["observed"], pair["synthetic"]
            row = {name: item[name] for name in ("station", "norm", "event", "place")}
            self.write(
                "output",
                {**row, "data": data, "synt": synt, "differences": differences(data, synt)},
            )

    def _postprocess(self) -> None:
        for (station, norm), (port, _) in sorted(self.waiting.items()):
            self.log(f"{station} has only {port} motion (norm {norm}); it is left out")


class Report(ConsumerPE):
    """Collects all rows and writes the tables and the map into pgm_data/."""

    cwl = {
        "writes": {
            "pgm_data": {
                "type": "Directory",
                "doc": "pgm.json, pgm.geojson and map.png: ground motion of all stations",
            }
        }
    }

    def __init__(self) -> None:
        ConsumerPE.__init__(self)
        self.inputconnections["input"]["grouping"] = "global"
        self.single = True
        self.rows: list[Item] = []

    def _process(self, data: Item) -> None:
        self.rows.append(data)

    def _postprocess(self) -> None:
        files = write_results(Path("pgm_data"), self.rows)
        stations = len({row["station"] for row in self.rows})
        self.log(f"{stations} stations in {', '.join(str(path) for path in files)}")
