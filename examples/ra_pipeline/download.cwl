#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: Bring the waveforms of an event into misfit_data/
doc: |-
  Copies observed waveforms (miniSEED), instrument responses (StationXML) and synthetics (SAC) from a
  source directory with the subfolders observed/, stations/ and synth/ into the folder of the
  assessment, which is changed in place. Files are copied one by one, so they can be spread over
  processes.

      dispel4py simple download.py -d '{"source": [{"input": "example_data"}]}'
$namespaces:
  d4p: https://w3id.org/d4pcwl#

requirements:
  - class: InitialWorkDirRequirement
    listing:
      - entryname: download.py
        entry: $(inputs.script)
      - entryname: ra_layout.py
        entry: $(inputs.modules[0])
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
      location: download.py
  - id: modules
    label: The modules beside the script that it imports
    doc: 'In this order: ra_layout.py'
    type: File[]
    default:
      - class: File
        location: ra_layout.py
  - id: misfit_data
    type: Directory
  - id: source
    label: The item of source
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
    doc: the folder of the assessment, with waveforms and responses
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
    valueFrom: download.py
  - prefix: -n
    position: 3
    valueFrom: $(runtime.cores)
  - prefix: --text=
    position: 5
    valueFrom: $(inputs.source.path)
    separate: false
  - prefix: -d
    position: 5
    valueFrom: '{"source": [{"input": {"$text": 1}}]}'

hints:
  - class: SoftwareRequirement
    packages:
      - package: d4pcwl
d4p:digest: 1378c0f26ab19d07
