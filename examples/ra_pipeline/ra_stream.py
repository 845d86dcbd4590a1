"""Rapid assessment of an earthquake as one stream

The three composites read, preprocess and rapid_assessment do what the steps download, preprocess
and rapid_assessment do with folders, but hand each station on as soon as it is ready: while one
station is filtered the next is read. What flows between them is plain data and arrays, so a cut
between two composites can put them into separate processes or separate steps. The figures are the
same to the last bit.

    dispel4py simple ra_stream.py -d '{"source": [{"input": "example_data"}]}'
"""

from __future__ import annotations

from pathlib import Path

from dispel4py.base import CompositePE, IterativePE
from dispel4py.workflow_graph import WorkflowGraph
from ra_elements import (
    Align,
    Compare,
    DrawWaveforms,
    FilterAndCorrect,
    GroundMotion,
    ReadStation,
    Report,
    Rotate,
    Split,
    match_by_station,
)
from ra_folders import station_items

cwl = {
    "label": "Rapid assessment of an earthquake as one stream",
    "software": {
        "obspy": ["1.5.1"],
        "scipy": ["1.17"],
        "numpy": ["2.4"],
        "matplotlib": ["3.10"],
        "basemap-data": ["2.0"],
    },
}


class ListSource(IterativePE):
    """Lists the stations of a source directory, one item each, after checking the settings."""

    cwl = {"inputs": {"input": "Directory"}}

    def _process(self, data: str) -> None:
        for item in station_items(Path(data)):
            self.write("output", item)


class Read(CompositePE):
    """From a source directory to raw waveforms, station by station."""

    def __init__(self) -> None:
        CompositePE.__init__(self)
        source = ListSource()
        source.name = "source"
        stations = ReadStation()
        stations.name = "stations"
        self.connect(source, "output", stations, "input")
        self._map_input("input", source, "input")
        self._map_output("output", stations, "output")


class Preprocess(CompositePE):
    """From raw waveforms to filtered radial and transverse ones."""

    def __init__(self) -> None:
        CompositePE.__init__(self)
        align = Align()
        align.name = "align"
        filters = FilterAndCorrect()
        filters.name = "filters"
        rotate = Rotate()
        rotate.name = "rotate"
        self.connect(align, "output", filters, "input")
        self.connect(filters, "output", rotate, "input")
        self._map_input("input", align, "input")
        self._map_output("output", rotate, "output")


class RapidAssessment(CompositePE):
    """From processed waveforms to ground motion, tables, maps and the report."""

    def __init__(self) -> None:
        CompositePE.__init__(self)
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
        self.connect(split, "observed", observed, "input")
        self.connect(split, "synthetic", synthetic, "input")
        self.connect(observed, "output", match, "observed")
        self.connect(synthetic, "output", match, "synthetic")
        self.connect(match, "output", compare, "input")
        self.connect(compare, "output", report, "input")
        self.connect(waveforms, "output", report, "waveforms")
        self._map_input("input", split, "input")
        self._map_input("waveforms", waveforms, "input")


read = Read()
read.name = "read"
preprocess = Preprocess()
preprocess.name = "preprocess"
rapid_assessment = RapidAssessment()
rapid_assessment.name = "rapid_assessment"

graph = WorkflowGraph()
graph.connect(read, "output", preprocess, "input")
graph.connect(preprocess, "output", rapid_assessment, "input")
graph.connect(preprocess, "output", rapid_assessment, "waveforms")
