#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: Bring the seismograms of a simulation into misfit_data/
doc: |-
  Writes the velocity seismograms of SPECFEM3D as SAC into misfit_data/synth/. What was in there
  before is removed. Each file is an item, so they can be spread over processes.

      dispel4py simple collect_synthetics.py -d '{"seismograms": [{"input": "OUTPUT_FILES"}]}'
$namespaces:
  d4p: https://w3id.org/d4pcwl#

requirements:
  - class: InitialWorkDirRequirement
    listing:
      - entryname: collect_synthetics.py
        entry: $(inputs.script)
      - entryname: ra_layout.py
        entry: $(inputs.modules[0])
      - entryname: ra_source.py
        entry: $(inputs.modules[1])
      - entryname: ra_specfem.py
        entry: $(inputs.modules[2])
      - entryname: ra_synthetics.py
        entry: $(inputs.modules[3])
      - entryname: ra_utm.py
        entry: $(inputs.modules[4])
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
      location: collect_synthetics.py
  - id: modules
    label: The modules beside the script that it imports
    doc: 'In this order: ra_layout.py, ra_source.py, ra_specfem.py, ra_synthetics.py, ra_utm.py'
    type: File[]
    default:
      - class: File
        location: ra_layout.py
      - class: File
        location: ra_source.py
      - class: File
        location: ra_specfem.py
      - class: File
        location: ra_synthetics.py
      - class: File
        location: ra_utm.py
  - id: misfit_data
    type: Directory
  - id: seismograms
    label: The item of seismograms
    type: Directory
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
    valueFrom: collect_synthetics.py
  - prefix: -n
    position: 3
    valueFrom: $(runtime.cores)
  - prefix: --text=
    position: 5
    valueFrom: $(inputs.seismograms.path)
    separate: false
  - prefix: -d
    position: 5
    valueFrom: '{"seismograms": [{"input": {"$text": 1}}]}'

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
d4p:digest: 4b88e5cf7ffa8344
