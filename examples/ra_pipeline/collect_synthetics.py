"""Bring the seismograms of a simulation into misfit_data/

Writes the velocity seismograms of SPECFEM3D as SAC into misfit_data/synth/. What was in there
before is removed. Each file is an item, so they can be spread over processes.

    dispel4py simple collect_synthetics.py -d '{"seismograms": [{"input": "OUTPUT_FILES"}]}'
"""

from __future__ import annotations

from pathlib import Path

from dispel4py.base import ConsumerPE, IterativePE
from dispel4py.workflow_graph import WorkflowGraph
from ra_layout import SettingsError
from ra_specfem import seismogram_to_sac
from ra_synthetics import clear_synthetics

cwl = {
    "label": "Bring the seismograms of a simulation into misfit_data/",
    "software": {"obspy": ["1.5.1"], "numpy": ["2.4"]},
}

SYNTH = Path("misfit_data") / "synth"


class ListSeismograms(IterativePE):
    """Lists the velocity seismograms of a folder, one item each."""

    # It removes the synthetics that were there, so the folder is written too.
    cwl = {
        "inputs": {"input": "Directory"},
        "reads": {"misfit_data": "Directory"},
        "writes": {"misfit_data": "Directory"},
    }

    def _process(self, data: str) -> None:
        files = sorted(Path(data).glob("*.semv"))
        if not files:
            raise SettingsError(f"{data}: no seismogram (*.semv); did the simulation end?")
        clear_synthetics(SYNTH)
        for path in files:
            self.write("output", str(path))


class WriteSac(ConsumerPE):
    """Writes one seismogram as SAC."""

    cwl = {
        "reads": {"misfit_data": "Directory"},
        "writes": {
            "misfit_data": {
                "type": "Directory",
                "doc": "the folder of the assessment, with new synthetics",
            }
        },
    }

    def _process(self, data: str) -> None:
        seismogram_to_sac(Path(data), SYNTH)


seismograms = ListSeismograms()
seismograms.name = "seismograms"
write = WriteSac()
write.name = "write"

graph = WorkflowGraph()
graph.connect(seismograms, "output", write, "input")
