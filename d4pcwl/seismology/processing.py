"""The PEs that prepare waveforms: ObsPy's streams come in, and go out changed or to files."""

from __future__ import annotations

import io
import os
from abc import abstractmethod
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from d4pcwl.errors import GraphError, nearest
from d4pcwl.library.files import declare_output
from d4pcwl.streams.output_file import OutputFile
from d4pcwl.workflow.pe import IterativePE

if TYPE_CHECKING:
    from obspy import Inventory, Stream, Trace  # type: ignore

Trend = Literal["linear", "demean", "simple"]
Motion = Literal["DISP", "VEL", "ACC"]
Normalisation = Literal["time", "envelope"]


class _EachTrace(IterativePE):
    """The base of PEs that change each trace of a stream by itself."""

    def _process(self, stream: Stream) -> Stream:
        for trace in stream:
            try:
                self.change(trace)
            # ObsPy raises errors of many kinds, and few of them name the trace.
            except Exception as error:
                raise ValueError(f"{trace.id}: {error}") from error
        return stream

    @abstractmethod
    def change(self, trace: Trace) -> None:
        """Change a trace in place."""


class Detrend(_EachTrace):
    """Removes a trend from each trace.

    :param kind: ``linear`` (a line fitted to all samples), ``demean`` (the mean), or ``simple``
        (the line from the first sample to the last)

    Input: streams. Output: streams.
    """

    def __init__(self, kind: Trend = "linear") -> None:
        super().__init__()
        self.kind = _known(kind, Trend, self)

    def change(self, trace: Trace) -> None:
        trace.detrend(self.kind)


class Taper(_EachTrace):
    """Fades each trace in and out, by half a period of a cosine (Hann).

    :param fraction: of the trace, at each end; at most 0.5

    Input: streams. Output: streams.
    """

    def __init__(self, fraction: float = 0.05) -> None:
        super().__init__()
        if not 0 < fraction <= 0.5:
            raise GraphError(
                f"Taper: fraction is {fraction}; it must be more than 0, and at most 0.5"
            )
        self.fraction = fraction

    def change(self, trace: Trace) -> None:
        trace.taper(self.fraction, type="hann")


class Resample(_EachTrace):
    """Resamples each trace to a lower rate, after a zero-phase low-pass.

    :param rate: in Hz
    :raises ValueError: while it runs, the rate of a trace is lower, or the ratio of the rates is
        not one of small numbers

    Input: streams. Output: streams.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not rate > 0:
            raise GraphError(f"Resample: rate is {rate}; it must be above 0")
        self.rate = rate

    def change(self, trace: Trace) -> None:
        from d4pcwl.seismology.noise import resampled

        trace.data = resampled(trace.data, trace.stats.sampling_rate, self.rate)
        trace.stats.sampling_rate = self.rate


class RemoveResponse(_EachTrace):
    """Converts counts to ground motion, with the response of the instrument.

    :param stations: a StationXML file, or a folder with a file ``NETWORK.STATION.xml`` for each
        station, as ObsPy's mass downloader writes them
    :param output: ``DISP`` (m), ``VEL`` (m/s) or ``ACC`` (m/s2)
    :param corners: four frequencies in Hz: everything below the first and above the fourth is
        removed, and everything between the second and the third is kept; None: keep all
    :param water_level: the smallest divisor, in dB below the largest amplitude of the response
    :raises ValueError: while it runs, there is no response of a trace

    Input: streams of counts. Output: streams. It does not detrend or taper: do this first.
    """

    def __init__(
        self,
        stations: str | os.PathLike[str],
        output: Motion = "VEL",
        corners: tuple[float, float, float, float] | None = None,
        water_level: float = 60.0,
    ) -> None:
        super().__init__()
        self.stations, self.output = os.fspath(stations), _known(output, Motion, self)
        self.corners, self.water_level = corners, water_level

    def change(self, trace: Trace) -> None:
        trace.remove_response(
            inventory=inventory(self.stations, trace.stats.network, trace.stats.station),
            output=self.output,
            pre_filt=self.corners,
            water_level=self.water_level,
            zero_mean=False,
            taper=False,
        )


class Bandpass(_EachTrace):
    """Keeps the frequencies of a band (Butterworth).

    :param lowest: the lowest frequency that is kept, in Hz
    :param highest: the highest frequency that is kept, in Hz
    :param order: of the filter
    :param zero_phase: filter forward and backward, so that no peak moves in time
    :raises ValueError: while it runs, the band does not end below half the sampling rate of a trace

    Input: streams. Output: streams.
    """

    def __init__(
        self, lowest: float, highest: float, order: int = 4, zero_phase: bool = True
    ) -> None:
        super().__init__()
        self.lowest, self.highest = _band(lowest, highest, self)
        self.order, self.zero_phase = order, zero_phase

    def change(self, trace: Trace) -> None:
        rate = trace.stats.sampling_rate
        if self.highest >= rate / 2:
            raise ValueError(f"at {rate:g} Hz there is no band up to {self.highest:g} Hz")
        trace.filter(
            "bandpass",
            freqmin=self.lowest,
            freqmax=self.highest,
            corners=self.order,
            zerophase=self.zero_phase,
        )


class Normalise(_EachTrace):
    """Divides each trace by its own amplitude, so that earthquakes count no more than noise.

    :param how: ``time``, by the running mean of the absolute value; ``envelope``, by the envelope
    :param lowest: the lowest frequency of the traces, in Hz; the running mean is over half of its
        period

    Input: streams. Output: streams, without a unit.
    """

    def __init__(self, how: Normalisation = "time", lowest: float = 0.01) -> None:
        super().__init__()
        self.how, self.lowest = _known(how, Normalisation, self), lowest

    def change(self, trace: Trace) -> None:
        from d4pcwl.seismology.noise import normalised

        trace.data = normalised(trace.data, trace.stats.sampling_rate, self.how, self.lowest)


class Whiten(_EachTrace):
    """Gives all frequencies of a band the same amplitude, and removes all others.

    :param lowest: the lowest frequency of the band, in Hz
    :param highest: the highest frequency of the band, in Hz

    Input: streams. Output: streams, without a unit.
    """

    def __init__(self, lowest: float, highest: float) -> None:
        super().__init__()
        self.lowest, self.highest = _band(lowest, highest, self)

    def change(self, trace: Trace) -> None:
        from d4pcwl.seismology.noise import whitened

        trace.data = whitened(trace.data, trace.stats.sampling_rate, self.lowest, self.highest)


class WriteStream(IterativePE):
    """Writes each trace to a MiniSEED file, ``ID__START__END.mseed``.

    :param folder: where the files are written; it is made if necessary. A file gets its name when
        it is complete

    Input: streams. Output: for each trace a dictionary with ``id``, ``path``, ``start`` (in
    nanoseconds since 1970-01-01 UTC), ``rate`` (in Hz) and ``samples`` (their number).
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__()
        self.folder = os.fspath(folder)
        declare_output(self, f"{self.folder}/*.mseed", "File[]", name=Path(folder).name)

    def _process(self, stream: Stream) -> None:
        os.makedirs(self.folder, exist_ok=True)
        for trace in stream:
            stats, text = trace.stats, io.BytesIO()
            stats.pop("mseed", None)  # how the samples were encoded before they were changed
            trace.write(text, format="MSEED")
            start, end = (
                time.strftime("%Y%m%dT%H%M%SZ") for time in (stats.starttime, stats.endtime)
            )
            path = os.path.join(self.folder, f"{trace.id}__{start}__{end}.mseed")
            output = OutputFile(path)
            output.file.write(text.getbuffer())
            output.finish()
            told: dict[str, Any] = {"id": trace.id, "path": path, "start": stats.starttime.ns}
            self.write("output", {**told, "rate": stats.sampling_rate, "samples": stats.npts})


@lru_cache(maxsize=16)
def inventory(stations: str, network: str, station: str) -> Inventory:
    """What is known of a station: of a StationXML file, or of the station's file in a folder.

    :raises ValueError: the folder has no such file, or it is no StationXML
    """
    from obspy import read_inventory

    path = Path(stations)
    if path.is_dir():
        path /= f"{network}.{station}.xml"
        if not path.exists():
            raise ValueError(f"there is no {path}")
    try:
        return read_inventory(str(path))
    except Exception as error:
        raise ValueError(f"{path} is not StationXML: {error}") from error


def _known(value: str, choices: Any, pe: object) -> str:
    """A parameter that is one of a few.

    :raises GraphError: it is not
    """
    known = get_args(choices)
    if value not in known:
        near = nearest(value, known) or f"; known: {', '.join(known)}"
        raise GraphError(f"{type(pe).__name__}: there is no {value!r}{near}")
    return value


def _band(lowest: float, highest: float, pe: object) -> tuple[float, float]:
    """The frequencies of a band.

    :raises GraphError: they are none
    """
    if not 0 < lowest < highest:
        raise GraphError(f"{type(pe).__name__}: {lowest} to {highest} Hz is not a band")
    return lowest, highest
