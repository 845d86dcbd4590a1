"""Records of stations in a folder, and their samples. ObsPy reads them, in any format that it
knows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

Record = dict[str, Any]


def listed(folder: Path, rate: float, most: int | None = None) -> list[Record]:
    """The records in a folder, sorted by id, with the time that they have in common.

    :param rate: in Hz, that of the samples that are wanted
    :param most: how many are wanted; None: all
    :returns: for each {"id", "files": names, "start": ns since 1970-01-01 UTC, "samples": how many
        at `rate`}
    :raises ValueError: with all files that cannot be read, or the records have no time in common
    """
    from obspy import read  # takes long, and is for phase 1 alone

    found: dict[str, list[tuple[str, Any]]] = {}
    faults = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            for trace in read(path, headonly=True):
                found.setdefault(trace.id, []).append((path.name, trace.stats))
        except Exception as error:  # noqa: BLE001 - ObsPy's readers raise whatever they like
            faults.append(f"{path} cannot be read: {error}")
    if faults:
        raise ValueError("\n".join(faults))
    chosen = sorted(found.items())[:most]
    if len(chosen) < (most or 2):
        raise ValueError(
            f"{folder} has the records of {len(chosen)} stations, {most or 2} are needed"
        )
    starts = {name: min(stats.starttime for _, stats in parts) for name, parts in chosen}
    ends = {name: max(stats.endtime for _, stats in parts) for name, parts in chosen}
    start, end = max(starts.values()), min(ends.values())
    samples = int((end - start) * rate + 1e-6)
    if samples < 2:
        last, first = max(starts, key=starts.__getitem__), min(ends, key=ends.__getitem__)
        raise ValueError(f"{last} begins when {first} has ended: they have no time in common")
    return [
        {
            "id": name,
            "files": sorted({file for file, _ in parts}),
            "start": start.ns,
            "samples": samples,
        }
        for name, parts in chosen
    ]


def samples_of(folder: Path, record: Record, rate: float) -> tuple[np.ndarray[Any, Any], float]:
    """The samples of a record, as floats, and their rate in Hz.

    They begin at the sample nearest to the common start. Gaps are filled with zeros, after the
    mean of each piece was taken off.

    :param rate: of the samples that are wanted, in Hz
    :raises ValueError: the pieces of the record have several sampling rates
    """
    from obspy import Stream, UTCDateTime, read

    stream = Stream()
    for file in record["files"]:
        stream += read(folder / file).select(id=record["id"])
    rates = sorted({trace.stats.sampling_rate for trace in stream})
    if len(rates) > 1:
        raise ValueError(f"{record['id']} has several sampling rates: {rates} Hz")
    for trace in stream:
        trace.data = trace.data.astype(np.float64)
    stream.detrend("demean").merge(method=1, fill_value=0.0)
    (trace,) = stream
    first = round((UTCDateTime(ns=record["start"]) - trace.stats.starttime) * rates[0])
    count = -int(-record["samples"] * rates[0] // rate)
    return trace.data[max(first, 0) :][:count], rates[0]
