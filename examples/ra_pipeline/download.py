"""Bring the waveforms of an event into misfit_data/

Copies observed waveforms (miniSEED), instrument responses (StationXML) and synthetics (SAC) from a
source directory with the subfolders observed/, stations/ and synth/ into the folder of the
assessment, which is changed in place. Files are copied one by one, so they can be spread over
processes.

    dispel4py simple download.py -d '{"source": [{"input": "example_data"}]}'
"""

from __future__ import annotations

import shutil
from pathlib import Path

from dispel4py.base import ConsumerPE, IterativePE
from dispel4py.workflow_graph import WorkflowGraph
from ra_layout import CONTENT, SettingsError

cwl = {"label": "Bring the waveforms of an event into misfit_data/"}


class ListSource(IterativePE):
    """Lists the files of a source directory that belong to an assessment, one item each."""

    cwl = {"inputs": {"input": "Directory"}}

    def _process(self, data: str) -> None:
        source = Path(data)
        if not source.is_dir():
            raise SettingsError(f"{source}: not a directory")
        for part, pattern in CONTENT.items():
            files = sorted((source / part).glob(pattern))
            if not files:
                raise SettingsError(f"{source / part}: no {pattern} file")
            self.log(f"{len(files)} files from {source / part}")
            for path in files:
                self.write("output", {"file": str(path), "part": part})


class CopyFile(ConsumerPE):
    """Copies one file to its place in misfit_data/."""

    cwl = {
        "reads": {"misfit_data": "Directory"},
        "writes": {
            "misfit_data": {
                "type": "Directory",
                "doc": "the folder of the assessment, with waveforms and responses",
            }
        },
    }

    def _process(self, data: dict[str, str]) -> None:
        target = Path("misfit_data") / data["part"]
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data["file"], target / Path(data["file"]).name)


source = ListSource()
source.name = "source"
copy = CopyFile()
copy.name = "copy"

graph = WorkflowGraph()
graph.connect(source, "output", copy, "input")
