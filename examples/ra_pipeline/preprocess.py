"""Preprocess observed and synthetic waveforms

Reads the folder misfit_data/. For each station, it brings observed and synthetic waveforms to the
same sampling rate and time window, runs the processing chains of processing.json (response
removal, tapers, filters), and rotates the horizontal components to radial and transverse. The
result goes to misfit_data/processed/. If a station lacks a component, its StationXML or its
synthetics, it is left out with a message, and the run goes on.

    dispel4py simple preprocess.py -i 1
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dispel4py.base import ConsumerPE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph
from ra_elements import Align, FilterAndCorrect, ReadStation, Rotate
from ra_folders import station_items
from ra_processed import clear_processed, write_processed

cwl = {
    "label": "Preprocess observed and synthetic waveforms",
    "software": {"obspy": ["1.5.1"], "scipy": ["1.17"], "numpy": ["2.4"]},
}

MISFIT_DATA = Path("misfit_data")


class ListStations(ProducerPE):
    """Lists the stations of misfit_data/, one item each, after checking event and settings."""

    # It removes the processed stations of an earlier run, so the folder is written too.
    cwl = {"reads": {"misfit_data": "Directory"}, "writes": {"misfit_data": "Directory"}}

    def _process(self, inputs: Any) -> None:
        clear_processed(MISFIT_DATA)
        for item in station_items(MISFIT_DATA):
            self.write("output", item)


class ReadWaveforms(ReadStation):
    """Reads a station's raw waveforms, StationXML and place from misfit_data/."""

    cwl = {"reads": {"misfit_data": "Directory"}}


class WriteStation(ConsumerPE):
    """Writes a station's processed waveforms, with every bit of their samples."""

    cwl = {
        "reads": {"misfit_data": "Directory"},
        "writes": {
            "misfit_data": {
                "type": "Directory",
                "doc": "the folder of the assessment, with processed/ in it",
            }
        },
    }

    def _process(self, data: dict[str, Any]) -> None:
        write_processed(MISFIT_DATA, data)
        self.log(f"{data['station']} done")


stations = ListStations()
stations.name = "stations"
read = ReadWaveforms()
read.name = "read"
align = Align()
align.name = "align"
filters = FilterAndCorrect()
filters.name = "filters"
rotate = Rotate()
rotate.name = "rotate"
write = WriteStation()
write.name = "write"

graph = WorkflowGraph()
graph.connect(stations, "output", read, "input")
graph.connect(read, "output", align, "input")
graph.connect(align, "output", filters, "input")
graph.connect(filters, "output", rotate, "input")
graph.connect(rotate, "output", write, "input")
