"""Prepare the records of seismic stations

Each record is resampled to a common rate, converted to ground motion, and filtered to the band of
interest; with --whiten, all frequencies of the band get the same amplitude. The results can be
correlated with those of other stations.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from dispel4py.base import GenericPE
from dispel4py.workflow_graph import WorkflowGraph

from d4pcwl import Directory
from d4pcwl.library import ListFiles
from d4pcwl.seismology import (
    Bandpass,
    Detrend,
    Normalise,
    ReadStream,
    RemoveResponse,
    Resample,
    Taper,
    Whiten,
    WriteStream,
)


def build(
    records: Directory,
    stations: Directory,
    rate: float = 10.0,
    lowest: float = 0.1,
    highest: float = 2.0,
    output: Literal["DISP", "VEL", "ACC"] = "VEL",
    normalise: bool = False,
    whiten: bool = True,
) -> WorkflowGraph:
    """Prepare the records of seismic stations

    :param records: a folder of waveforms, in any format that ObsPy reads
    :param stations: a folder with the StationXML of each station, NETWORK.STATION.xml
    :param rate: the rate to which all records are resampled, in Hz
    :param lowest: the lowest frequency that is kept, in Hz
    :param highest: the highest frequency that is kept, in Hz
    :param output: displacement in m, velocity in m/s, or acceleration in m/s2
    :param normalise: divide by the running mean, so that earthquakes count no more than noise
    :param whiten: give all frequencies of the band the same amplitude
    """
    corners = (lowest / 2, lowest, highest, min(2 * highest, rate / 2))
    steps: dict[str, GenericPE] = {
        "list": ListFiles(records),
        "read": ReadStream(folder=records),
        "decimate": Resample(rate),
        "detrend": Detrend("linear"),
        "demean": Detrend("demean"),
        "taper": Taper(0.05),
        "response": RemoveResponse(stations, output, corners),
        "filter": Bandpass(lowest, highest),
    }
    if normalise:
        steps["normalise"] = Normalise("time", lowest)
    if whiten:
        steps["whiten"] = Whiten(lowest, highest)
    steps["write"] = WriteStream("prepared")
    graph = WorkflowGraph()
    for name, pe in steps.items():
        pe.name = name
    for source, target in pairwise(steps.values()):
        graph.connect(source, "output", target, "input")
    return graph
