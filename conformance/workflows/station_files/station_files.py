"""Files for stations

An element writes a file for each station into a folder, another one a summary, and a third one
pictures whose number is only known at the end; all are declared.
"""

import json
import os

from dispel4py.base import ConsumerPE, IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Stations(ProducerPE):
    """Stations, and their peak ground acceleration in mm/s²."""

    def _process(self, inputs):
        for number, code in enumerate(["AQU", "CERT", "FAGN", "GUAR", "LAV9", "POFI"]):
            self.write("output", {"station": code, "pga": 17 * (number + 3) % 41})


class WriteStation(IterativePE):
    """Writes the figures of each station into a file of the folder stations/."""

    cwl = {"writes": {"stations": {"type": "Directory", "doc": "a file for each station"}}}

    def __init__(self):
        IterativePE.__init__(self)
        self.inputconnections["input"]["grouping"] = "global"

    def _process(self, item):
        os.makedirs("stations", exist_ok=True)
        with open(os.path.join("stations", item["station"] + ".json"), "w") as file:
            json.dump(item, file, sort_keys=True)
        return item


class Summary(ConsumerPE):
    """Writes the strongest and the weakest station."""

    cwl = {"writes": {"summary": {"type": "File", "path": "out/summary.txt"}}}

    def __init__(self):
        ConsumerPE.__init__(self)
        self.inputconnections["input"]["grouping"] = "global"
        self.figures = []

    def _process(self, item):
        self.figures.append((item["pga"], item["station"]))

    def _postprocess(self):
        os.makedirs("out", exist_ok=True)
        with open("out/summary.txt", "w") as file:
            for pga, station in (min(self.figures), max(self.figures)):
                file.write(f"{station} {pga}\n")


class Draw(ConsumerPE):
    """Draws a picture of each strong station: a portable bitmap with a bar."""

    cwl = {"writes": {"pictures": {"type": "File[]", "path": "*.pbm"}}}

    def __init__(self):
        ConsumerPE.__init__(self)
        self.inputconnections["input"]["grouping"] = "global"

    def _process(self, item):
        if item["pga"] > 20:
            bar = " ".join("1" if column < item["pga"] else "0" for column in range(50))
            with open(item["station"] + ".pbm", "w") as file:
                file.write("P1\n50 1\n" + bar + "\n")


stations, write, summary, draw = Stations(), WriteStation(), Summary(), Draw()
stations.name, write.name, summary.name, draw.name = "source", "write", "summarize", "draw"

graph = WorkflowGraph()
graph.connect(stations, "output", write, "input")
graph.connect(write, "output", summary, "input")
graph.connect(write, "output", draw, "input")
