"""Bring all components of a station to one sampling rate and one time window.

Observed data come at 20 to 100 Hz and start at odd moments; synthetics come at the time step of the
simulation. Peaks can only be compared between traces that cover the same time at the same rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from obspy import Trace
from ra_layout import StationError
from ra_traces import PlainTrace, plain, to_obspy
from scipy import signal

#: Largest factor of one decimation: beyond it the filter's edge is too close to zero to be stable.
MAX_FACTOR = 8
PASS_BAND_RIPPLE_DB = 1.0
STOP_BAND_DB = 96.0
MAX_ORDER = 12


@lru_cache(maxsize=32)
def antialias_coefficients(stop: float) -> tuple[Any, Any]:
    """Chebyshev-II low-pass (b, a) with its stop band edge at `stop` (fraction of Nyquist).

    The pass band edge starts at the stop band edge and goes down by 1 % at a time until the order
    that 96 dB need is at most 12 (the design of ObsPy's `lowpass_cheby_2` and of LASIF).
    """
    passed, order, edge = stop, MAX_ORDER + 1, stop
    while order > MAX_ORDER:
        passed *= 0.99
        order, edge = signal.cheb2ord(passed, stop, PASS_BAND_RIPPLE_DB, STOP_BAND_DB)
    b, a = signal.cheby2(order, STOP_BAND_DB, edge, btype="low", output="ba")
    return b, a


def decimate(samples: np.ndarray[Any, Any], factor: int) -> np.ndarray[Any, Any]:
    """Every `factor`-th of `samples` (1-D), after a low-pass at the new Nyquist frequency.

    The filter runs forward and backward, so that it moves no peak in time.
    """
    b, a = antialias_coefficients(1.0 / factor)
    return np.ascontiguousarray(signal.filtfilt(b, a, samples)[::factor])


def decimation_factors(rate: float, target: float) -> list[int]:
    """The integer factors, each from 2 to 8, that bring `rate` down to at least `target` (Hz)."""
    factors = []
    # The margin keeps 100.00000000000001 / 20 and 99.99999999999999 / 20 both at 5.
    while (factor := min(int(rate / target + 1e-6), MAX_FACTOR)) > 1:
        factors.append(factor)
        rate /= factor
    return factors


def lower_rate(trace: Trace, target: float) -> None:
    """Decimate `trace` in place to the lowest rate that is not below `target` (Hz)."""
    for factor in decimation_factors(trace.stats.sampling_rate, target):
        trace.data = decimate(trace.data, factor)
        trace.stats.sampling_rate /= factor


def common_window(traces: Iterable[PlainTrace]) -> list[PlainTrace]:
    """The traces at the lowest of their rates, from their latest start to their earliest end.

    Samples between the old ones come from cubic interpolation; the last one lies before the
    earliest end, int((end - start) * rate) samples in all. Raises StationError when the traces do
    not overlap in time or are too short to be filtered.
    """
    given = [to_obspy(trace) for trace in traces]
    rate = min(trace.stats.sampling_rate for trace in given)
    for trace in given:
        try:
            lower_rate(trace, rate)
        except ValueError as error:
            raise StationError(f"{trace.id}: cannot be decimated ({error})") from error
    start = max(trace.stats.starttime for trace in given)
    end = min(trace.stats.endtime for trace in given)
    npts = int((end - start) * rate)
    if npts < 2:
        raise StationError(f"observed and synthetic waveforms do not overlap ({start} to {end})")
    for trace in given:
        trace.interpolate(sampling_rate=rate, method="cubic", starttime=start, npts=npts)
    return [plain(trace) for trace in given]
