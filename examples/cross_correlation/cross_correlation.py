"""Cross-correlate ambient noise

Phase 1 makes the spectrum of each station's record. Phase 2 correlates all pairs of records, in
blocks of pairs, and leaves a Zarr array with an index in the working folder.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import noise
import records as files
import store
from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph

from d4pcwl import Directory

HERE = Path()
"""The working folder is the Zarr array."""


class Records(ProducerPE):
    """Lists the records of a folder, one item each, with the time that they have in common."""

    def __init__(self, folder: Path, rate: float, most: int | None) -> None:
        super().__init__()
        self.folder, self.rate, self.most = folder, rate, most

    def _process(self, inputs: Any) -> None:
        for record in files.listed(self.folder, self.rate, self.most):
            self.write("output", record)


class Read(IterativePE):
    """Reads the samples of a record."""

    def __init__(self, folder: Path, rate: float) -> None:
        super().__init__()
        self.folder, self.rate = folder, rate

    def _process(self, record: dict[str, Any]) -> dict[str, Any]:
        data, rate = files.samples_of(self.folder, record, self.rate)
        return {**record, "data": data, "rate": rate}


class Prepare(IterativePE):
    """Phase 1: resamples, detrends, filters, normalises, and whitens a record."""

    def __init__(self, rate: float, normalise: str, whiten: bool) -> None:
        super().__init__()
        self.rate, self.normalise, self.whiten = rate, normalise, whiten

    def _process(self, record: dict[str, Any]) -> dict[str, Any]:
        try:
            data = noise.prepared(
                record["data"], record["rate"], self.rate, self.normalise, self.whiten
            )
            if len(data) < record["samples"]:
                raise ValueError(f"{len(data)} samples, and {record['samples']} are needed")
        except ValueError as error:
            raise ValueError(f"record {record['id']}: {error}") from error
        return {"id": record["id"], "data": data[: record["samples"]]}


class Spectrum(IterativePE):
    """Makes the spectrum of a record, for correlations up to some lag."""

    def __init__(self, lags: int, dtype: str) -> None:
        super().__init__()
        self.lags, self.dtype = lags, dtype

    def _process(self, record: dict[str, Any]) -> dict[str, Any]:
        spectrum = noise.spectrum(record["data"], self.lags, self.dtype)
        return {"id": record["id"], "samples": len(record["data"]), "spectrum": spectrum}


class Collect(IterativePE):
    """Collects all spectra in a file, and then hands out blocks: {"rows": (from, up to)}."""

    cwl = {
        "writes": {
            "array": {"type": "File", "path": "zarr.json", "doc": "what the Zarr array is"},
            "index": {"type": "File", "path": "index.csv", "doc": "the pair in each row"},
            "spectra": {"type": "File", "path": "spectra.npy", "doc": "one row for each record"},
        }
    }

    def __init__(self, rate: float, lags: int) -> None:
        super().__init__()
        self.inputconnections["input"]["grouping"] = "global"
        self.rate, self.lags = rate, lags
        self.found: list[dict[str, Any]] = []

    def _process(self, record: dict[str, Any]) -> None:
        self.found.append(record)

    def _postprocess(self) -> None:
        if len(self.found) < 2:
            raise ValueError("a pair needs two records, and fewer could be used")
        blocks = store.create(
            HERE,
            [record["id"] for record in self.found],
            [record["spectrum"] for record in self.found],
            samples=self.found[0]["samples"],
            rate=self.rate,
            lags=self.lags,
        )
        for rows in blocks:
            self.write("output", {"rows": (rows.start, rows.stop)})


class Correlate(IterativePE):
    """Phase 2: correlates a block of pairs, writes its chunk, and says that it is there."""

    heavy = True
    stateful = False  # what it keeps is what it has opened
    cwl = {
        "reads": {
            "array": {"type": "File", "path": "zarr.json"},
            "spectra": {"type": "File", "path": "spectra.npy"},
        },
        "writes": {"chunks": {"type": "File[]", "path": "c.*", "doc": "the correlations"}},
    }

    def __init__(self, copies: int) -> None:
        super().__init__()
        self.numprocesses = copies
        self.spectra: Any = None

    def _process(self, block: dict[str, Any]) -> dict[str, Any]:
        if self.spectra is None:
            self.spectra, self.array = store.open_spectra(HERE), store.open_array(HERE)
            self.samples, self.lags = self.array.attrs["samples"], self.array.shape[1] // 2
        rows = range(*block["rows"])
        part = store.empty(self.array, rows)
        noise.correlated(self.spectra, rows, self.samples, self.lags, part)
        self.array[rows.start : rows.stop] = part
        return block


def build(
    records: Directory,
    stations: int | None = None,
    rate: float = 4.0,
    lags: int = 5000,
    normalise: Literal["time", "envelope", "none"] = "time",
    whiten: bool = False,
    dtype: Literal["float64", "float32"] = "float64",
    copies: int = 1,
) -> WorkflowGraph:
    """Cross-correlate the ambient noise at all pairs of stations

    :param records: a folder of waveforms, in any format that ObsPy reads
    :param stations: how many of them; all by default
    :param rate: the rate to which all records are resampled, in Hz
    :param lags: the largest lag, in samples at that rate
    :param normalise: by the running mean, by the envelope, or not at all
    :param whiten: give all frequencies of the band the same amplitude
    :param dtype: of the correlations
    :param copies: the number of copies of `correlate`, under static mappings
    """
    listed, read = Records(records, rate, stations), Read(records, rate)
    prepare, spectrum = Prepare(rate, normalise, whiten), Spectrum(lags, dtype)
    chain = (listed, read, prepare, spectrum, Collect(rate, lags), Correlate(copies))
    graph = WorkflowGraph()
    for pe in chain:
        pe.name = type(pe).__name__.lower()
    for source, target in pairwise(chain):
        graph.connect(source, "output", target, "input")
    return graph
