#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: Compute synthetics of a point source in homogeneous ground
doc: |-
  Writes synthetics of all stations that have StationXML into misfit_data/synth/: velocity of direct P
  and S waves, with near field and attenuation, from the moment tensor of the event (ra_model says
  what is not in them). What was in there before is removed. It takes a second, where a simulation by
  SPECFEM3D takes hours.

      dispel4py simple point_source.py -i 1
$namespaces:
  d4p: https://w3id.org/d4pcwl#

requirements:
  - class: InitialWorkDirRequirement
    listing:
      - entryname: point_source.py
        entry: $(inputs.script)
      - entryname: ra_chains.py
        entry: $(inputs.modules[0])
      - entryname: ra_folders.py
        entry: $(inputs.modules[1])
      - entryname: ra_geometry.py
        entry: $(inputs.modules[2])
      - entryname: ra_layout.py
        entry: $(inputs.modules[3])
      - entryname: ra_model.py
        entry: $(inputs.modules[4])
      - entryname: ra_source.py
        entry: $(inputs.modules[5])
      - entryname: ra_synthetics.py
        entry: $(inputs.modules[6])
      - entryname: ra_traces.py
        entry: $(inputs.modules[7])
      - entryname: misfit_data
        writable: true
        entry: $(inputs.misfit_data)
  - class: ResourceRequirement
    coresMin: $(inputs.processes)

inputs:
  - id: script
    label: The dispel4py script
    type: File
    default:
      class: File
      location: point_source.py
  - id: modules
    label: The modules beside the script that it imports
    doc: 'In this order: ra_chains.py, ra_folders.py, ra_geometry.py, ra_layout.py, ra_model.py, ra_source.py, ra_synthetics.py, ra_traces.py'
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
        location: ra_model.py
      - class: File
        location: ra_source.py
      - class: File
        location: ra_synthetics.py
      - class: File
        location: ra_traces.py
  - id: misfit_data
    type: Directory
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
  - id: misfit_data_out
    doc: the folder of the assessment, with new synthetics
    type: Directory
    outputBinding:
      glob: misfit_data
  - id: printed
    label: What the PEs print
    type: stdout
    format: https://www.iana.org/assignments/media-types/text/plain
stdout: printed.txt

baseCommand:
  - dispel4py
arguments:
  - position: 2
    valueFrom: point_source.py
  - prefix: -n
    position: 3
    valueFrom: $(runtime.cores)

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
d4p:digest: 1f0c4629c2ae0a22
