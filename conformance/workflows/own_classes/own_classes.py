"""Items of a class of the script's own

Processes hand such items on; a file that any engine may carry to any machine has no open form for
them, so they cannot cross a cut.
"""

from dispel4py.base import IterativePE, ProducerPE
from dispel4py.workflow_graph import WorkflowGraph


class Pick:
    """An arrival time at a station."""

    def __init__(self, station, time):
        self.station = station
        self.time = time


class Picks(ProducerPE):
    """Arrival times at three stations."""

    def _process(self, inputs):
        for number in range(12):
            self.write("output", Pick("ABC"[number % 3], 100 * number))


class Late(IterativePE):
    """Shifts a pick by the delay of its station."""

    def _process(self, pick):
        return Pick(pick.station, pick.time + ord(pick.station))


class Show(IterativePE):
    """From a pick to plain data."""

    def _process(self, pick):
        return {"station": pick.station, "time": pick.time}


picks, late, show = Picks(), Late(), Show()
picks.name, late.name, show.name = "picks", "late", "show"

graph = WorkflowGraph()
graph.connect(picks, "output", late, "input")
graph.connect(late, "output", show, "input")
