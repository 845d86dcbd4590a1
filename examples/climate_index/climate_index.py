"""Indices of climate, year by year

Computes some indices from each netCDF file of daily temperatures of a model, on its grid. The table
has their means over the grid, weighted by area.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dispel4py.workflow_graph import WorkflowGraph

from d4pcwl import Directory
from d4pcwl.library import ClimateIndex, FlatMap, ListFiles, Sort, WriteCSV


def means(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The mean of an index over the grid, for each year; the weights are the cosines of
    latitude."""
    import numpy as np
    import xarray

    with xarray.open_dataset(made["path"], decode_timedelta=False) as dataset:
        index = dataset[made["index"]]
        mean = index.weighted(np.cos(np.radians(index["lat"]))).mean(["lat", "lon"])
        for year, value in zip(mean["time"].dt.year.values, mean.values, strict=True):
            yield {
                "file": made["input"],
                "index": made["index"],
                "year": int(year),
                "mean": float(value),
            }


def build(temperatures: Directory, indices: tuple[str, ...] = ("SU", "ID", "TXx")) -> WorkflowGraph:
    """Indices of climate, year by year

    :param temperatures: a folder of netCDF files, daily maxima in each
    :param indices: names that icclim knows: SU are summer days (above 25 degrees C), ID ice days
        (below 0), TXx the highest maximum
    """
    graph = WorkflowGraph()
    files, table = ListFiles(temperatures, "*.nc"), WriteCSV("indices.csv")
    order = Sort(by=["index", "file", "year"])
    for name in indices:
        index, mean = ClimateIndex(name, folder=temperatures), FlatMap(means)
        index.name = name
        graph.connect(files, "output", index, "input")
        graph.connect(index, "output", mean, "input")
        graph.connect(mean, "output", order, "input")
    graph.connect(order, "output", table, "input")
    return graph
