#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: Make the folder of an assessment
doc: |
  Makes misfit_data/ with the event, the processing chains and a request for data in it. Its subfolders are made by the
  steps that fill them: not every engine keeps an empty folder.

  Whatever the files are called, the pipeline finds them as events_info.xml, processing.json and
  download.json.

requirements:
  InitialWorkDirRequirement:
    listing:
      - entryname: events_info.xml
        entry: $(inputs.event)
      - entryname: processing.json
        entry: $(inputs.processing)
      - entryname: download.json
        entry: $(inputs.request)

# Makes the folder and copies the files into it in one go.
baseCommand: [install, -D, -m, "644", -t, misfit_data]
arguments:
  - position: 1
    valueFrom: events_info.xml
  - position: 1
    valueFrom: processing.json

inputs:
  event:
    type: File
    label: The event, QuakeML
  processing:
    type: File
    label: The processing chains of data and synthetics, JSON
  mesh:
    type: File?
    label: The mesh of the simulation, kept beside the rest under its own name
    inputBinding:
      position: 2
  request:
    type: File?
    label: The waveforms and responses to download from FDSN web services, JSON
    inputBinding:
      position: 2
      valueFrom: download.json

outputs:
  misfit_data:
    type: Directory
    outputBinding:
      glob: misfit_data
