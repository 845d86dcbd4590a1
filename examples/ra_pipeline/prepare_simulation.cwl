#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: Prepare a simulation by SPECFEM3D
doc: |-
  Writes DATA/, the input files of SPECFEM3D Cartesian: the source from the event in misfit_data/,
  the receivers from its StationXML, and a mesh of layers.
$namespaces:
  d4p: https://w3id.org/d4pcwl#

requirements:
  - class: InitialWorkDirRequirement
    listing:
      - entryname: prepare_simulation.py
        entry: $(inputs.script)
      - entryname: ra_chains.py
        entry: $(inputs.modules[0])
      - entryname: ra_folders.py
        entry: $(inputs.modules[1])
      - entryname: ra_geometry.py
        entry: $(inputs.modules[2])
      - entryname: ra_layout.py
        entry: $(inputs.modules[3])
      - entryname: ra_source.py
        entry: $(inputs.modules[4])
      - entryname: ra_specfem.py
        entry: $(inputs.modules[5])
      - entryname: ra_synthetics.py
        entry: $(inputs.modules[6])
      - entryname: ra_traces.py
        entry: $(inputs.modules[7])
      - entryname: ra_utm.py
        entry: $(inputs.modules[8])
      - entryname: misfit_data
        entry: $(inputs.misfit_data)
      - class: Directory
        basename: DATA
        listing: []
  - class: ResourceRequirement
    coresMin: $(inputs.processes)

inputs:
  - id: script
    label: The dispel4py script
    type: File
    default:
      class: File
      location: prepare_simulation.py
  - id: modules
    label: The modules beside the script that it imports
    doc: 'In this order: ra_chains.py, ra_folders.py, ra_geometry.py, ra_layout.py, ra_source.py, ra_specfem.py, ra_synthetics.py, ra_traces.py, ra_utm.py'
    type: File[]
    default:
      - class: File
        location: ra_chains.py
      - class: File
        location: ra_folders.py
      - class: File
        location: ra_geometry.py
      - class: File
        location: ra_layout.py
      - class: File
        location: ra_source.py
      - class: File
        location: ra_specfem.py
      - class: File
        location: ra_synthetics.py
      - class: File
        location: ra_traces.py
      - class: File
        location: ra_utm.py
  - id: misfit_data
    type: Directory
  - id: mesh
    doc: the box, the time step and the coordinates of the simulation, JSON; it is needed
    type: File?
    inputBinding:
      prefix: --params=mesh=
      position: 4
      separate: false
  - id: crust
    doc: a velocity model in the form .tvel of ObsPy's TauP; ak135 if none is given
    type: File?
    inputBinding:
      prefix: --params=crust=
      position: 4
      separate: false
  - id: frequency
    doc: up to which the mesh carries waves, in Hz
    type: double
    default: 1.0
    inputBinding:
      prefix: --params=frequency=
      position: 4
      separate: false
  - id: seconds
    doc: how long the seismograms are
    type: double
    default: 60.0
    inputBinding:
      prefix: --params=seconds=
      position: 4
      separate: false
  - id: ranks
    doc: how many MPI processes simulate
    type: long
    default: 4
    inputBinding:
      prefix: --params=ranks=
      position: 4
      separate: false
  - id: input_file
    label: Inputs of the roots, JSON
    doc: From PE name or id to a list of input objects, or to a number of iterations.
    type: File?
    inputBinding:
      prefix: -f
      position: 5
  - id: input_data
    label: Inputs of the roots, as JSON text
    type: string?
    inputBinding:
      prefix: -d
      position: 5
  - id: iterations
    label: How often roots without inputs run
    type: int
    default: 1
    inputBinding:
      prefix: -i
      position: 5
  - id: mapping
    label: How the graph is run
    type:
      type: enum
      symbols:
        - simple
        - multi
        - zmq_multi
        - mpi
        - dyn_multi
        - dyn_auto_multi
        - redis
        - dyn_redis
        - dyn_auto_redis
        - hybrid_redis
    default: simple
    inputBinding:
      position: 1
  - id: processes
    label: How many processes it may use
    type: int
    default: 1

outputs:
  - id: results
    label: Results
    doc: 'JSON lines: the items of prepare.output'
    type: File
    format: https://w3id.org/d4pcwl#json-lines
    outputBinding:
      glob: results.jsonl
  - id: DATA
    doc: the input files of SPECFEM3D
    type: Directory
    outputBinding:
      glob: DATA
  - id: printed
    label: What the PEs print
    type: stdout
    format: https://www.iana.org/assignments/media-types/text/plain
stdout: printed.txt

baseCommand:
  - dispel4py
arguments:
  - position: 2
    valueFrom: prepare_simulation.py
  - prefix: -n
    position: 3
    valueFrom: $(runtime.cores)
  - prefix: --results
    position: 7
    valueFrom: results.jsonl

hints:
  - class: SoftwareRequirement
    packages:
      - package: d4pcwl
      - package: numpy
        version:
          - '2.4'
      - package: obspy
        version:
          - 1.5.1
d4p:digest: e6548b6ce6f2a7fa
