"""Spectra of made-up traces

Arrays of several kinds and shapes go from element to element: real, complex, of whole numbers, and
inside of dictionaries.
"""

import numpy as np
from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Traces(ProducerPE):
    """Traces of 64 samples each, as whole counts."""

    def _process(self, inputs):
        for number in range(1, 13):
            samples = (np.arange(64, dtype=np.int32) * number * number) % 23
            self.write("output", {"number": number, "samples": samples})


class Detrend(IterativePE):
    """Removes the mean; the samples become 64-bit floats in two rows."""

    def _process(self, trace):
        samples = trace["samples"].astype(np.float64)
        return {**trace, "samples": (samples - samples.mean()).reshape(2, 32)}


class Spectrum(IterativePE):
    """The complex spectrum of each row."""

    def _process(self, trace):
        return trace["number"], np.fft.rfft(trace["samples"], axis=1)


class Peaks(IterativePE):
    """Where each row's spectrum is largest, and its shape and type."""

    def _process(self, data):
        number, spectrum = data
        power = np.round(np.abs(spectrum) ** 2, 6)
        return {
            "number": number,
            "bins": power.argmax(axis=1),
            "shape": spectrum.shape,
            "dtype": spectrum.dtype.str,
            "times": np.datetime64("2024-03-01T12:00", "s") + np.arange(2) * number,
        }


class Amplitude(IterativePE):
    """The mean amplitude as a scalar of numpy."""

    def _process(self, data):
        return np.float32(np.round(np.abs(data[1]).mean(), 3))


traces, detrend, spectrum = Traces(), Detrend(), Spectrum()
peaks, amplitude = Peaks(), Amplitude()
traces.name, detrend.name, spectrum.name = "traces", "detrend", "spectrum"
peaks.name, amplitude.name = "peaks", "amplitude"

graph = WorkflowGraph()
graph.connect(traces, "output", detrend, "input")
graph.connect(detrend, "output", spectrum, "input")
graph.connect(spectrum, "output", peaks, "input")
graph.connect(spectrum, "output", amplitude, "input")
