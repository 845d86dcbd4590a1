"""Cross-correlate the traces of a local earthquake

Four stations at Unterhaching recorded the earthquake of 27 May 2010 at 16:24 UTC; their records
come with ObsPy. Traces are brought into the same band and rate, each pair is cross-correlated, and
the lag and height of the largest correlation are given.
"""

from itertools import combinations

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph
from obspy import UTCDateTime, read
from obspy.core.util import get_example_file
from obspy.signal.cross_correlation import correlate, xcorr_max

RECORDS = [
    "BW.UH1._.SHZ.D.2010.147.cut.slist.gz",
    "BW.UH2._.SHZ.D.2010.147.cut.slist.gz",
    "BW.UH3._.SHZ.D.2010.147.cut.slist.gz",
    "BW.UH4._.EHZ.D.2010.147.cut.slist.gz",
]
BEGIN = UTCDateTime("2010-05-27T16:24:20")
END = BEGIN + 60
RATE = 50.0


class Records(ProducerPE):
    """The names of the records."""

    def _process(self, inputs):
        for name in RECORDS:
            self.write("output", name)


class Read(IterativePE):
    """Reads a record: one trace of ObsPy."""

    def _process(self, name):
        return read(get_example_file(name))[0]


class Prepare(IterativePE):
    """Brings a trace to the common time, rate and band."""

    def _process(self, trace):
        trace.detrend("linear")
        trace.filter("bandpass", freqmin=2.0, freqmax=10.0, corners=3, zerophase=True)
        if trace.stats.sampling_rate != RATE:
            trace.decimate(round(trace.stats.sampling_rate / RATE), no_filter=True)
        return trace.slice(BEGIN, END)


class Pairs(IterativePE):
    """Every pair of traces, once all have come; in the order of their names."""

    def __init__(self):
        IterativePE.__init__(self)
        self.inputconnections["input"]["grouping"] = "global"
        self.traces = []

    def _process(self, trace):
        self.traces.append(trace)

    def _postprocess(self):
        for one, other in combinations(sorted(self.traces, key=lambda trace: trace.id), 2):
            self.write("output", (one, other))


class Correlate(IterativePE):
    """Lag in s and height of the largest correlation of a pair, within three seconds."""

    def _process(self, pair):
        one, other = pair
        lag, height = xcorr_max(correlate(one, other, int(3 * RATE)))
        return {"pair": [one.id, other.id], "lag": lag / RATE, "height": round(float(height), 6)}


records, reading, prepare, pairs, correlation = Records(), Read(), Prepare(), Pairs(), Correlate()
records.name, reading.name, prepare.name = "records", "read", "prepare"
pairs.name, correlation.name = "pairs", "correlate"

graph = WorkflowGraph()
graph.connect(records, "output", reading, "input")
graph.connect(reading, "output", prepare, "input")
graph.connect(prepare, "output", pairs, "input")
graph.connect(pairs, "output", correlation, "input")
