"""Alerts of a network of sensors

Readings come from a table. Faulty ones are sorted out, the others are watched sensor by sensor: an
alert is raised where three readings in a row lie above the limit of the kind of sensor. Readings
may come in any order. The alerts of all sensors are written into a file at the end.
"""

import csv
import json

from dispel4py.base import ConsumerPE, GenericPE, IterativePE
from dispel4py.workflow_graph import WorkflowGraph

LIMITS = {"tilt": 40, "water": 70, "gas": 55}


def kind_of(sensor):
    """The kind of a sensor: ``gas`` for ``gas-2``."""
    return sensor.split("-")[0]


class ReadTable(IterativePE):
    """Reads a table of readings, one item for each row."""

    cwl = {"inputs": {"input": {"type": "File", "doc": "readings, CSV"}}}

    def _process(self, path):
        with open(path, newline="") as table:
            yield from csv.DictReader(table)


class Check(GenericPE):
    """Tells readings that can be used from those that cannot."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("row")
        self._add_output("good")
        self._add_output("faulty")

    def _process(self, inputs):
        row = inputs["row"]
        try:
            value = int(row["value"])
        except ValueError:
            self.write("faulty", [row["sensor"], row["time"], row["value"]])
            return
        self.write("good", {"sensor": row["sensor"], "time": int(row["time"]), "value": value})


class Watch(GenericPE):
    """Keeps the times when a sensor was above its limit, and looks for three in a row."""

    def __init__(self):
        GenericPE.__init__(self)
        self._add_input("input", grouping=["sensor"])
        self._add_output("alert")
        self.above = {}

    def _process(self, inputs):
        reading = inputs["input"]
        if reading["value"] > LIMITS[kind_of(reading["sensor"])]:
            self.above.setdefault(reading["sensor"], set()).add(reading["time"])

    def _postprocess(self):
        for sensor, times in self.above.items():
            for time in times:
                if time - 1 not in times and {time + 1, time + 2} <= times:
                    alert = {"sensor": sensor, "since": time, "kind": kind_of(sensor)}
                    self.write("alert", alert)


class Rate(IterativePE):
    """Adds how urgent an alert is."""

    def _process(self, alert):
        return {**alert, "urgent": alert["kind"] == "gas"}


class WriteAlerts(ConsumerPE):
    """Writes the alerts into a file, in order of time."""

    cwl = {"writes": {"alerts": {"type": "File", "path": "alerts.json"}}}

    def __init__(self):
        ConsumerPE.__init__(self)
        self._add_input("input", grouping="global")
        self.alerts = []

    def _process(self, alert):
        self.alerts.append(alert)

    def _postprocess(self):
        self.alerts.sort(key=lambda alert: (alert["since"], alert["sensor"]))
        with open("alerts.json", "w") as file:
            json.dump(self.alerts, file, indent=1)


table, check, watch, rate, write = ReadTable(), Check(), Watch(), Rate(), WriteAlerts()
table.name, check.name, watch.name, rate.name = "readings", "check", "watch", "rate"
write.name = "write"

graph = WorkflowGraph()
graph.connect(table, "output", check, "row")
graph.connect(check, "good", watch, "input")
graph.connect(watch, "alert", rate, "input")
graph.connect(rate, "output", write, "input")
