"""How pipelines tell the harness when they began and what arrived; each is a file of the run.

Every instance that consumes keeps one record of what it has counted and when. Where a mapping may
run the last PE in several processes, which only together know when all has arrived, the record is
written at each item; elsewhere once, at the last one.
"""

import functools
import mmap
import os
import struct
import time

ITEMS = int(os.environ.get("BENCH_ITEMS", "1"))
EACH = os.environ.get("BENCH_EACH") == "1"
_RECORD = struct.Struct("=qqd")


def began() -> None:
    """The source is about to make the first item."""
    with open(os.path.join(os.environ["BENCH_MARKS"], "began"), "w") as file:
        file.write(repr(time.monotonic()))


@functools.cache
def _record(pid: int, who: int) -> mmap.mmap:
    path = os.path.join(os.environ["BENCH_MARKS"], f"tally-{pid}-{who}")
    with open(path, "w+b") as file:
        file.truncate(_RECORD.size)
        return mmap.mmap(file.fileno(), _RECORD.size)


def tally(count: int, total: int, who: int = 0) -> None:
    """Instance ``who`` of this process has consumed so many items, of that sum."""
    _RECORD.pack_into(_record(os.getpid(), who), 0, count, total, time.monotonic())


def arrived(value: int) -> None:
    """This process has consumed one more item; for mappings that make the PE anew for each."""
    record = _record(os.getpid(), 0)
    count, total, _ = _RECORD.unpack_from(record)
    _RECORD.pack_into(record, 0, count + 1, total + value, time.monotonic())


def read(folder: str) -> tuple[float | None, int, int, float]:
    """When the run began (None: it did not), the items consumed, their sum, when the last came."""
    start, count, total, end = None, 0, 0, 0.0
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            data = file.read()
        if name == "began":
            start = float(data) if data else None
        elif len(data) == _RECORD.size:
            more, addend, when = _RECORD.unpack(data)
            count, total, end = count + more, total + addend, max(end, when)
    return start, count, total, end
