#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: Preprocess observed and synthetic waveforms
doc: |-
  Reads the folder misfit_data/. For each station, it brings observed and synthetic waveforms to the
  same sampling rate and time window, runs the processing chains of processing.json (response
  removal, tapers, filters), and rotates the horizontal components to radial and transverse. The
  result goes to misfit_data/processed/. If a station lacks a component, its StationXML or its
  synthetics, it is left out with a message, and the run goes on.

      dispel4py simple preprocess.py -i 1
$namespaces:
  d4p: https://w3id.org/d4pcwl#

requirements:
  - class: InitialWorkDirRequirement
    listing:
      - entryname: preprocess.py
        entry: $(inputs.script)
      - entryname: ra_chains.py
        entry: $(inputs.modules[0])
      - entryname: ra_elements.py
        entry: $(inputs.modules[1])
      - entryname: ra_figures.py
        entry: $(inputs.modules[2])
      - entryname: ra_folders.py
        entry: $(inputs.modules[3])
      - entryname: ra_geometry.py
        entry: $(inputs.modules[4])
      - entryname: ra_layout.py
        entry: $(inputs.modules[5])
      - entryname: ra_motion.py
        entry: $(inputs.modules[6])
      - entryname: ra_processed.py
        entry: $(inputs.modules[7])
      - entryname: ra_report.py
        entry: $(inputs.modules[8])
      - entryname: ra_results.py
        entry: $(inputs.modules[9])
      - entryname: ra_sampling.py
        entry: $(inputs.modules[10])
      - entryname: ra_stations.py
        entry: $(inputs.modules[11])
      - entryname: ra_traces.py
        entry: $(inputs.modules[12])
      - entryname: ra_waveforms.py
        entry: $(inputs.modules[13])
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
      location: preprocess.py
  - id: modules
    label: The modules beside the script that it imports
    doc: 'In this order: ra_chains.py, ra_elements.py, ra_figures.py, ra_folders.py, ra_geometry.py, ra_layout.py, ra_motion.py, ra_processed.py, ra_report.py, ra_results.py, ra_sampling.py, ra_stations.py, ra_traces.py, ra_waveforms.py'
    type: File[]
    default:
      - class: File
        location: ra_chains.py
      - class: File
        location: ra_elements.py
      - class: File
        location: ra_figures.py
      - class: File
        location: ra_folders.py
      - class: File
        location: ra_geometry.py
      - class: File
        location: ra_layout.py
      - class: File
        location: ra_motion.py
      - class: File
        location: ra_processed.py
      - class: File
        location: ra_report.py
      - class: File
        location: ra_results.py
      - class: File
        location: ra_sampling.py
      - class: File
        location: ra_stations.py
      - class: File
        location: ra_traces.py
      - class: File
        location: ra_waveforms.py
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
    doc: the folder of the assessment, with processed/ in it
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
    valueFrom: preprocess.py
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
      - package: scipy
        version:
          - '1.17'
d4p:digest: 0d2f0abab87ba8a6
