"""Compute synthetics of a point source in homogeneous ground

Writes synthetics of all stations that have StationXML into misfit_data/synth/: velocity of direct P
and S waves, with near field and attenuation, from the moment tensor of the event (ra_model says
what is not in them). What was in there before is removed. It takes a second, where a simulation by
SPECFEM3D takes hours.

    dispel4py simple point_source.py -i 1
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from dispel4py.base import ConsumerPE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph
from obspy.geodetics import gps2dist_azimuth
from ra_folders import read_event, read_places
from ra_layout import SettingsError, StationError
from ra_model import Medium, Source, seismogram
from ra_source import MomentTensor, read_moment_tensor
from ra_synthetics import clear_synthetics, write_synthetic

cwl = {
    "label": "Compute synthetics of a point source in homogeneous ground",
    "software": {"obspy": ["1.5.1"], "numpy": ["2.4"]},
}

MISFIT_DATA = Path("misfit_data")
SYNTH = MISFIT_DATA / "synth"
#: Seconds after the origin at which the seismograms begin, their time step, and their samples.
BEGIN, DELTA, NPTS = -2.0, 0.01, 7000


class ListStations(ProducerPE):
    """Lists the stations of misfit_data/ that have a place, one item each, with the event."""

    cwl = {"reads": {"misfit_data": "Directory"}, "writes": {"misfit_data": "Directory"}}

    def _process(self, inputs: Any) -> None:
        event = read_event(MISFIT_DATA)
        if event["depth"] is None:
            raise SettingsError(f"{MISFIT_DATA}: synthetics need the depth of the event")
        tensor = read_moment_tensor(MISFIT_DATA)
        clear_synthetics(SYNTH)
        for station, place in read_places(MISFIT_DATA, event):
            if isinstance(place, StationError):
                sys.stderr.write(f"{self.id}: {station} is left out: {place}\n")
            else:
                item = {"station": station, "place": place, "event": event, "tensor": tuple(tensor)}
                self.write("output", item)


class Synthesise(ConsumerPE):
    """Computes and writes the three components of a station."""

    cwl = {
        "reads": {"misfit_data": "Directory"},
        "writes": {
            "misfit_data": {
                "type": "Directory",
                "doc": "the folder of the assessment, with new synthetics",
            }
        },
    }

    def _process(self, data: dict[str, Any]) -> None:
        event, place = data["event"], data["place"]
        distance, azimuth, _ = gps2dist_azimuth(
            event["latitude"], event["longitude"], place["latitude"], place["longitude"]
        )
        source = Source(1000.0 * event["depth"], MomentTensor(*data["tensor"]))
        times = BEGIN + DELTA * np.arange(NPTS)
        for component, motion in seismogram(source, Medium(), distance, azimuth, times).items():
            write_synthetic(SYNTH, f"{data['station']}.HX{component}", BEGIN, DELTA, motion)


stations = ListStations()
stations.name = "stations"
synthesise = Synthesise()
synthesise.name = "synthesise"

graph = WorkflowGraph()
graph.connect(stations, "output", synthesise, "input")
