"""The records of a miniSEED file, as they lie in it.

The format is that of "SEED Reference Manual, Version 2.4" (FDSN 2012), chapter 8; ObsPy reads the
headers.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from obspy.io.mseed.util import get_record_information


class Record(NamedTuple):
    """Where a record is in its file, and the samples in it; times in ns since 1970, rate in Hz."""

    offset: int
    length: int
    codes: tuple[str, str, str, str]
    """Network, station, location and channel."""
    start: int
    end: int
    """The time of the last sample."""
    rate: float


def records(path: Path) -> Iterator[Record]:
    """The records of a file in their order; ValueError where its bytes are not whole records."""
    size, offset = path.stat().st_size, 0
    with open(path, "rb") as file:
        while offset < size:
            file.seek(offset)
            # ObsPy takes the first record of the file where it finds none at this place.
            if file.read(7)[6:] not in (b"D", b"R", b"Q", b"M"):
                raise ValueError(f"{path}: no miniSEED record at byte {offset}")
            file.seek(offset)
            try:
                info = get_record_information(file)
            except Exception as error:
                raise ValueError(f"{path}: the record at byte {offset}: {error}") from error
            length = info["record_length"]
            if offset + length > size:
                raise ValueError(f"{path}: the record at byte {offset} is not whole")
            codes = (info["network"], info["station"], info["location"], info["channel"])
            start, end = int(info["starttime"].ns), int(info["endtime"].ns)
            yield Record(offset, length, codes, start, end, float(info["samp_rate"]))
            offset += length


def covers(found: list[Record], start: int, end: int) -> bool:
    """Whether records have all samples of a time window (ns since 1970), without a gap."""
    if not found or not all(record.rate > 0 for record in found):
        return False
    step = 1e9 / found[0].rate
    begins = found[0].start - start < step and end - found[-1].end < step
    return begins and all(
        abs(after.start - before.end - step) < step / 2 for before, after in pairwise(found)
    )
