"""Modules, data files and environment variables

The script imports modules beside it, which read a table beside them; the environment says how
strong is strong and which unit is meant, and one variable is declared rather than found.
"""

import os

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph
from settings_scaling import scaled
from settings_tables import stations

UNIT = os.environ.get("UNIT", "cm")

cwl = {"env": {"STRONG": {"default": "25", "doc": "from this on a motion is strong"}}}


class Stations(ProducerPE):
    """The stations of the table."""

    def _process(self, inputs):
        for code, counts in stations():
            self.write("output", {"station": code, "counts": counts})


class Scale(IterativePE):
    """From counts to the unit that is asked for."""

    def _process(self, item):
        return {"station": item["station"], "motion": scaled(item["counts"], UNIT), "unit": UNIT}


class Judge(IterativePE):
    """Says whether a motion is strong."""

    def _process(self, item):
        strong = item["motion"] >= float(os.environ.get("STRONG", "25"))
        return {**item, "strong": strong, "language": os.getenv("REPORT_LANGUAGE", "none")}


source, scale, judge = Stations(), Scale(), Judge()
source.name, scale.name, judge.name = "stations", "scale", "judge"

graph = WorkflowGraph()
graph.connect(source, "output", scale, "input")
graph.connect(scale, "output", judge, "input")
