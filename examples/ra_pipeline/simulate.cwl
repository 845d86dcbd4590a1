#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: Workflow
label: Simulate an earthquake
doc: |
  Synthetics from the event and the stations of an assessment by SPECFEM3D Cartesian.
  specfem3d.cwl is written by hand; the tools of the other two steps are made from the dispel4py
  scripts of the same names.

inputs:
  misfit_data:
    type: Directory
    label: The folder of the assessment, with the event and the StationXML of the stations
  mesh:
    type: File?
    label: The box, the time step and the coordinates of the simulation, JSON; it is needed
  crust:
    type: File?
    label: A velocity model (.tvel); ak135 if none is given
  frequency:
    type: double
    label: Up to which the mesh carries waves, in Hz
    default: 1.0
  ranks:
    type: long
    label: How many MPI processes simulate
    default: 4

steps:
  prepare:
    run: prepare_simulation.cwl
    in:
      misfit_data: misfit_data
      mesh: mesh
      crust: crust
      frequency: frequency
      ranks: ranks
    out: [DATA]

  specfem3d:
    run: specfem3d.cwl
    in:
      data: prepare/DATA
      cores: ranks
    out: [seismograms]

  collect:
    run: collect_synthetics.cwl
    in:
      misfit_data: misfit_data
      seismograms: specfem3d/seismograms
    out: [misfit_data_out]

outputs:
  misfit_data_out:
    type: Directory
    label: The folder of the assessment, with synthetics
    outputSource: collect/misfit_data_out
