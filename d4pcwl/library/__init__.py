"""PEs for every field: joins, aggregates, windows, files. They import the PE model and streams.

The docstring of each says what it reads, writes and keeps; docs/library.md shows how to use them.
"""

from __future__ import annotations

from d4pcwl.library.aggregates import Aggregate
from d4pcwl.library.climate import ClimateIndex
from d4pcwl.library.fetching import Fetch
from d4pcwl.library.files import (
    Checksum,
    ListFiles,
    ReadCSV,
    ReadJSON,
    ReadLines,
    ReadParquet,
    ReadZarr,
    WriteCSV,
    WriteJSON,
    WriteLines,
    WriteParquet,
    WriteZarr,
)
from d4pcwl.library.functions import Filter, FlatMap, Map, Tee
from d4pcwl.library.joining import Match
from d4pcwl.library.shaping import Batch, Deduplicate, Sort, TimeWindow, Window

__all__ = [
    "Aggregate",
    "Batch",
    "Checksum",
    "ClimateIndex",
    "Deduplicate",
    "Fetch",
    "Filter",
    "FlatMap",
    "ListFiles",
    "Map",
    "Match",
    "ReadCSV",
    "ReadJSON",
    "ReadLines",
    "ReadParquet",
    "ReadZarr",
    "Sort",
    "Tee",
    "TimeWindow",
    "Window",
    "WriteCSV",
    "WriteJSON",
    "WriteLines",
    "WriteParquet",
    "WriteZarr",
]
