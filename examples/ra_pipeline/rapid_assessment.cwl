#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: Assess the ground motion of an earthquake
doc: |-
  Reads misfit_data/processed/ and computes peak ground acceleration, velocity, displacement and
  spectral acceleration at 0.3, 1 and 3 Hz (10 % damping) of observed and synthetic waveforms in three
  norms, matches the two by station and norm, and writes the figures, their differences, maps and a
  report with the waveforms into pgm_data/.

      dispel4py simple rapid_assessment.py -i 1
$namespaces:
  d4p: https://w3id.org/d4pcwl#

requirements:
  - class: InitialWorkDirRequirement
    listing:
      - entryname: rapid_assessment.py
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
        entry: $(inputs.misfit_data)
      - class: Directory
        basename: pgm_data
        listing: []
  - class: ResourceRequirement
    coresMin: $(inputs.processes)

inputs:
  - id: script
    label: The dispel4py script
    type: File
    default:
      class: File
      location: rapid_assessment.py
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
  - id: pgm_data
    doc: 'ground motion of all stations: pgm.json, pgm.geojson, maps, report.html'
    type: Directory
    outputBinding:
      glob: pgm_data
  - id: printed
    label: What the PEs print
    type: stdout
    format: https://www.iana.org/assignments/media-types/text/plain
stdout: printed.txt

baseCommand:
  - dispel4py
arguments:
  - position: 2
    valueFrom: rapid_assessment.py
  - prefix: -n
    position: 3
    valueFrom: $(runtime.cores)

hints:
  - class: SoftwareRequirement
    packages:
      - package: basemap-data
        version:
          - '2.0'
      - package: d4pcwl
      - package: matplotlib
        version:
          - '3.10'
      - package: numpy
        version:
          - '2.4'
      - package: obspy
        version:
          - 1.5.1
      - package: scipy
        version:
          - '1.17'
d4p:digest: 0d96fda0c43ca11f
