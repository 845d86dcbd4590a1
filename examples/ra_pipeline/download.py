"""Bring the waveforms of an event into misfit_data/

dispel4py simple download.py --source example_data
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from dispel4py.base import ConsumerPE, ProducerPE
from dispel4py.core import GenericPE
from dispel4py.workflow_graph import WorkflowGraph
from ra_fdsn import download
from ra_layout import CONTENT, REQUEST_FILE, SettingsError
from ra_request import read_request

from d4pcwl import Directory

cwl = {
    "label": "Bring the waveforms of an event into misfit_data/",
    "software": {"obspy": ["1.5.1"]},
}

MISFIT_DATA = Path("misfit_data")
REQUEST = MISFIT_DATA / REQUEST_FILE
CHANGED = {
    "reads": {"misfit_data": "Directory"},
    "writes": {
        "misfit_data": {
            "type": "Directory",
            "doc": "the folder of the assessment, with waveforms and responses",
        }
    },
}


class Download(GenericPE):
    """Fetches waveforms and StationXML from FDSN web services, if misfit_data/ has a request."""

    cwl = {**CHANGED, "network": True}

    def __init__(self, providers: list[str] | None) -> None:
        GenericPE.__init__(self)
        self.providers = providers

    def process(self, inputs: dict[str, Any]) -> None:
        if REQUEST.exists():
            request = read_request(REQUEST, self.providers)
            download(request, MISFIT_DATA, self.log, self.warn)
        elif self.providers:
            raise SettingsError(f"{REQUEST} is missing: it says what to fetch from the providers")

    def warn(self, message: str) -> None:
        """Say what cannot be had, on standard error, as of stations that are left out."""
        sys.stderr.write(f"{self.id}: {message}\n")


class ListSource(ProducerPE):
    """Lists the files of a source directory that are not downloaded, one item each."""

    cwl = {"reads": {"misfit_data": "Directory"}}

    def __init__(self, source: Path | None) -> None:
        ProducerPE.__init__(self)
        self.source = source

    def _process(self, inputs: Any) -> None:
        if self.source is None:
            if not REQUEST.exists():
                raise SettingsError(f"give a source directory (--source), or make {REQUEST}")
            return
        for part in ["synth"] if REQUEST.exists() else CONTENT:
            files = sorted((self.source / part).glob(CONTENT[part]))
            if not files:
                raise SettingsError(f"{self.source / part}: no {CONTENT[part]} file")
            self.log(f"{len(files)} files from {self.source / part}")
            for path in files:
                self.write("output", {"file": str(path), "part": part})


class CopyFile(ConsumerPE):
    """Copies one file to its place in misfit_data/."""

    cwl = CHANGED

    def _process(self, data: dict[str, str]) -> None:
        target = MISFIT_DATA / data["part"]
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data["file"], target / Path(data["file"]).name)


def build(source: Directory | None = None, providers: list[str] | None = None) -> WorkflowGraph:
    """Bring the waveforms of an event into misfit_data/

    If misfit_data/ has a file download.json, observed waveforms (miniSEED) and instrument responses
    (StationXML) are fetched from FDSN web services, as this file requests. What is there already,
    and whole, is not fetched again. All else is copied from a source directory with the subfolders
    observed/, stations/ and synth/ (SAC): the synthetics, and without a request everything. Files
    are copied one by one, so they can be spread over processes. misfit_data/ is changed in place.

    :param source: where the files come from that are not downloaded
    :param providers: URLs of FDSN web services, or ObsPy's names of them, in place of those in
        download.json
    """
    listed = ListSource(source)
    listed.name = "source"
    copy = CopyFile()
    copy.name = "copy"
    fetch = Download(providers)
    fetch.name = "fetch"
    graph = WorkflowGraph()
    graph.connect(listed, "output", copy, "input")
    graph.add(fetch)
    return graph
