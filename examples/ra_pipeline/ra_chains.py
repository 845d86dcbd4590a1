"""The processing chains of processing.json: what each type of step does to a trace.

A chain is a list of `{"type": ..., "parameters": {...}}`, applied in order. A step type is one
function here; its keyword arguments are the parameters it knows. Adding a type is adding a function
and its entry in `STEPS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from obspy import Inventory, Trace
from obspy.signal.invsim import cosine_sac_taper

# ObsPy has no public name for the padded length that its response removal uses, and the
# pre-filter of the synthetics must use the same.
from obspy.signal.util import _npts2nfft as padded_length
from ra_layout import SettingsError, StationError
from ra_traces import PlainTrace, plain, to_obspy

Corners = Sequence[float]
Chain = Sequence[Mapping[str, Any]]


def detrend(trace: Trace, inventory: Inventory | None, *, method: str = "linear") -> None:
    """Remove a trend: ObsPy's detrend types linear, constant, demean, simple."""
    trace.detrend(method)


def taper(
    trace: Trace,
    inventory: Inventory | None,
    *,
    taper_type: str = "hann",
    max_percentage: float = 0.05,
    side: str = "both",
) -> None:
    """Taper the ends; `max_percentage` is the fraction (0 to 0.5) of the trace at each end."""
    trace.taper(max_percentage=max_percentage, type=taper_type, side=side)


def remove_response(
    trace: Trace,
    inventory: Inventory | None,
    *,
    pre_filt: Corners | None = None,
    response_output: str = "VEL",
    water_level: float = 60.0,
) -> None:
    """From counts to ground motion: DISP (m), VEL (m/s) or ACC (m/s2), pre-filtered in frequency.

    The chain tapers and detrends where it wants to, so ObsPy's own mean and taper are off.
    """
    if inventory is None:
        raise StationError(f"{trace.id}: no StationXML to remove the response with")
    try:
        trace.remove_response(
            inventory=inventory,
            output=response_output,
            pre_filt=tuple(pre_filt) if pre_filt else None,
            water_level=water_level,
            zero_mean=False,
            taper=False,
        )
    # ObsPy raises whatever the response's stages lead it to; each concerns this station only.
    except Exception as error:
        raise StationError(f"{trace.id}: response cannot be removed ({error})") from error


def pre_filter(trace: Trace, inventory: Inventory | None, *, pre_filt: Corners) -> None:
    """The band limit that response removal puts on data, for traces that have no response.

    A cosine taper in frequency between the four `pre_filt` corners (Hz), at the same padded length,
    with the last bin made real and positive as there.
    """
    npts = trace.stats.npts
    nfft = padded_length(npts)
    spectrum = np.fft.rfft(np.asarray(trace.data, dtype=np.float64), n=nfft)
    nyquist = 0.5 / trace.stats.delta
    spectrum *= cosine_sac_taper(np.linspace(0.0, nyquist, nfft // 2 + 1), flimit=tuple(pre_filt))
    spectrum[-1] = abs(spectrum[-1])
    trace.data = np.fft.irfft(spectrum, n=nfft)[:npts]


def filter_lowpass(
    trace: Trace,
    inventory: Inventory | None,
    *,
    frequency: float,
    corners: int = 4,
    zerophase: bool = False,
) -> None:
    """Butterworth low-pass at `frequency` (Hz)."""
    trace.filter("lowpass", freq=frequency, corners=corners, zerophase=zerophase)


def filter_highpass(
    trace: Trace,
    inventory: Inventory | None,
    *,
    frequency: float,
    corners: int = 4,
    zerophase: bool = False,
) -> None:
    """Butterworth high-pass at `frequency` (Hz)."""
    trace.filter("highpass", freq=frequency, corners=corners, zerophase=zerophase)


def filter_bandpass(
    trace: Trace,
    inventory: Inventory | None,
    *,
    min_frequency: float,
    max_frequency: float,
    corners: int = 4,
    zerophase: bool = False,
) -> None:
    """Butterworth band-pass from `min_frequency` to `max_frequency` (Hz)."""
    trace.filter(
        "bandpass",
        freqmin=min_frequency,
        freqmax=max_frequency,
        corners=corners,
        zerophase=zerophase,
    )


STEPS: dict[str, Callable[..., None]] = {
    step.__name__: step
    for step in (
        detrend,
        taper,
        remove_response,
        pre_filter,
        filter_lowpass,
        filter_highpass,
        filter_bandpass,
    )
}


def check_chain(chain: Chain, name: str) -> None:
    """Raise one SettingsError that lists every unknown type and parameter of the chain `name`."""
    faults = []
    for number, step in enumerate(chain):
        kind, parameters = step.get("type"), step.get("parameters", {})
        where = f"{name}[{number}]"
        if kind not in STEPS:
            near = get_close_matches(str(kind), STEPS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known types: {', '.join(STEPS)}"
            faults.append(f"{where}: unknown type {kind!r}; {hint}")
            continue
        try:
            inspect.signature(STEPS[kind]).bind(None, None, **parameters)
        except TypeError as error:
            faults.append(f"{where} ({kind}): {error}")
    if faults:
        raise SettingsError("; ".join(faults))


def apply_chain(trace: PlainTrace, chain: Chain, inventory: Inventory | None = None) -> PlainTrace:
    """`trace` after all steps of `chain`, in float64. Raises StationError if it is not finite."""
    work = to_obspy(trace)
    for step in chain:
        STEPS[step["type"]](work, inventory, **step.get("parameters", {}))
    if not np.all(np.isfinite(work.data)):
        raise StationError(f"{trace['id']}: not finite after processing")
    return plain(work)
