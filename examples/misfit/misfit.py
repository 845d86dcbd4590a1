"""Compare observed with synthetic seismograms

Both are brought to the same band, rate and time, and are compared in windows around P and S: time
shift, amplitude, correlation and misfit. The results are windows.csv, summary.json, and the
compared waveforms in waveforms/.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from dispel4py.base import GenericPE
from dispel4py.workflow_graph import WorkflowGraph
from windows import (
    aligned,
    entries,
    left_over,
    measured,
    stream_of,
    synthetic_stream,
    waveforms,
    windows,
)

from d4pcwl import Directory
from d4pcwl.library import Aggregate, FlatMap, ListFiles, Map, Match, Sort, WriteCSV, WriteJSON
from d4pcwl.seismology import (
    Bandpass,
    Detrend,
    ReadStream,
    RemoveResponse,
    Taper,
    WriteStream,
)


def build(
    event: Path,
    stations: Directory,
    observed: Directory,
    synthetic: Directory,
    lowest: float = 0.1,
    highest: float = 1.0,
    rate: float = 20.0,
    before: float = 2.0,
    after: float = 15.0,
    snr: float = 3.0,
    correlation: float = 0.7,
    shift: float = 3.0,
    dlna: float = 1.3,
) -> WorkflowGraph:
    """Compare observed with synthetic seismograms

    :param event: QuakeML
    :param stations: a folder with the StationXML of each station, NETWORK.STATION.xml
    :param observed: a folder of raw waveforms, in any format that ObsPy reads
    :param synthetic: a folder of NETWORK.STATION.CHANNEL.semv.sac: velocity in m/s, times relative
        to the origin
    :param lowest: the lowest frequency that is kept, in Hz
    :param highest: the highest frequency that is kept, in Hz
    :param rate: the rate at which waveforms are compared, in Hz
    :param before: how long before the arrival a window begins, in s
    :param after: how long after the arrival a window ends, in s
    :param snr: the smallest signal-to-noise ratio of an accepted window
    :param correlation: the smallest correlation, at the best shift
    :param shift: the largest time shift, in s
    :param dlna: the largest amplitude anomaly
    """
    if rate < 4 * highest:
        raise ValueError(f"rate is {rate:g} Hz; up to {highest:g} Hz it must be {4 * highest:g}")
    corners = (lowest / 2, lowest, 2 * highest, 4 * highest)
    graph = WorkflowGraph()

    def connect(*chain: GenericPE) -> GenericPE:
        for source, target in pairwise(chain):
            graph.connect(source, "output", target, "input")
        return chain[-1]

    raw = connect(
        ListFiles(observed),
        ReadStream(folder=observed),
        Detrend("linear"),
        Taper(0.05),
        RemoveResponse(stations, "VEL", corners),
        Bandpass(lowest, highest),
        FlatMap(waveforms),
    )
    computed = connect(
        ListFiles(synthetic, "*.sac"),
        Map(synthetic_stream, folder=synthetic, event=event),
        Detrend("linear"),
        Taper(0.05),
        Bandpass(lowest, highest),
        FlatMap(waveforms),
    )
    match = Match(by="component", inputs=["observed", "synthetic"], alone="port")
    graph.connect(raw, "output", match, "observed")
    graph.connect(computed, "output", match, "synthetic")
    graph.connect(match, "alone", Map(left_over), "input")

    pairs = connect(match, Map(aligned, rate=rate))
    connect(pairs, Map(stream_of), WriteStream("waveforms"))
    rows = connect(
        pairs,
        FlatMap(windows, event=event, stations=stations, before=before, after=after),
        Map(measured, snr=snr, correlation=correlation, shift=shift, dlna=dlna),
    )
    connect(rows, Sort(by=["component", "phase"]), WriteCSV("windows.csv"))
    summary = Aggregate(["count", "mean", "std"], value="value", by=["phase", "measure"])
    connect(rows, FlatMap(entries), summary, WriteJSON("summary.json"))
    return graph
