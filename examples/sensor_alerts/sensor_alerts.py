"""Alerts of sensors

Watches the readings of many sensors, and reports each reading that is far from the mean of earlier
readings of the same sensor, measured by their standard deviation.
"""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any

from dispel4py.workflow_graph import WorkflowGraph

from d4pcwl.library import Aggregate, Map, ReadCSV, Window, WriteCSV


def alert(readings: list[dict[str, Any]], limit: float) -> dict[str, Any] | None:
    """The last of some readings of a sensor, if it is unusual; else None.

    :param readings: in the order of time; those before the last say what is usual
    :param limit: how many standard deviations a reading may be from the mean
    """
    *before, last = readings
    usual = [reading["value"] for reading in before]
    mean, deviation = fmean(usual), stdev(usual)
    if abs(last["value"] - mean) <= limit * deviation:
        return None
    return {**last, "mean": round(mean, 3), "deviation": round(deviation, 3)}


def build(window: int = 20, limit: float = 6.0) -> WorkflowGraph:
    """Report unusual readings

    :param window: how many earlier readings a reading is compared with
    :param limit: how many standard deviations it may be from their mean
    """
    readings = ReadCSV()
    latest, check = Window(window + 1, by="sensor"), Map(alert, limit=limit)
    summary = Aggregate(["count", "mean", "std", "min", "max"], value="value", by="sensor")
    write = WriteCSV("sensors.csv")
    readings.name, latest.name, check.name, write.name = "readings", "latest", "alert", "write"
    graph = WorkflowGraph()
    graph.connect(readings, "output", latest, "input")
    graph.connect(latest, "output", check, "input")
    graph.connect(readings, "output", summary, "input")
    graph.connect(summary, "output", write, "input")
    return graph
