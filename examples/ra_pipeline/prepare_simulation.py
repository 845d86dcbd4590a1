"""Prepare a simulation by SPECFEM3D

Writes DATA/, the input files of SPECFEM3D Cartesian: the source from the event in misfit_data/, the
receivers from its StationXML, and the mesh from the box, time step and coordinates that a JSON file
gives.

    dispel4py simple prepare_simulation.py --mesh mesh_info.json -i 1
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import obspy
from dispel4py.base import ProducerPE
from dispel4py.workflow_graph import WorkflowGraph
from ra_folders import read_event, read_places
from ra_layout import SettingsError, StationError
from ra_source import read_moment_tensor
from ra_specfem import plan_grid, read_layers, read_mesh, write_inputs

cwl = {
    "label": "Prepare a simulation by SPECFEM3D",
    "software": {"obspy": ["1.5.1"], "numpy": ["2.4"]},
}

MISFIT_DATA = Path("misfit_data")
#: ak135 of Kennett, Engdahl and Buland (1995): a mean continental crust, on a mantle.
CRUST = Path(obspy.__file__).parent / "taup" / "data" / "ak135.tvel"


class Prepare(ProducerPE):
    """Writes DATA/ from event, stations and mesh."""

    cwl = {
        "reads": {"misfit_data": "Directory"},
        "writes": {"DATA": {"type": "Directory", "doc": "the input files of SPECFEM3D"}},
    }

    def __init__(
        self, mesh: Path | None, crust: Path | None, frequency: float, seconds: float, ranks: int
    ) -> None:
        ProducerPE.__init__(self)
        self.mesh, self.crust = mesh, crust
        self.frequency, self.seconds, self.ranks = frequency, seconds, ranks

    def _process(self, inputs: Any) -> None:
        event = read_event(MISFIT_DATA)
        if self.mesh is None:
            raise SettingsError("a simulation needs its mesh, a JSON file: the input mesh")
        mesh = read_mesh(self.mesh)
        layers = read_layers(self.crust or CRUST, mesh.depth)
        grid = plan_grid(mesh, layers, self.frequency, self.ranks)
        tensor = read_moment_tensor(MISFIT_DATA)
        places = {}
        for station, found in read_places(MISFIT_DATA, event):
            if isinstance(found, StationError):
                sys.stderr.write(f"{self.id}: {station} is left out: {found}\n")
            else:
                places[station] = found
        if not places:
            raise SettingsError(f"{MISFIT_DATA / 'stations'}: no station can be used")
        write_inputs(Path("DATA"), event, tensor, places, mesh, layers, grid, self.seconds)
        elements = grid.east * grid.north * sum(grid.layers)
        self.log(f"{len(places)} stations, {elements} elements, {self.ranks} processes")


def simulation(
    mesh: Path | None = None,
    crust: Path | None = None,
    frequency: float = 1.0,
    seconds: float = 60.0,
    ranks: int = 4,
) -> WorkflowGraph:
    """Prepare a simulation by SPECFEM3D

    Writes DATA/, the input files of SPECFEM3D Cartesian: the source from the event in misfit_data/,
    the receivers from its StationXML, and a mesh of layers.

    :param mesh: the box, the time step and the coordinates of the simulation, JSON; it is needed
    :param crust: a velocity model in the form .tvel of ObsPy's TauP; ak135 if none is given
    :param frequency: up to which the mesh carries waves, in Hz
    :param seconds: how long the seismograms are
    :param ranks: how many MPI processes simulate
    """
    prepare = Prepare(mesh, crust, frequency, seconds, ranks)
    prepare.name = "prepare"
    graph = WorkflowGraph()
    graph.add(prepare)
    return graph
