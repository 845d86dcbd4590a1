#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: Bring the waveforms of an event into misfit_data/
doc: |-
  If misfit_data/ has a file download.json, observed waveforms (miniSEED) and instrument responses
  (StationXML) are fetched from FDSN web services, as this file requests. What is there already,
  and whole, is not fetched again. All else is copied from a source directory with the subfolders
  observed/, stations/ and synth/ (SAC): the synthetics, and without a request everything. Files
  are copied one by one, so they can be spread over processes. misfit_data/ is changed in place.
$namespaces:
  d4p: https://w3id.org/d4pcwl#

requirements:
  - class: InitialWorkDirRequirement
    listing:
      - entryname: download.py
        entry: $(inputs.script)
      - entryname: ra_fdsn.py
        entry: $(inputs.modules[0])
      - entryname: ra_layout.py
        entry: $(inputs.modules[1])
      - entryname: ra_records.py
        entry: $(inputs.modules[2])
      - entryname: ra_request.py
        entry: $(inputs.modules[3])
      - entryname: misfit_data
        writable: true
        entry: $(inputs.misfit_data)
  - class: ResourceRequirement
    coresMin: $(inputs.processes)
  - class: NetworkAccess
    networkAccess: true

inputs:
  - id: script
    label: The dispel4py script
    type: File
    default:
      class: File
      location: download.py
  - id: modules
    label: The modules beside the script that it imports
    doc: 'In this order: ra_fdsn.py, ra_layout.py, ra_records.py, ra_request.py'
    type: File[]
    default:
      - class: File
        location: ra_fdsn.py
      - class: File
        location: ra_layout.py
      - class: File
        location: ra_records.py
      - class: File
        location: ra_request.py
  - id: misfit_data
    type: Directory
  - id: source
    doc: where the files come from that are not downloaded
    type: Directory?
    inputBinding:
      prefix: --params=source=
      position: 4
      separate: false
  - id: providers
    doc: URLs of FDSN web services, or ObsPy's names of them, in place of those in download.json
    type: string[]?
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
  - prefix: --params
    position: 4
    valueFrom: '{"providers": $(inputs.providers)}'

hints:
  - class: WorkReuse
    enableReuse: false
  - class: SoftwareRequirement
    packages:
      - package: d4pcwl
      - package: lxml
      - package: obspy
        version:
          - 1.5.1
d4p:digest: aa62a4f17b912bde
